"""A server that has served many calls, also cancelled and abandoned ones, holds no more than before: memory and files.

`make soak` makes a million calls, a hundred thousand that are cancelled, and abandons ten thousand streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from hypothesis import settings

from datastore.v1 import service_pb2, service_pb2_grpc
from datastore_client.channel import STREAM_OPTIONS, parse_target
from tests.support import processes
from tests.support.serving import entry, everything
from tests.support.waiting import PATIENCE_S

#: The part of the full numbers that this run makes.
PART = {"quick": 0.001, "ci": 0.02, "soak": 1.0}[settings.get_current_profile_name()]
AT_ONCE = 100
KEY = "/k:1"
#: How much a server may grow, in bytes: some, which it keeps for the next calls, and so many for each call.
GROWTH_BYTES, BYTES_A_CALL = 12_000_000, 16

Load = Callable[[Any, int], Awaitable[None]]


async def gets(stub: Any, count: int) -> None:
    """Reads that are answered."""
    request = service_pb2.GetRequest(key=entry(KEY, 1).key)
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(stub.Get(request) for _ in range(AT_ONCE)))


async def cancelled(stub: Any, count: int) -> None:
    """Reads and writes of which all but the first of each hundred are cancelled, wherever they are."""
    get = service_pb2.GetRequest(key=entry(KEY, 1).key)
    put = service_pb2.PutRequest(entry=entry(KEY, 1))
    for _ in range(count // AT_ONCE):
        calls = [stub.Get(get) if number % 2 else stub.Put(put) for number in range(AT_ONCE)]
        await calls[0]
        for call in calls:
            call.cancel()


async def abandoned_queries(stub: Any, count: int) -> None:
    """Queries that are cancelled after their first message."""
    for _ in range(count):
        await _abandon(stub.Query(everything()))


async def abandoned_watches(stub: Any, count: int) -> None:
    """Watches that are cancelled once they have begun."""
    for _ in range(count):
        await _abandon(stub.Watch(service_pb2.WatchRequest(query=everything().query)))


async def _abandon(call: Any) -> None:
    await call.read()
    call.cancel()


#: What is made, how often, and of which servers.
FULL = {gets: 1_000_000, cancelled: 100_000, abandoned_queries: 10_000, abandoned_watches: 10_000}
NODE_LOADS: list[Load] = [*FULL]
PROXY_LOADS: list[Load] = [gets, cancelled, abandoned_queries]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("load", NODE_LOADS, ids=lambda load: load.__name__)
async def test_a_node_keeps_neither_memory_nor_files_of_calls_that_have_ended(load: Load, tmp_path: Path) -> None:
    node = processes.ServerProcess("serve", "memory:", log=tmp_path / "log")
    node.start()
    try:
        await keeps_nothing(node, load)
    finally:
        node.stop()


@pytest.mark.long("what a proxy keeps")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("load", PROXY_LOADS, ids=lambda load: load.__name__)
async def test_a_proxy_keeps_neither_memory_nor_files_of_calls_that_have_ended(load: Load, tmp_path: Path) -> None:
    with processes.cluster(tmp_path) as cluster:
        await keeps_nothing(cluster.proxy, load)


async def keeps_nothing(server: processes.ServerProcess, load: Load) -> None:
    """Make the calls, and wait until the server is as small as before."""
    count = max(int(FULL[load] * PART), AT_ONCE)
    watched = psutil.Process(server.pid)
    async with grpc.aio.insecure_channel(parse_target(server.url).address, options=STREAM_OPTIONS) as channel:
        stub: Any = service_pb2_grpc.DatastoreServiceStub(channel)
        await fill(stub)
        # What is needed for so many at once is kept for the next.
        await load(stub, max(count // 10, AT_ONCE))
        memory_bytes, files = watched.memory_info().rss, watched.num_fds()
        await load(stub, count)
        most_bytes = memory_bytes + GROWTH_BYTES + BYTES_A_CALL * count
        async with asyncio.timeout(PATIENCE_S):
            while watched.memory_info().rss > most_bytes or watched.num_fds() > files:
                await asyncio.sleep(0.1)


async def fill(stub: Any) -> None:
    """Enough that a query has several messages."""
    for start in range(0, 2000, 500):
        entries = [entry(f"/T:{number}", "x" * 1000) for number in range(start, start + 500)]
        writes = [service_pb2.BatchWriteRequest.Write(put=each) for each in entries]
        await stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes))
