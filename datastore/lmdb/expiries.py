"""The index of the entries that expire, by time: what the sweeper reads. Knows one transaction at a time."""

from __future__ import annotations

from struct import Struct

import lmdb

from datastore.model.metadata import Metadata

__all__ = ["Expiries", "has_due", "index_key"]

#: The key in the index: when the entry expires, and its version, which no other entry has.
_KEY = Struct(">QQ")
_TIME_BYTES = 8


def index_key(metadata: Metadata) -> bytes:
    """The key in the index of an entry that expires."""
    return _KEY.pack(metadata.expires_us, metadata.version)


class Expiries:
    """The index, within one transaction. The value of each item is the text of the entry's key."""

    def __init__(self, cursor: lmdb.Cursor[bytes]) -> None:
        self._cursor = cursor

    def add(self, text: bytes, metadata: Metadata) -> None:
        """An entry that expires was written."""
        self._cursor.put(index_key(metadata), text)

    def remove(self, metadata: Metadata) -> None:
        """The entry with this metadata is deleted or replaced. It may be removed already."""
        if self._cursor.set_key(index_key(metadata)):
            self._cursor.delete()

    def pop(self, now_us: int) -> tuple[bytes, int] | None:
        """Remove the first item, if its entry has expired; returns the text of its key and its version."""
        if not self._cursor.first():
            return None
        expires_us, version = _KEY.unpack(self._cursor.key())
        if expires_us > now_us:
            return None
        text = self._cursor.value()
        self._cursor.delete()
        return text, version


def has_due(transaction: lmdb.Transaction[bytes], index: lmdb._Database, now_us: int) -> bool:
    """Whether an entry has expired and is not removed yet."""
    cursor = transaction.cursor(db=index)
    return cursor.first() and cursor.key()[:_TIME_BYTES] <= now_us.to_bytes(_TIME_BYTES)
