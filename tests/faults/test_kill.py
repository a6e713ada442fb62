"""Servers killed by SIGKILL: acknowledged writes survive, the other shards answer, and streams continue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datastore.aio.base import Datastore
from datastore.model.aggregates import Count, Max, Sum
from datastore.model.entries import Write
from datastore.model.errors import DeadlineExceededError, UnavailableError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing import aggregates, model
from datastore_client.aio import connect
from tests.support import processes

#: Many times what sockets and servers hold between a node and a reader that does not read.
ENTRIES = 24_000
CONTENTS = {
    Key(f"/Thing:{index:06}"): {"n": index * 7919 % ENTRIES, "group": index % 5, "filler": "x" * 300}
    for index in range(ENTRIES)
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.ClusterProcesses]:
    """A cluster of processes that holds CONTENTS. Tests leave it complete and running."""
    with processes.cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        asyncio.run(fill(cluster.url))
        yield cluster


async def fill(url: str) -> None:
    async with connect(url) as store:
        pairs = list(CONTENTS.items())
        for start in range(0, len(pairs), 2000):
            outcomes = await store.batch_write([Write(*pair) for pair in pairs[start : start + 2000]])
            assert not any(outcome.error for outcome in outcomes)


@pytest.fixture
async def store(filled: processes.ClusterProcesses) -> AsyncIterator[Datastore]:
    async with connect(filled.url) as store:
        yield store


def by_key() -> Query:
    return Query(Key("/Thing"))


def by_order() -> Query:
    return Query(Key("/Thing")).order("group").order("-n")


def filtered_and_cut() -> Query:
    return Query(Key("/Thing"), offset=3000, limit=15_000).filter("group", "!=", 3)


QUERIES = [
    pytest.param(by_key, marks=pytest.mark.long),
    pytest.param(by_order, marks=pytest.mark.long),
    filtered_and_cut,
]


async def read_with_a_fault(store: Datastore, query: Query, after: int, fault: Any) -> None:
    """Read all of a query, with `fault` happening in the middle; the answer must be complete."""
    expected = model.answer(query, CONTENTS)
    cursor = store.query(query)
    seen = []
    async for entry in cursor.entries():
        seen.append(entry)
        if len(seen) == after:
            await fault()
    problem = model.difference(seen, expected.entries)
    assert problem is None, problem
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)
    assert cursor.summary is not None


@pytest.mark.parametrize(
    ("query", "after"),
    [
        pytest.param(by_key, 1, marks=pytest.mark.long),
        pytest.param(by_key, 5000, marks=pytest.mark.long),
        pytest.param(by_order, 1, marks=pytest.mark.long),
        (filtered_and_cut, 3000),
    ],
)
async def test_a_node_killed_and_restarted_during_a_query_loses_and_repeats_nothing(
    filled: processes.ClusterProcesses, store: Datastore, query: Any, after: int
) -> None:
    async def restart() -> None:
        node = filled.nodes["shard-2"]
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)

    await read_with_a_fault(store, query(), after, restart)


@pytest.mark.long
async def test_aggregates_while_a_node_is_killed_and_restarted_are_whole_or_fail(
    filled: processes.ClusterProcesses, store: Datastore
) -> None:
    async def restart_twice() -> None:
        node = filled.nodes["shard-1"]
        for _ in range(2):
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)

    parts = {"count": Count(), "sum": Sum("n"), "last": Max("__key__")}
    expected = aggregates.rows(by_key(), CONTENTS, parts, ["group"])
    assert await store.aggregate(by_key(), parts, group_by=["group"]) == expected
    restarting = asyncio.create_task(restart_twice())
    async with connect(filled.url, retry=False) as impatient:
        while not restarting.done():
            # Clients that retry get the whole answer; others may get an error.
            calls = [each.aggregate(by_key(), parts, group_by=["group"]) for each in (store, impatient)]
            patient, hasty = await asyncio.gather(*calls, return_exceptions=True)
            assert patient == expected
            assert hasty == expected or isinstance(hasty, UnavailableError), hasty
    await restarting


@pytest.mark.long
@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_waits_for_a_node_that_comes_back_later(
    filled: processes.ClusterProcesses, store: Datastore, query: Any
) -> None:
    node = filled.nodes["shard-3"]
    back: list[asyncio.Task[None]] = []

    async def start_again_later() -> None:
        # Once a call has found the node dead, so that the stream is known to have met it too.
        async with connect(filled.url) as other:
            lost = next(key for key in CONTENTS if filled.shard_of(key) == "shard-3")
            with pytest.raises(UnavailableError):
                await other.get(lost)
        await asyncio.to_thread(node.start)

    async def kill() -> None:
        await asyncio.to_thread(node.kill)
        back.append(asyncio.create_task(start_again_later()))

    await read_with_a_fault(store, query(), 500, kill)
    await back[0]


@pytest.mark.parametrize("query", QUERIES)
async def test_a_proxy_killed_and_restarted_during_a_query_loses_and_repeats_nothing(
    filled: processes.ClusterProcesses, store: Datastore, query: Any
) -> None:
    async def restart() -> None:
        await asyncio.to_thread(filled.proxy.kill)
        await asyncio.to_thread(filled.proxy.start)

    await read_with_a_fault(store, query(), 1000, restart)


@pytest.mark.long
@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_whose_node_stays_dead_fails_and_never_seems_complete(
    filled: processes.ClusterProcesses, query: Any
) -> None:
    node = filled.nodes["shard-2"]
    try:
        async with connect(filled.url, query_timeout_s=3) as store:
            cursor = store.query(query())
            with pytest.raises((UnavailableError, DeadlineExceededError)):
                async for _ in cursor.entries():
                    if cursor.returned == 1:
                        await asyncio.to_thread(node.kill)
            assert cursor.summary is None
    finally:
        await asyncio.to_thread(node.start)
    async with connect(filled.url) as store:
        await until_answered(store, next(key for key in CONTENTS if filled.shard_of(key) == "shard-2"))


async def test_a_dead_shard_is_named_immediately_and_the_others_answer(
    filled: processes.ClusterProcesses,
) -> None:
    async with connect(filled.url, retry=False) as store:
        await _name_a_dead_shard(filled, store)


async def _name_a_dead_shard(filled: processes.ClusterProcesses, store: Datastore) -> None:
    by_shard = {filled.shard_of(key): key for key in CONTENTS}
    assert set(by_shard) == set(processes.SHARDS)
    node = filled.nodes["shard-1"]
    await asyncio.to_thread(node.kill)
    try:
        for call in (store.get, store.contains, store.delete, partial(store.put, value=1)):
            begin = time.monotonic()
            with pytest.raises(UnavailableError) as caught:
                await call(by_shard["shard-1"])
            assert caught.value.shard == "shard-1"
            assert time.monotonic() - begin < 2
        for name in ("shard-2", "shard-3"):
            key = by_shard[name]
            assert await store.get(key) == CONTENTS[key]
            await store.put(key, CONTENTS[key])
        keys = list(by_shard.values())
        outcomes = dict(zip(keys, await store.batch_get(keys), strict=True))
        for name, key in by_shard.items():
            if name == "shard-1":
                assert isinstance(outcomes[key].error, UnavailableError)
                assert outcomes[key].error.shard == "shard-1"
            else:
                assert outcomes[key].value == CONTENTS[key]
    finally:
        await asyncio.to_thread(node.start)
    await until_answered(store, by_shard["shard-1"])


async def until_answered(store: Datastore, key: Key) -> None:
    """Return once calls and queries are answered: a channel takes up to a second to find its server again."""
    for _ in range(200):
        try:
            assert await store.get(key) == CONTENTS[key]
            # Queries have separate connections, one to each node.
            assert await anext(store.query(Query(Key("/Thing"), limit=1))) == CONTENTS[Key("/Thing:000000")]
        except UnavailableError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError(f"{key} is not answered, although its node runs")


@pytest.mark.long
async def test_a_query_allowed_to_be_partial_reports_which_shard_is_missing(
    filled: processes.ClusterProcesses, store: Datastore
) -> None:
    node = filled.nodes["shard-1"]
    await asyncio.to_thread(node.kill)
    try:
        there = {key: value for key, value in CONTENTS.items() if filled.shard_of(key) != "shard-1"}
        cursor = store.query(Query(Key("/Thing"), limit=500, allow_partial=True))
        seen = [entry async for entry in cursor.entries()]
        problem = model.difference(seen, model.answer(Query(Key("/Thing"), limit=500), there).entries)
        assert problem is None, problem
        assert cursor.summary is not None
        assert [report.shard for report in cursor.summary.shards if report.error] == ["shard-1"]
    finally:
        await asyncio.to_thread(node.start)
    await until_answered(store, next(key for key in CONTENTS if filled.shard_of(key) == "shard-1"))


async def test_acknowledged_writes_survive_a_kill(tmp_path: Path) -> None:
    with processes.node(tmp_path / "data") as node:
        acknowledged: dict[Key, int] = {}
        begun: dict[Key, int] = {}

        async def write(store: Datastore, writer: int) -> None:
            for step in range(1_000_000):
                key = Key(f"/w:{writer}/{step % 50}")
                begun[key] = step
                await store.put(key, step)
                acknowledged[key] = step

        async with connect(node.url) as store:
            writers = [asyncio.create_task(write(store, writer)) for writer in range(8)]
            while len(acknowledged) < 300 and not any(writer.done() for writer in writers):
                await asyncio.sleep(0)
            await asyncio.to_thread(node.kill)
            ends = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(end, UnavailableError) for end in ends), ends
        node.start()
        async with connect(node.url) as store:
            outcomes = await store.batch_get(list(acknowledged))
            for (key, step), outcome in zip(acknowledged.items(), outcomes, strict=True):
                # A write that was not acknowledged may have happened too.
                assert outcome.value in (step, begun[key]), key


@pytest.mark.long
async def test_a_shard_that_does_not_answer_is_named_before_the_caller_gives_up(
    filled: processes.ClusterProcesses,
) -> None:
    held = {name: next(key for key in CONTENTS if filled.shard_of(key) == name) for name in ("shard-1", "shard-2")}
    async with connect(filled.url, timeout_s=15) as store:
        with filled.nodes["shard-1"].paused():
            with pytest.raises(DeadlineExceededError) as raised:
                await store.get(held["shard-1"])
            assert raised.value.shard == "shard-1"
            late, held_elsewhere = await store.batch_get([held["shard-1"], held["shard-2"]])
            # By then the keepalive of the proxy's connection may have noticed it.
            assert isinstance(late.error, (DeadlineExceededError, UnavailableError))
            assert held_elsewhere.value == CONTENTS[held["shard-2"]]
        await until_answered(store, held["shard-1"])
