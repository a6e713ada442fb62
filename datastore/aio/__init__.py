"""The datastore library for asyncio: the same classes as `datastore`, with `await`.

Closing is `aclose`, or `async with`. `datastore.aio.lift.lift(store)` makes an async store of any blocking one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datastore.aio import lift as lift
from datastore.aio.base import Datastore, DictDatastore, InterfaceMappingDatastore, NullDatastore
from datastore.aio.caching import CacheShimDatastore
from datastore.aio.collections import DatastoreCollection
from datastore.aio.cursor import Cursor
from datastore.aio.directories import DirectoryDatastore
from datastore.aio.links import SymlinkDatastore
from datastore.aio.lru import LRUCacheDatastore
from datastore.aio.serialize import SerializerShimDatastore
from datastore.aio.sharded import ShardedDatastore
from datastore.aio.shims import LoggingDatastore, ShimDatastore
from datastore.aio.tiered import TieredDatastore
from datastore.aio.transforms import (
    KeyTransformDatastore,
    LowercaseKeyDatastore,
    NamespaceDatastore,
    NestedPathDatastore,
)

if TYPE_CHECKING:
    from datastore.spec.aio import open as open  # noqa: A004 - not in __all__: `import *` leaves the builtin

__all__ = [
    "CacheShimDatastore",
    "Cursor",
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
    "SerializerShimDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "SymlinkDatastore",
    "TieredDatastore",
]


def __getattr__(name: str) -> Any:
    """`datastore.aio.open`, which knows every kind of store, and so is above these."""
    if name == "open":
        return import_module("datastore.spec.aio").open
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
