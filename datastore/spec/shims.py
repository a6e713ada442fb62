"""The kinds of stores that wrap one other store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datastore.engine.serializers import Stack, require_serializer
from datastore.model.config import CHILD, Composed, Config
from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.options import BOOLEAN, CALLABLE, COUNT, KEY, TEXT, OptionType, imported, option

__all__ = [
    "CacheConfig",
    "DirectoryConfig",
    "KeyTransformConfig",
    "LoggingConfig",
    "LowercaseConfig",
    "NamespaceConfig",
    "NestedPathConfig",
    "SerializerConfig",
    "SymlinkConfig",
]


@dataclass(frozen=True, kw_only=True)
class _Shim(Composed):
    """A store over one other; it answers queries if that does."""

    child: Config = field(metadata=option("the store below", CHILD))


@dataclass(frozen=True, kw_only=True)
class NamespaceConfig(_Shim):
    """Stores the entries below one key of the child: `/a` at `/NAMESPACE/a`. Nothing else of the child is visible."""

    kind = "namespace"
    namespace: Key = field(metadata=option("the key below which the child has the entries", KEY))

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.NamespaceDatastore(self.namespace, below["child"])


@dataclass(frozen=True, kw_only=True)
class LowercaseConfig(_Shim):
    """Stores every entry under its key in lower case."""

    kind = "lowercase"
    store_class = "LowercaseKeyDatastore"


@dataclass(frozen=True, kw_only=True)
class KeyTransformConfig(_Shim):
    """Stores each entry under the key that a custom function returns. The table can name any installed code."""

    kind = "key-transform"
    transform: str = field(metadata=option("the function from a key to the child's key", CALLABLE))
    inverse: str | None = field(
        default=None, metadata=option("the inverse function, which returns None for a foreign key", CALLABLE)
    )
    prefix_preserving: bool = field(
        default=False,
        metadata=option(
            "whether the transform preserves collections, descendants and the order of keys; queries need that", BOOLEAN
        ),
    )

    def can_query(self) -> bool:
        """Whether the transform preserves prefixes and the child answers queries."""
        return self.prefix_preserving and self.child.can_query()

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.KeyTransformDatastore(
            below["child"],
            imported(self.transform),
            prefix_preserving=self.prefix_preserving,
            inverse=None if self.inverse is None else imported(self.inverse),
        )


@dataclass(frozen=True, kw_only=True)
class NestedPathConfig(_Shim):
    """Spreads entries over nested namespaces cut from their names: `/abcdef` at `/ab/cd/ef/abcdef`. No queries."""

    kind = "nested-path"
    depth: int = field(default=3, metadata=option("how many namespaces", COUNT))
    length: int = field(default=2, metadata=option("how many characters each has", COUNT))

    def can_query(self) -> bool:
        """False: every collection is spread."""
        return False

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.NestedPathDatastore(below["child"], self.depth, self.length)


@dataclass(frozen=True, kw_only=True)
class SymlinkConfig(_Shim):
    """Follows symbolic links between keys. Put serializers and caches below it."""

    kind = "symlink"
    store_class = "SymlinkDatastore"


@dataclass(frozen=True, kw_only=True)
class DirectoryConfig(_Shim):
    """Returns, for a key without a value, the list of the keys directly below it. Must be the outermost store."""

    kind = "directory"
    store_class = "DirectoryDatastore"
    outermost = True


@dataclass(frozen=True, kw_only=True)
class CacheConfig(_Shim):
    """Asks a cache before the child, and fills it on a miss. Writes go to the child first."""

    kind = "cache"
    cache: Config = field(metadata=option("the store that caches", CHILD))

    def can_query(self) -> bool:
        """Whether the child answers queries: the cache is not asked."""
        return self.child.can_query()

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.CacheShimDatastore(below["child"], cache=below["cache"])


def _serializers(given: Any) -> Any:
    """The import paths of serializers; None if there is something else."""
    paths = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if not paths or not all(isinstance(path, str) for path in paths):
        return None
    for path in paths:
        try:
            require_serializer(imported(path))
        except UnsupportedTypeError as error:
            raise InvalidError(str(error)) from error
    return given if isinstance(given, str) else tuple(paths)


SERIALIZER = OptionType(
    'the import path of a serializer, e.g. "json" or "package.module:name", or a list of them',
    _serializers,
    lambda value: value if isinstance(value, str) else list(value),
)


@dataclass(frozen=True, kw_only=True)
class SerializerConfig(_Shim):
    """Stores values in serialized form, by default as JSON. The table can name any installed code."""

    kind = "serializer"
    serializer: str | tuple[str, ...] = field(
        default="json",
        metadata=option(
            "a module or object with `dumps` and `loads`; in a list, the first is applied first", SERIALIZER
        ),
    )

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        several = not isinstance(self.serializer, str)
        serializer = Stack(map(imported, self.serializer)) if several else imported(str(self.serializer))
        return stores.SerializerShimDatastore(below["child"], serializer)


@dataclass(frozen=True, kw_only=True)
class LoggingConfig(_Shim):
    """Logs every call, at level INFO, before it goes to the child. A server's health check is a call every second."""

    kind = "logging"
    logger: str = field(default="datastore", metadata=option("the logger's name", TEXT))
    log_values: bool = field(default=False, metadata=option("whether values are logged too", BOOLEAN))

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.LoggingDatastore(below["child"], logging.getLogger(self.logger), log_values=self.log_values)
