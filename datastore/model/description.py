"""A store's description: its kind, what it can do, and its parts. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field

from datastore.model.capability import Capability

__all__ = ["Description"]


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a store. `text` is for people; `kind` is one word, e.g. `lmdb` or `sharded`.

    `entries` is how many entries a storage holds, and `stored_bytes` their size on disk, if it knows both without a
    scan; otherwise None. `hits` and `misses` count a tier's reads of values that found one and that found none, since
    the store was created; None for a store that is not a tier. Two descriptions of one store are equal whatever it
    holds and whatever was read.
    """

    kind: str
    text: str = ""
    capability: Capability = field(default_factory=Capability)
    children: tuple[Description, ...] = ()
    entries: int | None = field(default=None, compare=False, kw_only=True)
    stored_bytes: int | None = field(default=None, compare=False, kw_only=True)
    hits: int | None = field(default=None, compare=False, kw_only=True)
    misses: int | None = field(default=None, compare=False, kw_only=True)
