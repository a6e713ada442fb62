"""Shims that keep keys and values as they are: caches, logs, links, directories; and the LRU of caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.lmdb import LMDBDatastore
from datastore.spec.collections import MemoryConfig
from datastore.spec.shims import DirectoryConfig
from datastore.sync.lru import LRUCacheDatastore
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import InMemory

#: More entries than the suite puts.
SIZE = 100_000


class ValuesAlone(core.ShimDatastore):
    """A directory store without its one exception: a directory is not a value."""

    def read(self, keys: Any, options: Any) -> Any:
        return self.child_datastore.child_datastore.read(keys, options)


class AsyncValuesAlone(aio.ShimDatastore):
    """The same for tasks."""

    async def read(self, keys: Any, options: Any) -> Any:
        return await self.child_datastore.child_datastore.read(keys, options)


SHIMS = {
    "cache": lambda child: core.CacheShimDatastore(child, cache=LRUCacheDatastore(3)),
    "logging": core.LoggingDatastore,
    "symlink": core.SymlinkDatastore,
    "directory": lambda child: ValuesAlone(DirectoryConfig(child=MemoryConfig()).build(core, {"child": child})),
}
ASYNC_SHIMS = {
    "cache": lambda child: aio.CacheShimDatastore(child, cache=aio.LRUCacheDatastore(3)),
    "logging": aio.LoggingDatastore,
    "symlink": aio.SymlinkDatastore,
    "directory": lambda child: AsyncValuesAlone(aio.DirectoryDatastore(child)),
}


@pytest.fixture(params=["cache", "logging"])
def shim(request: pytest.FixtureRequest) -> str:
    """The shim's name."""
    return request.param


@pytest.mark.long
class TestShimsOverDict(InMemory, DatastoreConformance):
    grid = 80

    @pytest.fixture
    def store(self, shim: str) -> Any:
        return SHIMS[shim](core.DictDatastore())


class TestAsyncShimsOverDict(InMemory, AsyncConformance):
    grid = 80

    @pytest.fixture
    async def store(self, shim: str) -> Any:
        return ASYNC_SHIMS[shim](aio.DictDatastore())


@pytest.mark.long
class TestLinksOverDict(InMemory, DatastoreConformance):
    #: A link may be changed between two attempts.
    retries = False
    grid = 80

    @pytest.fixture
    def store(self) -> Any:
        return SHIMS["symlink"](core.DictDatastore())


class TestAsyncLinksOverDict(InMemory, AsyncConformance):
    retries = False
    grid = 80

    @pytest.fixture
    async def store(self) -> Any:
        return ASYNC_SHIMS["symlink"](aio.DictDatastore())


@pytest.mark.long
class TestLinksOverLMDB(DatastoreConformance):
    versions = expiry = atomic = True
    grid = 40

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        pages = LMDBDatastore(tmp_path, durability="async")
        with SHIMS["symlink"](core.SerializerShimDatastore(pages, wire.codec)) as store:
            yield store


@pytest.mark.long
class TestDirectoryOverDict(InMemory, DatastoreConformance):
    #: Names stay listed.
    expiry = retries = False
    grid = 80

    @pytest.fixture
    def store(self) -> Any:
        return SHIMS["directory"](core.DictDatastore())


class TestAsyncDirectoryOverDict(InMemory, AsyncConformance):
    expiry = retries = False
    grid = 80

    @pytest.fixture
    async def store(self) -> Any:
        return ASYNC_SHIMS["directory"](aio.DictDatastore())


@pytest.mark.long
class TestShimsOverLMDB(DatastoreConformance):
    versions = expiry = atomic = retries = True
    grid = 40

    @pytest.fixture
    def store(self, shim: str, tmp_path: Path) -> Any:
        pages = LMDBDatastore(tmp_path, durability="async")
        with SHIMS[shim](core.SerializerShimDatastore(pages, wire.codec)) as store:
            yield store


@pytest.mark.long
class TestAsyncShimsOverLMDB(AsyncConformance):
    versions = expiry = atomic = retries = True
    grid = 40

    @pytest.fixture
    async def store(self, shim: str, tmp_path: Path) -> Any:
        pages = lift(LMDBDatastore(tmp_path, durability="async"))
        async with ASYNC_SHIMS[shim](aio.SerializerShimDatastore(pages, wire.codec)) as store:
            yield store


@pytest.mark.long
class TestDirectoryOverLMDB(DatastoreConformance):
    versions = atomic = True
    grid = 40

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        pages = LMDBDatastore(tmp_path, durability="async")
        with SHIMS["directory"](core.SerializerShimDatastore(pages, wire.codec)) as store:
            yield store


@pytest.mark.long
class TestLRU(InMemory, DatastoreConformance):
    versions = expiry = atomic = retries = False

    @pytest.fixture
    def store(self) -> Any:
        return LRUCacheDatastore(SIZE)


class TestAsyncLRU(InMemory, AsyncConformance):
    versions = expiry = atomic = retries = False

    @pytest.fixture
    async def store(self) -> Any:
        return aio.LRUCacheDatastore(SIZE)


class LRUMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return LRUCacheDatastore(SIZE)


class CacheMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return SHIMS["cache"](core.DictDatastore())


class LoggingMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return core.LoggingDatastore(core.DictDatastore())


class SymlinkMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return core.SymlinkDatastore(core.DictDatastore())


class DirectoryMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return SHIMS["directory"](core.DictDatastore())


TestLRUMachine = LRUMachine.TestCase
TestCacheMachine = CacheMachine.TestCase
TestLoggingMachine = LoggingMachine.TestCase
TestSymlinkMachine = SymlinkMachine.TestCase
TestDirectoryMachine = DirectoryMachine.TestCase
