"""Stores over children that fail, are slow or hang: no lost value, no partial answer, no stale back-fill."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datastore import aio
from datastore.aio.testing.faults import FaultyDatastore
from datastore.aio.tiered import SKIP_FAILED_S
from datastore.model.entries import Write
from datastore.model.errors import StoreError, UnavailableError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing import cases, model

KEY = Key("/a")


def faulty() -> FaultyDatastore:
    return FaultyDatastore(aio.DictDatastore())


async def entries_of(store: Any, query: Query) -> list[Any]:
    return [entry async for entry in store.query(query).entries()]


# Shards


@pytest.mark.parametrize("orders", [[], ["-n"]], ids=["by key", "by order"])
@pytest.mark.parametrize("after", [0, 1, 40, 99])
async def test_a_shard_failing_at_any_entry_fails_the_query_and_frees_the_others(orders: list[str], after: int) -> None:
    shards = [faulty() for _ in range(3)]
    store = aio.ShardedDatastore(shards, names=["one", "two", "three"])
    contents = cases.many_entries(300)
    await store.batch_write([Write(*pair) for pair in contents.items()])
    held = len(shards[1].child_datastore)
    shards[1].fail("entry", error=StoreError("broken"), after=min(after, held - 1))
    query = Query(Key("/many"))
    for order in orders:
        query.order(order)
    seen: list[Any] = []
    cursor = store.query(query)
    with pytest.raises(StoreError, match="broken") as caught:
        async for entry in cursor.entries():
            seen.append(entry)
    assert caught.value.shard == "two"
    assert cursor.summary is None
    assert model.difference(seen, model.answer(query, contents).entries[: len(seen)]) is None
    shards[1].release()
    assert len(await entries_of(store, query)) == len(contents)


async def test_a_batch_reports_which_items_their_shard_refused_and_does_the_others() -> None:
    shards = [faulty() for _ in range(3)]
    store = aio.ShardedDatastore(shards, names=["one", "two", "three"])
    shards[0].fail("batch_write", error=UnavailableError("gone"))
    writes = [Write(Key(f"/k/{n}"), n) for n in range(30)]
    outcomes = await store.batch_write(writes)
    for (key, value), outcome in zip(writes, outcomes, strict=True):
        if store.shard(key) == 0:
            assert isinstance(outcome.error, UnavailableError)
            assert outcome.error.shard == "one"
        else:
            assert outcome.error is None
            assert await store.get(key) == value
    assert {store.shard(key) for key, _ in writes} == {0, 1, 2}


async def test_closing_a_query_while_a_shard_hangs_frees_every_shard() -> None:
    shards = [faulty() for _ in range(3)]
    store = aio.ShardedDatastore(shards)
    contents = cases.many_entries(300)
    await store.batch_write([Write(*pair) for pair in contents.items()])
    shards[2].hang("entry", after=10)
    reading = asyncio.create_task(entries_of(store, Query(Key("/many"))))
    await shards[2].hanging.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    shards[2].release()
    assert len(await entries_of(store, Query(Key("/many")))) == len(contents)


# Tiers


async def test_the_last_tier_decides_a_write_and_its_failure_touches_nothing_above() -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    await store.put(KEY, "old")
    last.fail("put", "delete", error=StoreError("full"))
    for write in (store.put(KEY, "new"), store.delete(KEY)):
        with pytest.raises(StoreError, match="full"):
            await write
    assert await top.child_datastore.get(KEY) == "old"
    assert await store.get(KEY) == "old"


async def test_a_failing_cache_does_not_fail_calls_and_keeps_nothing_stale() -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    await store.put(KEY, "old")
    top.fail("put", error=StoreError("broken"))
    await store.put(KEY, "new")
    assert await top.child_datastore.get(KEY) is None
    assert await store.get(KEY) == "new"
    top.release()
    top.fail(error=StoreError("broken"))
    assert await store.get(KEY) == "new"
    assert await store.contains(KEY) is True
    await store.put(KEY, "newest")
    assert await store.get(KEY) == "newest"
    await store.delete(KEY)
    assert await last.child_datastore.get(KEY) is None


@pytest.mark.parametrize("write", ["put", "delete", "batch_write"])
async def test_a_write_that_is_cancelled_leaves_nothing_stale(write: str) -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    await store.put(KEY, "old")
    top.hang(write, times=1)
    new = None if write == "delete" else "new"
    calls = {
        "put": lambda: store.put(KEY, new),
        "delete": lambda: store.delete(KEY),
        "batch_write": lambda: store.batch_write([Write(Key("/other"), 1), Write(KEY, new)]),
    }
    writing = asyncio.create_task(calls[write]())
    await top.hanging.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await last.child_datastore.get(KEY) == new
    assert await top.child_datastore.get(KEY) is None
    assert await store.get(KEY) == new


async def test_a_write_whose_answer_was_lost_below_leaves_nothing_stale() -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    other = Write(Key("/other"), 1)
    for call in (lambda value: store.put(KEY, value), lambda value: store.batch_write([other, Write(KEY, value)])):
        await store.put(KEY, "old")
        last.fail("put", "batch_write", error=UnavailableError("lost"), times=1, afterwards=True)
        with pytest.raises(UnavailableError):
            await call("new")
        assert await top.child_datastore.get(KEY) is None
        assert await store.get(KEY) == "new"


async def test_a_batch_is_one_call_to_each_tier_and_fills_those_above() -> None:
    top, middle, last = faulty(), faulty(), faulty()
    store = aio.TieredDatastore([top, middle, last])
    keys = [Key(f"/a/{number}") for number in range(5)]
    await last.child_datastore.batch_write([Write(key, number) for number, key in enumerate(keys[:4])])
    await middle.child_datastore.put(keys[0], 0)
    bad: Any = "/a/0"
    outcomes = await store.batch_get([*keys, bad, keys[0]])
    assert [outcome.value for outcome in outcomes] == [0, 1, 2, 3, None, None, 0]
    assert [type(outcome.error) for outcome in outcomes[4:]] == [type(None), UnsupportedTypeError, type(None)]
    assert [tier.calls for tier in (top, middle)] == [{"batch_get": 1, "batch_write": 1}] * 2
    assert last.calls == {"batch_get": 1}
    assert [await top.child_datastore.get(key) for key in keys] == [0, 1, 2, 3, None]
    assert [await middle.child_datastore.get(key) for key in keys] == [0, 1, 2, 3, None]
    assert [outcome.value for outcome in await store.batch_get(keys[:4])] == [0, 1, 2, 3]
    assert last.calls == {"batch_get": 1}
    outcomes = await store.batch_write([Write(keys[0], "x"), Write(keys[1], None), Write(bad, 1), Write(keys[0], "y")])
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, True]
    for tier in (top, middle, last):
        assert [await tier.child_datastore.get(key) for key in keys[:3]] == ["y", None, 2]


async def test_a_batch_that_fails_in_a_cache_is_deleted_there_before_it_is_used_again() -> None:
    now = 0.0
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last], clock=lambda: now)
    keys = [Key("/a/1"), Key("/a/2")]
    await store.batch_write([Write(key, "old") for key in keys])
    top.fail("batch_write", error=UnavailableError("lost"), times=1)
    assert [outcome.error for outcome in await store.batch_write([Write(key, "new") for key in keys])] == [None, None]
    assert [outcome.value for outcome in await store.batch_get(keys)] == ["new", "new"]
    now += SKIP_FAILED_S
    assert not await store.contains(Key("/b"))
    assert [await top.child_datastore.get(key) for key in keys] == [None, None]
    top.fail("batch_get", error=UnavailableError("lost"))
    assert [outcome.value for outcome in await store.batch_get(keys)] == ["new", "new"]
    top.release()
    now += SKIP_FAILED_S
    assert [outcome.value for outcome in await store.batch_get(keys)] == ["new", "new"]
    last.fail("batch_write", error=StoreError("full"))
    with pytest.raises(StoreError):
        await store.batch_write([Write(key, "newest") for key in keys])
    assert await top.child_datastore.get(keys[0]) == "new"


async def test_a_write_whose_answer_was_lost_in_a_cache_leaves_nothing_stale() -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    await store.put(KEY, "old")
    top.fail("put", error=UnavailableError("lost"), afterwards=True)
    await store.put(KEY, "new")
    top.release()
    assert await store.get(KEY) == "new"


@pytest.mark.parametrize("newer", ["new", None], ids=["put", "delete"])
async def test_a_slow_back_fill_never_overwrites_a_write_that_has_ended(newer: str | None) -> None:
    top, last = faulty(), faulty()
    store = aio.TieredDatastore([top, last])
    await last.child_datastore.put(KEY, "old")

    # The value has been read below; only its answer is late.
    late = _Late(last)
    store = aio.TieredDatastore([top, late])
    reading = asyncio.create_task(store.get(KEY))
    await late.has_read.wait()
    await store.put(KEY, newer)
    late.go_on.set()
    assert await reading == "old"
    assert await top.child_datastore.get(KEY) == newer
    assert await store.get(KEY) == newer


class _Late(aio.ShimDatastore):
    """Reads immediately, and answers when released."""

    def __init__(self, datastore: aio.Datastore) -> None:
        super().__init__(datastore)
        self.has_read = asyncio.Event()
        self.go_on = asyncio.Event()

    async def get(self, key: Key) -> Any:
        value = await self.child_datastore.get(key)
        self.has_read.set()
        await self.go_on.wait()
        return value


async def test_a_collection_closes_all_its_stores_even_if_one_fails() -> None:
    closed: list[str] = []

    class Closing(aio.DictDatastore):
        def __init__(self, name: str, error: Exception | None = None) -> None:
            super().__init__()
            self.name, self.error = name, error

        async def aclose(self) -> None:
            closed.append(self.name)
            if self.error:
                raise self.error

    store = aio.ShardedDatastore([Closing("one"), Closing("two", StoreError("two")), Closing("three", StoreError("x"))])
    with pytest.raises(StoreError, match="two"):
        await store.aclose()
    assert closed == ["one", "two", "three"]
