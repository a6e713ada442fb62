"""One small datastore interface, `get put delete contains query`, in front of any storage.

The library needs no server. `datastore.aio` has the same classes for asyncio; `datastore_client` connects to servers.
"""

from __future__ import annotations

from pkgutil import extend_path

# Separately installed packages may add modules, as `datastore.x`.
__path__ = extend_path(__path__, __name__)

from datastore.core import errors
from datastore.core.basic import (
    Datastore,
    DatastoreCollection,
    DictDatastore,
    InterfaceMappingDatastore,
    NamespaceDatastore,
    NullDatastore,
    ShardedDatastore,
    ShimDatastore,
    TieredDatastore,
)
from datastore.core.batch import Batch, Outcome, Position, Write
from datastore.core.errors import DatastoreError
from datastore.core.key import Key, Namespace
from datastore.core.query import Cursor, Entry, Filter, Order, Query
from datastore.core.serialize import SerializerShimDatastore

__all__ = [
    "Batch",
    "Cursor",
    "Datastore",
    "DatastoreCollection",
    "DatastoreError",
    "DictDatastore",
    "Entry",
    "Filter",
    "InterfaceMappingDatastore",
    "Key",
    "Namespace",
    "NamespaceDatastore",
    "NullDatastore",
    "Order",
    "Outcome",
    "Position",
    "Query",
    "SerializerShimDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "TieredDatastore",
    "Write",
    "errors",
]
