"""Changes of many entries while servers are killed: every entry is changed once, whatever answers are lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from datastore.model.entries import Write
from datastore.model.errors import DatastoreError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import connect
from tests.support import processes

ENTRIES = 9000
ALL = Query(Key("/Thing"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.ClusterProcesses]:
    """A cluster of processes."""
    with processes.cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


async def fill(store: Any) -> None:
    for start in range(0, ENTRIES, 1000):
        writes = [Write(Key(f"/Thing:{n:05}"), {"n": n, "visits": 0}) for n in range(start, start + 1000)]
        assert not any(result.error for result in await store.batch_write(writes))


async def visits(store: Any) -> Counter[int]:
    return Counter([entry["visits"] async for entry in store.query(ALL)])


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        (ALL, ENTRIES),
        pytest.param(Query(Key("/Thing"), limit=5000, offset=10).order("-n"), 5000, marks=pytest.mark.long),
    ],
    ids=["all", "limited"],
)
async def test_a_node_killed_during_a_patch_of_many_patches_no_entry_twice_and_none_is_left_out(
    cluster: processes.ClusterProcesses, query: Query, selected: int
) -> None:
    node = cluster.nodes["shard-2"]
    async with connect(cluster.url) as store:
        await fill(store)
        run = store.patch_matching(query, increment={"visits": 1})
        killed = 0
        async for progress in run:
            if progress.changed > killed * 1500 and killed < 2:
                killed += 1
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
        assert killed
        assert await visits(store) == Counter({1: selected} | ({0: ENTRIES - selected} if selected < ENTRIES else {}))


@pytest.mark.long
async def test_a_proxy_killed_during_a_patch_of_many_is_continued_by_the_last_token(
    cluster: processes.ClusterProcesses,
) -> None:
    (proxy,) = cluster.proxies
    async with connect(cluster.url) as store:
        await fill(store)
        run = store.patch_matching(ALL, increment={"visits": 1})
        await anext(run)
        await anext(run)
        await asyncio.to_thread(proxy.kill)
    token = run.progress.token
    await run.aclose()
    await asyncio.to_thread(proxy.start)
    async with connect(cluster.url) as store:
        while True:
            again = store.patch_matching(ALL, increment={"visits": 1}, resume_token=token)
            try:
                await again.finish()
                break
            except DatastoreError:
                token = again.progress.token
        assert await visits(store) == {1: ENTRIES}
