"""Nodes on every kind of storage: what they keep, refuse and show to others, how they are placed, and their health."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pymongo
import pytest
import redis

import datastore
from datastore import spec, wire
from datastore.model.entries import Write
from datastore.model.errors import (
    ConfigError,
    CorruptDataError,
    DatastoreError,
    InvalidError,
    PlacementError,
    QueryNotSupportedError,
    StoreFormatError,
    StoreLockedError,
    UnavailableError,
    UnsupportedTypeError,
    WrongShardError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.wire import rpc_error_to_error
from datastore_client.aio import RemoteDatastore
from datastore_server import store_watch
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig, parse_config
from datastore_server.store_urls import StoreUrl, parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.commands import Commands
from tests.support.engines import Engine, engine
from tests.support.placements import PlacedServer, keys_of, placement
from tests.support.storages import EXPIRING, KINDS, QUERIED, Storages
from tests.support.waiting import PATIENCE_S, until

#: FerretDB takes a while to start and to answer.
QUICK = [
    pytest.param(kind, marks=pytest.mark.long("nodes on FerretDB")) if kind == "mongodb" else kind for kind in KINDS
]


class Node(NamedTuple):
    """A running node: its server, its placement, and a client that does not retry."""

    server: Server
    placed: PlacedServer
    client: RemoteDatastore


@pytest.fixture
def storages(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Storages]:
    found = Storages(kind, tmp_path, request)
    yield found
    found.close()


@asynccontextmanager
async def running(storages: Storages, name: str = "a", **settings: Any) -> AsyncIterator[Node]:
    """A node on a storage."""
    topology = storages.build(name, **settings)
    async with serve(topology.datastore, **topology.settings(), wait_s=PATIENCE_S) as server:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            RemoteDatastore(server.url, retry=False) as client,
        ):
            yield Node(server, PlacedServer(channel), client)


async def refused(call: Any, kind: type[DatastoreError]) -> str:
    """The text with which a call of a stub is refused."""
    with pytest.raises(Exception) as raised:
        await call
    error = rpc_error_to_error(raised.value)
    assert type(error) is kind, error
    return str(error)


VALUES: list[Any] = [
    "text",
    "%datastore 1 value\nabc",
    "%datastore 1 bytes\nabc",
    "",
    b"",
    b"\xff\x00",
    b"bytes that are text",
    b"%datastore 1 value\n",
    b"%datastore 1 bytes\nabc",
    b"%datastore 1 str\nabc",
    0,
    -(2**63),
    1.5,
    True,
    False,
    [],
    {},
    {"list": [1, "two", b"three", None], "é": {"deep": False}},
    datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
]
#: Values that documents cannot hold: each is refused, and nothing changes.
BEYOND_DOCUMENTS: list[Any] = [Key("/a/key"), datetime(2026, 1, 1, microsecond=7, tzinfo=UTC), [[1]], {"a.b": 1}]


@pytest.mark.parametrize("kind", QUICK)
async def test_every_value_is_read_as_it_was_put(storages: Storages) -> None:
    values = VALUES if storages.kind == "mongodb" else VALUES + BEYOND_DOCUMENTS
    async with running(storages) as node:
        for number, value in enumerate(values):
            await node.client.put(Key(f"/v:{number}"), value)
        written = await node.client.batch_write([Write(Key(f"/b:{n}"), value) for n, value in enumerate(values)])
        assert not [outcome.error for outcome in written if outcome.error]
        for name in ("v", "b"):
            found = [await node.client.get(Key(f"/{name}:{number}")) for number in range(len(values))]
            assert found == values
            assert list(map(type, found)) == list(map(type, values))
        read = await node.client.batch_get([Key("/v:0"), Key("/none")])
        assert [outcome.value for outcome in read] == ["text", None]
        await node.client.put(Key("/v:0"), None)
        assert not await node.client.contains(Key("/v:0"))


@pytest.mark.long("nodes on FerretDB")
@pytest.mark.parametrize("kind", ["mongodb"])
async def test_a_value_that_documents_cannot_hold_is_refused_as_invalid(storages: Storages) -> None:
    async with running(storages) as node:
        await node.client.put(Key("/a"), "old")
        for value in BEYOND_DOCUMENTS:
            with pytest.raises((InvalidError, UnsupportedTypeError)):
                await node.client.put(Key("/a"), value)
        written = await node.client.batch_write([Write(Key("/a"), [[1]]), Write(Key("/b"), 2)])
        assert [isinstance(outcome.error, InvalidError) for outcome in written] == [True, False]
        assert [await node.client.get(Key(name)) for name in ("/a", "/b")] == ["old", 2]


@pytest.mark.parametrize("kind", ["file", "redis", "memcached"])
async def test_json_says_what_it_can_and_refuses_the_rest(storages: Storages) -> None:
    storages.options = "serializer=json"
    async with running(storages) as node:
        for value in ("text", 1, 1.0, True, [1, None], {"a": {"é": []}}, b"\xff", b"bytes"):
            await node.client.put(Key("/a"), value)
            found = await node.client.get(Key("/a"))
            assert (found, type(found)) == (value, type(value))
        for value in ({"a": b"x"}, Key("/k"), [datetime(2026, 1, 1, tzinfo=UTC)], [float("inf")], float("nan")):
            with pytest.raises((InvalidError, UnsupportedTypeError), match="which JSON cannot represent"):
                await node.client.put(Key("/a"), value)
        assert await node.client.get(Key("/a")) == b"bytes"


# Existing values, and what other programs see


async def test_strings_in_redis_are_read_unchanged(redis_server: Engine) -> None:
    with redis.Redis(port=redis_server.port, db=3) as client:
        client.flushdb()
        client.set("user:1", '{"name": "Ada"}')
        client.set("greeting", "héllo")
        client.set("picture", b"\x89PNG")
        client.rpush("queue", 1)
        topology = build_node(parse_store_url(f"redis://127.0.0.1:{redis_server.port}/3?prefix="))
        async with serve(topology.datastore, **topology.settings()) as server:
            async with RemoteDatastore(server.url) as node:
                assert await node.get(Key("/user:1")) == '{"name": "Ada"}'
                assert await node.get(Key("/greeting")) == "héllo"
                assert await node.get(Key("/picture")) == b"\x89PNG"
                with pytest.raises(StoreFormatError, match="WRONGTYPE"):
                    await node.get(Key("/queue"))
                await node.put(Key("/greeting"), "bye")
                await node.put(Key("/picture"), b"\xff\xd8")
                assert (client.get("greeting"), client.get("picture")) == (b"bye", b"\xff\xd8")
        url = parse_store_url(f"redis://127.0.0.1:{redis_server.port}/3?prefix=&serializer=json")
        topology = build_node(url)
        async with serve(topology.datastore, **topology.settings()) as server:
            async with RemoteDatastore(server.url) as node:
                assert await node.get(Key("/user:1")) == {"name": "Ada"}
                await node.put(Key("/user:2"), {"name": "Grace"})
                assert client.get("user:2") == b'{"name": "Grace"}'
                with pytest.raises(CorruptDataError, match=r"not JSON.*serializer=plain"):
                    await node.get(Key("/greeting"))
        with datastore.open(f"redis://127.0.0.1:{redis_server.port}/3?prefix=") as library:
            assert library.get(Key("/user:2")) == {"name": "Grace"}


async def test_files_are_read_unchanged(tmp_path: Path) -> None:
    root = tmp_path / "notes"
    (root / "work").mkdir(parents=True)
    (root / "work" / "todo.md").write_text("- tea\n")
    (root / "picture.md").write_bytes(b"\x89PNG")
    (root / ".hidden").write_text("no entry")
    topology = build_node(parse_store_url(f"file:{root}?extension=.md"))
    async with serve(topology.datastore, **topology.settings()) as server:
        async with RemoteDatastore(server.url) as node:
            found = [tuple(entry) async for entry in node.query(Query(Key("/"), recursive=True)).entries()]
            assert found == [(Key("/picture"), b"\x89PNG"), (Key("/work:todo"), "- tea\n")]
            await node.put(Key("/work:done"), "coffee")
    assert (root / "work" / "done.md").read_text() == "coffee"


@pytest.mark.long("nodes on FerretDB")
async def test_documents_in_mongodb_are_read_unchanged(mongodb_server: Engine) -> None:
    with pymongo.MongoClient("127.0.0.1", mongodb_server.port) as client:
        airports = client["existing"]["airports"]
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        airports.insert_one({"_id": "/Airport:LSZS", "path": "/Airport", "value": {"elevation": 1707, "at": moment}})
        airports.insert_one({"_id": "/Airport:odd", "path": "/Airport", "value": {"elevation": 1}})
        url = f"mongodb://127.0.0.1:{mongodb_server.port}/existing?collection=airports"
        topology = build_node(parse_store_url(url))
        async with serve(topology.datastore, **topology.settings()) as server:
            async with RemoteDatastore(server.url) as node:
                high = Query(Key("/Airport")).filter("elevation", ">", 1000).filter("at", "=", moment)
                found = [tuple(entry) async for entry in node.query(high).entries()]
                assert found == [(Key("/Airport:LSZS"), {"elevation": 1707, "at": moment})]
                await node.put(Key("/Airport:LSZH"), {"elevation": 432})
        assert airports.find_one({"value.elevation": 432})["_id"] == "/Airport:LSZH"
        client.drop_database("existing")


async def test_a_value_in_wire_form_that_another_program_replaced_is_corrupt(redis_server: Engine) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/4?serializer=wire"
    topology = build_node(parse_store_url(url))
    async with serve(topology.datastore, **topology.settings()) as server:
        async with RemoteDatastore(server.url) as node:
            await node.put(Key("/a"), {"x": [1]})
            assert await node.get(Key("/a")) == {"x": [1]}
            with redis.Redis(port=redis_server.port, db=4) as client:
                client.set("/a", "text")
            with pytest.raises(CorruptDataError, match="not a value in wire form"):
                await node.get(Key("/a"))


@pytest.mark.parametrize("kind", ["redis", "memcached"])
async def test_a_store_without_queries_refuses_them_by_its_name_and_does_the_rest(storages: Storages) -> None:
    async with running(storages) as node:
        await node.client.put(Key("/a"), 1)
        for query in (Query(Key("/")), Query(Key("/"), recursive=True, keys_only=True)):
            with pytest.raises(QueryNotSupportedError, match="does not support queries: a"):
                await anext(node.client.query(query))
        assert await node.client.get(Key("/a")) == 1


# Placement


@pytest.mark.parametrize("kind", QUICK)
async def test_a_node_is_placed_refuses_foreign_keys_and_remembers(storages: Storages) -> None:
    placed = placement()
    own, foreign = keys_of("a", placed, 1)[0], keys_of("b", placed, 1)[0]
    async with running(storages) as node:
        answer = await node.placed.get()
        assert answer.is_empty
        assert (await node.placed.place("a", placed)).current == placed
        node_id = (await node.placed.get()).placement.node_id
        await node.client.put(own, 1)
        assert not (await node.placed.get()).is_empty or storages.kind == "memcached"
        for call in (node.client.get, node.client.delete, node.client.contains):
            with pytest.raises(WrongShardError, match=f"{foreign} belongs to shard b"):
                await call(foreign)
        written = await node.client.batch_write([Write(foreign, 1), Write(own, 2)])
        assert [type(outcome.error) for outcome in written] == [WrongShardError, type(None)]
        if storages.kind in QUERIED:
            found = [entry.key async for entry in node.client.query(Query(Key("/"), recursive=True)).entries()]
            assert found == [own]
    if storages.kind == "memory":
        return
    async with running(storages) as node:
        assert (await node.placed.get()).placement.node_id == node_id
        assert wire.decode_node_placement((await node.placed.get()).placement).current == placed
        assert await node.client.get(own) == 2
        with pytest.raises(WrongShardError):
            await node.client.put(foreign, 1)
    with pytest.raises(StoreFormatError, match="not to shard 'b'"):
        async with running(storages, shard="b", cluster="trial"):
            pass


@pytest.mark.parametrize("kind", [kind for kind in QUICK if kind != "memcached"])
async def test_a_full_node_is_placed_only_by_a_command_that_checks(storages: Storages) -> None:
    placed = placement()
    own, foreign = keys_of("a", placed, 2), keys_of("b", placed, 1)[0]
    async with running(storages) as node:
        for key in (*own, foreign):
            await node.client.put(key, 1)
        assert "--adopt" in await refused(node.placed.place("a", placed), PlacementError)
        told = await refused(node.placed.place("a", placed, check_entries=True), PlacementError)
        assert "1 of this node's entries" in told or "1 to b" in told
        await node.client.delete(foreign)
        assert (await node.placed.place("a", placed, check_entries=True)).shard == "a"


@pytest.mark.parametrize("kind", ["memcached"])
async def test_a_cache_counts_as_empty_because_it_may_lose_its_entries_at_any_time(storages: Storages) -> None:
    async with running(storages) as node:
        await node.client.put(Key("/a"), 1)
        assert (await node.placed.place("a", placement())).shard == "a"


@pytest.mark.parametrize("kind", [kind for kind in QUICK if kind not in ("memory", "lmdb")])
async def test_entries_move_between_nodes(storages: Storages) -> None:
    before, after = placement("a", "b"), placement("a", "b", "c", epoch=2)
    if storages.kind == "memcached":
        async with running(storages) as node:
            await node.placed.place("a", before)
            told = await refused(node.placed.prepare("a", after), PlacementError)
            assert "entries cannot be moved to or from this node: MemcachedDatastore does not support queries" in told
            await node.client.put(keys_of("a", before, 1)[0], 1)
        return
    async with running(storages, "a") as a, running(storages, "b") as b, running(storages, "c") as c:
        nodes = {"a": a, "b": b, "c": c}
        can_expire = storages.kind in EXPIRING
        expiry: Any = {"expire_time": datetime(2200, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)} if can_expire else {}
        for shard in before.shards:
            await nodes[shard].placed.place(shard, before)
            for key in keys_of(shard, before, 20):
                await nodes[shard].client.put(key, str(key), **expiry)
        for shard, node in nodes.items():
            await node.placed.prepare(shard, after)
        slots = [slot for slot, owner in enumerate(after.owners) if after.shards[owner] == "c"]
        for shard in before.shards:
            await c.placed.write(2, await nodes[shard].placed.read(slots))
        copied = await c.placed.summarize()
        sources = {**await a.placed.summarize(), **await b.placed.summarize()}
        assert copied == {slot: sources[slot] for slot in copied}
        assert sum(entries for entries, *_ in copied.values()) > 0
        for node in nodes.values():
            await node.placed.commit(2)
        for node in nodes.values():
            await node.placed.clear(2)
        for key in (key for shard in before.shards for key in keys_of(shard, before, 20)):
            assert await nodes[after.owner_of(key)].client.get(key) == str(key)
            if expiry:
                entry = await nodes[after.owner_of(key)].client.entry(key)
                assert entry is not None
                assert entry.expire_time == expiry["expire_time"]
        for node in (a, b):
            assert not set(await node.placed.summarize()) & set(slots)


async def test_a_store_that_keeps_no_record_is_a_shard_only_with_a_directory_for_it(memcached_server: Engine) -> None:
    url = parse_store_url(f"memcached://127.0.0.1:{memcached_server.port}")
    with pytest.raises(ConfigError, match=r"memcached://.* which slots shard a owns.*--state-dir"):
        build_node(url, shard="a")
    topology = build_node(url)
    async with serve(topology.datastore, **topology.settings()) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            told = await refused(PlacedServer(channel).place("a", placement()), PlacementError)
            assert "--state-dir DIRECTORY" in told


@pytest.mark.parametrize("kind", ["file", "memcached"])
async def test_two_nodes_cannot_keep_their_records_in_one_directory(storages: Storages) -> None:
    async with running(storages):
        with pytest.raises(StoreLockedError, match="pid"):
            storages.build("a")
    async with running(storages):
        pass


async def test_a_node_before_a_server_forwards(tmp_path: Path) -> None:
    inner = build_node(parse_store_url("memory:"))
    async with serve(inner.datastore, system=inner.system) as behind:
        url = parse_store_url(behind.url)
        topology = build_node(url, shard="a", cluster="trial", state_dir=tmp_path)
        async with serve(topology.datastore, **topology.settings()) as server:
            async with RemoteDatastore(server.url) as node:
                await node.put(Key("/a"), {"x": Key("/b")})
                assert [value async for value in node.query(Query(Key("/")))] == [{"x": Key("/b")}]
                assert await inner.datastore.get(Key("/a")) == wire.encode_value({"x": Key("/b")})
                assert (await node.describe_store()).store.kind == "remote"


async def test_a_configuration_places_an_empty_node_and_no_other(redis_server: Engine) -> None:
    url = f"redis://127.0.0.1:{redis_server.port}/5"
    config = parse_config(
        f'[cluster]\nname = "trial"\n[[shards]]\nname = "a"\nurl = "grpc://127.0.0.1:7501"\nstore = "{url}"',
        source="cluster.toml",
    )
    with redis.Redis(port=redis_server.port, db=5) as client:
        for is_full in (True, False):
            client.flushdb()
            if is_full:
                client.set("/a", 1)
            topology = build_node(parse_store_url(url), cluster="trial", shard="a", config=config)
            async with serve(topology.datastore, **topology.settings()) as server:
                assert (server._node.placement.current is None) is is_full


# A store of another package


class Shelf(datastore.DictDatastore):
    """The methods that a node uses according to docs/backends.md, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, bytes] = {}
        self.flushed = 0

    def put(self, key: Key, value: Any) -> None:
        if isinstance(value, Key):
            raise TypeError("a shelf keeps no keys")
        super().put(key, value)

    def query(self, query: Query) -> Any:
        raise QueryNotSupportedError("a shelf is not searched")

    def read_system(self, name: str) -> bytes | None:
        return self.records.get(name)

    def write_system(self, name: str, content: bytes) -> None:
        self.records[name] = content

    def list_keys(self) -> Iterator[list[Key]]:
        keys = [key for collection in self._items.values() for key in collection]
        yield from ([key, key] for key in keys)

    def flush(self) -> None:
        self.flushed += 1


