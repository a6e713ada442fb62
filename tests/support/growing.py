"""Clusters whose shards change, within the test's process: nodes that start, stop and move, and proxies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from datastore import wire
from datastore.aio import Datastore
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client import aio as client
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.coordination.moving import Options, Plan, apply
from datastore_server.store_urls import lmdb_url, parse_store_url
from datastore_server.topology import build_node, build_proxy

CLUSTER = "trial"
SOURCE = "cluster.toml"


class Nodes:
    """Nodes by name, on LMDB in a directory each, or in memory. A node keeps its port when it starts again."""

    def __init__(self, directory: Path | None, *, changes: bool = False) -> None:
        self._directory = directory
        self._settings = "?changes=true" if changes else ""
        self._running: dict[str, Server] = {}
        self.urls: dict[str, str] = {}

    async def start(
        self, name: str, *, at: str = "", directory: str = "", named: bool = False, config: Config | None = None
    ) -> None:
        """Start the node of this name, at the URL of before or at another's, on its directory or another."""
        store = parse_store_url("memory:")
        if self._directory is not None:
            store = parse_store_url(lmdb_url(self._directory / (directory or name)) + self._settings)
        is_named = named or config is not None
        node = build_node(
            store,
            durability="async",
            cluster=CLUSTER if is_named else None,
            shard=name if is_named else None,
            config=config,
        )
        listen = (at or self.urls.get(name, "")).removeprefix("grpc://") or "127.0.0.1:0"
        server = serve(node.datastore, **node.settings(), listen=listen)
        await server.start()
        self._running[name] = server
        self.urls[name] = server.url

    def engine(self, name: str) -> Any:
        """The store of a node on LMDB, below its server."""
        return self._running[name]._node.system._engine  # type: ignore[attr-defined]

    async def stop(self, *names: str) -> None:
        """Stop nodes, all unless some are named."""
        for name in names or list(self._running):
            await self._running.pop(name).stop()

    def config(self, *names: str, shard_by: Any = "key") -> Config:
        """The configuration of a cluster of these nodes; `name=other` is the node `other` under another name."""
        pairs = (name.partition("=") for name in sorted(names))
        shards = [ShardConfig(name=name, url=self.urls[other or name]) for name, _, other in pairs]
        return Config(cluster=ClusterConfig(name=CLUSTER, shard_by=shard_by), shards=shards)

    async def held(self) -> dict[str, list[str]]:
        """The keys of the entries that each running node shows, in order."""
        found = {}
        for name in self._running:
            async with client.connect(self.urls[name]) as store:
                found[name] = [str(key) for key, _ in await entries_of(store)]
        return found


@asynccontextmanager
async def nodes(
    directory: Path | None, *names: str, named: bool = False, changes: bool = False
) -> AsyncIterator[Nodes]:
    """Running nodes, stopped at the end. With `changes`, those on LMDB keep a log of them."""
    running = Nodes(directory, changes=changes)
    try:
        for name in names:
            await running.start(name, named=named)
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def proxy(config: Config, reread: Callable[[], Config] | None = None) -> AsyncIterator[client.RemoteDatastore]:
    """A client of a proxy that serves a configuration."""
    async with AsyncExitStack() as stack:
        topology = build_proxy(config, SOURCE, reread)
        server = await stack.enter_async_context(
            serve(
                topology.datastore,
                **topology.settings(),
            )
        )
        yield await stack.enter_async_context(client.connect(server.url))


async def apply_now(config: Config, **options: Any) -> Plan:
    """Apply a configuration as the command does with --offline."""
    said: list[str] = []
    return await apply(config, SOURCE, Options(offline=True, **options), said.append)


def contents(count: int, collections: int = 7) -> dict[Key, Any]:
    """Entries in several collections, of different sizes."""
    return {
        Key(f"/Kind{number % collections}:{number:05}"): {"n": number, "text": "x" * (number * 37 % 300)}
        for number in range(count)
    }


async def fill(store: Datastore, entries: Mapping[Key, Any]) -> None:
    """Store all entries."""
    outcomes = await store.batch_write([Write(*entry) for entry in entries.items()])
    assert [outcome.error for outcome in outcomes if outcome.error] == []


async def entries_of(store: Datastore) -> list[tuple[Key, Any]]:
    """All entries of a store."""
    return [(key, value) async for key, value in store.query(Query(Key("/"), recursive=True)).entries() if key]


async def check_whole(store: Datastore, entries: Mapping[Key, Any], absent: Iterable[Key] = ()) -> None:
    """Check that a store holds exactly these entries, by every kind of read."""
    expected = sorted(entries.items())
    assert await entries_of(store) == expected
    found = await store.batch_get(list(entries))
    assert [outcome.value for outcome in found] == list(entries.values())
    for key in list(entries)[:20]:
        assert await store.contains(key)
    for key in absent:
        assert not await store.contains(key)
        assert await store.get(key) is None


def decoded(value: Any) -> Any:
    """A value as a caller sees it."""
    return value.decode() if isinstance(value, wire.WireValue) else value
