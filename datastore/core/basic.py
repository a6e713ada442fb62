"""The stores of the library under their documented path."""

from __future__ import annotations

from datastore.core.base import Datastore, DictDatastore, InterfaceMappingDatastore, NullDatastore
from datastore.core.collections import DatastoreCollection, ShardedDatastore, TieredDatastore
from datastore.core.shims import NamespaceDatastore, ShimDatastore

__all__ = [
    "Datastore",
    "DatastoreCollection",
    "DictDatastore",
    "InterfaceMappingDatastore",
    "NamespaceDatastore",
    "NullDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "TieredDatastore",
]
