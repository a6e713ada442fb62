"""The store in memory."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.core.key import Key
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
