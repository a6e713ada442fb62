"""A store's description: its kind, what it can do, and its parts. Pure data."""

from __future__ import annotations

from typing import NamedTuple

from datastore.model.capability import Capability

__all__ = ["Description"]


class Description(NamedTuple):
    """The description of a store. `text` is for people; `kind` is one word, e.g. `lmdb` or `sharded`.

    `entries` is how many entries a storage holds, and `stored_bytes` their size on disk, if it knows both without a
    scan; otherwise None. `hits` and `misses` count a tier's reads of values that found one and that found none, since
    the store was created; None for a store that is not a tier.
    """

    kind: str
    text: str = ""
    capability: Capability = Capability()
    children: tuple[Description, ...] = ()
    entries: int | None = None
    stored_bytes: int | None = None
    hits: int | None = None
    misses: int | None = None
