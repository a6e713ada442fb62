"""Configuration files, store URLs and addresses: what is accepted, and what errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

import datastore
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import ConfigError, InvalidError
from datastore_server.config import (
    Address,
    Config,
    dump_config,
    load_config,
    parse_address,
    parse_config,
    parse_server_url,
)
from datastore_server.store_urls import parse_store_url

GOOD = """
[cluster]
name = "trial"

[[shards]]
name = "b"
url = "grpc://127.0.0.1:5002"

[[shards]]
name = "a"
url = "grpc://127.0.0.1:5001"
store = "lmdb:data/a"
durability = "async"
"""


def parsed(text: str) -> Config:
    return parse_config(text, source="cluster.toml", base=Path("/etc/datastore"))


def test_shards_are_in_the_order_of_their_names_and_defaults_are_filled_in() -> None:
    config = parsed(GOOD)
    assert [shard.name for shard in config.shards] == ["a", "b"]
    assert config.cluster.shard_by == "key"
    assert config.proxy.listen == "127.0.0.1:7420"
    assert config.shards[1].durability == "sync"
    assert config.shards[1].store is None


def test_a_relative_directory_is_below_the_file_s_own() -> None:
    assert parsed(GOOD).shards[0].store == "lmdb:///etc/datastore/data/a"


def test_a_written_configuration_reads_back_equal() -> None:
    config = parsed(GOOD + '\n[[shards]]\nname = "c"\nurl = "grpc://[::1]:1"\nstore = \'lmdb:///a "b" \\c é\'\n')
    assert parsed(dump_config(config)) == config
    limited = parsed(changed('name = "trial"', 'name = "trial"\nlimits = { batch_items = 7, read_bytes = "1MiB" }'))
    assert limited.cluster.limits == {"batch_items": 7, "read_bytes": "1MiB"}
    assert parsed(dump_config(limited)) == limited


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after, 1)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", ["cluster: missing", "[cluster]"]),
        ("[cluster\n", ["not TOML", "line 1"]),
        ("shards = []\n[cluster]\nname = 'x'", ["shards: at least one", "[[shards]]"]),
        ("[cluster]\nname = 'x'\n[shards]\nname = 'y'", ["shards", "[[shards]]"]),
        (GOOD + "\n[prxoy]\n", ["prxoy: unknown key", "cluster, shards, proxy", "did you mean proxy?"]),
        (changed('name = "trial"', 'nam = "trial"'), ["cluster.nam: unknown key", "name, shard_by"]),
        (changed('name = "trial"', "name = 3"), ["cluster.name", "`str`", "letters"]),
        (changed('name = "trial"', 'name = "a b"'), ["cluster.name", "'a b'", "letters"]),
        (
            changed('name = "trial"', 'name = "x"\nshard_by = "hash"'),
            ["cluster.shard_by", '"key" or "collection"'],
        ),
        (changed('name = "trial"', 'name = "x"\nlimits = 1'), ["cluster.limits", "a table with any of key_bytes"]),
        (changed('name = "trial"', 'name = "x"\nlimits = {a = 1}'), ["cluster.limits.a: unknown limit", "batch_items"]),
        (
            changed('name = "trial"', 'name = "x"\nlimits = {open_streams = true}'),
            ["cluster.limits.open_streams: expected a whole number from 1 to 100,000, got True"],
        ),
        (changed('name = "b"', 'name = "a"'), ["shards[1].name", "'a'", "shards[0]"]),
        (changed('name = "b"', 'name = ""'), ["shards[0].name", "letters"]),
        (changed('url = "grpc://127.0.0.1:5002"\n', ""), ["shards[0].url: missing", "grpc://HOST:PORT"]),
        (changed("grpc://127.0.0.1:5002", "127.0.0.1:5002"), ["shards[0].url", "grpc://HOST:PORT"]),
        (changed("grpc://127.0.0.1:5002", "grpc://h:99999"), ["shards[0].url", "65535"]),
        (
            changed("grpc://127.0.0.1:5002", "grpc://127.0.0.1:5001"),
            ["shards[1].url", "also the url of shards[0]"],
        ),
        (
            changed("lmdb:data/a", "lmbd:data/a"),
            [
                "shards[1].store",
                "known are file: grpc: grpcs: lmdb: memcached: memory: mongodb: redis: rediss:; did you mean lmdb:?",
            ],
        ),
        (changed('"async"', '"fast"'), ["shards[1].durability", '"sync" or "async"']),
        (
            changed('"async"', '"async"\nport = 1'),
            ["shards[1].port: unknown key", "name, url, store, durability"],
        ),
        (GOOD + '\n[proxy]\nlisten = "x:y"\n', ["proxy.listen", "HOST:PORT"]),
    ],
)
def test_a_wrong_file_is_refused_naming_file_key_and_what_would_be_valid(text: str, reported: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(text)
    message = str(refused.value)
    assert message.startswith("cluster.toml: ")
    for part in reported:
        assert part in message


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ('store = "lmdb:d"', 'store = "lmdb:d/"', "store"),
        ('store = "lmdb:d"', 'store = "file:x/../d?fsync=true"', "store"),
        ('store = "redis://h/0"', 'store = "redis://u:secret@h/0?prefix=/"', None),
        ('store = "redis://u:secret@h/0"', 'store = "redis://u:secret@h/0?prefix=/"', "store"),
        ('store = "memcached://h"\nstate_dir = "s"', 'store = "memcached://i"\nstate_dir = "./s"', "state_dir"),
        ('store = "memory:"', 'store = "memory:"', None),
    ],
)
def test_two_shards_of_one_machine_have_separate_storage(one: str, other: str, key: str | None) -> None:
    def text(host: str) -> str:
        shards = ((one, "a", "127.0.0.1", 1), (other, "b", host, 2))
        return '[cluster]\nname = "c"\n' + "".join(
            f'[[shards]]\nname = "{name}"\nurl = "grpc://{host}:{port}"\n{store}\n'
            for store, name, host, port in shards
        )

    assert len(parsed(text("127.0.0.2")).shards) == 2
    if key is None:
        assert len(parsed(text("127.0.0.1")).shards) == 2
        return
    with pytest.raises(
        ConfigError, match=rf"cluster.toml: shards\[1\].{key}: .* is also the {key} of shards\[0\]"
    ) as refused:
        parsed(text("127.0.0.1"))
    assert "secret" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot read.*No such file"):
        load_config(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: .*UTF-8"):
        load_config(path)


def test_an_unknown_shard_is_refused_with_the_known_ones() -> None:
    assert parsed(GOOD).shard("b").url == "grpc://127.0.0.1:5002"
    with pytest.raises(ConfigError, match=r"no shard .c..*a, b"):
        parsed(GOOD).shard("c")


@pytest.mark.parametrize(
    ("text", "kind", "directory", "durability"),
    [
        ("memory:", "memory", None, None),
        ("memory://", "memory", None, None),
        ("lmdb:///var/lib/ds", "lmdb", Path("/var/lib/ds"), None),
        ("lmdb:/var/lib/ds", "lmdb", Path("/var/lib/ds"), None),
        ("lmdb:ds", "lmdb", Path("ds"), None),
        ("LMDB:ds", "lmdb", Path("ds"), None),
        ("lmdb:///d/a%20b", "lmdb", Path("/d/a b"), None),
        ("lmdb:///d/a b", "lmdb", Path("/d/a b"), None),
        ("lmdb:///d/%25%3F%23%0A%FF", "lmdb", Path("/d/%?#\n\udcff"), None),
        ("lmdb:///d?durability=async", "lmdb", Path("/d"), "async"),
        ("lmdb:d?durability=sync&max_size=1GiB", "lmdb", Path("d"), "sync"),
        ("file:d?fsync=false&extension=.md", "file", Path("d"), "async"),
        ("file:///d?serializer=json", "file", Path("/d"), None),
        ("grpc://h:1", "grpc", None, None),
        ("redis://h/0?prefix=a:&serializer=wire", "redis", None, None),
        ("rediss://h/0", "redis", None, None),
        ("mongodb://u:p@a,b/d?w=1", "mongodb", None, None),
        ("memcached://h", "memcached", None, None),
    ],
)
def test_valid_store_urls_are_accepted(text: str, kind: str, directory: Path | None, durability: str | None) -> None:
    url = parse_store_url(text)
    assert (url.kind, url.directory, url.durability) == (kind, directory, durability)
    assert parse_store_url(url.text) == url


def test_a_file_store_is_synced_unless_it_says_otherwise() -> None:
    for url, fsync in (("file:d", True), ("file:d?fsync=true", True), ("file:d?fsync=false", False)):
        assert parse_store_url(url).tree.fsync is fsync  # type: ignore[attr-defined]
    assert parse_store_url("file:d").with_durability("async").tree.fsync is False  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="leave one of them out"):
        parse_store_url("file:d?fsync=false").with_durability("sync")


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "lmdb:///DIRECTORY, memory: or another store URL"),
        ("/var/lib/ds", "write lmdb:/var/lib/ds"),
        ("lmdb:", "names no directory"),
        ("lmdb://", "lmdb:///DIRECTORY"),
        ("lmdb://var/lib", "three slashes"),
        ("lmdb:///d#x", "%23"),
        ("lmdb:///d?durability=never", "durability is sync or async"),
        (
            "lmdb:///d?durabilty=async",
            "unknown option 'durabilty'; valid are durability, max_size, changes, change_bytes, change_age",
        ),
        ("lmdb:///d?durability=async&durability=sync", "given twice"),
        ("memory:?durability=sync", "valid are requests, request_age"),
        ("/d/a%20b", "write lmdb:/d/a%2520b"),
        ("ä:/x", "expected SCHEME:"),
        ("memory:x", "nothing after its colon"),
        (
            "memroy:",
            "memcached: memory: mongodb: redis: rediss:; did you mean memory:?",
        ),
        (
            "redis://:s3cret@x?durability=sync",
            "'redis://***@x?durability=sync': expected redis://HOST:PORT/DATABASE",
        ),
        ("redis://x?serializer=yaml", "serializer is plain, json or wire, not 'yaml'"),
        ("redis://x?serializer=json&serializer=json", "serializer is given twice"),
        ("lmdb:///d?serializer=json", "a lmdb: store needs no serializer"),
        ("file:///d?mode=1", "unknown option 'mode'; valid are fsync, case_sensitive, extension"),
        ("grpc://x:0", "grpc://HOST:PORT"),
        ("grpc://x:1?serializer=json", "a grpc: store needs no serializer"),
    ],
)
def test_store_urls_that_are_refused_say_what_would_be_valid(text: str, reported: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_store_url(text)
    assert reported in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["lmdb:{}/a%20b?durability=async", "lmdb://{}/a%2520b", "lmdb://{}/é", "lmdb:{}/x;y=1&z+%3f", "LMDB://{}//a//b/"],
)
def test_a_url_means_the_same_directory_to_open_and_to_serve(url: str, tmp_path: Path) -> None:
    url = url.format(tmp_path)
    served = parse_store_url(url)
    assert served.directory is not None
    with datastore.open(url) as opened:
        assert isinstance(opened, LMDBDatastore)
        assert opened.directory == served.directory
        assert opened.describe().capability.durability.value == (served.durability or "sync")


@pytest.mark.parametrize(
    "url", ["lmdb:///d?x=1", "lmdb:///d?durability=on", "lmdb://h/d", "lmdb:///d#f", "lmdb:", "memory:x", "lmdb:///\n"]
)
def test_a_url_that_open_refuses_is_refused_by_serve_in_the_same_words(url: str) -> None:
    with pytest.raises(InvalidError) as opening:
        datastore.open(url)
    with pytest.raises(ConfigError) as serving:
        parse_store_url(url)
    assert str(serving.value) == str(opening.value)


def test_a_stores_durability_may_be_in_its_url_or_beside_it_but_must_agree() -> None:
    in_url = changed("lmdb:data/a", "lmdb:data/a?durability=async")
    shard = parsed(in_url).shard("a")
    assert (shard.store, shard.durability) == ("lmdb:///etc/datastore/data/a", "async")
    assert parsed(in_url.replace('durability = "async"\n', "")).shard("a").durability == "async"
    assert parsed(GOOD.replace('durability = "async"\n', "")).shard("a").durability == "sync"
    with pytest.raises(ConfigError, match=r'shards\[1\]\.durability: durability is "sync", but .*=async'):
        parsed(in_url.replace('= "async"', '= "sync"'))


def test_addresses_are_read_and_written() -> None:
    assert parse_address("127.0.0.1:0") == Address("127.0.0.1", 0)
    assert parse_address("localhost") == Address("localhost", 7420)
    assert str(parse_address("[::1]:5")) == "[::1]:5"
    assert parse_server_url("grpc://db.example:5/").url == "grpc://db.example:5"


@pytest.mark.parametrize("text", ["", ":1", "a:b", "a:1:2", "a:70000", "::1:5", "grpc://a:1", "a b:1", "a:-1"])
def test_invalid_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


@pytest.mark.parametrize("text", ["17650", ":17650", "7"])
def test_a_port_without_a_host_is_not_read_as_a_host(text: str) -> None:
    port = text.removeprefix(":")
    with pytest.raises(ConfigError, match=rf"is a port without a host: .*HOST:PORT, e\.g\. 127\.0\.0\.1:{port}$"):
        parse_address(text)
    with pytest.raises(ConfigError, match=rf"is a port without a host: .*, e\.g\. grpc://127\.0\.0\.1:{port}$"):
        parse_server_url(f"grpc://{text}")
    with pytest.raises(ConfigError, match=rf"not a server URL: .*, e\.g\. grpc://127\.0\.0\.1:{port}$"):
        parse_server_url(text)
    with pytest.raises(ConfigError, match=r"proxy\.listen: .* is a port without a host"):
        parsed(GOOD + f"\n[proxy]\nlisten = '{text}'\n")


def test_a_server_without_its_scheme_is_refused_with_the_url() -> None:
    with pytest.raises(ConfigError, match=r"e\.g\. grpc://db\.example:5$"):
        parse_server_url("db.example:5")


@pytest.mark.parametrize("text", ["", "grpc://", "http://a:1", "a:1", "grpc:a:1", "grpc://a:1/x"])
def test_invalid_server_urls_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_server_url(text)


@pytest.mark.parametrize(
    "text",
    ["grpc://me:hunter2@h", "grpc://hunter2@h:1", "redis://me:hunter2@h", "me:hunter2@h", "hunter2@h:1", "hunter2@h"],
)
def test_no_error_about_an_address_shows_a_secret(text: str) -> None:
    for parse in (parse_server_url, parse_address):
        with pytest.raises(ConfigError, match=r"\*\*\*@h") as refused:
            parse(text)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("db.example", False),
    ],
)
def test_only_this_machine_s_own_addresses_count_as_loopback(host: str, is_loopback: bool) -> None:
    assert Address(host, 1).is_loopback is is_loopback
