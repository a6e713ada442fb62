"""A server of any composition of stores: its file, what it serves, and how it is described."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datastore.lmdb import LMDBDatastore
from datastore.model.errors import ConfigError, DatastoreError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.spec.checks import MAX_DEPTH
from datastore_client.aio import RemoteDatastore
from datastore_server.app import serve
from datastore_server.limits import Limits
from datastore_server.placement.system import in_directory
from datastore_server.server_config import ServerConfig, parse_server, show_server
from datastore_server.topology import build_node
from tests.support.commands import Commands, server_process
from tests.support.engines import Engine

TIERED = """
[store.hot]
kind = "lru"
max_entries = 10

[store.notes]
kind = "namespace"
namespace = "/notes"
child = "file:files"

[store.served]
kind = "tiered"
children = ["hot", "notes"]

[server]
store = "served"
listen = "127.0.0.1:0"
limits = { batch_items = 500 }
"""


@asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[RemoteDatastore]:
    topology = build_node(config.store, state_dir=config.state_dir)
    server = serve(topology.datastore, listen=config.listen, limits=config.limits, **topology.settings())
    async with server, RemoteDatastore(server.url, retry=False) as client:
        yield client


async def test_a_composition_of_a_file_is_served(tmp_path: Path) -> None:
    config = parse_server(TIERED, source="server.toml", base=tmp_path)
    async with serving(config) as node:
        values = ["text", {"n": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}, b"\xff", Key("/k")]
        for number, value in enumerate(values):
            await node.put(Key(f"/v:{number}"), value)
        assert [await node.get(Key(f"/v:{number}")) for number in range(4)] == values
        assert [value async for value in node.query(Query(Key("/v")).filter("n", "=", 1))] == [values[1]]
        described = await node.describe_store()
        assert (described.store.kind, described.limits.batch_items) == ("tiered", 500)
    (file,) = (tmp_path / "files/notes/v").glob("0*.obj")
    assert file.read_text() == "text"


WRAPPED = {
    "serializer": 'kind = "serializer"\nchild = "file:files"',
    "symlink": 'kind = "symlink"\nchild = "file:files"',
    "sharded": 'kind = "sharded"\nchildren = ["memory:", "lmdb:data", "file:files"]',
    "lowercase": 'kind = "lowercase"\nchild = "lmdb:data"',
    "cache": 'kind = "cache"\nchild = "lmdb:data"\ncache = "memory:"',
    "lmdb": 'kind = "lmdb"\ndirectory = "data"',
    "logging over symlink": (
        'kind = "logging"\nchild = { kind = "symlink", child = { kind = "sharded", children = { a = "memory:", '
        'b = "file:files" } } }'
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
async def test_every_composition_takes_plain_values_and_queries_see_inside_them(name: str, tmp_path: Path) -> None:
    text = f'[store.main]\n{WRAPPED[name]}\n[server]\nstore = "main"\nlisten = "127.0.0.1:0"'
    async with serving(parse_server(text, source="server.toml", base=tmp_path)) as node:
        for number in range(20):
            await node.put(Key(f"/v:{number:02}"), {"n": number, "deep": [{"a": None}]})
        assert await node.get(Key("/v:07")) == {"n": 7, "deep": [{"a": None}]}
        query = Query(Key("/v"), limit=3, offset=1).filter("n", ">", 4).order("-n")
        assert [value["n"] async for value in node.query(query)] == [18, 17, 16]


async def test_a_store_may_be_named_by_its_url(redis_server: Engine) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/7?prefix=u:&serializer=json"
    config = parse_server(f'[server]\nstore = "{url}"\nlisten = "127.0.0.1:0"', source="server.toml")
    async with serving(config) as node:
        await node.put(Key("/a"), {"n": 1})
        assert await node.get(Key("/a")) == {"n": 1}
    assert url in show_server(config)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", ["server: missing; it should be a table: [server]"]),
        ("server = 1", ["server: expected `object`", "a table: [server]"]),
        ("[server]", ["server.store: missing", "the name of a [store.NAME]"]),
        ('[server]\nstore = "main"', ["server.store: there is no [store.main]; the stores are none"]),
        (
            '[server]\nstore = "mian"\n[store.main]\nkind = "memory"',
            ["server.store: there is no [store.mian]; the stores are main; did you mean main?"],
        ),
        ('[server]\nstore = "memroy:"', ["server.store: 'memroy:': unknown scheme", "did you mean memory:?"]),
        ('[server]\nstore = "memory:"\nlisen = ""', ["server.lisen: unknown key", "did you mean listen?"]),
        ('[server]\nstore = "memory:"\nlisten = "7420"', ["server.listen:", "127.0.0.1:7420"]),
        ('[server]\nstore = "memory:"\nwait_s = -1', ["server.wait_s:", "seconds, 0 or more"]),
        (
            '[server]\nstore = "memory:"\nlimits = { batch = 1 }',
            ["server.limits.batch: unknown limit", "key_bytes"],
        ),
        (
            '[server]\nstore = "memory:"\nlimits = { batch_items = 0 }',
            ["server.limits.batch_items:", "1 to 2,048"],
        ),
        (
            '[server]\nstore = "memory:"\nlimits = { batch_items = "x" }',
            ["a whole number from 1"],
        ),
        ('[server]\nstore = "memory:"\nlimits = 1', ["server.limits:", "a table with any of key_bytes"]),
        ('[server]\nstore = "a"\n[store.a]\nkind = "cache"\nchild = "a"\ncache = "memory:"', ["a -> a is a cycle"]),
        ('[server]\nstore = "a"\n[store.a]\nkind = "cache"\nchild = "memory:"', ["store.a.cache: missing"]),
        ('[server]\nstore = "redis://u:s3cret@h/x"', ["server.store: 'redis://***@h/x': expected"]),
        ('[stor.a]\n[server]\nstore = "memory:"', ["stor: unknown key", "did you mean store?"]),
        ('[cluster]\nname = "x"\n[[shards]]\nname = "a"', ["describes a cluster", "--shard NAME"]),
        ("[server", ["not TOML"]),
    ],
)
def test_a_wrong_file_is_refused_naming_file_key_and_what_would_be_valid(text: str, reported: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_server(text, source="server.toml")
    message = str(refused.value)
    assert message.startswith("server.toml")
    assert "s3cret" not in message
    for part in reported:
        assert part in message


def test_a_shown_configuration_reads_back_equal_but_has_no_secrets(tmp_path: Path) -> None:
    config = parse_server(TIERED, source="server.toml", base=tmp_path)
    shown = show_server(config)
    again = parse_server(shown, source="server.toml")
    assert (again.store.tree, again.listen, again.limits) == (config.store.tree, config.listen, config.limits)
    text = '[store.a]\nkind = "redis"\nurl = "redis://u:s3cret@h/0"\n[server]\nstore = "a"'
    assert "redis://***@h/0" in show_server(parse_server(text, source="server.toml"))


CLUSTER = """
[cluster]
name = "trial"