@dataclass(frozen=True, kw_only=True)
class ShelfConfig(spec.Config):
    kind = "shelf"
    shelf: Any

    def open(self) -> Any:
        return self.shelf


async def test_a_store_of_another_package_is_placed_and_moved_by_what_it_offers() -> None:
    before, after = placement("a"), placement("a", "b", epoch=2)
    shelf = Shelf()
    topology = build_node(StoreUrl("shelf:", ShelfConfig(shelf=shelf)), shard="a", cluster="trial")
    async with serve(topology.datastore, **topology.settings()) as server:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
            RemoteDatastore(server.url, retry=False) as client,
        ):
            placed = PlacedServer(channel)
            assert (await placed.get()).is_empty
            await placed.place("a", before)
            keys = keys_of("a", before, 20)
            for key in keys:
                await client.put(key, {"n": str(key)})
            assert shelf.get(keys[0]) == {"n": str(keys[0])}
            with pytest.raises(UnsupportedTypeError, match="a shelf keeps no keys"):
                await client.put(keys[0], Key("/k"))
            await placed.prepare("a", after)
            held = await placed.summarize()
            assert (sum(entries for entries, *_ in held.values()), shelf.flushed) == (20, 1)
            await placed.commit(2)
            leaving = [key for key in keys if after.owner_of(key) == "b"]
            assert await placed.clear(2) == len(leaving) > 0
            assert len(shelf) == 20 - len(leaving)
    assert sorted(shelf.records) == ["former", "node_id", "placement"]


