"""What a type checker must know about the public API, for asyncio. Checked by mypy and pyright; never run."""

from __future__ import annotations

import json
from typing import Any, assert_type

import datastore
import datastore_client.aio
from datastore import Entry, Key, Query, ReadResult, Write, WriteResult, aio
from datastore.aio.lift import lift
from datastore.aio.serialize import SerializerShimDatastore, shim


async def the_five_operations(store: aio.Datastore) -> None:
    key = Key("/a")
    assert_type(await store.get(key), Any)
    assert_type(await store.contains(key), bool)
    await store.put(key, {"a": 1})
    await store.delete(key)
    assert_type(await store.batch_get([key]), list[ReadResult])
    assert_type(await store.batch_write([Write(key, None)]), list[WriteResult])
    assert_type(await store.batch_write([Write(key, None)], atomic=True), list[WriteResult])
    async with store.query(Query(Key("/a")).order("-elevation")) as cursor:
        assert_type(cursor, aio.Cursor)
        async for value in cursor:
            assert_type(value, Any)
        async for entry in cursor.entries():
            assert_type(entry, Entry)


async def stores() -> None:
    async with aio.DictDatastore() as memory:
        assert_type(memory, aio.DictDatastore)
    assert_type(datastore.aio.open("memory:"), aio.Datastore)
    assert_type(aio.lift.lift(datastore.DictDatastore()), aio.lift.LiftedDatastore)
    assert_type(aio.open("memory:"), aio.Datastore)
    lifted: aio.Datastore = lift(datastore.DictDatastore())
    await lifted.aclose()
    async with datastore_client.aio.connect("grpc://localhost:7420") as remote:
        assert_type(remote, datastore_client.aio.RemoteDatastore)


async def shims_and_collections(store: aio.Datastore) -> None:
    assert_type(shim(aio.NamespaceDatastore("/mine", store), json), SerializerShimDatastore)
    tiers = aio.TieredDatastore([aio.LRUCacheDatastore(10), aio.LoggingDatastore(store)])
    sharded = aio.ShardedDatastore([tiers, store])
    assert_type(sharded.shard_datastore(Key("/a")), aio.Datastore)
    await aio.SymlinkDatastore(store).link(Key("/from"), Key("/to"))
    assert_type(await aio.DirectoryDatastore(store).directory(Key("/a")), list[str])


class Uppercase(aio.ShimDatastore):
    """A shim in the documented style."""

    async def get(self, key: Key) -> str | None:
        found: str | None = await self.child_datastore.get(key)
        return None if found is None else found.upper()

    def query(self, query: Query) -> aio.Cursor:
        return self.child_datastore.query(query)


async def changes_of_many(store: aio.Datastore) -> None:
    async for progress in store.patch_matching(Query(Key("/a")), {"on": True}, increment={"n": 1}, remove=["x"]):
        assert_type(progress, datastore.MatchingProgress)
    assert_type(await store.delete_matching(Query(Key("/a"))).finish(), datastore.MatchingProgress)


async def aggregates(store: aio.Datastore) -> None:
    parts = {"n": datastore.Count(), "mean": datastore.Avg("elevation")}
    rows = await store.aggregate(Query(Key("/a")), parts, group_by=["country"], orders=["-n"], limit=3)
    assert_type(rows, list[dict[str, Any]])
