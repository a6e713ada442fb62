"""One small datastore interface, `get put delete contains query`, in front of any storage.

The library needs no server. `datastore.aio` has the same classes for asyncio; `datastore_client` connects to servers.
Loads a name's module when the name is first used, and no backend, no wire and no grpc: import `datastore.lmdb` and
the like where they are used.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING

__version__ = "0.4.0"

# Separately installed packages may add modules, e.g. `datastore.x`.
__path__ = extend_path(__path__, __name__)

from datastore.model import errors as _errors
from datastore.model.errors import *  # noqa: F403 - all of them are public, and needed by everything else

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from datastore import aio as aio
    from datastore import basic, errors, key, query, serialize
    from datastore.core.basic import (
        CacheShimDatastore,
        DatastoreCollection,
        DirectoryDatastore,
        InterfaceMappingDatastore,
        KeyTransformDatastore,
        LoggingDatastore,
        LowercaseKeyDatastore,
        LRUCacheDatastore,
        MountDatastore,
        NamespaceDatastore,
        NestedPathDatastore,
        ShardedDatastore,
        ShimDatastore,
        SymlinkDatastore,
        TieredDatastore,
    )
    from datastore.core.serialize import SerializerShimDatastore
    from datastore.model.aggregates import Avg, Count, Max, Min, Sum
    from datastore.model.attempts import Attempt
    from datastore.model.changes import Change, ChangeBatch, ChangeKind
    from datastore.model.conditions import Q
    from datastore.model.entries import (
        Batch,
        Entry,
        Position,
        StoredEntry,
        Write,
    )
    from datastore.model.expiry import Expiry
    from datastore.model.fields import Filter, Order, object_getattr
    from datastore.model.key import (
        Key,
        Namespace,
    )
    from datastore.model.matching import MatchingFailure, MatchingProgress
    from datastore.model.metadata import ABSENT, EXISTS, Metadata, Precondition
    from datastore.model.operations import Delete, Patch, Put, ReadResult, WriteResult
    from datastore.model.patches import changes_of
    from datastore.model.query import Query
    from datastore.spec import Config
    from datastore.sync.base import Datastore
    from datastore.sync.cursor import Cursor, chain_gen, is_iterable, limit_gen, offset_gen
    from datastore.sync.matching import MatchingRun
    from datastore.sync.memory import DictDatastore, NullDatastore
    from datastore.sync.scan import Scan
    from datastore.sync.watching import Watcher

__all__ = [
    "ABSENT",
    "EXISTS",
    "Attempt",
    "Avg",
    "Batch",
    "CacheShimDatastore",
    "Change",
    "ChangeBatch",
    "ChangeKind",
    "Count",
    "Cursor",
    "Datastore",
    "DatastoreCollection",
    "Delete",
    "DictDatastore",
    "DirectoryDatastore",
    "Entry",
    "Expiry",
    "Filter",
    "InterfaceMappingDatastore",
    "Key",
    "KeyTransformDatastore",
    "LRUCacheDatastore",
    "LoggingDatastore",
    "LowercaseKeyDatastore",
    "MatchingFailure",
    "MatchingProgress",
    "MatchingRun",
    "Max",
    "Metadata",
    "Min",
    "MountDatastore",
    "Namespace",
    "NamespaceDatastore",
    "NestedPathDatastore",
    "NullDatastore",
    "Order",
    "Patch",
    "Position",
    "Precondition",
    "Put",
    "Q",
    "Query",
    "ReadResult",
    "Scan",
    "SerializerShimDatastore",
    "ShardedDatastore",
    "ShimDatastore",
    "StoredEntry",
    "Sum",
    "SymlinkDatastore",
    "TieredDatastore",
    "Watcher",
    "Write",
    "WriteResult",
    "basic",
    "chain_gen",
    "changes_of",
    "errors",
    "is_iterable",
    "key",
    "limit_gen",
    "object_getattr",
    "offset_gen",
    "query",
    "serialize",
]
__all__ += _errors.__all__


#: Modules that are documented as attributes of this one.
_MODULES = {"aio", "basic", "core", "errors", "key", "query", "serialize"}
#: The modules of the other names, searched in this order: each is after those that it loads, and what few programs need
#: is last.
_HOMES = (
    "datastore.model.key",
    "datastore.model.metadata",
    "datastore.model.entries",
    "datastore.model.expiry",
    "datastore.model.attempts",
    "datastore.model.query",
    "datastore.model.fields",
    "datastore.model.conditions",
    "datastore.model.aggregates",
    "datastore.model.patches",
    "datastore.model.operations",
    "datastore.sync.cursor",
    "datastore.sync.scan",
    "datastore.sync.base",
    "datastore.sync.memory",
    "datastore.core.basic",
    "datastore.core.serialize",
    "datastore.model.changes",
    "datastore.sync.watching",
    "datastore.model.matching",
    "datastore.sync.matching",
)


# Not in __all__, so that `import *` does not hide the builtin.
def open(described: str | Mapping[str, Any] | Config, store: str | None = None) -> Datastore:  # noqa: A001
    """Open the store that a URL or a table describes, e.g. `memory:`, `file:///var/lib/ds` or `grpc://127.0.0.1:7420`.

    A table is a dict as parsed from TOML: of one store, with its `kind`, or of a document with a table `[store.NAME]`
    for each store, of which `store` is opened. docs/compositions.md lists the kinds and their keys. The store is of the
    class that its module documents; no serializer is added. The caller must close it. Raises UnsupportedTypeError (a
    TypeError) for anything else, InvalidError or ConfigError (ValueErrors), which say what is valid, for an invalid URL
    or table, ImportError with the command that helps if a driver is not installed, and whatever the stores raise when
    they are created; stores already opened are closed then.
    """
    from datastore import spec

    return spec.build(spec.tree_of(described, store))


def __getattr__(name: str) -> Any:
    """A public name is loaded when first used: most programs need few."""
    if name in _MODULES:
        return import_module(f"datastore.{name}")
    if name in __all__:
        for home in map(import_module, _HOMES):
            if name in vars(home):
                found = globals()[name] = getattr(home, name)
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