[[shards]]
name = "a"
url = "grpc://127.0.0.1:7501"
store = "redis://u:s3cret@127.0.0.1:1/0"

[[shards]]
name = "b"
url = "grpc://127.0.0.1:7502"
store = "memcached://127.0.0.1:1"
state_dir = "state"
wait_s = 3
"""


@pytest.fixture(scope="module")
def cli() -> Commands:
    """Commands that do not contact a server."""
    return Commands("grpc://127.0.0.1:1")


def test_the_command_shows_the_effective_configuration(cli: Commands, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    (tmp_path / "server.toml").write_text(TIERED)
    shown = cli("config", "show", str(tmp_path / "cluster.toml"), "--json")
    assert shown.code == 0
    a, b = json.loads(shown.out)["shards"]
    assert (a["store"], a["wait_s"]) == ("redis://***@127.0.0.1:1/0", 10)
    assert (b["state_dir"], b["wait_s"]) == (str(tmp_path / "state"), 3)
    shown = cli("config", "show", str(tmp_path / "server.toml"))
    assert tomllib.loads(shown.out)["server"]["limits"] == Limits(batch_items=500).shown()
    assert f'directory = "{tmp_path / "files"}"' in shown.out
    wrong = cli("config", "show", str(tmp_path / "none.toml"))
    assert wrong.code == 3


def test_the_limits_of_a_cluster_are_shown_in_full(cli: Commands, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER.replace("\n\n", '\nlimits = { read_bytes = "32MiB" }\n\n', 1))
    shown = cli("config", "show", str(tmp_path / "cluster.toml"))
    assert tomllib.loads(shown.out)["cluster"]["limits"] == Limits(read_bytes=32 * 1024**2).shown()


async def test_a_limit_of_the_command_line_overrides_the_file(cli: Commands, tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('[server]\nstore = "memory:"\nlimits = { batch_items = 7, page_items = 8 }')
    arguments = ("--config", str(tmp_path / "server.toml"), "--limit", "batch_items=9", "--listen", "127.0.0.1:0")
    with server_process("serve", *arguments) as ready:
        async with RemoteDatastore(ready["url"]) as store:
            limits = (await store.describe_store()).limits
    assert (limits.batch_items, limits.page_items, limits.calls_in_hand) == (9, 8, 5000)


@pytest.mark.parametrize(
    ("limit", "code", "reported"),
    [
        ("batch_items", 2, "'batch_items' is not NAME=VALUE"),
        ("batch_items=0", 3, "limits.batch_items: expected a whole number from 1 to 2,048, got '0'"),
        ("batches=1", 3, "limits.batches: unknown limit; valid here: key_bytes"),
    ],
)
def test_a_wrong_limit_of_the_command_line_is_refused(cli: Commands, limit: str, code: int, reported: str) -> None:
    refused = cli("serve", "memory:", "--limit", limit, "--check-config")
    assert refused.code == code
    assert reported in " ".join(refused.err.split())


def test_a_configuration_is_checked_and_nothing_is_opened(cli: Commands, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    (tmp_path / "server.toml").write_text(TIERED)
    for arguments in (
        ("serve", "--config", str(tmp_path / "server.toml")),
        ("serve", "--config", str(tmp_path / "cluster.toml"), "--shard", "a"),
        ("serve", f"lmdb:{tmp_path / 'data'}"),
        ("proxy", str(tmp_path / "cluster.toml")),
    ):
        checked = cli(*arguments, "--check-config")
        assert (checked.code, "is valid; nothing was opened" in checked.out) == (0, True), checked.err
    assert {path.name for path in tmp_path.iterdir()} == {"cluster.toml", "server.toml"}
    (tmp_path / "server.toml").write_text(TIERED.replace("tiered", "tierd"))
    refused = cli("serve", "--config", str(tmp_path / "server.toml"), "--check-config")
    assert refused.code == 3
    assert "store.served.kind: unknown kind 'tierd'" in refused.err
    assert cli("serve", "--config", str(tmp_path / "cluster.toml")).code == 3
    assert cli("proxy", str(tmp_path / "cluster.toml"), "--listen", "7420", "--check-config").code == 3


def test_the_token_with_which_a_proxy_calls_its_nodes_is_checked(cli: Commands, tmp_path: Path) -> None:
    path, token = tmp_path / "cluster.toml", tmp_path / "proxy.token"
    path.write_text(CLUSTER + '[auth]\ntoken_file = "proxy.token"\n')
    missing = cli("proxy", str(path), "--check-config")
    assert (missing.code, f"{token}: cannot read this file of a token" in missing.err) == (3, True), missing.err
    token.write_text("secret")
    assert cli("proxy", str(path), "--check-config").code == 0
    path.write_text(path.read_text().replace("127.0.0.1:7502", "node.example.org:7502"))
    exposed = cli("proxy", str(path), "--check-config")
    assert (exposed.code, "without encryption" in exposed.err) == (3, True), exposed.err


@pytest.mark.parametrize("listen", ["0.0.0.0:7420", "[::]:7420"])
def test_an_address_at_which_the_server_would_not_listen_is_not_valid(cli: Commands, listen: str) -> None:
    refused = cli("serve", "memory:", "--listen", listen, "--check-config")
    assert (refused.code, f"{listen} can be reached from other machines" in refused.err) == (3, True)
    assert cli("serve", "memory:", "--listen", listen, "--insecure", "--check-config").code == 0
    assert cli("serve", "memory:", "--listen", "a.name:7420", "--check-config").code == 0


@pytest.mark.parametrize(
    ("stores", "shard", "problem"),
    [
        (
            '{ "/" = "lmdb:good", "/b" = "lmdb:bad" }',
            None,
            r"^served.toml: store.it.mounts./b: /[^:]*/bad cannot be used",
        ),
        ('{ "/" = "lmdb:good", "/b" = "memory:" }', "s1", r"cannot keep the record of which slots shard s1 owns"),
    ],
    ids=["a later store fails", "no place for the records"],
)
async def test_what_was_opened_is_closed_when_a_node_cannot_be_built(
    stores: str, shard: str | None, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_text("a file")
    text = f'[store.it]\nkind = "mount"\nmounts = {stores}\n[server]\nstore = "it"\n'
    config = parse_server(text, source="served.toml", base=tmp_path)
    with pytest.raises(DatastoreError, match=problem):
        build_node(config.store, cluster="c", shard=shard)
    # Otherwise it would still be locked.
    LMDBDatastore(tmp_path / "good").close()


async def test_a_place_for_records_is_released_when_its_store_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("a file")
    text = '[store.it]\nkind = "logging"\nchild = "lmdb:bad"\n[server]\nstore = "it"\n'
    config = parse_server(text, source="served.toml", base=tmp_path)
    with pytest.raises(DatastoreError, match="cannot be used"):
        build_node(config.store, state_dir=tmp_path / "state")
    in_directory(tmp_path / "state").release()


async def test_as_many_stores_on_one_another_as_permitted_are_served(tmp_path: Path) -> None:
    shims = "".join(f'[store.s{n}]\nkind = "logging"\nchild = "s{n + 1}"\n' for n in range(MAX_DEPTH - 1))
    text = f'{shims}[store.s{MAX_DEPTH - 1}]\nkind = "file"\ndirectory = "d"\n[server]\nstore = "s0"\n'
    await build_node(parse_server(text, source="served.toml", base=tmp_path).store).datastore.aclose()
