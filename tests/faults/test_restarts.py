"""Servers that are restarted in order, and one that is stopped without a word, as clients see it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from datastore.core.batch import Write
from datastore.core.errors import DeadlineExceededError, UnavailableError
from datastore.core.key import Key
from datastore.core.query import Query
from datastore_client.aio import connect
from tests.support import processes
from tests.support.waiting import PATIENCE_S

KEYS = [Key(f"/K:{number:02}") for number in range(30)]
#: Long against what a slow machine needs to start a server.
LONG_S = PATIENCE_S


class Callers:
    """Tasks that call without a pause, each in its way. A failure ends its task, and the test."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._tasks = [
            asyncio.create_task(work())
            for work in (self._get, self._put, self._batch_get, self._batch_write, self._query)
            for _ in range(3)
        ]
        self.calls = 0

    async def _get(self) -> None:
        for key in self._endless():
            assert await self._store.get(key) is not None

    async def _put(self) -> None:
        for key in self._endless():
            await self._store.put(key, {"text": "x" * 50})

    async def _batch_get(self) -> None:
        for _ in self._endless():
            assert [outcome.error for outcome in await self._store.batch_get(KEYS)] == [None] * len(KEYS)

    async def _batch_write(self) -> None:
        for _ in self._endless():
            outcomes = await self._store.batch_write([Write(key, {"text": "y"}) for key in KEYS])
            assert [outcome.error for outcome in outcomes] == [None] * len(KEYS)

    async def _query(self) -> None:
        for _ in self._endless():
            assert len([key async for key in self._store.query(Query(Key("/K"), keys_only=True))]) == len(KEYS)

    def _endless(self) -> Any:
        while True:
            for key in KEYS:
                self.calls += 1
                yield key

    async def go_on(self) -> None:
        """Return after some more calls of everyone; raise what ended one."""
        enough = self.calls + 200
        while self.calls < enough:
            done, _ = await asyncio.wait(self._tasks, timeout=0.01)
            for task in done:
                task.result()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Callers]:
    async with connect(url, timeout_s=LONG_S, query_timeout_s=LONG_S) as store:
        await store.batch_write([Write(key, {"text": "x"}) for key in KEYS])
        callers = Callers(store)
        try:
            await callers.go_on()
            yield callers
        finally:
            await callers.end()


async def restart(server: processes.ServerProcess, callers: Callers) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await callers.go_on()


async def test_a_node_that_is_restarted_in_order_fails_no_call(tmp_path: Path) -> None:
    with processes.node(tmp_path / "data") as node:
        async with calling(node.url) as callers:
            await restart(node, callers)
            await restart(node, callers)


async def test_a_cluster_that_is_restarted_one_server_after_the_other_fails_no_call(tmp_path: Path) -> None:
    with processes.cluster(tmp_path) as cluster:
        async with calling(cluster.url) as callers:
            for server in (*cluster.nodes.values(), cluster.proxy):
                await restart(server, callers)


async def test_a_stopped_node_is_noticed_by_calls_and_by_the_proxy_which_serves_the_other_shards(
    tmp_path: Path,
) -> None:
    with processes.cluster(tmp_path) as cluster:
        held = {cluster.shard_of(key): key for key in KEYS}
        node = cluster.nodes["shard-1"]
        async with (
            connect(cluster.url, timeout_s=LONG_S, retry=False) as store,
            connect(node.url, timeout_s=LONG_S, retry=False) as direct,
        ):
            for key in KEYS:
                await store.put(key, 1)
            await direct.get(held["shard-1"])
            with node.paused():
                # This has minutes: only a connection that was given up ends it.
                with pytest.raises(UnavailableError):
                    await direct.get(held["shard-1"])
                with pytest.raises((UnavailableError, DeadlineExceededError)) as raised:
                    await store.get(held["shard-1"])
                assert raised.value.shard == "shard-1"
                await store.check_health()
                assert await store.get(held["shard-2"]) == 1
                shards = {shard.name: shard for shard in (await store.describe_store()).shards}
                assert [name for name, shard in shards.items() if shard.HasField("status")] == ["shard-1"]
                assert "shard-1" in _status(cluster.url)
                log = tmp_path / "proxy.log"
                while "shard shard-1 at" not in log.read_text() or " is down" not in log.read_text():
                    await asyncio.sleep(0.1)


def _status(url: str) -> str:
    """The shards that `datastore status` reports as unavailable."""
    command = [sys.executable, "-m", "datastore_server.cli", "status", "--json", "--server", url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    rows = json.loads(done.stdout)["shards"]
    return " ".join(row["name"] for row in rows if row["health"] == "unavailable")
