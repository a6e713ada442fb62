"""What a type checker must refuse: a comment that silences no error is an error itself. Never run."""

from __future__ import annotations

import collections

import datastore
from datastore import (
    DictDatastore,
    Filter,
    Key,
    KeyTransformDatastore,
    LRUCacheDatastore,
    NestedPathDatastore,
    Query,
    ShardedDatastore,
    ShimDatastore,
    TieredDatastore,
    aio,
)
from datastore.serialize import shim

store = DictDatastore()

Key(None)  # type: ignore[arg-type]
Key(1.5)  # type: ignore[arg-type]
Key("/a").child(None)  # type: ignore[arg-type]
Key("/a").instance(None)  # type: ignore[arg-type]
store.get("/a")  # type: ignore[arg-type]
store.put("/a", 1)  # type: ignore[arg-type]
store.put(Key("/a"))  # type: ignore[call-arg]
store.query(Key("/a"))  # type: ignore[arg-type]
store.batch_get(["/a"])  # type: ignore[list-item]
Key("/a").name = "b"  # type: ignore[misc]
Query("/a")  # type: ignore[arg-type]
Query(Key("/a"), limit="10")  # type: ignore[arg-type]
Query(Key("/a"), unlimited=True)  # type: ignore[call-arg]
Query(Key("/a")).filter("country")  # type: ignore[call-overload]
Query(Key("/a")).order(1)  # type: ignore[call-overload]
Filter(1, "=", 1)  # type: ignore[arg-type]
LRUCacheDatastore("10")  # type: ignore[arg-type]
ShimDatastore(dict[Key, str]())  # type: ignore[arg-type]
shim(store, collections)  # type: ignore[arg-type]
NestedPathDatastore(store, depth="3")  # type: ignore[arg-type]
KeyTransformDatastore(store, str)  # type: ignore[arg-type]
TieredDatastore(store)  # type: ignore[arg-type]
ShardedDatastore([store], shardingfn=str)  # type: ignore[arg-type]
# One colour over the other: only `lift` connects them.
ShimDatastore(aio.DictDatastore())  # type: ignore[arg-type]
aio.ShardedDatastore([store])  # type: ignore[list-item]
datastore.open(1)  # type: ignore[arg-type]
