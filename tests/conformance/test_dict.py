"""The store in memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import InMemory


class TestDict(InMemory, DatastoreConformance):
    @pytest.fixture
    def store(self) -> Any:
        with core.DictDatastore() as store:
            yield store

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store._items.setdefault(str(key.path), {})[key] = value

    def inspect(self, store: Any, key: Key) -> Any:
        return store._items.get(str(key.path), {}).get(key)


class TestAsyncDict(InMemory, AsyncConformance):
    @pytest.fixture
    async def store(self) -> Any:
        async with aio.DictDatastore() as store:
            yield store

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        store._items.setdefault(str(key.path), {})[key] = value

    async def inspect(self, store: Any, key: Key) -> Any:
        return store._items.get(str(key.path), {}).get(key)


def test_the_first_of_many_take_no_more_memory_than_the_first_of_some() -> None:
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
