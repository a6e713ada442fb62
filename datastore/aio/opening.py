"""A store by its URL, for asyncio: as one package announces it, or a blocking one lifted.

Packages announce async stores as entry points of the group `datastore.aio.stores`.
"""

from __future__ import annotations

from datastore.aio.base import Datastore, DictDatastore
from datastore.aio.lift import lift
from datastore.core import opening

__all__ = ["open", "open_memory"]

GROUP = "datastore.aio.stores"


def open(url: str) -> Datastore:  # noqa: A001 - the name that users know, as in gzip and shelve
    """The store that `url` names: `datastore.aio.open`. Promises and errors as of `datastore.open`.

    Blocks for as long as the store takes to open: for LMDB a moment, for others nothing worth a thread.
    """
    scheme = opening.scheme_of(url)
    opener = opening.find_opener(GROUP, scheme)
    return lift(opening.open(url)) if opener is None else opening.opened(opener, scheme, url, Datastore)


def open_memory(url: str) -> DictDatastore:
    """A new DictDatastore for `memory:`."""
    opening.check_memory(url)
    return DictDatastore()
