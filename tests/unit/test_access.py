"""The file that names callers: what is valid in it, and how commands change it without touching anything else."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import ConfigError, StoreError
from datastore.model.key import Key
from datastore.model.metadata import Precondition
from datastore.model.operations import Delete, Patch, Put
from datastore_server.auth.access import Access, Grant, Quota, parse_access
from datastore_server.auth.editing import added, edit, removed
from datastore_server.auth.rights import Right, Rights, rights_for
from datastore_server.auth.secrets import hash_of, is_hash, new_token, parts_of, verify

HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "B" * 43
TOKEN = f'[token.a]\nhash = "{HASH}"\n'


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("[tokens.a]\nread = ['/']", ["tokens: unknown key; valid here: token, identity; did you mean token?"]),
        ("token = 1", ["token: expected tables, each beginning with [token.NAME]"]),
        ("[[token]]\nname = 'a'", ["token: expected tables"]),
        ("[token]\na = 'dst_a.secret'", ["token: expected tables"]),
        ("[token.a]\nread = ['/']", ["token.a: hash: missing; it should be what `datastore token create` wrote"]),
        ("[token.a]\nhash = 'dst_a.secret'", ["token.a.hash: not a hash by `datastore token create`"]),
        (f"[token.a]\nhash = '{HASH.replace('t=2', 't=1')}'", ["token.a.hash: not a hash"]),
        (f"[token.'a b']\nhash = '{HASH}'", ["'a b' is not a valid name"]),
        (f"{TOKEN}reed = ['/']", ["token.a: reed: unknown key", "did you mean read?"]),
        (f"{TOKEN}read = '/'", ["token.a: read:", 'a list of prefixes of keys, e.g. ["/shop"]']),
        (f"{TOKEN}read = ['/a/']", ["token.a.read: '/a/' is not written like a key: write '/a'"]),
        (f"{TOKEN}read = ['a']", ["write '/a'"]),
        (f"{TOKEN}read = ['/a//b']", ["write '/a/b'"]),
        (f"{TOKEN}read = ['/a*\\u0007']".replace("'", '"'), ["token.a.read: a key cannot contain"]),
        (f"{TOKEN}expires = 2027-01-01T00:00:00", ["token.a.expires: it needs a time zone"]),
        (f"{TOKEN}expires = 'soon'", ["token.a: expires:", "an instant with a time zone"]),
        (f"{TOKEN}calls_in_hand = 0", ["token.a: calls_in_hand:", "at least 1"]),
        (f"{TOKEN}bytes_per_s = 'many'", ["token.a.bytes_per_s: a size"]),
        (f"{TOKEN}bytes_per_s = 0", ["token.a.bytes_per_s:"]),
        (f"[identity.a]\nhash = '{HASH}'", ["identity.a: hash: unknown key"]),
        ("[token.a", ["not TOML"]),
        (f"token = {'[' * 10_000}", ["not TOML: it is nested too deeply"]),
        (f"token = {'1' * 5000}", ["not TOML: Exceeds the limit"]),
    ],
)
def test_a_wrong_file_is_refused_naming_the_key_and_what_would_be_valid_without_secrets(
    text: str, reported: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_access(text, "tokens.toml")
    message = str(refused.value)
    assert message.startswith("tokens.toml: ")
    assert "secret" not in message
    for part in reported:
        assert part in message


def test_the_rights_that_operations_need():
    key, condition = Key("/a"), Precondition(exists=False)
    assert rights_for(Put(key, 1)) == (Right.WRITE,)
    assert rights_for(Put(key, 1, condition)) == (Right.WRITE, Right.READ)
    assert rights_for(Delete(key)) == (Right.DELETE,)
    assert rights_for(Delete(key, condition)) == (Right.DELETE, Right.READ)
    assert rights_for(Patch(key, ())) == (Right.WRITE, Right.READ)


@given(st.text(alphabet="ab:/\u00e1.", max_size=12), st.sampled_from(["/", "/a", "/a:b", "/a/b", "/\u00e1"]))
def test_a_prefix_covers_itself_and_what_a_recursive_query_of_it_selects(text: str, prefix: str) -> None:
    key = Key(text)
    assert Rights(read=(prefix,)).cover(Right.READ, key) == (
        prefix == "/" or str(key) == prefix or str(key).startswith((f"{prefix}/", f"{prefix}:"))
    )
    assert not Rights(read=(prefix,)).cover(Right.WRITE, key)
    assert Rights(admin=(prefix,)).cover(Right.WRITE, key) == Rights(read=(prefix,)).cover(Right.READ, key)


def test_tokens_are_verified_by_salted_hashes():
    token = new_token("shop-1.a")
    assert parts_of(token) == ("shop-1.a", token.removeprefix("dst_shop-1.a."))
    one, other = hash_of(token), hash_of(token)
    assert one != other
    assert (is_hash(one), verify(token, one), verify(token, other)) == (True, True, True)
    assert (verify(new_token("shop-1.a"), one), verify(token, None)) == (False, False)
    assert token.rpartition(".")[2] not in one


@pytest.mark.parametrize(
    "token", ["", "dst_", "dst_a.", "a.b", "dst_a." + "x" * 42, "dst_a b." + "x" * 43, "dst_." + "x" * 43]
)
def test_what_is_not_a_token_has_no_parts(token: str):
    assert parts_of(token) is None


# Changes

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
prefixes = st.lists(st.text(alphabet="ab\"\\/:#[]é'", max_size=5).map(lambda text: str(Key(text))), max_size=2).map(
    tuple
)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)
counts = st.none() | st.integers(1, 2**40)
grants = st.builds(
    Grant,
    names,
    st.builds(Rights, prefixes, prefixes, prefixes, prefixes),
    st.builds(Quota, counts, counts),
    st.just(HASH),
    st.none() | instants,
    st.none() | instants,
)
#: What others may have written between the tables.
remarks = st.lists(
    st.sampled_from(["# [token.a] was here", "", "  # why", "[identity.'x.y']\nread = ['/']  # all", "#"]),
    max_size=4,
    unique=True,
).map(lambda lines: "".join(f"{line}\n" for line in lines))


@given(st.lists(grants, max_size=4, unique_by=lambda grant: grant.name), remarks, st.data())
def test_a_token_is_added_and_removed_and_all_else_stays(given: list[Grant], remark: str, data: st.DataObject) -> None:
    text = remark
    for grant in given:
        text = added(text, grant, "tokens.toml")
    identities = parse_access(remark, "tokens.toml").identities
    assert parse_access(text, "tokens.toml") == Access({grant.name: grant for grant in given}, identities)
    for grant in data.draw(st.permutations(given)):
        text = removed(text, grant.name, "tokens.toml")
    assert parse_access(text, "tokens.toml") == Access({}, identities)
    # Every line that others wrote is still there.
    for line in remark.splitlines():
        assert line in text.splitlines()


def test_a_comment_above_the_next_table_stays_with_it():
    second = TOKEN.replace("token.a", "token.b")
    text = f"# top\n\n{TOKEN}read = ['/']\n\n# about b\n{second}"
    assert removed(text, "a", "t") == f"# top\n\n# about b\n{second}"
    assert removed(text, "b", "t") == f"# top\n\n{TOKEN}read = ['/']\n\n# about b\n"


@pytest.mark.parametrize(
    "text",
    [
        f"token.a.hash = '{HASH}'\n",
        f"token = {{ a = {{ hash = '{HASH}' }} }}\n",
        f"[token]\na.hash = '{HASH}'\n",
        f"{TOKEN}read = [\n'/a',\n  # [\n  '/b',\n]\n[identity.x]\nread = ['''\n[''']\n".replace("'''\n['''", "'/[x'"),
    ],
)
def test_a_file_in_another_form_is_changed_rightly_or_not_at_all(text: str):
    before = parse_access(text, "t")
    try:
        after = parse_access(removed(text, "a", "t"), "t")
    except ConfigError as refused:
        assert "nothing was changed" in str(refused)
    else:
        assert after == Access({}, before.identities)


def test_the_errors_of_changes_name_what_there_is():
    with pytest.raises(ConfigError, match="has a token a already; revoke it first"):
        added(TOKEN, Grant("a", Rights(), hash=HASH), "t")
    with pytest.raises(ConfigError, match="t has no token b; its tokens are a"):
        removed(TOKEN, "b", "t")
    with pytest.raises(ConfigError, match="its tokens are none"):
        removed("", "b", "t")


def test_the_file_is_replaced_whole_with_a_private_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "tokens.toml", tmp_path / "link.toml"
    edit(path, lambda text: f"{text}# one\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("# one\n", 0o600)
    path.chmod(0o644)
    link.symlink_to(path)
    edit(link, lambda text: f"{text}# two\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == ("# one\n# two\n", 0o600, True)
    with pytest.raises(ZeroDivisionError):
        edit(path, lambda _: str(1 / 0))
    with pytest.raises(StoreError, match="cannot change this file: No such file or directory"):
        edit(tmp_path / "none" / "tokens.toml", str)
    assert {found.name for found in tmp_path.iterdir()} == {"link.toml", "tokens.toml"}


def test_commands_at_the_same_time_lose_no_change(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    threads = [threading.Thread(target=edit, args=(path, lambda text, n=n: f"{text}# {n}\n")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text().splitlines()) == sorted(f"# {number}" for number in range(20))
