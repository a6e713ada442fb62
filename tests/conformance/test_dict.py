"""The store in memory."""

from __future__ import annotations

import inspect
import random
import tracemalloc
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import InMemory


class TestDict(InMemory, DatastoreConformance):
    changes = True

    @pytest.fixture
    def store(self) -> Any:
        with core.DictDatastore() as store:
            yield store

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store._items.setdefault(str(key.path), {})[key] = value

    def inspect(self, store: Any, key: Key) -> Any:
        return store._items.get(str(key.path), {}).get(key)


class TestAsyncDict(InMemory, AsyncConformance):
    changes = True

    @pytest.fixture
    async def store(self) -> Any:
        async with aio.DictDatastore() as store:
            yield store

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        store._items.setdefault(str(key.path), {})[key] = value

    async def inspect(self, store: Any, key: Key) -> Any:
        return store._items.get(str(key.path), {}).get(key)


async def done(answer: Any) -> Any:
    """The result of a call of either colour."""
    return await answer if inspect.isawaitable(answer) else answer


async def entries_of(store: Any, query: Query) -> list[Any]:
    """The entries of a query of either colour."""
    found = store.query(query).entries()
    return [entry async for entry in found] if hasattr(found, "__aiter__") else list(found)


both = pytest.mark.parametrize("package", [core, aio], ids=["threads", "tasks"])


@both
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize(
    ("limit", "offset"), [(0, 0), (1, 0), (5, 0), (5, 5), (1, 99), (99, 1), (101, 0), (500, 0), (500, 600), (None, 995)]
)
async def test_a_limit_gives_the_first_by_key(package: Any, recursive: bool, limit: int | None, offset: int) -> None:
    store = package.DictDatastore()
    numbers = list(range(1000))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        await done(store.put(Key(f"/a/{number:04}"), number))
        await done(store.put(Key(f"/b/{number:04}"), -number))
    found = await entries_of(store, Query(Key("/a"), limit, offset, recursive=recursive))
    expected = range(1000)[offset:] if limit is None else range(1000)[offset : offset + limit]
    assert found == [(Key(f"/a/{number:04}"), number) for number in expected]


def test_a_getter_may_write_during_a_query() -> None:
    store = core.DictDatastore()
    for number in range(300):
        store.put(Key(f"/a/{number:03}"), {"n": number})
    before = dict(store.query(Query(Key("/a"))).entries())

    def writing(value: Any, field: str) -> Any:
        store.put(Key(f"/a/new {value['n']:03}"), {"n": -1})
        store.delete(Key(f"/a/{value['n']:03}"))
        return value[field]

    query = Query(Key("/a"), object_getattr=writing).order("-n")
    assert list(store.query(query).entries()) == list(reversed(before.items()))
    assert list(store.query(Query(Key("/a")))) == [{"n": -1}] * 300


@both
async def test_a_query_returns_the_entries_that_existed_when_it_began(package: Any) -> None:
    store = package.DictDatastore()
    for number in range(300):
        await done(store.put(Key(f"/a/{number:03}"), number))
    query = Query(Key("/a")).filter("__key__", "!=", Key("/"))
    first, second = store.query(query), store.query(query)
    step = anext if package is aio else next
    assert await done(step(first)) == 0
    await done(store.put(Key("/a/000"), "changed"))
    await done(store.put(Key("/a/0005"), "new"))
    await done(store.delete(Key("/a/299")))
    assert await done(step(second)) == "changed"
    await done(store.put(Key("/a/001"), "changed again"))
    await done(store.delete(Key("/a/298")))
    rest = [[value async for value in cursor] if package is aio else list(cursor) for cursor in (first, second)]
    assert rest == [list(range(1, 300)), ["new", *range(1, 299)]]


@both
async def test_deleting_the_last_entry_of_a_collection_frees_the_collection(package: Any) -> None:
    store = package.DictDatastore()
    await done(store.put(Key("/a/1"), 1))
    await done(store.put(Key("/a/2"), 2))
    await done(store.put(Key("/b/1"), 3))
    assert len(await entries_of(store, Query(Key("/"), recursive=True))) == 3
    await done(store.delete(Key("/a/1")))
    assert store._items == {"/a": {Key("/a/2"): 2}, "/b": {Key("/b/1"): 3}}
    await done(store.put(Key("/a/2"), None))
    assert store._items == {"/b": {Key("/b/1"): 3}}
    for _ in range(2):
        await done(store.delete(Key("/b/1")))
        await done(store.delete(Key("/c/1")))
        assert await done(store.get(Key("/b/1"))) is None
        assert store._items == {}
    assert len(store) == 0


def test_a_limit_takes_no_more_memory_over_many_entries_than_over_some() -> None:
    peaks = []
    for entries in (20_000, 100_000):
        store = core.DictDatastore()
        for number in range(entries):
            store.put(Key(f"/a:{number}"), {"n": number * 7919 % entries})
        query = Query(Key("/a"), limit=10).filter("n", ">=", 0).order("n")
        tracemalloc.start()
        try:
            assert [value["n"] for value in store.query(query)] == list(range(10))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # A list of the keys alone would take 800 KB.
    assert peaks[1] < 1.5 * peaks[0] < 400_000