# Health


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "PROBE_S", 0.05)
    monkeypatch.setattr(store_watch, "PROBE_TIMEOUT_S", 0.5)


async def health(node: RemoteDatastore) -> bool:
    try:
        await node.check_health()
    except UnavailableError:
        return False
    return True


@pytest.mark.usefixtures("quick_probes")
async def test_health_follows_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with engine("redis", tmp_path) as server:
        topology = build_node(parse_store_url(f"redis://:s3cret@127.0.0.1:{server.port}/0"))
        with redis.Redis(port=server.port) as client:
            client.config_set("requirepass", "s3cret")
        async with serve(topology.datastore, **topology.settings()) as node_server:
            async with RemoteDatastore(node_server.url, retry=False) as node:
                await node.put(Key("/a"), 1)
                assert not (await node.describe_store()).HasField("status")
                server.kill()
                await until(lambda: health(node), False)
                described = wire.status_to_error((await node.describe_store()).status)
                assert isinstance(described, UnavailableError)
                assert f"redis://***@127.0.0.1:{server.port}/0 does not answer: Redis" in str(described)
                for call in (
                    lambda: node.get(Key("/a")),
                    lambda: node.put(Key("/a"), 2),
                    lambda: anext(node.query(Query(Key("/")))),
                ):
                    with pytest.raises(UnavailableError, match="does not answer") as raised:
                        await call()
                    assert raised.value.retry_after_s is not None
                (outcome,) = await node.batch_get([Key("/a")])
                assert isinstance(outcome.error, UnavailableError)
                server.start()
                with redis.Redis(port=server.port) as client:
                    client.config_set("requirepass", "s3cret")
                await until(lambda: health(node), True)
                assert await node.get(Key("/a")) == 1
                with server.stopped():
                    await until(lambda: health(node), False)
                    with pytest.raises(UnavailableError, match="no answer within"):
                        await node.get(Key("/a"))
                await until(lambda: health(node), True)
    assert "calls are refused until it does" in caplog.text
    assert "answers again after" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.long("a query that meets a dead FerretDB")
