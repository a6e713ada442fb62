"""The stores of the library under their documented path."""

from __future__ import annotations

from datastore.core.base import Datastore, DictDatastore, InterfaceMappingDatastore, NullDatastore
from datastore.core.collections import DatastoreCollection, ShardedDatastore, TieredDatastore
from datastore.core.shims import LoggingDatastore, ShimDatastore
from datastore.core.transforms import (
    KeyTransformDatastore,
    LowercaseKeyDatastore,
    NamespaceDatastore,
    NestedPathDatastore,
)

__all__ = [
    "Datastore",
    "DatastoreCollection",
    "DictDatastore",
    "InterfaceMappingDatastore",
    "KeyTransformDatastore",
    "LoggingDatastore",
    "LowercaseKeyDatastore",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "NullDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "TieredDatastore",
]
