"""LMDBReader: the entries of a directory that another process has open as a store, in a process that only reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

from datastore.engine.versions import Versions
from datastore.lmdb.directory import ENTRIES, EXPIRIES, META, NODE_ID, SYSTEM, if_created, latest_in, open_to_read
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.gate import Gate
from datastore.lmdb.reading import LMDBReads
from datastore.lmdb.records import has_expired
from datastore.lmdb.writer import DELETE_RESERVE_BYTES
from datastore.model.description import Description
from datastore.model.errors import UnsupportedError
from datastore.model.operations import Operation, WriteResult

__all__ = ["LMDBReader"]


class LMDBReader(LMDBReads):
    """Reads what the store of another process has committed: a read that begins after a write was acknowledged sees it.

    `max_map_bytes` must be that of the store, which may make the file so large at any time. Entries expire by the
    clock of this process, and by the time of the store's last write if that is later. Writes raise UnsupportedError.
    Safe for threads. Not in the process that has the directory open as a store. Nothing keeps the store's process from
    ending, or another one from opening the directory: both processes must be started and ended together.

    Raises StoreFormatError and CorruptDataError like the store, and StoreError if it cannot be opened.
    """

    def __init__(self, directory: Path, *, max_map_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._gate = Gate(directory)
        # As much as the store can ever use, so that its growth is never in the way of a read: address space, no memory.
        map_bytes = max_map_bytes + DELETE_RESERVE_BYTES
        self._environment, databases = open_to_read(directory, map_bytes=map_bytes)
        self._entries, self._meta = databases[ENTRIES], databases[META]
        self._system, self._expiries = databases.get(SYSTEM), databases.get(EXPIRIES)
        self._opening = threading.Lock()
        with self._environment.begin() as transaction:
            self._versions = Versions(*latest_in(transaction, self._meta, directory), clock=clock)

    # Reading

    def _expiry_index(self) -> lmdb._Database | None:
        if self._expiries is None:
            self._expiries = self._created(EXPIRIES)
        return self._expiries

    def _latest_us(self) -> int:
        return self._versions.latest_us()

    def _hides(self, record: bytes | memoryview) -> bool:
        # The record says it, too: looking for an index that does not exist takes longer.
        return has_expired(record, self._latest_us())

    def _created(self, name: bytes) -> lmdb._Database | None:
        """A database that the store may have created meanwhile."""
        # LMDB opens databases in one thread at a time.
        with self._opening:
            return if_created(self._environment, name)

    # What the store has committed

    def node_id(self) -> str:
        """The identity of the directory; '' if it has none yet."""
        return (self._read_record(self._meta, NODE_ID) or b"").decode()

    def last_commit(self) -> int:
        """The number of the store's last commit. Not while the store is being closed."""
        try:
            # Without the gate, which takes ten times longer: the map is never replaced, and every read asks this twice.
            return self._environment.begin().id()
        except lmdb.Error as error:
            raise_translated(error, self.directory)

    def read_records(self, names: Sequence[str]) -> list[bytes | None]:
        """The system records of these names as of one moment."""
        if self._system is None:
            self._system = self._created(SYSTEM)
        if self._system is None:
            return [None] * len(names)
        try:
            with self._gate, self._environment.begin(self._system) as transaction:
                return [transaction.get(name.encode()) for name in names]
        except lmdb.Error as error:
            raise_translated(error, self.directory)

    # The rest

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Not here: raises UnsupportedError."""
        raise UnsupportedError(f"{self.directory} is open for reading only: another process writes it")

    def describe(self) -> Description:
        """Kind `lmdb`, with its directory; its figures are known to the process that has the store."""
        return Description("lmdb", str(self.directory), self.capability)

    def close(self) -> None:
        """Wait for reads, and close the environment. May be repeated."""
        self._gate.close()
        with self._gate.exclusive():
            self._environment.close()
