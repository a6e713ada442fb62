"""The kinds of stores in memory, and of those made of several stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from datastore.engine.placement import NAME, NAME_FORM, SlotMap
from datastore.model.config import CHILDREN, MOUNTS, NAMED_CHILDREN, Composed, Config
from datastore.model.errors import ConfigError, InvalidError, InvalidKeyError, UnsupportedError
from datastore.model.key import Key
from datastore.model.limits import REQUESTS_KEPT, REQUESTS_KEPT_S
from datastore.model.options import BOOLEAN, COUNT, DURATION, SIZE, one_of, option
from datastore.sync.tiered import SKIP_FAILED_S, TIER_TIMEOUT_S

__all__ = ["LRUConfig", "MemoryConfig", "MountConfig", "NullConfig", "ShardedConfig", "TieredConfig"]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Composed):
    """Keeps entries in memory until the process ends. Any object can be stored."""

    kind = "memory"
    url_form = "memory:"
    requests: int = field(
        default=REQUESTS_KEPT, metadata=option("how many writes it remembers, so that none is repeated", COUNT)
    )
    request_age: float = field(default=REQUESTS_KEPT_S, metadata=option("for how long it remembers them", DURATION))

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.DictDatastore(most_requests=self.requests, most_request_age_s=self.request_age)


@dataclass(frozen=True, kw_only=True)
class NullConfig(Composed):
    """Stores nothing: every key is absent."""

    kind = "null"
    store_class = "NullDatastore"


@dataclass(frozen=True, kw_only=True)
class LRUConfig(Composed):
    """Keeps the most recently used entries in memory, as the top tier or as a cache.

    It needs `max_entries` or `max_bytes`, or both.
    """

    kind = "lru"
    max_entries: int | None = field(default=None, metadata=option("how many entries it keeps", COUNT))
    max_bytes: int | None = field(
        default=None, metadata=option("how large all keys and values that it keeps are together", SIZE)
    )
    max_age: float | None = field(
        default=None, metadata=option("how long after its last put an entry is absent", DURATION)
    )

    def check(self) -> None:
        """Raise InvalidError without a bound."""
        if self.max_entries is None and self.max_bytes is None:
            raise InvalidError('max_entries or max_bytes is missing, e.g. max_bytes = "256MiB"', field="max_bytes")

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        return stores.LRUCacheDatastore(self.max_entries, max_bytes=self.max_bytes, max_age=self.max_age)


@dataclass(frozen=True, kw_only=True)
class TieredConfig(Composed):
    """Puts caches in front of a complete store, which is the last one. Queries go only to that store.

    A cache that fails is skipped, and never fails a call.
    """

    kind = "tiered"
    children: tuple[Config, ...] = field(metadata=option("the stores: caches first, the complete one last", CHILDREN))
    skip_failed: float = field(
        default=SKIP_FAILED_S, metadata=option("how long a cache is skipped after it failed", DURATION)
    )
    timeout: float = field(default=TIER_TIMEOUT_S, metadata=option("how long a cache may take to answer", DURATION))
    invalidate: Literal["watch"] | None = field(
        default=None,
        metadata=option("delete from the caches what others change, by watching the last store", one_of("watch")),
    )

    def can_query(self) -> bool:
        """Whether the last store does."""
        return self.children[-1].can_query()

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        options = {"skip_failed_s": self.skip_failed, "timeout_s": self.timeout, "invalidate": self.invalidate}
        try:
            return stores.TieredDatastore(below["children"], **options)
        except UnsupportedError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class ShardedConfig(Composed):
    """Divides the entries among stores, and merges their query results exactly.

    Named shards may be listed in any order, and a new name takes its share of the keys from all others. In a list, the
    order and the number of the shards determine where a key belongs. If the shards change, existing entries are not
    moved: copy them yourself, or use a cluster, which moves them.
    """

    kind = "sharded"
    children: tuple[Config, ...] | dict[str, Config] = field(metadata=option("the shards", NAMED_CHILDREN))
    by: Literal["key", "collection"] = field(
        default="key",
        metadata=option(
            "what determines an entry's shard; `collection` keeps each collection on one shard",
            one_of("key", "collection"),
        ),
    )
    queries: bool = field(
        default=True, metadata=option("false: shards that do not support queries are permitted", BOOLEAN)
    )

    def check(self) -> None:
        """Names must be valid, and shards must answer queries, unless none are needed."""
        for name in self.children if isinstance(self.children, dict) else ():
            if not NAME.fullmatch(name):
                raise InvalidError(f"{name!r} is not a valid name: expected {NAME_FORM}", field="children")
        for label, child in self.parts():
            if self.queries and not child.can_query():
                raise InvalidError(
                    f"a store of the kind {child.kind} does not support queries here, so nor would the shards;"
                    " to do without, set queries = false",
                    field=label,
                )

    def build(self, stores: Any, below: Mapping[str, Any]) -> Any:
        """A ShardedDatastore: over the slots of the names, or by the keys' hash."""
        children = below["children"]
        if not isinstance(children, dict):
            return stores.ShardedDatastore(children, hash if self.by == "key" else lambda key: hash(key.path))
        names = sorted(children)
        return stores.ShardedDatastore(
            [children[name] for name in names], SlotMap(names, shard_by=self.by), names=names
        )


@dataclass(frozen=True, kw_only=True)
class MountConfig(Composed):
    """Has a store for each key prefix, which gets the keys without the prefix. The longest prefix wins.

    Without a store at `/`, a key below no prefix is absent and cannot be written.
    """

    kind = "mount"
    store_class = "MountDatastore"
    mounts: dict[str, Config] = field(metadata=option("the stores by their prefixes", MOUNTS))

    def check(self) -> None:
        """Prefixes must be keys, in one form."""
        for prefix in self.mounts:
            try:
                key = str(Key(prefix))
            except InvalidKeyError as error:
                raise InvalidError(f"{prefix!r} is not a key: {error}", field="mounts") from error
            if key != prefix:
                raise InvalidError(f"the prefix {prefix!r} is written {key!r}", field="mounts")
