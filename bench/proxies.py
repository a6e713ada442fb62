"""Rows of proxies: what a call costs through one, beside the same call at a node, alone on its core.

Where a proxy is measured it has a core to itself, and its nodes share the client's.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc

from bench import servers
from bench.calls import SERVICE, channel, read_stream
from bench.loads import calls_per_second
from bench.measure import Row, compare
from bench.things import STREAM_ENTRIES, UNARY_CALLS, UNARY_IN_FLIGHT, fill, key, query
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import encode_key, encode_query

__all__ = ["ROWS", "WITH_ENVOY", "is_installed"]

#: The shards of a proxy that has several.
SHARDS = 4
#: The keys of a batch, the entries that they are of, the batches of a run, and how many of them are in flight.
ITEMS, BATCH_ENTRIES, BATCHES, BATCHES_IN_FLIGHT = 100, 1000, 600, 16
#: The entries of the collection whose first ones are asked of all shards, how many these are, and the queries of a run.
SCATTERED, FIRST, SCATTERED_QUERIES = 320, 10, 100
#: The numbers of shards of that curve.
SCATTERED_OVER = (1, 2, 4, 8, 16)
#: The configuration that the TypeScript client is tested with, and the ports in it.
_ENVOY_CONFIG = Path(__file__).parent.parent / "client" / "typescript" / "test" / "envoy.yaml"
_ENVOY_PORT, _NODE_PORT = "8080", "7420"


def is_installed() -> bool:
    """Whether there is an Envoy to compare with."""
    return _envoy_binary() is not None


async def proxy_unary_vs_direct() -> Row:
    """Get of one entry through a proxy, 64 in flight, against one from a node; calls per second."""
    request = _get_request()
    with _proxy(1) as through, _direct() as direct:
        for url in (through, direct):
            await fill(url, 1)
        return await _compared_calls("Get", request, through, direct, calls=UNARY_CALLS, in_flight=UNARY_IN_FLIGHT)


async def proxy_vs_envoy() -> Row:
    """Get of one entry through a proxy, 64 in flight, against one through Envoy, both in front of a node.

    A report: Envoy forwards bytes and knows nothing of shards.
    """
    request = _get_request()
    with _proxy(1) as through, _direct(beside_client=True) as node, _envoy(node) as other:
        for url in (through, node):
            await fill(url, 1)
        return await _compared_calls("Get", request, through, other, calls=UNARY_CALLS, in_flight=UNARY_IN_FLIGHT)


async def proxy_batch_vs_direct() -> Row:
    """BatchGet of 100 keys through a proxy over 4 shards, 16 in flight, against one from a node; calls per second."""
    keys = [encode_key(Key(key(number * BATCH_ENTRIES // ITEMS))) for number in range(ITEMS)]
    request = service_pb2.BatchGetRequest(keys=keys).SerializeToString()
    with _proxy(SHARDS) as through, _direct() as direct:
        for url in (through, direct):
            await fill(url, BATCH_ENTRIES)
        return await _compared_calls("BatchGet", request, through, direct, calls=BATCHES, in_flight=BATCHES_IN_FLIGHT)


async def proxy_query_vs_direct() -> Row:
    """The same query, unordered, through a proxy over one node, against the node itself, each on its core."""
    with (
        tempfile.TemporaryDirectory() as directory,
        servers.node(f"lmdb://{directory}/data") as url,
        servers.proxy([url], Path(directory)) as proxy_url,
    ):
        # Only after the proxy has placed the node, which must be empty for that.
        await fill(url, STREAM_ENTRIES)
        async with channel(url) as direct, channel(proxy_url) as through:
            return await compare(
                "entries/s",
                partial(_entries_per_second, through, query()),
                partial(_entries_per_second, direct, query()),
            )


async def proxy_merge4_vs_stream() -> Row:
    """A query ordered by a field through a proxy over 4 shards, against an unordered one from a node.

    The nodes of the proxy have sorted before, and replay their answers: what is measured is the merge.
    """
    ordered = service_pb2.QueryRequest(query=encode_query(Query(Key("/Thing")).order("n"))).SerializeToString()
    with _proxy(SHARDS, replaying=True) as proxy_url, _direct() as url:
        for each in (proxy_url, url):
            await fill(each, STREAM_ENTRIES, _scattered)
        async with channel(url) as direct, channel(proxy_url) as through:
            return await compare(
                "entries/s",
                partial(_entries_per_second, through, ordered),
                partial(_entries_per_second, direct, query()),
            )


def _scatter(shards: int) -> Callable[[], Awaitable[Row]]:
    async def scatter_cost() -> Row:
        first = Query(Key("/Thing"), limit=FIRST).order("n")
        request = service_pb2.QueryRequest(query=encode_query(first)).SerializeToString()
        with _proxy(shards) as proxy_url, _direct() as url:
            for each in (proxy_url, url):
                await fill(each, SCATTERED, _scattered)
            async with channel(url) as direct, channel(proxy_url) as through:
                return await compare(
                    "queries/s",
                    partial(_queries_per_second, through, request),
                    partial(_queries_per_second, direct, request),
                )

    scatter_cost.__name__ = f"scatter_cost_{shards}"
    scatter_cost.__doc__ = f"An ordered query with limit 10 through a proxy over {shards} shards, against a node."
    return scatter_cost


# Shared by the rows


def _scattered(number: int) -> dict[str, object]:
    """A map with a field in another order than the keys."""
    return {"n": number * 7919 % STREAM_ENTRIES, "name": f"Thing number {number}", "filler": "x" * 40}


def _get_request() -> bytes:
    return service_pb2.GetRequest(key=encode_key(Key(key(0)))).SerializeToString()


async def _compared_calls(method: str, request: bytes, ours: str, other: str, *, calls: int, in_flight: int) -> Row:
    rate = partial(calls_per_second, method=f"{SERVICE}{method}", request=request, calls=calls, in_flight=in_flight)
    return await compare("calls/s", partial(rate, ours), partial(rate, other))


async def _entries_per_second(on: grpc.aio.Channel, request: bytes) -> float:
    _, seconds = await read_stream(on, f"{SERVICE}Query", request)
    return STREAM_ENTRIES / seconds


async def _queries_per_second(on: grpc.aio.Channel, request: bytes) -> float:
    start = time.perf_counter()
    for _ in range(SCATTERED_QUERIES):
        await read_stream(on, f"{SERVICE}Query", request)
    return SCATTERED_QUERIES / (time.perf_counter() - start)


@contextmanager
def _direct(*, beside_client: bool = False) -> Iterator[str]:
    """A node on LMDB."""
    with (
        tempfile.TemporaryDirectory() as directory,
        servers.node(f"lmdb://{directory}/data", beside_client=beside_client) as url,
    ):
        yield url


@contextmanager
def _proxy(shards: int, *, replaying: bool = False) -> Iterator[str]:
    """A proxy over so many nodes on LMDB, alone on its core."""
    with ExitStack() as stack:
        urls = [stack.enter_context(_direct(beside_client=True)) for _ in range(shards)]
        if replaying:
            urls = [stack.enter_context(servers.replaying(url)) for url in urls]
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield stack.enter_context(servers.proxy(urls, directory, beside_client=False))


def _envoy_binary() -> str | None:
    beside_python = str(Path(sys.executable).with_name("envoy"))
    return shutil.which(beside_python) or shutil.which("envoy")


@contextmanager
def _envoy(url: str) -> Iterator[str]:
    """Envoy with one worker in front of a server, with the core of the measured one to itself."""
    (port,) = servers.free_ports(1)
    text = _ENVOY_CONFIG.read_text()
    text = text.replace(_ENVOY_PORT, str(port)).replace(_NODE_PORT, url.rpartition(":")[2])
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "envoy.yaml"
        config.write_text(text)
        command = [_envoy_binary() or "envoy", "--config-path", str(config), "--use-dynamic-base-id"]
        with servers.listening([*command, "--log-level", "error", "--concurrency", "1"], port):
            yield f"grpc://127.0.0.1:{port}"


WITH_ENVOY = (proxy_vs_envoy,)
ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    proxy_unary_vs_direct,
    *WITH_ENVOY,
    proxy_batch_vs_direct,
    proxy_query_vs_direct,
    proxy_merge4_vs_stream,
    *map(_scatter, SCATTERED_OVER),
)
