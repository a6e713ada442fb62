"""Queries that are open and not read hold little memory, and what they have freed returns to the system."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import connect
from datastore_server import trimming
from datastore_server.trimming import MemoryTrimmer
from tests.support import processes
from tests.support.serving import Endless, Running, everything
from tests.support.waiting import PATIENCE_S


async def trimmed(times: list[int], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(times) < count:
            await asyncio.sleep(0)


async def test_memory_is_trimmed_once_for_all_queries_meanwhile_off_the_loop() -> None:
    threads: list[int] = []
    trimmer = MemoryTrimmer(lambda: threads.append(threading.get_ident()), after_s=0.0)
    for _ in range(3):
        trimmer.note()
    await trimmed(threads, 1)
    trimmer.note()
    await trimmed(threads, 2)
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_nothing_is_trimmed_once_it_is_closed() -> None:
    times: list[int] = []
    trimmer = MemoryTrimmer(lambda: times.append(1), after_s=0.0)
    trimmer.note()
    trimmer.close()
    other = MemoryTrimmer(lambda: times.append(2), after_s=0.0)
    other.note()
    await trimmed(times, 1)
    assert times == [2]


async def test_memory_is_trimmed_when_a_query_has_begun_and_when_it_has_ended(start: Any) -> None:
    running: Running = await start(Endless())
    times: list[int] = []
    running.server._service._trimmer = MemoryTrimmer(lambda: times.append(1), after_s=0.0)
    query = running.stub.Query(everything())
    await query.read()
    await trimmed(times, 1)
    query.cancel()
    await trimmed(times, 2)


def test_other_systems_than_linux_are_not_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    trimming._trim_of_libc()()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert trimming._trim_of_libc()() is None


#: The documented memory of an idle query at a server, in KiB.
IDLE_KIB = 100
#: Few, so that what a server holds once for all of them counts too.
IDLE_QUERIES = 100


def resident_kib(server: processes.ServerProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads the memory of a process from /proc")
@pytest.mark.parametrize("order", [None, "n"])
async def test_an_idle_query_takes_less_than_documented_at_proxy_and_nodes(tmp_path: Path, order: str | None) -> None:
    query = Query(Key("/T")) if order is None else Query(Key("/T")).order(order)
    with processes.cluster(tmp_path) as cluster:
        servers = [cluster.proxy, *cluster.nodes.values()]
        async with connect(cluster.url) as store:
            for start in range(0, 10_000, 1000):
                entries = [Write(Key(f"/T:{n:06}"), {"n": -n, "x": "y" * 100}) for n in range(start, start + 1000)]
                await store.batch_write(entries)
            # What the servers have once needed for as many at the same time, Python keeps for the next ones.
            first = await many_half_read(store, query)
            before = [await settled_kib(server) for server in servers]
            second = await many_half_read(store, query)
            for server, held in zip(servers, before, strict=True):
                async with asyncio.timeout(PATIENCE_S):
                    while resident_kib(server) - held > IDLE_QUERIES * IDLE_KIB:
                        await asyncio.sleep(0.1)
            for cursor in [*first, *second]:
                await cursor.aclose()


async def many_half_read(store: Any, query: Query) -> list[Any]:
    """The cursors of `IDLE_QUERIES`, ten begun at a time."""
    return [cursor for _ in range(IDLE_QUERIES // 10) for cursor in await half_read(store, query, 10)]


async def settled_kib(server: processes.ServerProcess) -> int:
    """The memory of a server once it has not changed for longer than freed memory waits to be trimmed."""
    kib, since = resident_kib(server), time.monotonic()
    while time.monotonic() - since < 2 * trimming.TRIM_AFTER_S:
        await asyncio.sleep(0.1)
        if abs(resident_kib(server) - kib) > IDLE_KIB:
            kib, since = resident_kib(server), time.monotonic()
    return kib


async def half_read(store: Any, query: Query, count: int) -> list[Any]:
    """So many cursors of the query, with one entry read of each."""
    cursors = [store.query(query) for _ in range(count)]
    await asyncio.gather(*map(anext, cursors))
    return cursors
