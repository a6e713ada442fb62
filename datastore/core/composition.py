"""What a store tells of itself: its kind, what it is made of, and what its answers promise. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Description", "Durability", "PushDown", "weakest"]


class Durability(Enum):
    """What the end of a `put` promises."""

    UNKNOWN = "unknown"
    #: Nothing survives the process.
    MEMORY = "memory"
    #: Survives the process, not always a loss of power.
    ASYNC = "async"
    #: On disk before `put` returns.
    SYNC = "sync"


class PushDown(Enum):
    """A part of a query that a storage works off by itself; the rest is done after reading."""

    #: A query costs its collection, not the whole store.
    SCOPE = "scope"
    #: Filters on `__key__` bound the scan.
    KEY_FILTERS = "key_filters"
    FIELD_FILTERS = "field_filters"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Description:
    """What a store is. `text` is for people; `kind` is one word, e.g. `lmdb` or `sharded`.

    `entries` is how many entries a storage holds, and `stored_bytes` how much room they take on disk, where it knows
    both without looking through them; else None. Two descriptions of one store are equal whatever it holds.
    """

    kind: str
    text: str = ""
    durability: Durability = Durability.UNKNOWN
    push_down: frozenset[PushDown] = frozenset()
    children: tuple[Description, ...] = ()
    entries: int | None = field(default=None, compare=False, kw_only=True)
    stored_bytes: int | None = field(default=None, compare=False, kw_only=True)


def weakest(durabilities: Iterable[Durability]) -> Durability:
    """The promise that all of several stores keep; UNKNOWN if any is unknown, or there are none."""
    order = list(Durability)
    return min(durabilities, key=order.index, default=Durability.UNKNOWN)
