"""Rows beside etcd: the same work by a node on LMDB and by etcd, each durable and alone on its core.

The load comes from h2load, so that the client costs next to nothing. etcd keeps all earlier versions of each key, is
replicated if it has several members, and has transactions over all keys; a node keeps the present one.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from bench import servers
from bench.calls import SERVICE, channel, messages_per_second
from bench.etcd import KV, TO_THE_END, etcd, put_request, range_request, txn_request
from bench.loads import calls_per_second
from bench.measure import Row, compare
from bench.things import STREAM_ENTRIES, UNARY_CALLS, UNARY_IN_FLIGHT, fill, key, query, text
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import encode_key, encode_value, raw

__all__ = ["ROWS"]

#: Pairs of runs: fewer than elsewhere, as each row measures two servers anew.
RUNS = 11
#: The items of a batch, and the keys of a page.
ITEMS, PAGE = 100, 1000

#: The path of a method, and a request.
_Call: TypeAlias = tuple[str, bytes]


async def get_vs_etcd() -> Row:
    """Get of one entry, 64 in flight, against a Range of one key; calls per second."""
    request = service_pb2.GetRequest(key=encode_key(Key(key(0))))
    return await _compared("calls/s", _ours("Get", request), _theirs("Range", range_request(key(0))), _SINGLE)


async def durable_put_vs_etcd() -> Row:
    """Put of one entry, 64 in flight, each on disk before its answer; calls per second."""
    request = raw.PutRequest()
    request.entry.key.text, request.entry.value = key(0), _VALUE
    theirs = _theirs("Put", put_request(key(0), text(0).encode()))
    return await _compared("calls/s", _ours("Put", request), theirs, _SINGLE)


async def batch_get_vs_etcd_txn() -> Row:
    """BatchGet of 100 keys, 64 in flight, against a Txn of 100 ranges; keys per second."""
    request = service_pb2.BatchGetRequest(keys=[encode_key(Key(key(number))) for number in range(ITEMS)])
    ranges = [range_request(key(number)) for number in range(ITEMS)]
    theirs = _theirs("Txn", txn_request(ranges, puts=False))
    return await _compared("keys/s", _ours("BatchGet", request), theirs, _BATCHES)


async def durable_batch_write_vs_etcd_txn() -> Row:
    """BatchWrite of 100 puts, 64 in flight, against a Txn of 100 puts; writes per second."""
    request = raw.BatchWriteRequest()
    for number in range(ITEMS):
        put = request.writes.add().put
        put.key.text, put.value = key(number), _VALUE
    return await _compared("writes/s", _ours("BatchWrite", request), _theirs("Txn", _puts(0)), _BATCHES)


async def query_vs_etcd_range_stream() -> Row:
    """A query of 100,000 entries, one at a time, against a RangeStream; entries per second."""
    return await _compared("entries/s", _QUERY, _theirs("RangeStream", _RANGE), _QUERIES)


async def query_vs_etcd_range() -> Row:
    """The same against one Range, whose answer is one message; entries per second."""
    return await _compared("entries/s", _QUERY, _theirs("Range", _RANGE), _QUERIES)


async def query_vs_etcd_pages() -> Row:
    """The same against Ranges of 1,000 keys, one after the other; entries per second."""
    # The one in the middle, because it counts the keys up to the end too: fewer for each later page.
    page = range_request(key(STREAM_ENTRIES // 2), to=TO_THE_END, limit=PAGE)
    return await _compared("entries/s", _QUERY, _theirs("Range", page), _QUERIES, _PAGES)


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    get_vs_etcd,
    durable_put_vs_etcd,
    batch_get_vs_etcd_txn,
    durable_batch_write_vs_etcd_txn,
    query_vs_etcd_range_stream,
    query_vs_etcd_range,
    query_vs_etcd_pages,
)

_VALUE = encode_value(text(0)).data
_QUERY: _Call = (f"{SERVICE}Query", query())


def _ours(method: str, request: Any) -> _Call:
    return f"{SERVICE}{method}", request.SerializeToString()


def _theirs(method: str, request: bytes) -> _Call:
    return f"{KV}{method}", request


#: All entries.
_RANGE = range_request(key(0), to=TO_THE_END)


class _Load(NamedTuple):
    """The items of a run, those of each call, and the calls in flight."""

    items: int
    items_per_call: int
    in_flight: int


_SINGLE = _Load(UNARY_CALLS, 1, UNARY_IN_FLIGHT)
_BATCHES = _Load(60_000, ITEMS, UNARY_IN_FLIGHT)
_QUERIES = _Load(5 * STREAM_ENTRIES, STREAM_ENTRIES, 1)
_PAGES = _QUERIES._replace(items_per_call=PAGE)


async def _compared(unit: str, ours: _Call, theirs: _Call, load: _Load, their_load: _Load | None = None) -> Row:
    """The rates of a method and its request, of both servers: items per second."""
    async with _both() as (our_url, their_url):

        async def rate(url: str, call: _Call, load: _Load) -> float:
            items, per_call, in_flight = load
            return per_call * await calls_per_second(url, *call, calls=items // per_call, in_flight=in_flight)

        return await compare(
            unit, partial(rate, our_url, ours, load), partial(rate, their_url, theirs, their_load or load), runs=RUNS
        )


@asynccontextmanager
async def _both() -> AsyncIterator[tuple[str, str]]:
    """Both servers with the same entries."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}") as ours, etcd() as theirs:
        await fill(ours, STREAM_ENTRIES)
        async with channel(theirs) as on:
            await messages_per_second(on, f"{KV}Txn", list(map(_puts, range(0, STREAM_ENTRIES, ITEMS))), in_flight=8)
        yield ours, theirs


def _puts(start: int) -> bytes:
    requests = [put_request(key(number), text(number).encode()) for number in range(start, start + ITEMS)]
    return txn_request(requests, puts=True)