async def test_the_first_call_that_meets_a_dead_store_triggers_a_probe_and_a_read_may_be_repeated_also_a_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine("mongodb", tmp_path) as server:
        url = f"mongodb://127.0.0.1:{server.port}/d?serverSelectionTimeoutMS=500"
        await meet_dead(server, url, monkeypatch, lambda node: anext(node.query(Query(Key("/")))))


@pytest.mark.parametrize(
    "call",
    [
        lambda node: node.get(Key("/a")),
        lambda node: node.contains(Key("/a")),
        lambda node: raised_of(node.batch_get([Key("/a")])),
    ],
    ids=["get", "contains", "batch_get"],
)
async def test_the_first_call_that_meets_a_dead_store_triggers_a_probe_and_a_read_may_be_repeated(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine("redis", tmp_path) as server:
        await meet_dead(server, f"redis://127.0.0.1:{server.port}/0", monkeypatch, call)


@pytest.mark.parametrize(
    "call",
    [
        lambda node: node.put(Key("/a"), 2),
        lambda node: node.delete(Key("/a")),
        lambda node: raised_of(node.batch_write([Write(Key("/a"), 2)])),
    ],
    ids=["put", "delete", "batch_write"],
)
async def test_a_write_that_met_a_dead_store_is_not_repeated_by_itself(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine("redis", tmp_path) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        await meet_dead(server, url, monkeypatch, call, may_be_repeated=False)


async def raised_of(call: Any) -> None:
    """The error of a batch's one item, raised."""
    (outcome,) = await call
    assert outcome.error is not None
    raise outcome.error


async def meet_dead(
    server: Engine, url: str, monkeypatch: pytest.MonkeyPatch, call: Any, *, may_be_repeated: bool = True
) -> None:
    """Make a call to a node whose store has died, before the node would ask the store."""
    monkeypatch.setattr(store_watch, "PROBE_S", 3600.0)
    topology = build_node(parse_store_url(url))
    async with serve(topology.datastore, **topology.settings()) as node_server:
        async with RemoteDatastore(node_server.url, retry=False) as node:
            await node.put(Key("/a"), 1)
            server.kill()
            with pytest.raises(UnavailableError, match=r"Redis|MongoDB") as raised:
                await call(node)
            assert (raised.value.retry_after_s is not None) is may_be_repeated
            await until(lambda: health(node), False)


@pytest.mark.usefixtures("quick_probes")
async def test_a_proxy_says_why_a_shard_does_not_serve(tmp_path: Path) -> None:
    with engine("redis", tmp_path / "redis") as server:
        topology = build_node(parse_store_url(f"redis://127.0.0.1:{server.port}/0"), cluster="trial", shard="a")
        async with serve(topology.datastore, **topology.settings()) as behind:
            shards = [ShardConfig(name="a", url=behind.url)]
            over = build_proxy(Config(cluster=ClusterConfig(name="trial"), shards=shards))
            async with (
                serve(over.datastore, check_values=False, cluster=over.cluster, membership=over.membership) as proxy,
                RemoteDatastore(proxy.url, retry=False) as client,
            ):
                await client.put(Key("/a"), 1)
                server.kill()

                async def reason() -> bool:
                    (shard,) = (await client.describe_store()).shards
                    return "does not answer: Redis" in shard.status.message

                async def serves() -> bool:
                    (shard,) = (await client.describe_store()).shards
                    return not shard.HasField("status")

                await until(reason, True)
                with pytest.raises(UnavailableError, match="does not answer: Redis"):
                    await client.get(Key("/a"))
                status = await asyncio.to_thread(Commands(behind.url), "status")
                assert (status.code, "not serving" in status.out) == (4, True)
                assert f"redis://127.0.0.1:{server.port}/0 does not answer: Redis" in status.out
                status = await asyncio.to_thread(Commands(proxy.url), "status")
                assert (status.code, "does not answer: Redis" in status.out) == (4, True)
                server.start()
                await until(serves, True)
                assert await client.get(Key("/a")) == 1


async def test_commands_that_need_queries_say_that_there_are_none(redis_server: Engine) -> None:
    topology = build_node(parse_store_url(f"redis://127.0.0.1:{redis_server.port}/8"))
    async with serve(topology.datastore, **topology.settings()) as server:
        run = Commands(server.url)
        assert (await asyncio.to_thread(run, "put", "/a:b", "1")).code == 0
        assert (await asyncio.to_thread(run, "get", "/a:b")).out == "1\n"
        for arguments in (("query", "/a"), ("count", "/a"), ("list",)):
            done = await asyncio.to_thread(run, *arguments)
            assert done.code not in (0, 4), arguments
            assert "QUERY_NOT_SUPPORTED" in done.err, arguments
            assert "RedisDatastore does not support queries" in done.err, arguments


@pytest.mark.usefixtures("quick_probes")
async def test_another_store_in_place_of_a_placed_nodes_is_not_served(redis_server: Engine) -> None:
    with redis.Redis(port=redis_server.port, db=6) as client:
        client.flushdb()
        topology = build_node(parse_store_url(f"redis://127.0.0.1:{redis_server.port}/6"))
        async with serve(topology.datastore, **topology.settings()) as server:
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
                RemoteDatastore(server.url, retry=False) as node,
            ):
                await PlacedServer(channel).place("a", placement())
                client.flushdb()
                await until(lambda: health(node), False)
                with pytest.raises(UnavailableError, match="another store, or an emptied one"):
                    await node.get(keys_of("a", placement(), 1)[0])


@pytest.mark.usefixtures("quick_probes")
async def test_a_root_that_is_gone_is_noticed(tmp_path: Path) -> None:
    topology = build_node(parse_store_url(f"file:{tmp_path / 'root'}"))
    async with serve(topology.datastore, **topology.settings()) as server:
        async with RemoteDatastore(server.url, retry=False) as node:
            (tmp_path / "root").rename(tmp_path / "away")
            await until(lambda: health(node), False)
            with pytest.raises(UnavailableError, match="root is gone"):
                await node.put(Key("/a"), 1)
            (tmp_path / "away").rename(tmp_path / "root")
            await until(lambda: health(node), True)


@pytest.mark.parametrize("scheme", ["memcached", "grpc"])
async def test_a_start_fails_without_a_store_that_does_not_hold_the_records_of_its_node(
    tmp_path: Path, scheme: str
) -> None:
    with socket.socket() as held:
        # Nobody else gets the port, and nobody listens there.
        held.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{held.getsockname()[1]}"
        topology = build_node(parse_store_url(url), state_dir=tmp_path / "state")
        with pytest.raises(UnavailableError, match=rf"{scheme}://127.* did not answer within 0.3 s"):
            async with serve(topology.datastore, **topology.settings(), wait_s=0.3):
                pass


async def test_a_start_waits_for_a_store_and_then_fails_naming_it(tmp_path: Path) -> None:
    with engine("redis", tmp_path) as server:
        url = parse_store_url(f"redis://:s3cret@127.0.0.1:{server.port}/0")
        server.kill()
        topology = build_node(url)
        with pytest.raises(UnavailableError, match=r"redis://\*\*\*@.* did not answer within 0.3 s: Redis"):
            async with serve(topology.datastore, **topology.settings(), wait_s=0.3):
                pass
        topology = build_node(parse_store_url(f"redis://127.0.0.1:{server.port}/0"))
        starting = asyncio.create_task(serve(topology.datastore, **topology.settings(), wait_s=60).__aenter__())
        await asyncio.sleep(0)
        await asyncio.to_thread(server.start)
        await (await starting).stop()
