"""A proxy as a node of another cluster: its nodes record its identity, whichever process is the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore.model.errors import PlacementError, UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import placement_pb2
from datastore.wire import rpc_error_to_error
from datastore_client.aio import RemoteDatastore
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.coordination.records import ProxySystemSpace
from datastore_server.limits import RECORD_BYTES
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.placements import PlacedServer, keys_of, placement
from tests.support.serving import entry

OUTER = placement("a", "b")
NEXT = placement("a", "b", "c", epoch=2)


class Inner:
    """The nodes of an inner cluster on disk, each of which can be stopped and restarted at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.servers: dict[str, Server] = {}
        self.urls: dict[str, str] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            topology = build_node(parse_store_url(f"lmdb://{self._directory / name}"), cluster="inner", shard=name)
            listen = self.urls.get(name, "grpc://127.0.0.1:0").removeprefix("grpc://")
            server = serve(topology.datastore, listen=listen, system=topology.system, cluster=topology.cluster)
            await server.start()
            self.servers[name], self.urls[name] = server, server.url

    async def stop(self, *names: str) -> None:
        for name in names:
            await self.servers[name].stop()

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[tuple[PlacedServer, RemoteDatastore]]:
        """A proxy over the nodes: its own placement, and a client."""
        shards = [ShardConfig(name=name, url=url) for name, url in self.urls.items()]
        topology = build_proxy(Config(cluster=ClusterConfig(name="inner"), shards=shards))
        settings: dict[str, Any] = {"check_values": False, "system": topology.system}
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(
                serve(topology.datastore, cluster=topology.cluster, membership=topology.membership, **settings)
            )
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.url.removeprefix("grpc://")))
            client = await stack.enter_async_context(RemoteDatastore(server.url, retry=False))
            yield PlacedServer(channel), client


@pytest.fixture
async def inner(tmp_path: Path) -> AsyncIterator[Inner]:
    nodes = Inner(tmp_path)
    await nodes.start("one", "two")
    yield nodes
    await nodes.stop(*nodes.servers)


async def keys(client: RemoteDatastore) -> list[Key]:
    cursor = client.query(Query(Key("/"), recursive=True, keys_only=True))
    return [found.key async for found in cursor.entries() if found.key]


async def test_the_placement_of_a_proxy_survives_its_process(inner: Inner) -> None:
    own, foreign = keys_of("a", OUTER, 30), keys_of("b", OUTER, 1)[0]
    async with inner.proxy() as (placed, client):
        node_id = (await placed.place("a", OUTER)).node_id
        for key in own:
            await client.put(key, 1)
    async with inner.proxy() as (placed, client):
        answer = await placed.get()
        assert (answer.placement.node_id, answer.placement.shard, answer.in_memory) == (node_id, "a", False)
        assert await keys(client) == own
        with pytest.raises(WrongShardError) as raised:
            await client.get(foreign)
        assert raised.value.owner == "b"
        client.expects = "trial/b/1"
        with pytest.raises(WrongShardError, match="this server is trial/a/1"):
            await client.get(own[0])
        await placed.prepare("a", NEXT)
    async with inner.proxy() as (placed, client):
        with pytest.raises(UnavailableError, match="entries are being moved"):
            await client.put(own[0], 2)
        await placed.commit(2)
        stay = [key for key in own if NEXT.owner_of(key) == "a"]
        assert await keys(client) == stay
        assert await placed.clear(2) == len(own) - len(stay)
        assert await keys(client) == stay
    # The nodes keep their identity, whatever the proxy is.
    async with RemoteDatastore(inner.urls["one"]) as node:
        node.expects = "inner/one/1"
        assert 0 < len(await keys(node)) < len(stay)


async def test_entries_move_to_a_cluster_as_to_a_node(inner: Inner) -> None:
    coming = keys_of("c", NEXT, 20)
    async with inner.proxy() as (placed, client):
        await placed.prepare("c", NEXT)
        await placed.write(2, [entry(str(key), str(key)) for key in coming])
        assert await keys(client) == []
        summaries = await placed.summarize()
        assert sum(entries for entries, _, _ in summaries.values()) == len(coming)
        await placed.commit(2)
        assert await keys(client) == coming
        assert [found.key.text for found in await placed.read(summaries)] == list(map(str, coming))


async def test_a_proxy_whose_nodes_are_down_serves_nothing_until_it_knows_its_placement(inner: Inner) -> None:
    foreign = keys_of("b", OUTER, 1)[0]
    async with inner.proxy() as (placed, client):
        await placed.place("a", OUTER)
    await inner.stop("one", "two")
    async with inner.proxy() as (placed, client):
        for call in (lambda: client.get(foreign), lambda: client.put(foreign, 1), lambda: keys(client)):
            with pytest.raises(UnavailableError):
                await call()
        with pytest.raises(grpc.RpcError) as refused:
            await placed.get()
        assert type(rpc_error_to_error(refused.value)) is UnavailableError
        # One node is enough to know.
        await inner.start("one")
        with pytest.raises(WrongShardError) as raised:
            while True:
                try:
                    await client.get(foreign)
                except UnavailableError:
                    await asyncio.sleep(0.01)
        assert raised.value.owner == "b"
        # But a record is written to every node.
        with pytest.raises(grpc.RpcError) as refused:
            await placed.prepare("a", NEXT)
        assert type(rpc_error_to_error(refused.value)) is UnavailableError
    await inner.start("two")


async def test_the_newest_copy_of_a_record_counts(inner: Inner) -> None:
    space, lagging = ProxySystemSpace(inner.urls), ProxySystemSpace({"one": inner.urls["one"]})
    assert await space.read("placement") is None
    await space.write("placement", b"first")
    await lagging.write("placement", b"second")
    assert await space.read("placement") == b"second"
    assert await ProxySystemSpace({"two": inner.urls["two"]}).read("placement") == b"first"
    await space.write("placement", b"third")
    assert await ProxySystemSpace({"two": inner.urls["two"]}).read("placement") == b"third"
    assert await space.read("other") is None


async def test_a_node_keeps_the_records_of_proxies_within_limits_and_apart_from_its_own(inner: Inner) -> None:
    async with grpc.aio.insecure_channel(inner.urls["one"].removeprefix("grpc://")) as channel:
        placed = PlacedServer(channel)
        before = (await placed.get()).placement

        async def put(revision: int, data: bytes) -> None:
            record = placement_pb2.Record(name="placement", revision=revision, data=data)
            await placed.stub.PutRecord(placement_pb2.PutRecordRequest(record=record))

        for size in (0, RECORD_BYTES - 1, RECORD_BYTES):
            await put(3, b"x" * size)
            found = await placed.stub.GetRecord(placement_pb2.GetRecordRequest(name="placement"))
            assert (found.record.name, found.record.revision, len(found.record.data)) == ("placement", 3, size)
        with pytest.raises(grpc.RpcError) as raised:
            await put(4, b"x" * (RECORD_BYTES + 1))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.RpcError) as raised:
            await put(2, b"old")
        assert type(rpc_error_to_error(raised.value)) is PlacementError
        assert (await placed.get()).placement == before
        assert (await placed.get()).is_empty
