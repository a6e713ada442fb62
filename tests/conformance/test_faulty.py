"""The store for testing faults, without faults: a shim that answers queries entry by entry."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.aio.testing.faults import FaultyDatastore as AsyncFaultyDatastore
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.faults import FaultyDatastore
from tests.support.capabilities import InMemory


@pytest.mark.long
class TestFaultless(InMemory, DatastoreConformance):
    versions = expiry = atomic = retries = False
    # It passes batches on as they are.
    test_a_store_without_versions_refuses_what_needs_them = None
    test_a_store_whose_entries_cannot_expire_refuses_an_expiry = None
    test_a_store_that_remembers_nothing_repeats_nothing = None

    @pytest.fixture
    def store(self) -> Any:
        return FaultyDatastore(core.DictDatastore())


class TestAsyncFaultless(InMemory, AsyncConformance):
    versions = expiry = atomic = retries = False
    # It passes batches on as they are.
    test_a_store_without_versions_refuses_what_needs_them = None
    test_a_store_whose_entries_cannot_expire_refuses_an_expiry = None
    test_a_store_that_remembers_nothing_repeats_nothing = None

    @pytest.fixture
    async def store(self) -> Any:
        return AsyncFaultyDatastore(aio.DictDatastore())


class TestShardsThatComeEntryByEntry(InMemory, DatastoreConformance):
    """No shard tells where it is, and every batch holds one entry."""

    versions = expiry = atomic = retries = False

    @pytest.fixture
    def store(self) -> Any:
        return core.ShardedDatastore([FaultyDatastore(core.DictDatastore()) for _ in range(3)])
