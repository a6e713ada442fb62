"""A store's description: its kind, what it can do, and its parts. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from datastore.model.capability import Capability
from datastore.model.histogram import Histogram

__all__ = ["Description"]


class Description(NamedTuple):
    """The description of a store. `text` is for people; `kind` is one word, e.g. `lmdb` or `sharded`.

    `entries` is how many entries a storage holds, and `stored_bytes` their size on disk, if it knows both without a
    scan; otherwise None. `hits` and `misses` count a tier's reads of values that found one and that found none, since
    the store was created; None for a store that is not a tier. `figures` are other measurements of the store, which a
    server reports in its metrics: a gauge, a count or a distribution by name, e.g. `disk_free_bytes`; docs/metrics.md
    lists the names.
    """

    kind: str
    text: str = ""
    capability: Capability = Capability()
    children: tuple[Description, ...] = ()
    entries: int | None = None
    stored_bytes: int | None = None
    hits: int | None = None
    misses: int | None = None
    figures: Mapping[str, float | Histogram] = MappingProxyType({})

    @property
    def storage(self) -> Description:
        """The innermost store of a composition, or the first with several children."""
        found = self
        while len(found.children) == 1:
            found = found.children[0]
        return found
