"""Queries that are cancelled, late or left, through a proxy over several nodes: no node keeps anything of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from datastore import aio
from datastore.aio.scan import Scan
from datastore.model.aggregates import Count, Sum
from datastore.model.entries import Batch, Write
from datastore.model.errors import DeadlineExceededError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.store_urls import lmdb_url, parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.waiting import until

#: How many queries are left, by the profile of random tests.
QUERIES = {"quick": 50, "ci": 1000, "soak": 20_000}[settings.get_current_profile_name()]
#: Many times what servers and sockets hold between a node and a reader that has gone.
ENTRIES = 4000
#: How long a query may take that is cancelled by its deadline: from before its first message to near its end.
DEADLINES_S = (0.001, 0.1)


class Counted(aio.ShimDatastore):
    """Counts the scans that are open, and all there have been."""

    opened = 0
    ended = 0

    def scan(self, query: Query) -> Scan:
        child = self.child_datastore.scan(query)
        return Scan(self._batches(child), child.applied, source=child)

    async def _batches(self, child: Scan) -> AsyncGenerator[Batch]:
        self.opened += 1
        try:
            async for batch in child.batches:
                yield batch
        finally:
            self.ended += 1
            await child.aclose()


class Cluster:
    """Three nodes on LMDB whose scans are counted, a proxy over them, and a client."""

    def __init__(self, stores: list[Counted], servers: list[Server], client: RemoteDatastore) -> None:
        self.stores = stores
        self.servers = servers
        self.client = client

    async def left(self) -> int:
        """How many scans of nodes, and streams and calls of servers, have not ended."""
        open_scans = sum(store.opened - store.ended for store in self.stores)
        services: list[Any] = [server._service for server in self.servers]
        return open_scans + sum(len(service._streams) + len(service._under_way) for service in services)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        stores, servers, shards = [], [], []
        for name in ("s1", "s2", "s3"):
            topology = build_node(parse_store_url(f"{lmdb_url(tmp_path / name)}?changes=true"), durability="async")
            stores.append(Counted(topology.datastore))
            node = serve(stores[-1], **replace(topology, datastore=stores[-1]).settings())
            servers.append(await stack.enter_async_context(node))
            shards.append(ShardConfig(name=name, url=node.url))
        topology = build_proxy(Config(cluster=ClusterConfig(name="c"), shards=shards))
        proxy = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
        client = await stack.enter_async_context(connect(proxy.url))
        entries = [Write(Key(f"/T:{number:05}"), {"n": number % 7, "text": "x" * 3000}) for number in range(ENTRIES)]
        assert not any(outcome.error for outcome in await client.batch_write(entries))
        yield Cluster(stores, [*servers, proxy], client)


def queries(chooser: random.Random) -> Query:
    query = Query(Key("/T"))
    # These change the query.
    changes = [
        lambda: query,
        lambda: query.order("n"),
        lambda: query.filter("n", "!=", 3),
        lambda: query.filter("n", "=", -1),
    ]
    return chooser.choice(changes)()


async def is_left(cluster: Cluster, chooser: random.Random) -> None:
    """Begin something that reads all nodes, and leave it at any moment, in any way."""
    query, how = queries(chooser), chooser.choice(["close", "cancel", "late", "aggregate"])
    if how == "close":
        cursor = cluster.client.query(query)
        for _ in range(chooser.choice([0, 1, 500])):
            await anext(cursor, None)
        await cursor.aclose()
        return
    if how == "late":
        async with connect(cluster.client.url, query_timeout_s=chooser.uniform(*DEADLINES_S)) as hasty:
            with suppress(DeadlineExceededError):
                await drained(hasty, query)
        return
    reading: Any
    if how == "aggregate":
        reading = cluster.client.aggregate(query, {"n": Count(), "sum": Sum("n")}, group_by=["n"])
    else:
        reading = drained(cluster.client, query)
    task = asyncio.ensure_future(reading)
    await asyncio.sleep(chooser.uniform(*DEADLINES_S))
    task.cancel()
    await asyncio.wait([task])


async def drained(store: RemoteDatastore, query: Query) -> None:
    async for _ in store.query(query):
        pass


@pytest.mark.timeout(0)
async def test_nothing_is_left_at_any_node_of_queries_that_were_left(cluster: Cluster) -> None:
    chooser = random.Random(QUERIES)
    left = iter(range(QUERIES))

    async def leave() -> None:
        for _ in left:
            await is_left(cluster, chooser)

    await asyncio.gather(*(leave() for _ in range(8)))
    await until(cluster.left, 0)
    assert all(store.opened > QUERIES / 4 for store in cluster.stores)
    # And it is as useful as before.
    assert await cluster.client.aggregate(Query(Key("/T")), {"n": Count()}) == [{"n": ENTRIES}]


@pytest.mark.long
async def test_nothing_is_left_of_watches_that_were_left(cluster: Cluster) -> None:
    async def watch() -> None:
        async with cluster.client.watch(Query(Key("/T"))) as watcher:
            async for _ in watcher.batches():
                pass

    watching = [asyncio.create_task(watch()) for _ in range(QUERIES // 10)]
    for task in watching:
        await cluster.client.put(Key("/T:00001"), {"n": 1})
        task.cancel()
    await asyncio.wait(watching)
    await until(cluster.left, 0)
