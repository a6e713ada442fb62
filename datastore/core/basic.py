"""The stores of the library under their documented path."""

from __future__ import annotations

from datastore.core.base import Datastore, DictDatastore, InterfaceMappingDatastore, NullDatastore
from datastore.core.caching import CacheShimDatastore
from datastore.core.collections import DatastoreCollection
from datastore.core.directories import DirectoryDatastore
from datastore.core.links import SymlinkDatastore
from datastore.core.lru import LRUCacheDatastore
from datastore.core.sharded import ShardedDatastore
from datastore.core.shims import LoggingDatastore, ShimDatastore
from datastore.core.tiered import TieredDatastore
from datastore.core.transforms import (
    KeyTransformDatastore,
    LowercaseKeyDatastore,
    NamespaceDatastore,
    NestedPathDatastore,
)

__all__ = [
    "CacheShimDatastore",
    "Datastore",
    "DatastoreCollection",
    "DictDatastore",
    "DirectoryDatastore",
    "InterfaceMappingDatastore",
    "KeyTransformDatastore",
    "LRUCacheDatastore",
    "LoggingDatastore",
    "LowercaseKeyDatastore",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "NullDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "SymlinkDatastore",
    "TieredDatastore",
]
