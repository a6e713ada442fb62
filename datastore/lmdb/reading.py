"""What reads an open environment, in short transactions: of a store, and of another process that reads beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from datastore.engine.plan import narrowed
from datastore.engine.ranges import END, ScanPlan, bounds
from datastore.engine.room import batch_bytes, read_room
from datastore.lmdb.absence import check_absent, seek
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.expiries import has_due
from datastore.lmdb.gate import Gate
from datastore.lmdb.records import has_expired, unpack, unpack_stored
from datastore.lmdb.scan import RangeScan
from datastore.model.capability import Capability, Support
from datastore.model.entries import Batch
from datastore.model.errors import CorruptDataError, DatastoreError
from datastore.model.key import Key
from datastore.model.limits import BATCH_ENTRIES, BATCH_GROWTH, FIRST_BATCH_BYTES
from datastore.model.operations import PRESENCE, ReadOptions, ReadResult, attempt
from datastore.model.query import Query
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan

__all__ = ["LMDBReads"]


class LMDBReads(Datastore):
    """Reads the entries of an environment, which its subclass opens and closes."""

    #: Reads take microseconds and do not wait for writes: an event loop can run them directly.
    fast_reads = True

    directory: Path
    _environment: lmdb.Environment
    _entries: lmdb._Database
    _gate: Gate

    @abstractmethod
    def _expiry_index(self) -> lmdb._Database | None:
        """The index of the entries that expire; None if there has been none. Asked before a transaction begins."""

    @abstractmethod
    def _latest_us(self) -> int:
        """The time by which entries have expired, in microseconds since 1970: never before an earlier one."""

    # Reading

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read several entries as of one moment. Without values, none is copied."""
        try:
            with self._gate:
                if options == PRESENCE:
                    return self._presence(keys)
                read = self._entry if options.metadata else self._value
                transaction = self._environment.begin(self._entries)
                try:
                    if len(keys) == 1:
                        return [read(transaction, keys[0])]
                    room = read_room()
                    return [room.left_out() if room.is_full else room.take(read(transaction, key)) for key in keys]
                finally:
                    transaction.abort()
        except lmdb.Error as error:
            if len(keys) == 1:
                raise_translated(error, self.directory)
            # A transaction is unusable after an error, but entries on other pages may be sound.
            return [self._read_alone(key, options) for key in keys]

    def _read_alone(self, key: Key, options: ReadOptions) -> ReadResult:
        try:
            (result,) = self.read([key], options)
        except DatastoreError as error:
            return ReadResult(error=error)
        return result

    def _presence(self, keys: Sequence[Key]) -> list[ReadResult]:
        transaction = self._environment.begin(self._entries, buffers=True)
        try:
            return [self._is_present(transaction, str(key).encode()) for key in keys]
        finally:
            transaction.abort()

    def _is_present(self, transaction: lmdb.Transaction[memoryview], text: bytes) -> ReadResult:
        record = transaction.get(text)
        if record is None:
            return attempt(check_absent, transaction.cursor(), text)
        return ReadResult(None if self._hides(record) else True)

    def _value(self, transaction: lmdb.Transaction[bytes], key: Key) -> ReadResult:
        text = str(key).encode()
        record = transaction.get(text)
        if record is None:
            return attempt(check_absent, transaction.cursor(), text)
        result = attempt(unpack, text, record)
        return result if result.error is not None or not self._hides(record) else ReadResult()

    def _entry(self, transaction: lmdb.Transaction[bytes], key: Key) -> ReadResult:
        """The value with its metadata."""
        text = str(key).encode()
        record = transaction.get(text)
        if record is None:
            return attempt(check_absent, transaction.cursor(), text)
        result = attempt(unpack_stored, text, record)
        if result.error is None:
            result.value, result.metadata = result.value
        return ReadResult() if result.error is None and self._hides(record) else result

    def _hides(self, record: bytes | memoryview) -> bool:
        """Whether the entry of a record has expired."""
        return self._expiry_index() is not None and has_expired(record, self._latest_us())

    # Queries

    def scan(self, query: Query) -> Scan:
        """The entries of the scope. They are read batch by batch, until the store is closed."""
        self._gate.check()
        return Scan(self._batches(query), narrowed(query, bounds, query.entries_needed(started=True)))

    def _batches(self, query: Query) -> Generator[Batch]:
        """The raw batches of the query's scope. Each is read in a separate transaction, after the previous one."""
        plan = ScanPlan(query)
        # No more are read than requested.
        wanted = query.entries_needed(started=True)
        # Filters of the library find no fields in bytes; others may look at the values themselves.
        with_values = not query.keys_only or query.has_custom_code
        with_metadata = query.needs_metadata
        place, bytes_wanted = plan.start, FIRST_BATCH_BYTES
        while place != END and wanted > 0:
            scan = RangeScan(plan, place, min(wanted, BATCH_ENTRIES), bytes_wanted)
            batch = self._read(scan, with_values=with_values, with_metadata=with_metadata)
            place = scan.seek
            yield batch
            wanted -= len(batch)
            # Small at first: a reader that stops early should not make the store read far ahead.
            bytes_wanted = min(bytes_wanted * BATCH_GROWTH, batch_bytes())

    def _read(self, scan: RangeScan, *, with_values: bool, with_metadata: bool) -> Batch:
        """Take entries until the batch is full or nothing is left."""
        # A transaction sees no database that was created after it had begun.
        expiries, now_us = self._expiry_index(), self._latest_us()
        try:
            with self._gate, self._environment.begin(self._entries) as transaction:
                # Almost never: expired entries are soon removed.
                scan.hidden_us = now_us if expiries is not None and has_due(transaction, expiries, now_us) else 0
                with_records = with_values or with_metadata or scan.hidden_us > 0
                cursor = transaction.cursor()
                while not scan.full and scan.seek != END:
                    # With its record, `take` has checked an entry that it skipped.
                    if not seek(cursor, scan.seek, scan.last if with_records else None):
                        scan.seek = END
                    else:
                        items: Iterator[Any] = cursor.iternext() if with_records else cursor.iternext(values=False)
                        scan.take(items, with_records=with_records)
            return scan.batch(with_values=with_values, with_metadata=with_metadata)
        except lmdb.Error as error:
            raise_translated(error, self.directory)
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"a key is damaged: {error}", where=str(self.directory)) from error

    @property
    def capability(self) -> Capability:
        """Scans are bounded by filters on keys, and end after the last entry that a limit needs."""
        inexact = Support.INEXACT
        return Capability(scope=True, key_filters=inexact, limit=inexact, versions=True, expiry=True)

    # System records

    def _read_record(self, database: lmdb._Database, name: bytes) -> bytes | None:
        try:
            with self._gate, self._environment.begin(database) as transaction:
                return transaction.get(name)
        except lmdb.Error as error:
            raise_translated(error, self.directory)
