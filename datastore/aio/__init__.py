"""The datastore library for asyncio: the same classes as `datastore`, with `await`.

Closing is `aclose`, or `async with`. `datastore.aio.lift.lift(store)` turns any blocking store into an async one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datastore.aio import lift as lift
from datastore.aio.base import Datastore
from datastore.aio.caching import CacheShimDatastore
from datastore.aio.collections import DatastoreCollection
from datastore.aio.cursor import Cursor
from datastore.aio.directories import DirectoryDatastore
from datastore.aio.links import SymlinkDatastore
from datastore.aio.lru import LRUCacheDatastore
from datastore.aio.mapping import InterfaceMappingDatastore
from datastore.aio.matching import MatchingRun
from datastore.aio.memory import DictDatastore, NullDatastore
from datastore.aio.mount import MountDatastore
from datastore.aio.scan import Scan
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
from datastore.aio.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datastore.spec import Config

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
    "MatchingRun",
    "MountDatastore",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "NullDatastore",
    "Scan",
    "SerializerShimDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "SymlinkDatastore",
    "TieredDatastore",
    "Watcher",
]


# Not in __all__, so that `import *` does not hide the builtin.
def open(described: str | Mapping[str, Any] | Config, store: str | None = None) -> Datastore:  # noqa: A001
    """Open the store that a URL or a table describes, for asyncio. Guarantees and errors are those of `datastore.open`.

    A blocking store is lifted. Blocks while files are opened, which is brief.
    """
    from datastore import spec

    return spec.build_async(spec.tree_of(described, store))
