"""What a type checker must know about the public API, for threads. Checked by mypy and pyright; never run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, assert_type

import datastore
import datastore.filesystem
import datastore.lmdb
import datastore_client
from datastore import (
    EXISTS,
    CacheShimDatastore,
    Cursor,
    Datastore,
    Delete,
    DictDatastore,
    DirectoryDatastore,
    Entry,
    Filter,
    Key,
    KeyTransformDatastore,
    LoggingDatastore,
    LowercaseKeyDatastore,
    LRUCacheDatastore,
    Namespace,
    NamespaceDatastore,
    NestedPathDatastore,
    Order,
    Position,
    Query,
    ReadResult,
    SerializerShimDatastore,
    ShardedDatastore,
    ShimDatastore,
    SymlinkDatastore,
    TieredDatastore,
    Write,
    WriteResult,
)
from datastore.serialize import SerializerLike, Stack, map_serializer, prettyjson, shim


def keys() -> None:
    key = Key("/Comedy/MontyPython:Actor/Name:JohnCleese")
    assert_type(Key(["Comedy", Namespace("Name:JohnCleese")]), Key)
    assert_type(key.child("Sketch"), Key)
    assert_type(key.instance("JohnCleese"), Key)
    assert_type(key.parent, Key)
    assert_type(key.path, Key)
    assert_type(key.reverse, Key)
    assert_type(key.name, str)
    assert_type(key.type, str)
    assert_type(key.list, list[Namespace])
    assert_type(key.namespaces[0].value, str)
    assert_type(key.is_ancestor_of(key.child("a")), bool)
    assert_type(Key.random_key(), Key)
    assert_type(sorted({key: 1}), list[Key])


def queries() -> Query:
    query = Query(Key("/Airport"), limit=10, offset=5, recursive=True)
    assert_type(query.filter("country", "=", "CH").filter(Filter("elevation", ">", 400)).order("-elevation"), Query)
    assert_type(query.order(Order("+name")), Query)
    assert_type(query.limit, int | None)
    assert_type(query.offset, int)
    assert_type(query.start_after, Position | None)
    assert_type(query.copy(), Query)
    assert_type(query.apply([Entry(Key("/Airport:ZRH"), 1)]), Cursor)
    assert_type(query([{"name": "Zurich"}]), Cursor)
    assert_type(query.dict(), dict[str, Any])
    assert_type(Query.from_dict({"key": "/Airport"}), Query)
    return query


def the_five_operations(store: Datastore) -> None:
    key = Key("/a")
    assert_type(store.get(key), Any)
    assert_type(store.contains(key), bool)
    store.put(key, {"a": 1})
    store.delete(key)
    assert_type(store.batch_get([key]), list[ReadResult])
    assert_type(store.batch_write([Write(key, None)]), list[WriteResult])
    assert_type(store.batch_write([Write(key, 1), Delete(key, EXISTS)], atomic=True), list[WriteResult])
    with store.query(queries()) as cursor:
        assert_type(cursor, Cursor)
        for value in cursor:
            assert_type(value, Any)
        for entry in cursor.entries():
            assert_type(entry, Entry)
            assert_type(entry.key, Key | None)


def stores(directory: Path) -> None:
    with DictDatastore() as memory:
        assert_type(memory, DictDatastore)
        assert_type(len(memory), int)
    assert_type(datastore.open("memory:"), Datastore)
    assert_type(datastore.filesystem.FileSystemDatastore(directory, fsync=True).path(Key("/a")), str)
    with datastore.lmdb.LMDBDatastore(directory) as kept:
        assert_type(kept, datastore.lmdb.LMDBDatastore)
    with datastore_client.connect("grpc://localhost:7420") as remote:
        assert_type(remote, datastore_client.RemoteDatastore)
        assert_type(remote.list_entries(Query(Key("/a")), page_size=10), datastore_client.Page)
    assert_type(LRUCacheDatastore(1000).get(Key("/a")), Any)


def shims(store: Datastore) -> None:
    whole: Datastore = LoggingDatastore(ShimDatastore(store))
    whole = CacheShimDatastore(whole, cache=LRUCacheDatastore(10))
    whole = NestedPathDatastore(LowercaseKeyDatastore(whole), depth=2, length=2, keyfn=lambda key: key.name)
    whole = NamespaceDatastore("/mine", NamespaceDatastore(Key("/all"), whole))
    whole = KeyTransformDatastore(whole, lambda key: key.reverse, inverse=lambda key: key.reverse)
    SymlinkDatastore(whole).link(Key("/from"), Key("/to"))
    assert_type(DirectoryDatastore(whole).directory(Key("/a")), list[str])


def collections(stores: list[Datastore]) -> None:
    tiers = TieredDatastore([DictDatastore(), *stores])
    tiers.append_datastore(DictDatastore())
    sharded = ShardedDatastore(stores, shardingfn=lambda key: len(str(key)))
    assert_type(sharded.shard(Key("/a")), int)
    assert_type(sharded.shard_datastore(Key("/a")), Datastore)


class Reversed:
    def loads(self, value: str) -> str:
        return value[::-1]

    def dumps(self, value: str) -> str:
        return value[::-1]


def all_serializers(store: Datastore) -> None:
    assert_type(shim(store), SerializerShimDatastore)
    shim(store, json)
    shim(store, pickle)
    shim(store, prettyjson)
    shim(store, Reversed())
    shim(store, Stack([json, map_serializer]))
    assert_type(SerializerShimDatastore(store, serializer=json).serializer, SerializerLike)


class Uppercase(ShimDatastore):
    """A shim in the documented style."""

    def get(self, key: Key) -> str | None:
        found: str | None = self.child_datastore.get(key)
        return None if found is None else found.upper()

    def query(self, query: Query) -> Cursor:
        cursor = self.child_datastore.query(query)
        cursor._iterable = (str(value).upper() for value in cursor._iterable)
        return cursor


class Shortened(ShimDatastore):
    """A shim whose custom query is exact, and says so."""

    ordered_queries = True

    def query(self, query: Query) -> Cursor:
        return query.apply(self.child_datastore.query(Query(query.key)).entries())


assert_type(Shortened(DictDatastore()).ordered_queries, bool)
assert_type(Uppercase(DictDatastore()).get(Key("/a")), str | None)


def changes_of_many(store: Datastore) -> None:
    for progress in store.patch_matching(Query(Key("/a")), {"on": True}, increment={"n": 1}, remove=["x"]):
        assert_type(progress, datastore.MatchingProgress)
    assert_type(store.delete_matching(Query(Key("/a")), resume_token=b"x").finish(), datastore.MatchingProgress)


def aggregates(store: Datastore) -> None:
    parts = {"n": datastore.Count(), "mean": datastore.Avg("elevation")}
    rows = store.aggregate(Query(Key("/a")), parts, group_by=["country"], orders=["-n"], limit=3)
    assert_type(rows, list[dict[str, Any]])
