"""`datastore token`, and the token of the other commands."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from datastore_server.auth.access import load_access
from tests.support.commands import run_here, server_process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def create(path: Path, name: str, *arguments: str) -> str:
    """A new token."""
    done = run_here("token", "create", name, *arguments, "--tokens", str(path))
    assert done.code == 0, done.err
    return done.out.strip()


def test_a_token_is_created_listed_and_revoked(path: Path) -> None:
    token = create(path, "shop", "--rights", "read,write", "--prefix", "/shop", "--rights", "read", "--prefix", "/all")
    assert token.startswith("dst_shop.")
    assert token.rpartition(".")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rights = load_access(path).tokens["shop"].rights
    assert (rights.read, rights.write, rights.delete) == (("/shop", "/all"), ("/shop",), ())
    shown = run_here("token", "list", "--tokens", str(path))
    assert "read /shop /all; write /shop" in shown.out
    assert run_here("token", "revoke", "shop", "--tokens", str(path)).code == 0
    assert load_access(path).tokens == {}


def test_quotas_and_expiries_are_written_and_shown(path: Path) -> None:
    limits = ["--expires-in", "90d", "--calls-in-hand", "7", "--bytes-per-s", "1MiB"]
    created = run_here(
        "token", "create", "a", "--rights", "admin", "--prefix", "/", *limits, "--tokens", str(path), "--json"
    )
    (row,) = created.lines
    assert (row["name"], row["tokens"], row["token"][:6]) == ("a", str(path), "dst_a.")
    ((listed,),) = run_here("token", "list", "--tokens", str(path), "--json").lines
    assert (listed["calls_in_hand"], listed["bytes_per_s"], listed["admin"]) == (7, 1024 * 1024, ["/"])
    grant = load_access(path).tokens["a"]
    assert grant.expires is not None
    assert grant.created is not None
    assert (grant.expires - grant.created).days == 90


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["create", "a b", "--rights", "read", "--prefix", "/"], 2, "'a b' is not a valid name"),
        (
            ["create", "a", "--rights", "reed", "--prefix", "/"],
            2,
            "'reed' is not a right; they are read, write, delete",
        ),
        (["create", "a", "--rights", "read"], 2, "--prefix"),
        (["create", "a", "--rights", "read", "--prefix", "/a", "--prefix", "/b"], 2, "as many --prefix as --rights"),
        (["create", "a", "--rights", "read", "--prefix", "/a/"], 2, "write '/a'"),
        (["create", "a", "--rights", "read", "--prefix", "/", "--bytes-per-s", "x"], 2, "a size"),
        (["revoke", "a"], 3, "has no token a"),
        (["list"], 3, "cannot read this configuration file"),
    ],
)
def test_wrong_arguments_are_refused_and_no_file_is_made(
    path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run_here("token", *arguments, "--tokens", str(path))
    assert (done.code, said in done.err, done.out) == (code, True, "")
    assert not path.exists()


def test_commands_have_the_rights_of_their_token(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, root = tmp_path / "shop.token", tmp_path / "root.token"
    shop.write_text(create(path, "shop", "--rights", "read,write", "--prefix", "/shop"))
    root.write_text(create(path, "root", "--rights", "admin", "--prefix", "/"))
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0", "--tokens", str(path)) as ready:
        monkeypatch.setenv("DATASTORE_SERVER", ready["url"])
        done = run_here("put", "/shop/a", "1")
        assert (done.code, "UNAUTHENTICATED" in done.err, "--token-file" in done.err) == (5, True, True)
        monkeypatch.setenv("DATASTORE_TOKEN_FILE", str(shop))
        for command in (
            ["put", "/shop/a", "1"],
            ["get", "/shop/a"],
            ["query", "/shop"],
            ["count", "/shop"],
            ["status"],
        ):
            assert run_here(*command).code == 0
        done = run_here("query", "/", "--recursive")
        assert (done.code, "PERMISSION_DENIED: token shop may not read all" in done.err, done.out) == (5, True, "")
        assert run_here("--token-file", str(root), "query", "/", "--recursive").code == 0
        assert run_here("query", "/", "--recursive", "--token-file", str(root)).code == 0


@pytest.mark.parametrize("command", [["get", "/a"], ["put", "/a", "1"], ["query", "/"], ["watch", "/"], ["status"]])
def test_a_token_is_not_sent_unencrypted_to_another_machine(command: list[str], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("dst_a.secret")
    done = run_here("--server", "grpc://192.0.2.1:1", "--token-file", str(token), *command)
    assert (done.code, "without encryption: write grpcs://192.0.2.1:1" in done.err) == (3, True)
    assert "secret" not in done.err


def test_the_placement_is_for_administrators(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, reader = tmp_path / "admin.token", tmp_path / "reader.token"
    admin.write_text(create(path, "admin", "--rights", "admin", "--prefix", "/"))
    reader.write_text(create(path, "reader", "--rights", "read,write,delete", "--prefix", "/"))
    cluster = tmp_path / "cluster.toml"
    serve = ["serve", "memory:", "--listen", "127.0.0.1:0", "--cluster", "trial", "--shard", "one"]
    with server_process(*serve, "--tokens", str(path)) as ready:
        cluster.write_text(f"[cluster]\nname = 'trial'\n[[shards]]\nname = 'one'\nurl = '{ready['url']}'\n")
        for token, code in ((None, 4), (reader, 4), (admin, 0)):
            if token is not None:
                monkeypatch.setenv("DATASTORE_TOKEN_FILE", str(token))
            done = run_here("placement", "show", str(cluster))
            assert (done.code, "one: token reader may not administer this server" in done.err) == (
                code,
                token is reader,
            )
        monkeypatch.setenv("DATASTORE_TOKEN_FILE", str(reader))
        done = run_here("placement", "plan", str(cluster))
        assert (done.code, done.err.split(" ")[1]) == (5, "PERMISSION_DENIED:")
        monkeypatch.setenv("DATASTORE_TOKEN_FILE", str(admin))
        cluster.write_text(f"{cluster.read_text()}[auth]\ntoken_file = 'reader.token'\n")
        assert run_here("placement", "show", str(cluster)).code == 0
        monkeypatch.delenv("DATASTORE_TOKEN_FILE")
        assert run_here("placement", "show", str(cluster)).code == 4


def test_the_server_and_its_commands_show_no_token(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the command line, which other users can see, nor in the environment, `--help` or the configuration."""
    token = create(path, "root", "--rights", "admin", "--prefix", "/")
    secret = token.rpartition(".")[2]
    (tmp_path / "root.token").write_text(token)
    monkeypatch.setenv("DATASTORE_TOKEN_FILE", str(tmp_path / "root.token"))
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0", "--tokens", str(path)) as ready:
        monkeypatch.setenv("DATASTORE_SERVER", ready["url"])
        seen = [Path(f"/proc/{ready['pid']}/{name}").read_bytes() for name in ("cmdline", "environ", "comm")]
    config = tmp_path / "server.toml"
    config.write_text('[server]\nstore = "memory:"\n[auth]\ntokens = "tokens.toml"\ntoken_file = "root.token"\n')
    texts: list[Any] = [
        run_here(*command)
        for command in (["--help"], ["config", "show", str(config)], ["token", "list", "--tokens", str(path)])
    ]
    assert [text.code for text in texts] == [0] * 3
    assert str(path) in texts[1].out
    assert secret.encode() not in b"".join(seen)
    assert secret not in "".join(text.out + text.err for text in texts)
