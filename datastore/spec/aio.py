"""Opening a store by its URL, for asyncio: an async store from a package, or a lifted blocking one.

Packages register async stores as entry points in the group `datastore.aio.stores`.
"""

from __future__ import annotations

from datastore.aio.base import Datastore, DictDatastore
from datastore.aio.lift import lift
from datastore.spec import opening

__all__ = ["open", "open_memory"]

GROUP = "datastore.aio.stores"


def open(url: str) -> Datastore:  # noqa: A001 - the name that users know, as in gzip and shelve
    """Open the store that `url` names: `datastore.aio.open`. Guarantees and errors are those of `datastore.open`.

    Blocks while the store opens, which is brief for LMDB and negligible for others.
    """
    scheme = opening.scheme_of(url)
    opener = opening.find_opener(GROUP, scheme)
    return lift(opening.open(url)) if opener is None else opening.opened(opener, scheme, url, Datastore)


def open_memory(url: str) -> DictDatastore:
    """A new DictDatastore for `memory:`."""
    opening.check_memory(url)
    return DictDatastore()
