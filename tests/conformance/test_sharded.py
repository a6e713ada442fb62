"""Shards as one store: flat, shards of shards, skewed so that most are empty, and one alone."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import InMemory


def length(key: Key) -> int:
    """A sharding function unlike the default: sharded within a shard, the default would leave most shards empty."""
    return len(str(key))


class Sharded(InMemory, DatastoreConformance):
    changes = True

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store.shard_datastore(key).put(key, value)

    def inspect(self, store: Any, key: Key) -> Any:
        found = [shard.get(key) for shard in store._stores]
        assert sum(value is not None for value in found) <= 1
        return store.shard_datastore(key).get(key)


@pytest.mark.long
class TestSharded(Sharded):
    merges = 3

    @pytest.fixture
    def store(self) -> Any:
        return core.ShardedDatastore([core.DictDatastore() for _ in range(3)])


@pytest.mark.long
class TestShardedOfOne(Sharded):
    @pytest.fixture
    def store(self) -> Any:
        return core.ShardedDatastore([core.DictDatastore()])


@pytest.mark.long
class TestShardedUnevenly(Sharded):
    merges = 10

    @pytest.fixture
    def store(self) -> Any:
        return core.ShardedDatastore([core.DictDatastore() for _ in range(10)], lambda key: hash(key) % 2 * 7)


@pytest.mark.long
class TestShardedOverSharded(Sharded):
    merges = 6

    @pytest.fixture
    def store(self) -> Any:
        inner = [core.ShardedDatastore([core.DictDatastore() for _ in range(2)]) for _ in range(3)]
        return core.ShardedDatastore(inner, length)


class TestAsyncSharded(InMemory, AsyncConformance):
    changes = True
    merges = 3

    @pytest.fixture
    async def store(self) -> Any:
        return aio.ShardedDatastore([aio.DictDatastore() for _ in range(3)])

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        await store.shard_datastore(key).put(key, value)

    async def inspect(self, store: Any, key: Key) -> Any:
        return await store.shard_datastore(key).get(key)


@pytest.mark.long
class TestAsyncShardedOverSharded(InMemory, AsyncConformance):
    changes = True
    merges = 6

    @pytest.fixture
    async def store(self) -> Any:
        inner = [aio.ShardedDatastore([aio.DictDatastore() for _ in range(2)]) for _ in range(3)]
        return aio.ShardedDatastore(inner, length)
