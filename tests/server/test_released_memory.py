"""A call that has ended holds nothing: its request and the values it read are freed at once, however it ended.

An error in a reference cycle keeps the frames that it passed, with all their values, until Python looks for cycles.
That takes hundreds of calls, each of which may have megabytes.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.aio._concurrency import fan_out, run_to_completion
from datastore.model.entries import Write
from datastore.model.errors import LimitExceededError, UnavailableError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore_client.aio import connect
from tests.support import clusters
from tests.support.colours import Tasks, Threads, connected
from tests.support.serving import entry, everything
from tests.support.waiting import PATIENCE_S

MB = 1024 * 1024
LARGE = b"x" * (2 * MB)
CALLS = 8
BAD_KEY = "/" + "x" * 1100

Put, BatchWrite, BatchGet = service_pb2.PutRequest, service_pb2.BatchWriteRequest, service_pb2.BatchGetRequest


def writes(*entries: Any) -> Any:
    return BatchWrite(writes=[BatchWrite.Write(put=each) for each in entries])


def unread(request: Any) -> Any:
    """A query whose token cannot be read."""
    request.resume_token = LARGE
    return request


REQUESTS = {
    "put, key refused": ("Put", Put(entry=entry(BAD_KEY, LARGE))),
    "put, value refused": ("Put", Put(entry=entry("/k", LARGE + LARGE[: MB + MB // 2]))),
    "batch refused": ("BatchWrite", BatchWrite(writes=[BatchWrite.Write(put=entry("/k", b"x" * 2000))] * 1001)),
    "write refused": ("BatchWrite", writes(entry("/a", LARGE), entry(BAD_KEY, 1), entry("/b", b"x" * MB))),
    "read refused": ("BatchGet", BatchGet(keys=[{"text": "/large"}, {"text": BAD_KEY}])),
    "query refused": ("Query", unread(everything())),
    "page refused": ("ListEntries", service_pb2.ListEntriesRequest(query=everything().query, page_token="x" * 2 * MB)),
}


USUAL = ("put, key refused", "batch refused", "query refused")
#: Higher for a proxy, whose test includes nodes.
kinds = pytest.mark.parametrize("kind", ["proxy", pytest.param("node", marks=pytest.mark.long)])


@contextmanager
def nothing_collected() -> Iterator[Callable[[], int]]:
    """Disable the garbage collector. Yields a function that returns the growth in bytes."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


async def released(held_bytes: Callable[[], int]) -> None:
    """Wait until less than a megabyte per call is held: the last responses may still be in flight."""
    async with asyncio.timeout(PATIENCE_S):
        while held_bytes() >= CALLS * MB:
            await asyncio.sleep(0.02)


async def ended(channel: grpc.aio.Channel, method: str, request: bytes) -> None:
    """Make a call, and ignore how it ends."""
    path = f"/datastore.v1.DatastoreService/{method}"
    with suppress(grpc.aio.AioRpcError):
        if method == "Query":
            async for _ in channel.unary_stream(path)(request):
                pass
        else:
            await channel.unary_unary(path)(request)


@pytest.mark.parametrize(
    "case", [case if case in USUAL else pytest.param(case, marks=pytest.mark.long) for case in REQUESTS]
)
@kinds
async def test_a_call_that_was_refused_keeps_neither_request_nor_values(kind: str, case: str) -> None:
    method, message = REQUESTS[case]
    request = message.SerializeToString()
    async with getattr(clusters, kind)() as cluster, connect(cluster.url) as store:
        await store.put(Key("/large"), LARGE)
        async with grpc.aio.insecure_channel(cluster.url.removeprefix("grpc://")) as channel:
            await ended(channel, method, request)
            with nothing_collected() as held_bytes:
                for _ in range(CALLS):
                    await ended(channel, method, request)
                await released(held_bytes)


@pytest.mark.parametrize("colour", [Tasks(), Threads()], ids=lambda colour: colour.name)
@kinds
async def test_a_client_keeps_nothing_of_writes_that_were_refused(kind: str, colour: Any) -> None:
    async with getattr(clusters, kind)() as cluster, connected(colour, cluster.url) as store:
        await colour.call(store.batch_write, [Write(Key("/b"), object())])
        with nothing_collected() as held_bytes:
            for number in range(CALLS):
                large = LARGE + bytes([number])
                batch = [Write(Key("/a"), large), Write(Key("/b"), object()), Write(Key("/c"), large * 2)]
                outcomes = await colour.call(store.batch_write, [*batch, Write(Key("/d"), 1)])
                assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]
                del outcomes, batch, large
            # The last value is stored.
            await released(held_bytes)


class Refusing(aio.DictDatastore):
    """A store that refuses all values."""

    async def put(self, key: Key, value: Any) -> None:
        raise LimitExceededError("full")


@pytest.mark.parametrize("error", [LimitExceededError, UnavailableError])
async def test_a_client_keeps_nothing_of_calls_that_failed(start: Any, error: type[Exception]) -> None:
    running = await start(Refusing())
    url = running.server.url if error is LimitExceededError else "grpc://127.0.0.1:1"
    async with connect(url, retry=False) as store:
        with nothing_collected() as held_bytes:
            for _ in range(CALLS):
                with pytest.raises(error):
                    await store.put(Key("/k"), LARGE)
                (outcome,) = await store.batch_write([Write(Key("/k"), LARGE)])
                assert isinstance(outcome.error, error)
                del outcome
            assert held_bytes() < CALLS * MB


async def test_a_store_over_several_keeps_nothing_of_batches_that_failed() -> None:
    class Lost(aio.DictDatastore):
        async def batch_write(self, writes: Any) -> Any:
            raise LimitExceededError("full")

    batch = [Write(Key(f"/{number}"), number) for number in range(20)]
    async with aio.ShardedDatastore([Lost(), Lost()]) as store:
        with nothing_collected() as held_bytes:
            for _ in range(CALLS):
                await store.batch_write([*batch, Write(Key("/large"), bytes(2 * MB))])
            assert held_bytes() < CALLS * MB


async def test_concurrent_calls_keep_nothing_of_one_that_failed() -> None:
    async def fails(value: bytes) -> None:
        raise LimitExceededError("full")

    with nothing_collected() as held_bytes:
        for _ in range(CALLS):
            with suppress(LimitExceededError):
                await fan_out([partial(fails, bytes(2 * MB)), partial(asyncio.sleep, 0)])
            with suppress(LimitExceededError):
                await run_to_completion(partial(fails, bytes(2 * MB)))
        assert held_bytes() < CALLS * MB


@pytest.mark.parametrize(
    "query",
    [pytest.param(Query(Key("/C")), marks=pytest.mark.long), Query(Key("/C")).order("n")],
    ids=["by key", "ordered"],
)
@kinds
async def test_a_query_whose_client_disconnects_keeps_nothing_that_was_read_for_it(kind: str, query: Query) -> None:
    async with getattr(clusters, kind)() as cluster, connect(cluster.url) as store:
        for number in range(12):
            await store.put(Key(f"/C:{number}"), {"n": number, "large": LARGE})
        with nothing_collected() as held_bytes:
            for _ in range(CALLS):
                cursor = store.query(query)
                entries = cursor.entries()
                await anext(entries)
                await cursor.aclose()
                del cursor, entries
            async with asyncio.timeout(PATIENCE_S):
                while held_bytes() > CALLS * MB:
                    await asyncio.sleep(0.1)
