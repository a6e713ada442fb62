"""What processes hold in memory while servers have much to do: growth, beside the most that it may be."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.calls import SERVICE, channel, read_stream
from bench.measure import IS_FULL, MIB, Row, bounded
from bench.things import fill, key, query
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import encode_key
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.trimming import TRIM_AFTER_S
from tests.support.memory import Growth, growth
from tests.support.processes import ClusterProcesses, cluster

__all__ = ["ROWS"]

SHARDS = ("shard-1", "shard-2", "shard-3", "shard-4")
#: The entries that a slow client reads, how many times slower than the servers it is, and the most MiB of growth.
SLOWLY_READ, TIMES_SLOWER, SLOW_READER_MIB = 10_000_000 if IS_FULL else 1_000_000, 10, 64
#: How many entries are read to see how fast the servers are.
READ_FAST = 200_000
#: The idle streams, the entries that there are, and the most KB of growth for each stream.
IDLE_STREAMS, IDLE_ENTRIES, IDLE_KB = 1000, 20_000, 100
#: The values that are read at once, the bytes of each, and how many are written at once.
LARGE_VALUES, LARGE_BYTES, LARGE_AT_ONCE = 1000 if IS_FULL else 100, 3_000_000, 10


async def slow_reader_growth_mib() -> Row:
    """The growth of the process that grows the most while a slow client reads a query through a proxy over 4 nodes.

    The client, ten times slower than the servers, is one of the processes. Against 64 MiB.
    """
    with _cluster() as servers:
        await fill(servers.url, SLOWLY_READ)
        request = service_pb2.QueryRequest.FromString(query())
        request.query.limit = READ_FAST
        async with channel(servers.url) as on:
            _, seconds = await read_stream(on, f"{SERVICE}Query", request.SerializeToString())
        async with growth(_pids(servers) | {"client": os.getpid()}) as grown, connect(servers.url) as store:
            read = await _read_slowly(store, TIMES_SLOWER * seconds / READ_FAST)
        if read != SLOWLY_READ:
            raise RuntimeError(f"{read:,} of {SLOWLY_READ:,} entries were read")
        return _row(grown, SLOW_READER_MIB)


async def _read_slowly(store: RemoteDatastore, entry_s: float) -> int:
    """Read all entries, so many seconds each. Returns how many there were."""
    read, start = 0, time.monotonic()
    async for _ in store.query(Query(Key("/Thing"), limit=SLOWLY_READ + 1)).entries():
        read += 1
        if read % 1000 == 0:
            await asyncio.sleep(max(0.0, start + read * entry_s - time.monotonic()))
    return read


async def idle_node_stream_kb() -> Row:
    """What a query that nobody reads takes at a node, of 1,000 through a proxy over 4 nodes; against 100 KB."""
    return await _idle(is_proxy=False)


async def idle_proxy_stream_kb() -> Row:
    """What such a query takes at the proxy."""
    return await _idle(is_proxy=True)


async def _idle(*, is_proxy: bool) -> Row:
    with _cluster() as servers:
        await fill(servers.url, IDLE_ENTRIES)
        pids = {name: pid for name, pid in _pids(servers).items() if (name == "proxy") is is_proxy}
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(connect(servers.url))
            grown = Growth(pids)
            for _ in range(IDLE_STREAMS):
                cursor = store.query(Query(Key("/Thing")))
                stack.push_async_callback(cursor.aclose)
                await anext(cursor)
            # Until what was needed to begin them has been given back.
            await asyncio.sleep(2 * TRIM_AFTER_S)
            grown.look()
        return bounded("KB", max(grown.most_bytes.values()) / 1000 / IDLE_STREAMS, IDLE_KB)


async def large_batch_growth_mib() -> Row:
    """The growth of the server that grows the most while values of 3 MB are read by one batch through a proxy.

    It is answered in parts. Against all values together.
    """
    with _cluster() as servers:
        async with connect(servers.url) as store:
            for start in range(0, LARGE_VALUES, LARGE_AT_ONCE):
                puts = [Put(Key(key(start + place)), bytes(LARGE_BYTES)) for place in range(LARGE_AT_ONCE)]
                for outcome in await store.batch_write(puts):
                    if outcome.error is not None:
                        raise outcome.error
        async with channel(servers.url) as on, growth(_pids(servers)) as grown:
            call: Any = on.unary_unary(f"{SERVICE}BatchGet")
            read = 0
            # As many keys as a client asks for: all at first, then about as many as an answer had.
            most = LARGE_VALUES
            while read < LARGE_VALUES:
                keys = [encode_key(Key(key(place))) for place in range(read, min(read + most, LARGE_VALUES))]
                answer = await call(service_pb2.BatchGetRequest(keys=keys).SerializeToString())
                results = service_pb2.BatchGetResponse.FromString(answer).results
                answered = sum(result.HasField("value") for result in results)
                if not answered:
                    raise RuntimeError("an answer has no value")
                read, most = read + answered, 2 * answered
        return _row(grown, LARGE_VALUES * LARGE_BYTES / MIB)


# Shared by the rows


@contextmanager
def _cluster() -> Iterator[ClusterProcesses]:
    with tempfile.TemporaryDirectory() as directory, cluster(Path(directory), shards=SHARDS) as servers:
        yield servers


def _pids(servers: ClusterProcesses) -> dict[str, int]:
    return {name: node.pid for name, node in servers.nodes.items()} | {"proxy": servers.proxy.pid}


def _row(grown: Growth, most_mib: float) -> Row:
    return bounded("MiB", max(grown.most_bytes.values()) / MIB, most_mib)


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    slow_reader_growth_mib,
    idle_node_stream_kb,
    idle_proxy_stream_kb,
    large_batch_growth_mib,
)
