"""Rows of scans: filters, large values, and how soon the first entry comes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

import grpc

from bench import filled, servers
from bench.calls import SERVICE, channel, read_stream
from bench.measure import Row, compare
from bench.things import COUNTRY, grouped_row, key, query
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import encode_key, encode_query

__all__ = ["ROWS"]

#: The entries of a large collection, and the pairs of runs of a row that reads all of it.
MANY, RUNS = 1_000_000, 7
#: The large values, the bytes of each, and how many are written at once.
LARGE_VALUES, LARGE_BYTES, LARGE_AT_ONCE = 5000, 100_000, 100
#: So that these are soon written.
ASYNC = "?durability=async"
#: The calls of which a run takes the median.
CALLS = 200


async def filtered_query_vs_plain() -> Row:
    """A query by a text that 1 % of a million maps from LMDB have, against a scan by hand that decodes with protobuf.

    The scan checks nothing that it reads; the node checks the checksum of every entry.
    """
    asked = Query(Key("/Thing")).filter("country", "=", COUNTRY)
    request = service_pb2.QueryRequest(query=encode_query(asked)).SerializeToString()
    with tempfile.TemporaryDirectory() as directory, servers.by_hand(directory, MANY) as by_hand:
        async with filled.lmdb(MANY, grouped_row, options=ASYNC) as ours, channel(by_hand) as bare:
            return await compare(
                "entries/s",
                partial(_scanned_per_second, ours, f"{SERVICE}Query", request),
                partial(_scanned_per_second, bare, "/bare/Filter", b""),
                runs=RUNS,
            )


async def query_large_vs_bare_stream() -> Row:
    """A collection of 5,000 entries of 100 kB from LMDB, against a bare stream of messages of the same sizes."""
    value = "x" * LARGE_BYTES
    async with filled.lmdb(LARGE_VALUES, lambda _: value, at_once=LARGE_AT_ONCE) as ours, filled.bare() as bare:
        sizes, _ = await read_stream(ours, f"{SERVICE}Query", query())
        return await compare(
            "MB/s",
            partial(_megabytes_per_second, ours, f"{SERVICE}Query", query()),
            partial(_megabytes_per_second, bare, "/bare/Stream", " ".join(map(str, sizes)).encode()),
            runs=RUNS,
        )


async def first_entry_vs_get() -> Row:
    """The time to the first entry of a query over a million entries from LMDB, against that of a Get; one at a time."""
    get = service_pb2.GetRequest(key=encode_key(Key(key(MANY // 2)))).SerializeToString()
    async with filled.lmdb(MANY, options=ASYNC) as on:
        return await compare("us", partial(_first_us, on, query()), partial(_get_us, on, get))


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    filtered_query_vs_plain,
    query_large_vs_bare_stream,
    first_entry_vs_get,
)


async def _scanned_per_second(on: grpc.aio.Channel, method: str, request: bytes) -> float:
    call: Any = on.unary_stream(method)
    found, start = 0, time.perf_counter()
    async for message in call(request):
        found += len(service_pb2.QueryResponse.FromString(message).entries)
    seconds = time.perf_counter() - start
    if found != MANY // 100:
        raise RuntimeError(f"{found:,} entries were found, not one in a hundred of {MANY:,}")
    return MANY / seconds


async def _megabytes_per_second(on: grpc.aio.Channel, method: str, request: bytes) -> float:
    sizes, seconds = await read_stream(on, method, request)
    return sum(sizes) / 1_000_000 / seconds


async def _first_us(on: grpc.aio.Channel, request: bytes) -> float:
    taken = [await read_stream(on, f"{SERVICE}Query", request, messages=1) for _ in range(CALLS)]
    return median(seconds for _, seconds in taken) * 1_000_000


async def _get_us(on: grpc.aio.Channel, request: bytes) -> float:
    call: Any = on.unary_unary(f"{SERVICE}Get")
    taken = []
    for _ in range(CALLS):
        start = time.perf_counter()
        await call(request)
        taken.append(time.perf_counter() - start)
    return median(taken) * 1_000_000
