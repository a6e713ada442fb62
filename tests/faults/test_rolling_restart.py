"""Servers are restarted one after the other under load: clients that retry as documented see no failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import datastore_client as blocking
from datastore.model.aggregates import Count
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client import aio as client
from tests.support import processes
from tests.support.commands import run_here
from tests.support.waiting import PATIENCE_S
from tests.support.watched import watched_writes

CLIENTS = 16
#: Entries that nobody changes, which are queried meanwhile.
CONTENTS = {Key(f"/Thing:{number:04}"): "x" * 500 for number in range(2000)}
KEY = Key("/k")
#: How often a query pauses, so that restarts happen in its middle.
PAUSE_ENTRIES, PAUSE_S = 100, 0.05


class Load:
    """Clients that write, patch, read and query without end, and catch nothing: one failed call fails the test."""

    def __init__(self, stores: list[Any]) -> None:
        self._stores = stores
        self._ends = False
        self.counts = [0] * CLIENTS
        self.queries = 0

    def end(self) -> None:
        self._ends = True

    async def write_and_read(self, number: int) -> None:
        store, keys = self._stores[number % len(self._stores)], [Key(f"/client:{number}/{each}") for each in range(5)]
        while not self._ends:
            count = self.counts[number] + 1
            await store.put(keys[0], count)
            await store.patch(keys[1], increment={"n": 1}, create=True)
            outcomes = await store.batch_write([Write(key, count) for key in keys[2:]])
            assert [outcome.error for outcome in outcomes] == [None] * 3
            found = await store.batch_get(keys)
            assert [outcome.value for outcome in found] == [count, {"n": count}, count, count, count]
            assert await store.contains(keys[0])
            self.counts[number] = count

    async def query(self, store: Any) -> None:
        while not self._ends:
            seen = {}
            async for key, value in store.query(Query(Key("/Thing"))).entries():
                seen[key] = value
                if len(seen) % PAUSE_ENTRIES == 0:
                    await asyncio.sleep(PAUSE_S)
            assert seen == CONTENTS
            assert await store.aggregate(Query(Key("/Thing")), {"count": Count()}) == [{"count": len(CONTENTS)}]
            self.queries += 1

    async def more(self) -> None:
        """Wait until every client has been answered again."""
        before = list(self.counts)
        while any(now <= then for now, then in zip(self.counts, before, strict=True)):
            await asyncio.sleep(0.01)


@pytest.mark.long("rolling restart: nodes and proxies")
@pytest.mark.timeout(PATIENCE_S * 4)
async def test_a_rolling_restart_of_nodes_and_proxies_fails_no_call(tmp_path: Path) -> None:
    with processes.cluster(tmp_path, proxies=2, changes=True) as cluster:
        async with (
            client.connect(cluster.urls[0], timeout_s=PATIENCE_S, retry_writes=True) as first,
            client.connect(cluster.urls[1], timeout_s=PATIENCE_S, retry_writes=True) as second,
        ):
            await first.batch_write([Write(*entry) for entry in CONTENTS.items()])
            load = Load([first, second])
            async with watched_writes(cluster.urls[0]) as (writer, _), asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(load.write_and_read(number))
                for store in (first, second):
                    group.create_task(load.query(store))
                for member in [*cluster.nodes.values(), *cluster.proxies]:
                    await load.more()
                    assert await asyncio.to_thread(member.stop) == 0
                    await asyncio.to_thread(member.start)
                await load.more()
                load.end()
            assert not writer.unknown
            assert load.queries


@pytest.mark.long
async def test_a_restart_of_a_node_fails_no_call_of_its_own_clients(tmp_path: Path) -> None:
    with processes.node(tmp_path / "node") as node:
        async with client.connect(node.url, timeout_s=PATIENCE_S, retry_writes=True) as store:
            load = Load([store])
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(load.write_and_read(number))
                for _ in range(2):
                    await load.more()
                    await asyncio.to_thread(node.stop)
                    await asyncio.to_thread(node.start)
                await load.more()
                load.end()


def test_a_node_that_starts_before_the_one_before_has_ended_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    with processes.node(tmp_path / "data") as node:
        with blocking.connect(node.url) as store:
            store.put(KEY, 1)
        with node.paused():
            # It drains once it goes on.
            node.terminate()
            early = run_here("serve", f"lmdb:{tmp_path / 'data'}", "--listen", "127.0.0.1:0")
            assert early.code == 5
            assert "STORE_LOCKED" in early.err
            assert f"process {node.pid}" in early.err
        assert node.stop() == 0
        node.start()
        with blocking.connect(node.url) as store:
            assert store.get(KEY) == 1
