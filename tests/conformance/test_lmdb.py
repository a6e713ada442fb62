"""LMDB under the wire's codec: blocking; lifted with values left in wire form; and in shims and shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.lmdb import LMDBDatastore
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, KEY_BYTES
from datastore.testing.conformance import DatastoreConformance
from tests.support.capabilities import OnTheWire, decoding


def on_lmdb(directory: Path) -> Any:
    """Plain values on LMDB."""
    return core.SerializerShimDatastore(LMDBDatastore(directory), wire.codec)


class TestLMDB(OnTheWire, DatastoreConformance):
    versions = expiry = atomic = retries = True
    closes = True
    persistent = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with on_lmdb(tmp_path / "data") as store:
            yield store

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store.child_datastore.put(key, wire.codec.dumps(value))

    def inspect(self, store: Any, key: Key) -> Any:
        stored = store.child_datastore.get(key)
        return None if stored is None else wire.codec.loads(stored)

    def reopen(self, store: Any) -> Any:
        return on_lmdb(store.child_datastore.directory)


@pytest.mark.long
class TestAsyncLMDB(OnTheWire, AsyncConformance):
    """As on a node: nothing is decoded unless a filter or an order reads the value."""

    versions = expiry = atomic = retries = True
    closes = True
    # Not if values are decoded below: their size is then an estimate.
    batch_bytes = BATCH_BYTES

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        lazy = aio.SerializerShimDatastore(lift(LMDBDatastore(tmp_path / "data")), wire.lazy)
        async with aio.SerializerShimDatastore(lazy, decoding) as store:
            yield store


class TestAsyncWireValuesInMemory(OnTheWire, AsyncConformance):
    """As on a node in memory."""

    versions = expiry = atomic = retries = True

    @pytest.fixture
    async def store(self) -> Any:
        return aio.SerializerShimDatastore(aio.DictDatastore(), decoding)


@pytest.mark.long
class TestLMDBInNamespace(OnTheWire, DatastoreConformance):
    versions = expiry = atomic = retries = True
    closes = True
    key_bytes = KEY_BYTES - len("/space")

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with core.NamespaceDatastore("space", on_lmdb(tmp_path / "data")) as store:
            yield store


@pytest.mark.long
class TestShardsOfLMDB(OnTheWire, DatastoreConformance):
    versions = expiry = atomic = retries = True
    closes = True
    merges = 3

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with core.ShardedDatastore([on_lmdb(tmp_path / str(number)) for number in range(3)]) as store:
            yield store


@pytest.mark.long
class TestLMDBUnderADict(OnTheWire, DatastoreConformance):
    """A tier in memory: it keeps what was put, so that tuples may come back as such, and also answers at the end."""

    versions = expiry = atomic = retries = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with core.TieredDatastore([core.DictDatastore(), on_lmdb(tmp_path / "data")]) as store:
            yield store

    def same(self, found: Any, expected: Any) -> bool:
        return super().same(found, expected) or found is expected
