"""Proxies as the nodes of another proxy: placed, verified and grown like all nodes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from datastore.model.errors import WrongShardError
from datastore.model.key import Key
from datastore_client import aio as client
from datastore_server.config import ClusterConfig, Config, ShardConfig
from tests.support.growing import apply_now, check_whole, contents, fill, nodes, proxy

ENTRIES = contents(120)


def outer(**urls: str) -> Config:
    shards = [ShardConfig(name=name, url=url) for name, url in urls.items()]
    return Config(cluster=ClusterConfig(name="outer"), shards=shards)


@pytest.mark.long
async def test_proxies_as_nodes_keep_their_slots_over_a_restart_and_take_part_in_growing(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b", "c", "d") as running, AsyncExitStack() as stack:
        first, second = running.config("a", "b"), running.config("c")
        left = await stack.enter_async_context(proxy(first))
        right = await stack.enter_async_context(proxy(second))
        async with proxy(outer(left=left.url)) as store:
            await fill(store, ENTRIES)
            await check_whole(store, ENTRIES)
        grown = await apply_now(outer(left=left.url, right=right.url))
        assert grown.target.epoch == 2
        async with proxy(outer(left=left.url, right=right.url)) as store:
            await check_whole(store, ENTRIES, absent=[Key("/none")])
        # An inner cluster grows by a node; its proxy is then another process, with the same identity.
        await apply_now(running.config("a", "b", "d"))
        again = await stack.enter_async_context(proxy(running.config("a", "b", "d")))
        async with proxy(outer(left=again.url, right=right.url)) as store:
            await check_whole(store, ENTRIES)
        refused = 0
        async with client.connect(again.url) as direct:
            for key in list(ENTRIES)[:30]:
                try:
                    assert await direct.get(key) == ENTRIES[key]
                except WrongShardError as error:
                    refused += 1
                    assert error.owner == "right"
        assert refused


async def test_an_inner_cluster_keeps_its_identity_when_all_its_nodes_are_replaced(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running:
        async with proxy(running.config("a")) as inner, proxy(outer(left=inner.url)) as store:
            await fill(store, ENTRIES)
        await apply_now(running.config("b"), addresses={"a": running.urls["a"]})
        await running.stop("a")
        async with proxy(running.config("b")) as inner, proxy(outer(left=inner.url)) as store:
            await check_whole(store, ENTRIES)


async def test_exchanged_proxies_are_refused(tmp_path: Path) -> None:
    async with nodes(tmp_path, "a", "b") as running, AsyncExitStack() as stack:
        left = await stack.enter_async_context(proxy(running.config("a")))
        right = await stack.enter_async_context(proxy(running.config("b")))
        async with proxy(outer(left=left.url, right=right.url)) as store:
            await fill(store, ENTRIES)
        async with proxy(outer(left=right.url, right=left.url)) as store:
            with pytest.raises(WrongShardError, match=r"is shard 'right', but cluster.toml has shard 'left' there"):
                await store.get(Key("/a"))
