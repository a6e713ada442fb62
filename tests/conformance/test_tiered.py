"""Tiers: caches over a complete store."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import InMemory


@pytest.mark.long
class TestTiered(InMemory, DatastoreConformance):
    changes = True

    @pytest.fixture
    def store(self) -> Any:
        return core.TieredDatastore([core.NullDatastore(), core.DictDatastore(), core.DictDatastore()])

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store.datastore(2).put(key, value)

    def inspect(self, store: Any, key: Key) -> Any:
        middle, last = (store.datastore(index).get(key) for index in (1, 2))
        assert middle is None or middle is last
        return last


class TestAsyncTiered(InMemory, AsyncConformance):
    changes = True

    @pytest.fixture
    async def store(self) -> Any:
        return aio.TieredDatastore([aio.NullDatastore(), aio.DictDatastore(), aio.DictDatastore()])

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        await store.datastore(2).put(key, value)

    async def inspect(self, store: Any, key: Key) -> Any:
        return await store.datastore(2).get(key)


@pytest.mark.long
class TestInvalidated(TestTiered):
    """Caches that follow the changes of the last tier."""

    @pytest.fixture
    def store(self) -> Any:
        with core.TieredDatastore(
            [core.NullDatastore(), core.DictDatastore(), core.DictDatastore()], invalidate="watch"
        ) as store:
            yield store


class TestAsyncInvalidated(TestAsyncTiered):
    @pytest.fixture
    async def store(self) -> Any:
        tiers = [aio.NullDatastore(), aio.DictDatastore(), aio.DictDatastore()]
        async with aio.TieredDatastore(tiers, invalidate="watch") as store:
            yield store
