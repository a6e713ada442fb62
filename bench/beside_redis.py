"""Rows beside Redis: the same work by a node on LMDB and by a Redis that syncs each write to disk, alone on its core.

`apt install redis-server` brings both the server and `redis-benchmark`, its load generator. Redis keeps everything in
memory, answers in a protocol that costs less than HTTP/2, and has no queries.
"""

from __future__ import annotations

import asyncio
import csv
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis import asyncio as redis

from bench import servers
from bench.calls import SERVICE
from bench.loads import calls_per_second
from bench.measure import Row, compare
from bench.things import UNARY_CALLS, UNARY_IN_FLIGHT, VALUE_BYTES, fill, key, text
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import encode_key, encode_value, raw

__all__ = ["ROWS", "is_installed"]

#: Pairs of runs, and the entries that both hold.
RUNS, ENTRIES = 11, 10_000
#: The items of a batch, and the calls of a run of batches.
ITEMS, BATCHES = 100, 600
#: How many times as many calls Redis gets: a run would be too short to measure.
TIMES_CALLS = 10


def is_installed() -> bool:
    """Whether there is a server to compare with."""
    return shutil.which("redis-server") is not None and shutil.which("redis-benchmark") is not None


async def get_vs_redis() -> Row:
    """Get of one entry, 64 in flight, against GETs of 64 connections; calls per second."""
    request = service_pb2.GetRequest(key=encode_key(Key(key(0))))
    return await _compared("calls/s", "Get", request, ["GET", key(0)], calls=UNARY_CALLS)


async def durable_put_vs_redis() -> Row:
    """Put of one entry, 64 in flight, each on disk before its answer; calls per second."""
    request = raw.PutRequest()
    request.entry.key.text, request.entry.value = key(0), encode_value(text(0)).data
    return await _compared("calls/s", "Put", request, ["SET", key(0), text(0)], calls=UNARY_CALLS)


async def batch_get_vs_redis_mget() -> Row:
    """BatchGet of 100 keys, 64 in flight, against an MGET of 100; keys per second."""
    keys = [key(number) for number in range(ITEMS)]
    request = service_pb2.BatchGetRequest(keys=[encode_key(Key(each)) for each in keys])
    return await _compared("keys/s", "BatchGet", request, ["MGET", *keys], calls=BATCHES, items=ITEMS)


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (get_vs_redis, durable_put_vs_redis, batch_get_vs_redis_mget)


async def _compared(unit: str, method: str, request: Any, command: Sequence[str], *, calls: int, items: int = 1) -> Row:
    """The rates of a method and of a command: items per second."""
    sent = request.SerializeToString()
    async with _both() as (url, port):

        async def ours() -> float:
            path = f"{SERVICE}{method}"
            return items * await calls_per_second(url, path, sent, calls=calls, in_flight=UNARY_IN_FLIGHT)

        theirs = partial(_commands_per_second, port, command, TIMES_CALLS * calls, items)
        return await compare(unit, ours, theirs, runs=RUNS)


async def _commands_per_second(port: int, command: Sequence[str], calls: int, items: int) -> float:
    process = await asyncio.create_subprocess_exec(
        *["redis-benchmark", "-p", str(port), "-c", str(UNARY_IN_FLIGHT), "-n", str(calls), "--csv", *command],
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    header, row = list(csv.reader(output.decode().splitlines()))[-2:]
    return items * float(row[header.index("rps")])


@asynccontextmanager
async def _both() -> AsyncIterator[tuple[str, int]]:
    """Both servers with the same entries: a URL and a port."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}/node") as url:
        (port,) = servers.free_ports(1)
        command = ["redis-server", "--port", str(port), "--dir", directory, "--logfile", "log", "--save", ""]
        with servers.listening([*command, "--appendonly", "yes", "--appendfsync", "always"], port):
            await fill(url, ENTRIES)
            async with redis.Redis(port=port) as store:
                await store.mset({key(number): text(number) for number in range(ENTRIES)})
                assert await store.strlen(key(0)) == VALUE_BYTES
            yield url, port
