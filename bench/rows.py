"""The benchmarks, a function for each row of the table."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from bench import filled, servers
from bench.calls import SERVICE, channel, messages_per_second, read_stream
from bench.loads import calls_per_second
from bench.measure import Row, compare
from bench.things import STREAM_ENTRIES, UNARY_CALLS, UNARY_IN_FLIGHT, fill, grouped_row, key, query, row, text
from datastore.aio.matching import MatchingRun
from datastore.model.aggregates import Aggregate, Avg
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import encode_aggregate, encode_key, encode_query, encode_value, raw
from datastore_client import connect as connect_threads
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.cli.progress import Progress
from datastore_server.cli.transfer.batches import BATCH_ROWS
from datastore_server.cli.transfer.importer import BATCHES_IN_FLIGHT, Importer
from datastore_server.cli.transfer.reading import Layout, Reader
from datastore_server.cli.transfer.sources import opened

__all__ = ["ROWS"]

#: The changes that a watcher reads, and the watchers of one node.
WATCHED_PUTS, WATCHERS = 50_000, 100
#: The puts of a run with these watchers.
FANOUT_PUTS = 4000
#: The key that is put after them, so that all watchers have seen the changes.
LAST = "/Thing:last"
#: The rows of the import.
IMPORT_ROWS = 20_000
#: The queries of a run with workers.
QUERIES = 300
#: Pairs of runs of the changes of many: each of them imports all rows twice.
MATCHING_RUNS = 7
#: The entries that are imported.
_THINGS = Query(Key("/Thing"))


async def unary_get_vs_echo() -> Row:
    """Get of one entry of 100 B from LMDB, 64 in flight, against a bare echo of the same sizes; calls per second."""
    async with filled.lmdb(1) as ours, filled.bare() as bare:
        request = service_pb2.GetRequest(key=encode_key(Key(key(0)))).SerializeToString()
        get: Any = ours.unary_unary(f"{SERVICE}Get")
        answer: bytes = await get(request)
        echo = str(len(answer)).encode().ljust(len(request), b"\x00")
        rate = partial(messages_per_second, in_flight=UNARY_IN_FLIGHT)
        return await compare(
            "calls/s",
            partial(rate, ours, f"{SERVICE}Get", [request] * UNARY_CALLS),
            partial(rate, bare, "/bare/Echo", [echo] * UNARY_CALLS),
        )


async def query_stream_vs_bare_stream() -> Row:
    """A collection of 100,000 entries of 100 B from LMDB, against a bare stream of messages of the same sizes."""
    async with filled.lmdb() as ours, filled.bare() as bare:
        sizes, _ = await read_stream(ours, f"{SERVICE}Query", query())
        return await compare(
            "entries/s",
            partial(_entries_per_second, ours, f"{SERVICE}Query", query()),
            partial(_entries_per_second, bare, "/bare/Stream", " ".join(map(str, sizes)).encode()),
        )


async def lone_gets_coalesced_vs_lone() -> Row:
    """Single gets of 64 tasks by a client that coalesces, against one that does not; calls per second."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}") as url:
        await fill(url, UNARY_IN_FLIGHT)
        async with connect(url, coalesce=True) as coalescing, connect(url) as plain:
            return await compare("calls/s", partial(_gets_per_second, coalescing), partial(_gets_per_second, plain))


async def workers2_get_vs_one() -> Row:
    """Get of one entry from a node with two workers, against one process, over 16 connections; both may use all cores.

    So does the load generator, which takes its part of them: on two cores the ratio cannot reach 2.
    """
    request = service_pb2.GetRequest(key=encode_key(Key(key(0))))
    return await _workers_vs_one("Get", request, "calls/s", calls=UNARY_CALLS, in_flight=32)


async def workers2_query_vs_one() -> Row:
    """The same of a query for 1,000 entries; queries per second."""
    asked = service_pb2.QueryRequest(query=encode_query(Query(Key("/Thing"), limit=1000)))
    return await _workers_vs_one("Query", asked, "queries/s", calls=QUERIES, in_flight=4)


async def _workers_vs_one(method: str, request: Any, unit: str, *, calls: int, in_flight: int) -> Row:
    with (
        tempfile.TemporaryDirectory() as directory,
        servers.node_with_workers(f"lmdb://{directory}/two", 2) as two,
        servers.node_with_workers(f"lmdb://{directory}/one", 1) as one,
    ):
        for url in (two, one):
            await fill(url, 1000)
        rate = partial(
            calls_per_second,
            method=f"{SERVICE}{method}",
            request=request.SerializeToString(),
            calls=calls,
            in_flight=in_flight,
            connections=16,
            started=servers.unpin,
        )
        return await compare(unit, partial(rate, two), partial(rate, one))


