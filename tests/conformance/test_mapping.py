"""A service with other names for its methods: no queries, values as the service stores them."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import InMemory


class TestMapping(InMemory, DatastoreConformance):
    versions = expiry = atomic = retries = False
    queries = False

    @pytest.fixture
    def store(self) -> Any:
        return core.InterfaceMappingDatastore({}, get="get", put="__setitem__", delete="__delitem__")

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store._service[str(key)] = value

    def inspect(self, store: Any, key: Key) -> Any:
        return store._service.get(str(key))


class TestAsyncMapping(InMemory, AsyncConformance):
    versions = expiry = atomic = retries = False
    queries = False

    @pytest.fixture
    async def store(self) -> Any:
        return aio.InterfaceMappingDatastore({}, get="get", put="__setitem__", delete="__delitem__")
