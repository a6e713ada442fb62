"""Nodes and proxies within the test's process: real servers on free ports, over real channels.

For tests without an event loop there is `Background`, a loop in a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from datastore.model.errors import DatastoreError
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.service import DatastoreService
from datastore_server.store_urls import StoreUrl, lmdb_url, parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support.waiting import PATIENCE_S

T = TypeVar("T")

SHARDS = ("shard-1", "shard-2", "shard-3")


class Cluster:
    """Running servers: some nodes, whose stores can be inspected, and perhaps a proxy. `url` is for clients."""

    def __init__(self, nodes: Sequence[Server], backends: Sequence[Any], proxy: Server | None = None) -> None:
        self.nodes = nodes
        self.backends = backends
        self.proxy = proxy
        self.url = (proxy or nodes[0]).url

    async def plant(self, key: Any, value: Any) -> None:
        """Put directly into the store of a single node, bypassing servers."""
        (backend,) = self.backends
        await backend.put(key, value)

    async def inspect(self, key: Any) -> Any:
        """The decoded value on the one node that has the key; None if no node has it."""
        found = [value for backend in self.backends if (value := await backend.get(key)) is not None]
        assert len(found) <= 1
        return found[0].decode() if found else None


def _store(directory: Path | None) -> StoreUrl:
    return parse_store_url("memory:") if directory is None else parse_store_url(lmdb_url(directory))


@asynccontextmanager
async def node(directory: Path | None = None, *, workers: int = 1) -> AsyncIterator[Cluster]:
    """One node, on LMDB in `directory` or in memory. Several `workers` answer reads in their own processes."""
    topology = build_node(_store(directory), durability="async", workers=workers)
    async with serve(topology.datastore, **topology.settings()) as server:
        yield Cluster([server], [topology.datastore])


@asynccontextmanager
async def proxy(
    directory: Path | None = None,
    *,
    metrics: str | None = None,
    tracing: Any = None,
    node_tracing: Any = None,
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Three nodes, on LMDB below `directory` or in memory, and a proxy over them. All serve their metrics there."""
    async with AsyncExitStack() as stack:
        nodes, backends = [], []
        for name in SHARDS:
            topology = build_node(
                _store(directory and directory / name), durability="async", cluster="test", shard=name
            )
            backends.append(topology.datastore)
            node = serve(
                topology.datastore,
                **topology.settings(),
                metrics=metrics,
                tracing=node_tracing,
            )
            nodes.append(await stack.enter_async_context(node))
        shards = [ShardConfig(name=name, url=server.url) for name, server in zip(SHARDS, nodes, strict=True)]
        topology = build_proxy(Config(cluster=ClusterConfig(name="test", **settings), shards=shards))
        server = await stack.enter_async_context(
            serve(
                topology.datastore,
                **topology.settings(),
                metrics=metrics,
                tracing=tracing,
            )
        )
        yield Cluster(nodes, backends, server)


def refusals_of(monkeypatch: pytest.MonkeyPatch, method: str) -> list[DatastoreError]:
    """A list to which a test adds errors; the nodes, but not proxies, raise them for the next calls of a method."""
    refusals: list[DatastoreError] = []
    served = getattr(DatastoreService, method)

    async def refusing(self: Any, data: bytes, call: Any) -> None:
        if refusals and not self._cluster.shards:
            raise refusals.pop()
        await served(self, data, call)

    monkeypatch.setattr(DatastoreService, method, refusing)
    return refusals


class Background:
    """An event loop in a separate thread, for servers of tests that have none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, done on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=PATIENCE_S)

    @contextmanager
    def running(self, cluster: Any) -> Iterator[Cluster]:
        """The servers of an async context manager, while the block runs."""
        started = self.run(cluster.__aenter__())
        try:
            yield started
        finally:
            self.run(cluster.__aexit__(None, None, None))


@contextmanager
def background() -> Iterator[Background]:
    """A loop in a thread while the block runs."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="background loop")
        thread.start()
        try:
            yield Background(loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
