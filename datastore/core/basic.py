"""The stores of the library under their documented path."""

from __future__ import annotations

from datastore.sync.base import Datastore
from datastore.sync.caching import CacheShimDatastore
from datastore.sync.collections import DatastoreCollection
from datastore.sync.directories import DirectoryDatastore
from datastore.sync.links import SymlinkDatastore
from datastore.sync.lru import LRUCacheDatastore
from datastore.sync.mapping import InterfaceMappingDatastore
from datastore.sync.memory import DictDatastore, NullDatastore
from datastore.sync.mount import MountDatastore
from datastore.sync.sharded import ShardedDatastore
from datastore.sync.shims import LoggingDatastore, ShimDatastore
from datastore.sync.tiered import TieredDatastore
from datastore.sync.transforms import (
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
    "MountDatastore",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "NullDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "SymlinkDatastore",
    "TieredDatastore",
]
