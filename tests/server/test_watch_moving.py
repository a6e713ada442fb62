"""Watches through a proxy while nodes restart and slots move: every change once, in order per key, none missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from datastore.aio import Datastore
from datastore.aio.watching import Watcher
from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import ChangesExpiredError, DatastoreError
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.model.query import Query
from datastore_client import aio as client
from datastore_server.app import Server, serve
from datastore_server.config import Config
from datastore_server.topology import build_proxy
from tests.support.growing import SOURCE, apply_now, nodes
from tests.support.waiting import PATIENCE_S

QUERY = Query(Key("/w"))
KEYS = [Key(f"/w:{number}") for number in range(24)]


class Proxy:
    """A proxy that keeps its port when it starts again."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self.url = "grpc://127.0.0.1:0"

    async def start(self, config: Config) -> None:
        await self.stop()
        topology = build_proxy(config, SOURCE)
        listen = self.url.removeprefix("grpc://")
        self._server = serve(topology.datastore, **topology.settings(), listen=listen)
        await self._server.start()
        self.url = self._server.url

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None


@asynccontextmanager
async def proxied(config: Config) -> AsyncIterator[Proxy]:
    proxy = Proxy()
    try:
        await proxy.start(config)
        yield proxy
    finally:
        await proxy.stop()


class Writer:
    """Puts numbers, and notes the versions of those that were acknowledged, and the others."""

    def __init__(self, store: Datastore) -> None:
        self._store = store
        self.acknowledged: dict[Key, dict[int, int]] = {key: {} for key in KEYS}
        self.unknown: set[int] = set()
        self._is_ending = False

    async def run(self) -> None:
        for number in count():
            if self._is_ending:
                return
            key = KEYS[number % len(KEYS)]
            try:
                (result,) = await self._store.write([Put(key, number)])
            except DatastoreError:
                self.unknown.add(number)
            else:
                if result.metadata is None:
                    self.unknown.add(number)
                else:
                    self.acknowledged[key][result.metadata.version] = number
            await asyncio.sleep(0.001)

    async def more(self) -> None:
        """Wait until some more have been acknowledged."""
        wanted = self.total + 100
        while self.total < wanted:
            await asyncio.sleep(0)

    @property
    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def end(self) -> None:
        self._is_ending = True

    def has_been_seen(self, changes: list[Change]) -> bool:
        """Whether all acknowledged puts are among these changes."""
        versions = {change.version for change in changes}
        return all(acknowledged.keys() <= versions for acknowledged in self.acknowledged.values())

    def check(self, changes: list[Change]) -> None:
        """Check that these changes are what was written."""
        assert {change.kind for change in changes} == {ChangeKind.PUT}
        for key, acknowledged in self.acknowledged.items():
            found = [(change.version, change.value) for change in changes if change.key == key]
            versions = [version for version, _ in found]
            assert versions == sorted(set(versions))
            assert acknowledged.items() <= set(found)
            assert {number for version, number in found if version not in acknowledged} <= self.unknown


class Follower:
    """Reads all changes. Where `leaves_at` says so, it leaves the watch and continues by its token."""

    def __init__(self, store: Datastore, leaves_at: Callable[[int], bool]) -> None:
        self._store = store
        self._leaves_at = leaves_at
        self.found: list[Change] = []
        self._watcher: Watcher | None = None

    async def run(self) -> None:
        while True:
            async with self._store.watch(QUERY, resume_token=self.token) as self._watcher:
                async for batch in self._watcher.batches():
                    self.found += batch.changes
                    if batch.changes and self._leaves_at(len(self.found)):
                        break

    @property
    def token(self) -> bytes | None:
        """Where it has come to."""
        return None if self._watcher is None else self._watcher.token

    async def reaches(self, name: bytes) -> None:
        """Wait until a name is in the token."""
        while self.token is None or name not in self.token:
            await asyncio.sleep(0)


@asynccontextmanager
async def watched_writes(proxy: Proxy) -> AsyncIterator[tuple[Writer, list[Follower]]]:
    """A writer and two watchers; at the end, what they saw is compared."""
    async with client.connect(proxy.url) as store:
        followers = [Follower(store, lambda _: False), Follower(store, lambda seen: seen % 3 == 0)]
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(follower.run()) for follower in followers]
            for follower in followers:
                await follower.reaches(b"")
            writer = Writer(store)
            writing = tasks.create_task(writer.run())
            yield writer, followers
            writer.end()
            await writing
            for follower, task in zip(followers, following, strict=True):
                while not writer.has_been_seen(follower.found):
                    await asyncio.sleep(0)
                task.cancel()
    for follower in followers:
        writer.check(follower.found)


@pytest.mark.parametrize("in_memory", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_a_watch_continues_while_shards_are_added_and_removed(tmp_path: Path, *, in_memory: bool) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(nodes(None if in_memory else tmp_path, *"abc", changes=True))
        proxy = await stack.enter_async_context(proxied(running.config("a", "b")))
        writer, followers = await stack.enter_async_context(watched_writes(proxy))
        await writer.more()
        await apply_now(running.config("a", "b", "c"))
        await proxy.start(running.config("a", "b", "c"))
        await writer.more()
        if not in_memory:
            await running.stop("b")
            await running.start("b")
            await writer.more()
        await apply_now(running.config("a", "c"))
        # The proxy that knows the removed node reads it to its end.
        for follower in followers:
            await follower.reaches(b"trial//3")
        await running.stop("b")
        await proxy.start(running.config("a", "c"))
        await writer.more()


async def test_a_watch_continues_over_one_change_of_placement_and_not_over_two(tmp_path: Path) -> None:
    async with nodes(tmp_path, *"abc", changes=True) as running:
        async with proxied(running.config("a")) as proxy, client.connect(proxy.url) as store:
            async with store.watch(QUERY) as watcher:
                token = watcher.token
            await store.put(KEYS[0], 0)
            await apply_now(running.config("a", "b"))
            await proxy.start(running.config("a", "b"))
            await store.put(KEYS[0], 1)
            async with store.watch(QUERY, resume_token=token) as watcher:
                assert [(await anext(watcher)).value for _ in range(2)] == [0, 1]
            await apply_now(running.config("a", "b", "c"))
            await proxy.start(running.config("a", "b", "c"))
            with pytest.raises(ChangesExpiredError):
                async with store.watch(QUERY, resume_token=token) as watcher:
                    await anext(watcher)


async def test_a_token_that_had_not_reached_the_end_of_a_removed_node_expires(tmp_path: Path) -> None:
    async with nodes(tmp_path, *"ab", changes=True) as running:
        async with proxied(running.config("a", "b")) as proxy, client.connect(proxy.url) as store:
            async with store.watch(QUERY) as watcher:
                token = watcher.token
            await apply_now(running.config("a"))
            await proxy.start(running.config("a"))
            with pytest.raises(ChangesExpiredError):
                async with store.watch(QUERY, resume_token=token) as watcher:
                    await anext(watcher)


async def test_a_watch_with_a_listing_that_is_not_complete_ends_when_slots_move(tmp_path: Path) -> None:
    async with nodes(tmp_path, *"ab", changes=True) as running:
        async with proxied(running.config("a")) as proxy, client.connect(proxy.url) as store:
            for key in KEYS:
                await store.put(key, 1)
            async with store.watch(QUERY, initial=True) as watcher:
                token = watcher.token
            await apply_now(running.config("a", "b"))
            await proxy.start(running.config("a", "b"))
            with pytest.raises(ChangesExpiredError):
                async with store.watch(QUERY, initial=True, resume_token=token) as watcher:
                    await anext(watcher)
