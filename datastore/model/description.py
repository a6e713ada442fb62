"""A store's description: its kind, its parts, and its guarantees. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Description", "Durability", "PushDown", "weakest"]


class Durability(Enum):
    """What a completed `put` guarantees."""

    UNKNOWN = "unknown"
    #: Writes do not survive the process.
    MEMORY = "memory"
    #: Writes survive the process, but may be lost in a power failure.
    ASYNC = "async"
    #: Writes are on disk before `put` returns.
    SYNC = "sync"


class PushDown(Enum):
    """A part of a query that the storage evaluates itself; the rest is evaluated after reading."""

    #: A query reads its collection, not the whole store.
    SCOPE = "scope"
    #: Filters on `__key__` limit the scan.
    KEY_FILTERS = "key_filters"
    FIELD_FILTERS = "field_filters"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a store. `text` is for people; `kind` is one word, e.g. `lmdb` or `sharded`.

    `entries` is how many entries a storage holds, and `stored_bytes` how much room they take on disk, where it knows
    both without looking through them; else None. `reads_at_once` says that the `read` of a store for asyncio needs no
    event loop and does not suspend, except to wait for a write of the same key. `hits` and `misses` count the reads of
    a tier's keys that had a value and that had none, since the store was created; None for a store that is not a tier.
    Two descriptions of one store are equal whatever it holds and whatever was read.
    """

    kind: str
    text: str = ""
    durability: Durability = Durability.UNKNOWN
    push_down: frozenset[PushDown] = frozenset()
    children: tuple[Description, ...] = ()
    entries: int | None = field(default=None, compare=False, kw_only=True)
    stored_bytes: int | None = field(default=None, compare=False, kw_only=True)
    reads_at_once: bool = field(default=False, compare=False, kw_only=True)
    hits: int | None = field(default=None, compare=False, kw_only=True)
    misses: int | None = field(default=None, compare=False, kw_only=True)


def weakest(durabilities: Iterable[Durability]) -> Durability:
    """The durability that all of several stores guarantee; UNKNOWN if any is unknown, or there are none."""
    order = list(Durability)
    return min(durabilities, key=order.index, default=Durability.UNKNOWN)