async def import_vs_bare_batches() -> Row:
    """JSON Lines through the importer of `datastore import`, against prepared BatchWrites of the same rows."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}") as url:
        lines = _import_lines()
        requests = _prepared_writes(lines)
        async with channel(url) as bare:
            send = partial(messages_per_second, bare, f"{SERVICE}BatchWrite", requests, in_flight=BATCHES_IN_FLIGHT)

            async def rows_per_second() -> float:
                return await send() * IMPORT_ROWS / len(requests)

            return await compare("rows/s", partial(_import_per_second, url, lines), rows_per_second)


async def delete_matching_vs_import() -> Row:
    """Deleting what a query selects, through a proxy, against importing the same rows through it; rows per second."""
    return await _matching_vs_import(lambda store: store.delete_matching(_THINGS))


async def patch_matching_vs_import() -> Row:
    """Patching what a query selects, through a proxy, against importing the same rows through it; rows per second."""
    return await _matching_vs_import(lambda store: store.patch_matching(_THINGS, increment={"elevation": 1}))


async def _matching_vs_import(change: Callable[[RemoteDatastore], MatchingRun]) -> Row:
    lines = _import_lines()
    with (
        tempfile.TemporaryDirectory() as directory,
        servers.node(f"lmdb://{directory}/data") as url,
        servers.proxy([url], Path(directory)) as proxy_url,
    ):
        async with connect(proxy_url) as store:

            async def changed_per_second() -> float:
                await _import_per_second(proxy_url, lines)
                start = time.perf_counter()
                await change(store).finish()
                return IMPORT_ROWS / (time.perf_counter() - start)

            async def imported_per_second() -> float:
                await store.delete_matching(_THINGS).finish()
                return await _import_per_second(proxy_url, lines)

            return await compare("rows/s", changed_per_second, imported_per_second, runs=MATCHING_RUNS)


async def aggregate_vs_count() -> Row:
    """The mean of a field by group over 100,000 maps from LMDB, against a count of the same query with a filter.

    The filter reads a field of every map and drops none. A count without one reads no value at all.
    """
    query = Query(Key("/Thing")).filter("elevation", ">=", 0)
    asked = Aggregate.checked(query, {"mean": Avg("elevation")}, group_by=["country"])
    aggregate = encode_aggregate(asked).SerializeToString()
    count = service_pb2.QueryRequest(query=encode_query(query.replaced(keys_only=True))).SerializeToString()
    async with filled.lmdb(value_of=grouped_row) as on:
        return await compare(
            "entries/s",
            partial(_entries_per_second, on, f"{SERVICE}Aggregate", aggregate),
            partial(_entries_per_second, on, f"{SERVICE}Query", count),
        )


async def conditional_put_vs_put() -> Row:
    """Puts of 100 B to LMDB on the condition that the entry exists, against puts without; calls per second."""
    async with filled.lmdb(UNARY_IN_FLIGHT, options="?durability=async") as on:
        puts = partial(messages_per_second, on, f"{SERVICE}Put", in_flight=UNARY_IN_FLIGHT)
        return await compare("calls/s", partial(puts, _puts(if_exists=True)), partial(puts, _puts(if_exists=False)))


async def query_with_expiry_vs_without() -> Row:
    """The query of the stream row over entries that all expire, but not yet, against entries that never do."""
    async with filled.lmdb(expiry=Expiry.after(86_400)) as ours, filled.lmdb() as other:
        return await compare(
            "entries/s",
            partial(_entries_per_second, ours, f"{SERVICE}Query", query()),
            partial(_entries_per_second, other, f"{SERVICE}Query", query()),
        )


async def watch_vs_bare_stream() -> Row:
    """The changes of 50,000 puts of 100 B in memory to one watcher, against a bare stream of as many bytes."""
    with servers.node("memory:") as url:
        async with channel(url) as ours, filled.bare() as bare:
            request = await _watch_of_puts(url, ours)
            sizes = await _read_changes(ours, request)

            async def changes_per_second(on: grpc.aio.Channel, method: str, request: bytes) -> float:
                _, seconds = await read_stream(on, method, request, messages=len(sizes))
                return WATCHED_PUTS / seconds

            return await compare(
                "changes/s",
                partial(changes_per_second, ours, f"{SERVICE}Watch", request),
                partial(changes_per_second, bare, "/bare/Stream", " ".join(map(str, sizes)).encode()),
            )


async def watch_fanout() -> Row:
    """Puts of 100 B in memory while 100 watchers see each of them, against puts without watchers; calls per second."""
    # Fewer than in other rows: each is a hundred changes.
    puts = _puts(if_exists=False)[:FANOUT_PUTS]
    with servers.node("memory:") as url:
        async with channel(url) as on, channel(url) as watched:
            rate = partial(messages_per_second, on, f"{SERVICE}Put", puts, in_flight=UNARY_IN_FLIGHT)

            async def with_watchers() -> float:
                begun = [asyncio.Event() for _ in range(WATCHERS)]
                watching = [asyncio.create_task(_watch(watched, event)) for event in begun]
                for event in begun:
                    await event.wait()
                found = await rate()
                await messages_per_second(on, f"{SERVICE}Put", [_last_put()], in_flight=1)
                await asyncio.gather(*watching)
                return found

            return await compare("calls/s", with_watchers, rate)


# Shared by the rows


def _last_put() -> bytes:
    request = raw.PutRequest()
    request.entry.key.text = LAST
    request.entry.value = encode_value(True).data
    data: bytes = request.SerializeToString()
    return data


async def _watch(on: grpc.aio.Channel, begun: asyncio.Event) -> None:
    """Read changes until that of `_last_put`."""
    method: Any = on.unary_stream(f"{SERVICE}Watch")
    call = method(_watch_request(b""))
    await call.read()
    begun.set()
    while LAST.encode() not in await call.read():
        pass
    call.cancel()


def _watch_request(token: bytes) -> bytes:
    request = service_pb2.WatchRequest(resume_token=token)
    request.query.key.text = "/Thing"
    return request.SerializeToString()


async def _watch_of_puts(url: str, on: grpc.aio.Channel) -> bytes:
    """Make the puts, and return the request of a watch that begins before them."""
    method: Any = on.unary_stream(f"{SERVICE}Watch")
    call = method(_watch_request(b""))
    token = service_pb2.WatchResponse.FromString(await call.read()).resume_token
    call.cancel()
    await fill(url, WATCHED_PUTS)
    return _watch_request(token)


async def _read_changes(on: grpc.aio.Channel, request: bytes) -> list[int]:
    """The sizes of the messages until all puts have come."""
    method: Any = on.unary_stream(f"{SERVICE}Watch")
    call = method(request)
    sizes, changes = [], 0
    while changes < WATCHED_PUTS:
        message = await call.read()
        sizes.append(len(message))
        changes += len(service_pb2.WatchResponse.FromString(message).changes)
    call.cancel()
    return sizes


async def _gets_per_second(store: RemoteDatastore) -> float:
    waiting = iter(range(UNARY_CALLS))

    async def work() -> None:
        for number in waiting:
            await store.get(Key(key(number % UNARY_IN_FLIGHT)))

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(UNARY_IN_FLIGHT)))
    return UNARY_CALLS / (time.perf_counter() - start)


async def _entries_per_second(on: grpc.aio.Channel, method: str, request: bytes) -> float:
    _, seconds = await read_stream(on, method, request)
    return STREAM_ENTRIES / seconds


def _puts(*, if_exists: bool) -> list[bytes]:
    """Requests that put the entries of a filled node again, one after the other."""
    requests = []
    for number in range(UNARY_CALLS):
        request = raw.PutRequest()
        request.entry.key.text = key(number % UNARY_IN_FLIGHT)
        request.entry.value = encode_value(text(number)).data
        if if_exists:
            request.condition.exists = True
        requests.append(request.SerializeToString())
    return requests


def _import_lines() -> list[str]:
    return [json.dumps({"key": key(n), "value": row(n)}) + "\n" for n in range(IMPORT_ROWS)]


def _prepared_writes(lines: list[str]) -> list[bytes]:
    """The rows as BatchWriteRequests of as many rows as the importer sends at once."""
    requests = []
    for start in range(0, len(lines), BATCH_ROWS):
        request = raw.BatchWriteRequest()
        for line in lines[start : start + BATCH_ROWS]:
            row = json.loads(line)
            put = request.writes.add().put
            put.key.text = row["key"]
            put.value = encode_value(row["value"]).data
        requests.append(request.SerializeToString())
    return requests


async def _import_per_second(url: str, lines: list[str]) -> float:
    return await asyncio.to_thread(_import, url, lines)


def _import(url: str, lines: list[str]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(lines)
        file.flush()
        start = time.perf_counter()
        with connect_threads(url) as store, opened(file.name) as source:
            rows = Reader(source, Layout("jsonl")).rows()
            Importer(store, Progress("bench", None), "bench").run(rows)
        return len(lines) / (time.perf_counter() - start)


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    unary_get_vs_echo,
    query_stream_vs_bare_stream,
    lone_gets_coalesced_vs_lone,
    workers2_get_vs_one,
    workers2_query_vs_one,
    import_vs_bare_batches,
    delete_matching_vs_import,
    patch_matching_vs_import,
    aggregate_vs_count,
    conditional_put_vs_put,
    query_with_expiry_vs_without,
    watch_vs_bare_stream,
    watch_fanout,
)
