"""JSON in front of a store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import AsJson


@pytest.mark.long
class TestJson(AsJson, DatastoreConformance):
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    def store(self) -> Any:
        return core.SerializerShimDatastore(core.DictDatastore())

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store.child_datastore.put(key, json.dumps(value))

    def inspect(self, store: Any, key: Key) -> Any:
        stored = store.child_datastore.get(key)
        assert stored is None or isinstance(stored, str)
        return None if stored is None else json.loads(stored)


class TestAsyncJson(AsJson, AsyncConformance):
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    async def store(self) -> Any:
        return aio.SerializerShimDatastore(aio.DictDatastore())

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        await store.child_datastore.put(key, json.dumps(value))
