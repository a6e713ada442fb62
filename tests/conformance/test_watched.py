"""Watching through shims that keep keys and values as they are, and through `lift`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import WatchPromises as AsyncWatchPromises
from datastore.lmdb import LMDBDatastore
from datastore.sync.lru import LRUCacheDatastore
from datastore.testing.conformance import WatchPromises
from tests.support.capabilities import InMemory, OnTheWire, decoding

SHIMS = {
    "cache": lambda child: core.CacheShimDatastore(child, cache=LRUCacheDatastore(3)),
    "logging": core.LoggingDatastore,
    "identity": core.KeyTransformDatastore,
    "plain": core.ShimDatastore,
}


class TestWatchThroughShims(InMemory, WatchPromises):
    changes = True

    @pytest.fixture(params=SHIMS)
    def store(self, request: pytest.FixtureRequest) -> Any:
        return SHIMS[request.param](core.DictDatastore())


class TestWatchThroughLift(InMemory, AsyncWatchPromises):
    changes = True

    @pytest.fixture
    async def store(self) -> Any:
        return lift(core.DictDatastore())


class TestWatchOfLMDB(OnTheWire, AsyncWatchPromises):
    """As on a node that keeps changes."""

    changes = True

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        pages = lift(LMDBDatastore(tmp_path / "data", durability="async", keep_changes=True))
        lazy = aio.SerializerShimDatastore(pages, wire.lazy)
        async with aio.SerializerShimDatastore(lazy, decoding) as store:
            yield store


class TestWatchOfLMDBByThreads(OnTheWire, WatchPromises):
    changes = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        pages = LMDBDatastore(tmp_path / "data", durability="async", keep_changes=True)
        with core.SerializerShimDatastore(pages, wire.codec) as store:
            yield store


class TestWatchOfAllAtOnce(InMemory, AsyncWatchPromises):
    """Shards below a mount below a namespace, one of them a blocking store in JSON."""

    changes = True

    @pytest.fixture
    async def store(self) -> Any:
        json = aio.SerializerShimDatastore(lift(core.DictDatastore()))
        shards = aio.ShardedDatastore([aio.DictDatastore(), aio.NamespaceDatastore("/n", json)], names=["a", "b"])
        mounts = aio.MountDatastore({"/": shards, "/x/w": aio.DictDatastore(), "/x/w/a": aio.DictDatastore()})
        return aio.TieredDatastore([aio.DictDatastore(), aio.NamespaceDatastore("/x", mounts)])

    values = None
    plain_types = False
