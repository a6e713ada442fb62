"""Watches through a proxy while nodes restart and slots move: every change once, in order per key, none missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from datastore.model.errors import ChangesExpiredError
from datastore_client import aio as client
from datastore_server.app import Server, serve
from datastore_server.config import Config
from datastore_server.topology import build_proxy
from tests.support.growing import SOURCE, apply_now, nodes
from tests.support.watched import KEYS, QUERY, watched_writes


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


@pytest.mark.parametrize("in_memory", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_a_watch_continues_while_shards_are_added_and_removed(tmp_path: Path, *, in_memory: bool) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(nodes(None if in_memory else tmp_path, *"abc", changes=True))
        proxy = await stack.enter_async_context(proxied(running.config("a", "b")))
        writer, followers = await stack.enter_async_context(watched_writes(proxy.url))
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
