"""Shims as the documentation shows them, over stores of every kind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core, serialize, wire
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.operations import ReadResult, WriteResult
from datastore.model.query import Query
from datastore_client import connect
from datastore_client.aio import connect as connect_async
from tests.support import clusters

A = Key("/c/a")


class JsonShim(core.ShimDatastore):
    """As in the documentation, for present values."""

    def get(self, key: Key) -> Any:
        value = self.child_datastore.get(key)
        return None if value is None else json.loads(value)

    def put(self, key: Key, value: Any) -> None:
        self.child_datastore.put(key, json.dumps(value))

    def query(self, query: Query) -> Any:
        cursor = self.child_datastore.query(query)
        cursor._iterable = serialize.deserialized_gen(json, cursor._iterable)
        return cursor


class AsyncJsonShim(aio.ShimDatastore):
    async def get(self, key: Key) -> Any:
        value = await self.child_datastore.get(key)
        return None if value is None else json.loads(value)

    async def put(self, key: Key, value: Any) -> None:
        await self.child_datastore.put(key, json.dumps(value))

    def query(self, query: Query) -> Any:
        cursor = self.child_datastore.query(query)
        values = cursor._iterable

        async def loaded() -> Any:
            async for value in values:
                yield json.loads(value)

        cursor._iterable = loaded()
        return cursor


STORES = {
    "dict": lambda _: core.DictDatastore(),
    "lru": lambda _: core.LRUCacheDatastore(100),
    "files": FileSystemDatastore,
    "lmdb": lambda path: core.SerializerShimDatastore(LMDBDatastore(path), wire.codec),
    "namespace": lambda _: core.NamespaceDatastore("/n", core.DictDatastore()),
    "lowercase": lambda _: core.LowercaseKeyDatastore(core.DictDatastore()),
    "logging": lambda _: core.LoggingDatastore(core.DictDatastore()),
    "cache": lambda _: core.CacheShimDatastore(core.DictDatastore(), cache=core.DictDatastore()),
    "symlink": lambda _: core.SymlinkDatastore(core.DictDatastore()),
    "tiered": lambda _: core.TieredDatastore([core.DictDatastore(), core.DictDatastore()]),
    "sharded": lambda _: core.ShardedDatastore([core.DictDatastore() for _ in range(3)]),
    "serializer": lambda _: core.SerializerShimDatastore(core.DictDatastore()),
    "a user's shim": lambda _: JsonShim(core.DictDatastore()),
}


def behaves(store: Any) -> None:
    for name in "bac":
        store.put(Key("/c").child(name), {"name": name})
    assert store.get(A) == {"name": "a"}
    assert store.contains(A) is True
    assert store.batch_get([A, Key("/none")]) == [ReadResult({"name": "a"}), ReadResult()]
    assert store.batch_write([Write(A, {"name": "later"}), Write(Key("/c/b"), None)]) == [WriteResult()] * 2
    assert store.get(A) == {"name": "later"}
    assert [tuple(entry) for entry in store.query(Query(Key("/c"))).entries()] == [
        (A, {"name": "later"}),
        (Key("/c/c"), {"name": "c"}),
    ]
    assert list(store.query(Query(Key("/c"), offset=1, limit=1))) == [{"name": "c"}]


@pytest.mark.parametrize("name", STORES)
def test_a_users_shim_works_over_every_store(name: str, tmp_path: Path) -> None:
    with JsonShim(STORES[name](tmp_path)) as store:
        behaves(store)


async def test_a_users_shim_works_over_a_server() -> None:
    async with clusters.node() as node:
        with connect(node.url) as remote:
            await asyncio.to_thread(behaves, JsonShim(remote))
        async with connect_async(node.url) as remote:
            store = AsyncJsonShim(remote)
            await store.put(A, {"name": "tasks"})
            assert await store.contains(A)
            assert [value async for value in store.query(Query(Key("/c")))] == [{"name": "tasks"}, {"name": "c"}]


@pytest.mark.parametrize("below", [aio.DictDatastore, lambda: lift(core.DictDatastore())])
async def test_a_users_async_shim_works_over_stores_of_both_colours(below: Any) -> None:
    async with AsyncJsonShim(below()) as store:
        await store.put(A, [1])
        assert await store.get(A) == [1]
        assert [value async for value in store.query(Query(Key("/c")))] == [[1]]


SHIMS = [
    core.ShimDatastore,
    core.LoggingDatastore,
    core.LowercaseKeyDatastore,
    core.KeyTransformDatastore,
    core.NestedPathDatastore,
    core.SymlinkDatastore,
    core.DirectoryDatastore,
    core.SerializerShimDatastore,
]


@pytest.mark.parametrize("base", SHIMS)
def test_methods_that_a_subclass_inherits_use_those_it_overrides(base: type) -> None:
    class Hiding(base):  # type: ignore[misc]
        def get(self, key: Key) -> Any:
            return None if key.name == "hidden" else super().get(key)

        def put(self, key: Key, value: Any) -> None:
            super().put(key, ["seen", value])

    store = Hiding(core.DictDatastore())
    hidden, shown = Key("/c/hidden"), Key("/c/shown")
    assert store.batch_write([Write(hidden, 1), Write(shown, 2)]) == [WriteResult(), WriteResult()]
    assert store.contains(hidden) is False
    assert store.contains(shown) is True
    assert [outcome.value for outcome in store.batch_get([hidden, shown])] == [None, ["seen", 2]]

    class Deeper(Hiding):
        """Changes nothing more."""

    assert Deeper(store.child_datastore).contains(hidden) is False


def test_a_custom_query_is_trusted_only_if_it_says_so() -> None:
    class Backwards(core.NamespaceDatastore):
        def query(self, query: Query) -> Any:
            return reversed(list(super().query(query)))

    class Exact(core.NamespaceDatastore):
        ordered_queries = True

        def query(self, query: Query) -> Any:
            return super().query(query)

    assert Backwards("/n", core.DictDatastore()).ordered_queries is False
    assert Exact("/n", core.DictDatastore()).ordered_queries is True
