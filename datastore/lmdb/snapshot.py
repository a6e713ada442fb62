"""The contents of a data directory as of one moment, also while another process serves it.

LMDB lets other processes read: this one opens the environment read-only, and keeps one read transaction. Until it ends,
the serving process cannot reuse the pages that this transaction sees, so the file grows by what is written meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from datastore.lmdb.directory import (
    ENTRIES,
    EXPIRIES,
    META,
    NODE_ID,
    SYSTEM,
    latest_in,
    open_to_read,
)
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.records import has_expired

__all__ = ["SNAPSHOT_BYTES", "SNAPSHOT_ENTRIES", "Snapshot"]

#: How many entries and bytes are read at once; a larger entry is read alone.
SNAPSHOT_ENTRIES = 2000
SNAPSHOT_BYTES = 256 * 1024


class Snapshot:
    """A directory as of the moment of its opening, for `with`. For one thread.

    Not in the process that has the directory open as a store. Raises StoreFormatError and CorruptDataError like the
    store, and StoreError if it cannot be opened.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment, names = open_to_read(directory)
        try:
            # Opened before the transaction begins; it would not see any that are created later.
            self.databases = names
            self.transaction = self._environment.begin()
            self.version, latest_us = latest_in(self.transaction, names[META], directory)
            #: By which entries have expired, in microseconds since 1970.
            self.time_us = max(int(time.time() * 1_000_000), latest_us)
        except BaseException as error:
            self._environment.close()
            if isinstance(error, lmdb.Error):
                raise_translated(error, directory)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.transaction.abort()
        self._environment.close()

    @property
    def node_id(self) -> str:
        """The identity of the directory; '' if it has none yet."""
        return (self.transaction.get(NODE_ID, db=self.databases[META]) or b"").decode()

    @property
    def stored_entries(self) -> int:
        """The number of entries, including those that have expired and are not removed yet."""
        return int(self.transaction.stat(self.databases[ENTRIES])["entries"])

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None."""
        system = self.databases.get(SYSTEM)
        return None if system is None else self.transaction.get(name.encode(), db=system)

    def entry(self, text: bytes) -> bytes | None:
        """The record of a key, or None."""
        return self.transaction.get(text, db=self.databases[ENTRIES])

    def batches(self, *, with_expired: bool = False) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """The texts of the keys and the records of all entries, in key order, some at a time."""
        try:
            with self.transaction.cursor(db=self.databases[ENTRIES]) as cursor:
                texts: list[bytes] = []
                records: list[bytes] = []
                size = 0
                for text, record in cursor:
                    next_size = len(text) + len(record)
                    if texts and (size + next_size > SNAPSHOT_BYTES or len(texts) == SNAPSHOT_ENTRIES):
                        yield self._kept(texts, records, with_expired=with_expired)
                        texts, records, size = [], [], 0
                    texts.append(text)
                    records.append(record)
                    size += next_size
                yield self._kept(texts, records, with_expired=with_expired)
        except lmdb.Error as error:
            raise_translated(error, self.directory)

    def _kept(self, texts: list[bytes], records: list[bytes], *, with_expired: bool) -> tuple[list[bytes], list[bytes]]:
        if with_expired or EXPIRIES not in self.databases:
            return texts, records
        held = [not has_expired(record, self.time_us) for record in records]
        return (texts, records) if all(held) else (list(compress(texts, held)), list(compress(records, held)))
