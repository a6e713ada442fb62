"""What a store can do, as a record. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

__all__ = ["Capability", "Durability", "Support"]


class Durability(Enum):
    """What a completed `put` guarantees."""

    UNKNOWN = "unknown"
    #: Writes do not survive the process.
    MEMORY = "memory"
    #: Writes survive the process, but may be lost in a power failure.
    ASYNC = "async"
    #: Writes are on disk before `put` returns.
    SYNC = "sync"


class Support(Enum):
    """How a store applies a part of a query while it reads."""

    #: Not at all.
    NONE = "none"
    #: Some entries that it excludes may still be there, and none is missing.
    INEXACT = "inexact"
    #: Completely.
    EXACT = "exact"


class Capability(NamedTuple):
    """What a store can do. A store that declares nothing is assumed to have the defaults.

    `queries` is whether it answers queries at all; if not, each raises QueryNotSupportedError. `scope` is whether a
    query reads only its collection, not the whole store. The four after it are how much of these parts of a query the
    storage applies itself, at best; the library applies the rest after reading. `limit` includes the offset.
    `versions` is whether entries have metadata (`ReadOptions.metadata`), and writes may have conditions; `expiry`,
    which includes that, whether entries can expire; `changes`, whether the store can be watched; `atomic`, whether it
    makes atomic batches, a collection only if all keys lie in one of its stores; `retries`, whether it remembers the
    requests of writes for a while, and answers a repeated one (Attempt) instead of making it again.
    `reads_at_once` is whether the `read` of a store for asyncio needs no event loop and does not suspend, except to
    wait for a write of the same key.
    """

    queries: bool = True
    scope: bool = False
    #: Filters on `__key__`.
    key_filters: Support = Support.NONE
    field_filters: Support = Support.NONE
    orders: Support = Support.NONE
    limit: Support = Support.NONE
    durability: Durability = Durability.UNKNOWN
    versions: bool = False
    expiry: bool = False
    changes: bool = False
    atomic: bool = False
    retries: bool = False
    reads_at_once: bool = False

    def scope_only(self) -> Capability:
        """The capability that remains if only the scope of a query is passed on."""
        none = Support.NONE
        return self._replace(key_filters=none, field_filters=none, orders=none, limit=none, reads_at_once=False)

    @classmethod
    def common(cls, capabilities: Iterable[Capability]) -> Capability:
        """The capability of a store over these: the weakest of each part, and reads may suspend.

        Of no stores: the defaults.
        """
        known = list(capabilities)
        if not known:
            return cls()
        least = {name: min((getattr(each, name) for each in known), key=_rank) for name in cls._fields}
        return cls(**{**least, "reads_at_once": False})


def _rank(value: Any) -> int:
    """The place of a flag or of a member in its enum, whose members are declared weakest first."""
    return list(type(value)).index(value) if isinstance(value, Enum) else int(value)
