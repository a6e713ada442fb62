"""A directory on disk as a Datastore of bytes, kept by LMDB: durable, in key order, for one process at a time.

This module alone knows LMDB, the stored record and the data directory. It knows nothing of value types (a
serializer shim does), of event loops and of the network.

Three things live here. The *gate* lets reads in, and keeps them out for the moment in which the memory map is
replaced. The *writer* is one thread that gathers waiting writes and gives them one commit. The *store* reads,
and hands its writes to the writer. `docs/storage.md` specifies the files and what survives what.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import shutil
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import lmdb
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.core.base import Datastore, check_key, check_query, refine
from datastore.core.batch import Batch, Outcome, Position, Write
from datastore.core.composition import Description, Durability, PushDown
from datastore.core.cursor import Cursor
from datastore.core.description import QueryDescription
from datastore.core.errors import (
    ConfigError,
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    LimitExceededError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
    UnsupportedTypeError,
)
from datastore.core.key import Key
from datastore.core.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_BATCH_BYTES
from datastore.core.ranges import END, ScanPlan

__all__ = [
    "BACKLOG_BYTES",
    "BACKLOG_WRITES",
    "DELETE_RESERVE_BYTES",
    "FLUSH_INTERVAL_S",
    "GROUP_BYTES",
    "MAP_BYTES",
    "MAX_MAP_BYTES",
    "VALUE_BYTES",
    "LMDBDatastore",
    "Stats",
]

logger = logging.getLogger("datastore")

#: The longest value. A commit needs room for one value more than what is stored.
VALUE_BYTES = 64 * 1024 * 1024
#: The map a new store begins with. It is address space, not disk: the file grows as it is used.
MAP_BYTES = 1024 * 1024 * 1024
#: The map grows by doubling up to here; an eighth of the address space of a process on x86-64.
MAX_MAP_BYTES = 16 * 1024**4
#: Beyond the largest map, for deletes alone: a tree that is full to the last page needs pages to shrink.
DELETE_RESERVE_BYTES = 4 * 1024 * 1024
#: One commit takes at most so much (or one write): the others wait for the next.
GROUP_BYTES = 16 * 1024 * 1024
#: `submit` waits while so many writes, or so many bytes, wait already.
BACKLOG_WRITES = 100_000
BACKLOG_BYTES = 64 * 1024 * 1024
#: With durability "async", what was written is flushed to disk so often.
FLUSH_INTERVAL_S = 1.0
#: Reads last milliseconds; whoever waits longer for them to end has met one that was torn off (by a signal).
READS_PATIENCE_S = 10.0
#: Threads that may read at one moment. Each costs 64 bytes of LMDB's lock file.
MAX_READERS = 1024

#: The most entries that a query looks at in one transaction, taken or not: some milliseconds.
SCAN_ENTRIES = 2000

# The record: format, checksum of key and value, value. The format byte makes room for others.
RECORD_FORMAT = 1
_RECORD_START = bytes([RECORD_FORMAT])
_HEADER_BYTES = 1 + 8

# The directory.
_DATA_FILE = "data.mdb"
_READERS_FILE = "lock.mdb"
_LOCK_FILE = "datastore.lock"
_BIRTH_DIRECTORY = ".datastore-new"
_OWN_NAMES = {_DATA_FILE, _READERS_FILE, _LOCK_FILE, _BIRTH_DIRECTORY}
# A fresh file system has one; a volume mounted as data directory is as good as empty.
_HARMLESS_NAMES = {"lost+found"}

# The databases within the LMDB environment.
_ENTRIES = b"entries"
_META = b"meta"
_MAX_DATABASES = 8
STORE_FORMAT = b"1"

_LMDB_MAJOR_VERSION = 1
# MDB_SHORT_WRITE: the disk took a part. The binding has no class for it.
_SHORT_WRITE = -30772
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, _SHORT_WRITE}
_DONE = Outcome()


class Stats(NamedTuple):
    """What a store holds. `used_bytes` counts pages with data in them, `file_bytes` those that wait for reuse too."""

    entries: int
    used_bytes: int
    file_bytes: int
    map_bytes: int
    max_map_bytes: int
    commits: int


class LMDBDatastore(Datastore):
    """Keeps bytes in the LMDB environment of one directory, which it creates if need be.

    Values are bytes, of at most VALUE_BYTES; others raise UnsupportedTypeError: wrap the store in a serializer.
    `durability="sync"` acknowledges a write after it is safe on disk; writes that wait at the same time share one
    commit. With "async" the system writes them out when it likes, and the store asks it to every second and in
    `close()`: they survive the end of the process, but after a loss of power the last ones are missing, or the
    file is damaged where the file system reorders writes.

    The map starts with `map_bytes` and doubles when it is full, up to `max_map_bytes`; a write that needs more,
    or more than the disk has, raises StoreFullError and changes nothing. What was stored stays readable, and
    can be deleted.

    `cluster` and `shard` name what the directory belongs to; they are recorded at its creation, and given and
    found ones must agree. None does not ask.

    One process at a time, and in it one object, has the directory: any other gets StoreLockedError. Any number of
    threads may use that object. After a fork the child must not use it (StoreError). Queries see each entry as it
    was at some moment during them, and none twice; they hold no snapshot, so a slow reader costs nothing.

    Raises StoreFormatError for a directory with other files, or of another format, cluster or shard; nothing in
    it is touched then. CorruptDataError where what is there cannot be read back.
    """

    ordered_queries = True
    #: Reads take microseconds and do not wait for writes: an event loop may make them itself.
    fast_reads = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        durability: str = "sync",
        map_bytes: int = MAP_BYTES,
        max_map_bytes: int = MAX_MAP_BYTES,
        cluster: str | None = None,
        shard: str | None = None,
    ) -> None:
        if durability not in ("sync", "async"):
            raise ConfigError(f"durability must be 'sync' or 'async', not {durability!r}")
        self.directory = Path(directory).absolute()
        self._durability = Durability(durability)
        self._max_map_bytes = max_map_bytes
        self._gate = _Gate(self.directory)
        lock, self._environment, self._entries = _open(
            self.directory,
            _Identity(cluster, shard),
            sync=durability == "sync",
            map_bytes=min(map_bytes, max_map_bytes),
            max_map_bytes=max_map_bytes,
        )
        self._writer = _Writer(
            self._environment,
            self._entries,
            self._gate,
            lock,
            max_map_bytes=max_map_bytes,
            flush_interval_s=None if durability == "sync" else FLUSH_INTERVAL_S,
        )
        # Also at the end of the process, and when a store is dropped unclosed.
        self._finalizer = weakref.finalize(self, self._writer.close)
        _open_stores.add(self)

    # Reading

    def get(self, key: Key) -> bytes | None:
        """The bytes stored under `key`, or None."""
        check_key(key)
        text = str(key).encode()
        try:
            with self._gate:
                transaction = self._environment.begin(self._entries)
                try:
                    record = transaction.get(text)
                finally:
                    transaction.abort()
        except lmdb.Error as error:
            _raise_translated(error, self.directory)
        return None if record is None else _unpack(text, record)

    def contains(self, key: Key) -> bool:
        """Whether `key` has a value, which is not copied for it."""
        check_key(key)
        try:
            with self._gate:
                transaction = self._environment.begin(self._entries, buffers=True)
                try:
                    return transaction.get(str(key).encode()) is not None
                finally:
                    transaction.abort()
        except lmdb.Error as error:
            _raise_translated(error, self.directory)

    def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, as they are at one moment. Each has an Outcome of its own."""
        try:
            with self._gate, self._environment.begin(self._entries) as transaction:
                return [_outcome_of_get(transaction, key) for key in keys]
        except lmdb.Error as error:
            _raise_translated(error, self.directory)

    # Writing

    def put(self, key: Key, value: bytes | None) -> None:
        """Store `value`; returns when it is as durable as the store promises. None deletes."""
        (outcome,) = self.submit([Write(key, value)]).result()
        if outcome.error is not None:
            raise outcome.error

    def delete(self, key: Key) -> None:
        """Remove the entry of `key`, if there is one; returns when that is durable."""
        self.put(key, None)

    def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes in order, mostly in one commit; each has an Outcome of its own."""
        return self.submit(writes).result()

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Hand over writes, without waiting for the disk: the future answers as `batch_write` does.

        Writes take effect in the order of their submission. Cancelling the future before its writes are begun
        takes them back. Waits only while BACKLOG_WRITES or BACKLOG_BYTES wait already. The future's callbacks run
        on the writer's thread: they must be short, and must not close the store.
        """
        return self._writer.submit(_Job(writes))

    def flush(self) -> None:
        """Have everything written so far on disk, also with durability "async"."""
        self._writer.submit(_Job((), flush=True)).result()

    # Queries

    def query(self, query: QueryDescription) -> Cursor:
        """A cursor over what `query` selects. It reads batch by batch, and stops when the store is closed."""
        check_query(query)
        self._gate.check()
        return Cursor.from_batches(query, refine(query, self._scan(query)))

    def _scan(self, query: QueryDescription) -> Generator[Batch]:
        """The raw batches of the query's scope. Each is read in a transaction of its own, after the last key before."""
        plan = ScanPlan(query)
        # Every entry of the scope is a result: no need to read more than are asked for.
        bare = query.limit is not None and not query.filters and not query.orders
        wanted = query.offset + (query.limit or 0) if bare else sys.maxsize
        # Filters of the library find no fields in bytes; others may look at the values themselves.
        with_values = not query.keys_only or query.has_custom_code
        seek, bytes_wanted = plan.start, FIRST_BATCH_BYTES
        while seek != END and wanted > 0:
            batch, seek = self._read(plan, seek, min(wanted, BATCH_ENTRIES), bytes_wanted, with_values=with_values)
            yield batch
            wanted -= len(batch)
            bytes_wanted = BATCH_BYTES

    def _read(
        self, plan: ScanPlan, seek: bytes, entries_wanted: int, bytes_wanted: int, *, with_values: bool
    ) -> tuple[Batch, bytes]:
        """One batch from `seek` on, and where the next begins (END: nowhere)."""
        scan = _Scan(plan, seek, entries_wanted, bytes_wanted)
        try:
            with self._gate, self._environment.begin(self._entries) as transaction:
                cursor = transaction.cursor()
                while not scan.full and scan.seek != END:
                    if not cursor.set_range(scan.seek):
                        scan.seek = END
                    elif with_values:
                        scan.take(cursor.iternext())
                    else:
                        scan.take_keys(cursor.iternext(values=False))
            return scan.batch(), scan.seek
        except lmdb.Error as error:
            _raise_translated(error, self.directory)
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"a key in {self.directory} is damaged: {error}") from error

    # The rest

    def describe(self) -> Description:
        """Kind `lmdb`, with its directory and durability."""
        return Description(
            "lmdb", str(self.directory), self._durability, frozenset({PushDown.SCOPE, PushDown.KEY_FILTERS})
        )

    def stats(self) -> Stats:
        """How much is stored, and how much room it takes."""
        try:
            with self._gate:
                page_bytes = self._environment.stat()["psize"]
                with self._environment.begin() as transaction:
                    found = transaction.stat(self._entries)
                pages = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
                return Stats(
                    entries=found["entries"],
                    used_bytes=pages * page_bytes,
                    file_bytes=(self.directory / _DATA_FILE).stat().st_size,
                    map_bytes=self._environment.info()["map_size"],
                    max_map_bytes=self._max_map_bytes,
                    commits=self._writer.commits,
                )
        except lmdb.Error as error:
            _raise_translated(error, self.directory)

    def close(self) -> None:
        """Commit what was submitted, and let the directory go. May be repeated."""
        self._finalizer()

    def _abandon_after_fork(self) -> None:
        # The child must neither touch LMDB nor hold the lock; the parent goes on as if nothing had happened.
        self._finalizer.detach()
        self._writer.abandon()
        self._gate.abandon()


_open_stores: weakref.WeakSet[LMDBDatastore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_open_stores):
        store._abandon_after_fork()
    _open_stores.clear()


os.register_at_fork(after_in_child=_after_fork)


# Records


def _pack(text: bytes, value: bytes) -> bytes:
    return _RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)) + value


def _unpack(text: bytes, record: bytes) -> bytes:
    value = record[_HEADER_BYTES:]
    if record[:_HEADER_BYTES] != _RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)):
        raise _damaged(text, record)
    return value


def _damaged(text: bytes, record: bytes) -> DatastoreError:
    key = text.decode("utf-8", "backslashreplace")
    if record[:1] != _RECORD_START:
        found = f"format {record[0]}" if record else "no format"
        return CorruptDataError(
            f"the record of {key!r} has {found}; this version reads format {RECORD_FORMAT}:"
            " it is damaged, or was written by a later version"
        )
    return CorruptDataError(f"the record of {key!r} is damaged: its checksum is of other bytes")


def _outcome_of_get(transaction: lmdb.Transaction[bytes], key: Key) -> Outcome:
    try:
        check_key(key)
        text = str(key).encode()
        record = transaction.get(text)
        return _DONE if record is None else Outcome(_unpack(text, record))
    except DatastoreError as error:
        return Outcome(error=error)


# Scans


class _Scan:
    """One batch in the making."""

    __slots__ = ("_judge", "bytes_left", "entries_left", "keys", "last", "looks_left", "seek", "values")

    def __init__(self, plan: ScanPlan, seek: bytes, entries_wanted: int, bytes_wanted: int) -> None:
        self._judge = plan.judge
        self.seek = seek
        self.entries_left = entries_wanted
        self.bytes_left = bytes_wanted
        self.looks_left = SCAN_ENTRIES
        self.keys: list[Key] = []
        self.values: list[bytes | None] = []
        self.last = b""

    @property
    def full(self) -> bool:
        """Whether it is time to hand the batch over."""
        return self.entries_left <= 0 or self.bytes_left <= 0 or self.looks_left <= 0

    def take(self, items: Iterator[tuple[bytes, bytes]]) -> None:
        """Take entries until the batch is full or the plan says to seek on; `seek` then tells where to."""
        judge, new_key = self._judge, Key._trusted
        keys, values = self.keys, self.values
        entries_left, bytes_left, looks_left = (self.entries_left, self.bytes_left, self.looks_left)
        text, seek = b"", None
        for text, record in items:
            looks_left -= 1
            seek = judge(text)
            if seek is not None:
                break
            value = record[_HEADER_BYTES:]
            if record[:_HEADER_BYTES] != _RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)):
                raise _damaged(text, record)
            keys.append(new_key(text.decode()))
            values.append(value)
            entries_left -= 1
            bytes_left -= len(text) + len(value)
            if entries_left <= 0 or bytes_left <= 0 or looks_left <= 0:
                seek = text + b"\x00"
                break
        self.entries_left, self.bytes_left, self.looks_left = (entries_left, bytes_left, looks_left)
        self.last = text
        self.seek = END if seek is None else seek

    def take_keys(self, texts: Iterator[bytes]) -> None:
        """As `take`, without the values."""
        text, seek = b"", None
        for text in texts:
            self.looks_left -= 1
            seek = self._judge(text)
            if seek is not None:
                break
            self.keys.append(Key._trusted(text.decode()))
            self.values.append(None)
            self.entries_left -= 1
            self.bytes_left -= len(text)
            if self.full:
                seek = text + b"\x00"
                break
        self.last = text
        self.seek = END if seek is None else seek

    def batch(self) -> Batch:
        """What was taken. Resuming after the last key looked at loses nothing, also where it was passed over."""
        position = Position(b"", Key._trusted(self.last.decode())) if self.last else None
        return Batch(self.keys, self.values, position=position, scanned=SCAN_ENTRIES - self.looks_left)


# The gate


class _Gate:
    """Lets any number of reads in, and the writer alone while it replaces or closes the memory map.

    Used as a context manager around each read. LMDB would hand a read that overlaps a new map an invalid page.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._refusal: Callable[[], DatastoreError] | None = None
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._shut = False

    def __enter__(self) -> None:
        with self._changed:
            while self._shut:
                self._changed.wait()
            if self._refusal is not None:
                raise self._refusal()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._shut and not self._inside:
                self._changed.notify_all()

    def check(self) -> None:
        """Raise what a read would now."""
        refusal = self._refusal
        if refusal is not None:
            raise refusal()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No read is under way inside this; those that come wait."""
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: not self._inside, READS_PATIENCE_S)
        try:
            yield
        finally:
            with self._changed:
                self._shut = False
                self._changed.notify_all()

    def close(self) -> None:
        """Refuse every read from now on."""
        self._refusal = lambda: DatastoreClosedError(f"the store in {self._directory} is closed")

    def abandon(self) -> None:
        """Refuse every read, in a forked process, where the locks may be held by threads that do not exist."""
        self._refusal = lambda: StoreError(
            f"the store in {self._directory} was opened before this process was forked off;"
            " LMDB cannot be carried over a fork: open stores after it"
        )
        self._reset()


# The writer


class _Job:
    """One submission: what to write, and the future that tells how it went.

    What is refused before it reaches the disk has its outcome from the start.
    """

    __slots__ = ("bytes", "flush", "future", "operations", "outcomes", "positions")

    def __init__(self, writes: Sequence[Write], *, flush: bool = False) -> None:
        self.flush = flush
        self.future: Future[list[Outcome]] = Future()
        self.outcomes = [_DONE] * len(writes)
        self.operations: list[tuple[bytes, bytes | None]] = []
        self.positions: list[int] = []
        self.bytes = 0
        for position, (key, value) in enumerate(writes):
            try:
                text, record = _operation(key, value)
            except DatastoreError as error:
                self.outcomes[position] = Outcome(error=error)
                continue
            self.operations.append((text, record))
            self.positions.append(position)
            self.bytes += len(text) + (0 if record is None else len(record))


def _operation(key: Key, value: object) -> tuple[bytes, bytes | None]:
    check_key(key)
    text = str(key).encode()
    if value is None:
        return text, None
    if not isinstance(value, bytes):
        raise UnsupportedTypeError(
            f"this store keeps bytes, not {type(value).__name__}: wrap it in a serializer", path="value"
        )
    if len(value) > VALUE_BYTES:
        raise LimitExceededError(
            f"the value of {key} has {len(value)} bytes, more than {VALUE_BYTES}",
            limit="value_bytes",
            maximum=VALUE_BYTES,
        )
    return text, _pack(text, value)


class _Writer:
    """The one thread that writes: it gathers what waits, commits it at once, and tells each its outcome.

    It owns the environment: it also grows the map, and at the end closes the environment and releases `lock`.
    """

    def __init__(
        self,
        environment: lmdb.Environment,
        entries: lmdb._Database,
        gate: _Gate,
        lock: _DirectoryLock,
        *,
        max_map_bytes: int,
        flush_interval_s: float | None,
    ) -> None:
        self.commits = 0
        self._environment = environment
        self._entries = entries
        self._gate = gate
        self._lock = lock
        self._max_map_bytes = max_map_bytes
        self._flush_interval_s = flush_interval_s
        self._flush_due: float | None = None
        self._jobs: deque[_Job] = deque()
        self._waiting_writes = 0
        self._waiting_bytes = 0
        self._closing = False
        self._mutex = threading.Lock()
        self._work = threading.Condition(self._mutex)
        self._room = threading.Condition(self._mutex)
        self._thread = threading.Thread(target=self._run, name="datastore-lmdb-writer", daemon=True)
        self._thread.start()

    # Called by any thread

    def submit(self, job: _Job) -> Future[list[Outcome]]:
        self._gate.check()
        with self._mutex:
            while not self._closing and self._jobs and self._is_full():
                self._room.wait()
            if self._closing:
                self._gate.check()
                raise DatastoreClosedError("the store is being closed")
            self._jobs.append(job)
            self._waiting_writes += len(job.operations)
            self._waiting_bytes += job.bytes
            self._work.notify()
        return job.future

    def _is_full(self) -> bool:
        return self._waiting_writes >= BACKLOG_WRITES or self._waiting_bytes >= BACKLOG_BYTES

    def close(self) -> None:
        with self._mutex:
            self._closing = True
            self._work.notify()
            self._room.notify_all()
        # Not where the garbage collector closes a dropped store on this very thread, which then ends by itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def abandon(self) -> None:
        self._lock.abandon()

    # The thread

    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                try:
                    self._write(jobs)
                except Exception as error:
                    # The thread must outlive whatever happens to one group: all writes depend on it.
                    logger.exception("writing to the store in %s failed", self._lock.directory)
                    _fail(jobs, StoreError(f"writing to {self._lock.directory} failed: {error}"))
                self._flush_if_due()
        finally:
            self._end()

    def _end(self) -> None:
        self._gate.close()
        with self._gate.alone():
            if self._flush_interval_s is not None:
                self._flush()
            self._environment.close()
        self._lock.release()

    def _take(self) -> list[_Job] | None:
        """Wait for jobs, and take what one commit can hold. An empty list: time to flush. None: closed, all done."""
        with self._mutex:
            while not self._jobs:
                if self._closing:
                    return None
                if self._flush_due is None:
                    self._work.wait()
                elif not self._work.wait(max(0.0, self._flush_due - time.monotonic())):
                    return []
            taken: list[_Job] = []
            taken_bytes = 0
            while self._jobs and (not taken or taken_bytes + self._jobs[0].bytes <= GROUP_BYTES):
                job = self._jobs.popleft()
                taken_bytes += job.bytes
                self._waiting_writes -= len(job.operations)
                self._waiting_bytes -= job.bytes
                # False: its caller cancelled it while it waited.
                if job.future.set_running_or_notify_cancel():
                    taken.append(job)
            self._room.notify_all()
            return taken

    def _write(self, jobs: list[_Job]) -> None:
        operations = [operation for job in jobs for operation in job.operations]
        failures: dict[int, DatastoreError] = {}
        start = 0
        for stop in _cuts(operations):
            self._apply(operations, start, stop, failures)
            start = stop
        flush_failure = self._flush() if any(job.flush for job in jobs) else None
        start = 0
        for job in jobs:
            for index, position in enumerate(job.positions if failures else ()):
                if start + index in failures:
                    job.outcomes[position] = Outcome(error=failures[start + index])
            start += len(job.operations)
            if job.flush and flush_failure is not None:
                job.future.set_exception(flush_failure)
            else:
                job.future.set_result(job.outcomes)

    def _apply(
        self,
        operations: list[tuple[bytes, bytes | None]],
        start: int,
        stop: int,
        failures: dict[int, DatastoreError],
    ) -> None:
        """Commit a part of the operations. Where there is no room for all of them, halve: what fits is done."""
        part = operations[start:stop]
        failure: DatastoreError | None = self._try_commit(part)
        if isinstance(failure, StoreFullError) and all(record is None for _, record in part):
            failure = self._commit_in_reserve(part)
        if failure is None:
            return
        if isinstance(failure, StoreFullError) and stop - start > 1:
            middle = (start + stop) // 2
            self._apply(operations, start, middle, failures)
            self._apply(operations, middle, stop, failures)
            return
        failures.update(dict.fromkeys(range(start, stop), failure))

    def _try_commit(self, operations: list[tuple[bytes, bytes | None]]) -> DatastoreError | None:
        """Commit all of the operations or none, growing the map as it takes. Answers why not."""
        while True:
            try:
                self._commit(operations)
                return None
            except lmdb.MapFullError:
                if not self._grow():
                    return StoreFullError(
                        f"the store in {self._lock.directory} is full: its map cannot grow beyond"
                        f" {self._environment.info()['map_size']} bytes (max_map_bytes {self._max_map_bytes})"
                    )
            except lmdb.Error as error:
                return _translated(error, self._lock.directory)

    def _commit(self, operations: list[tuple[bytes, bytes | None]]) -> None:
        if not operations:
            return
        transaction = self._environment.begin(self._entries, write=True)
        try:
            for text, record in operations:
                if record is None:
                    transaction.delete(text)
                else:
                    transaction.put(text, record)
            transaction.commit()
        except BaseException:
            # The binding's abort waits for a moment without any call of another thread: reads could starve it.
            with self._gate.alone():
                transaction.abort()
            raise
        self.commits += 1
        if self._flush_interval_s is not None and self._flush_due is None:
            self._flush_due = time.monotonic() + self._flush_interval_s

    def _commit_in_reserve(self, operations: list[tuple[bytes, bytes | None]]) -> DatastoreError | None:
        """Commit deletes with more room than there is for anything else."""
        before = self._environment.info()["map_size"]
        reserve = self._max_map_bytes + DELETE_RESERVE_BYTES
        if before >= reserve or not self._resize(reserve):
            return self._try_commit(operations)
        failure = self._try_commit(operations)
        # Down to what is in use, if that is more.
        self._resize(self._max_map_bytes)
        return failure

    def _grow(self) -> bool:
        size = self._environment.info()["map_size"]
        return size < self._max_map_bytes and self._resize(min(size * 2, self._max_map_bytes))

    def _resize(self, map_bytes: int) -> bool:
        if not _has_address_space(map_bytes):
            return False
        with self._gate.alone():
            try:
                self._environment.set_mapsize(map_bytes)
            except lmdb.Error:
                return False
        return True

    def _flush_if_due(self) -> None:
        if self._flush_due is not None and time.monotonic() >= self._flush_due:
            self._flush()

    def _flush(self) -> DatastoreError | None:
        self._flush_due = None
        try:
            self._environment.sync(True)
        except lmdb.Error as error:
            logger.exception("flushing the store in %s failed", self._lock.directory)
            return _translated(error, self._lock.directory)
        return None


def _fail(jobs: list[_Job], failure: StoreError) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(failure)


def _cuts(operations: list[tuple[bytes, bytes | None]]) -> list[int]:
    """Where to cut operations so that no part exceeds GROUP_BYTES, unless it is one operation. The last is the end."""
    cuts, part_bytes = [], 0
    for index, (text, record) in enumerate(operations):
        size = len(text) + (0 if record is None else len(record))
        if part_bytes and part_bytes + size > GROUP_BYTES:
            cuts.append(index)
            part_bytes = 0
        part_bytes += size
    return [*cuts, len(operations)]


def _has_address_space(map_bytes: int) -> bool:
    # LMDB gives up the old map before it asks for the new one: a refusal there would leave it with none.
    try:
        mmap.mmap(-1, map_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


# Errors of the driver


def _translated(error: lmdb.Error, directory: Path) -> DatastoreError:
    """The library's error for one of LMDB's."""
    translated: DatastoreError
    if isinstance(error, lmdb.MapFullError | lmdb.DiskError) or error.code in _OUT_OF_SPACE:
        translated = StoreFullError(f"no room for this write in {directory}: {error}")
    elif isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        translated = CorruptDataError(f"the data file in {directory} is damaged: {error}")
    else:
        translated = StoreError(f"LMDB failed in {directory}: {error}")
    translated.__cause__ = error
    return translated


def _raise_translated(error: lmdb.Error, directory: Path) -> NoReturn:
    raise _translated(error, directory) from error


# The directory


class _Identity(NamedTuple):
    """Whose data a directory holds. None: of no cluster, or whoever's."""

    cluster: str | None
    shard: str | None


class _DirectoryLock:
    """The exclusive right to one directory: a lock on a file that names the process which has it.

    The system releases it when the process ends, however it ends.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor: int | None = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            self.abandon()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise StoreLockedError(_locked_text(directory, holder)) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close the file without unlocking it: after a fork, the lock is the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _locked_text(directory: Path, holder: str) -> str:
    if holder == str(os.getpid()):
        return f"{directory} is already open in this process (pid {holder}): use that store, or close it first"
    who = f"process {holder}" if holder else "another process"
    return f"{directory} is in use by {who}: stop it, or name another directory"


def _open(
    directory: Path, identity: _Identity, *, sync: bool, map_bytes: int, max_map_bytes: int
) -> tuple[_DirectoryLock, lmdb.Environment, lmdb._Database]:
    """Lock the directory, and open what is in it, or create it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(directory)
        lock = _DirectoryLock(directory)
        try:
            _prepare(directory, identity)
            file_bytes = (directory / _DATA_FILE).stat().st_size
            environment = lmdb.open(
                str(directory),
                map_size=min(max(map_bytes, 2 * file_bytes), max_map_bytes),
                max_dbs=_MAX_DATABASES,
                max_readers=MAX_READERS,
                max_spare_txns=1,
                sync=sync,
                lib_version=_LMDB_MAJOR_VERSION,
            )
            # A reader that was killed must not keep old pages from being reused.
            environment.reader_check()
            return lock, environment, environment.open_db(_ENTRIES, create=False)
        except BaseException:
            lock.release()
            raise
    except DatastoreError:
        raise
    except lmdb.Error as error:
        _raise_translated(error, directory)
    except OSError as error:
        raise StoreError(f"{directory} cannot be used as a data directory: {error}") from error


def _prepare(directory: Path, identity: _Identity) -> None:
    shutil.rmtree(directory / _BIRTH_DIRECTORY, ignore_errors=True)
    if not (directory / _DATA_FILE).exists():
        _create(directory, identity)
    _check_identity(directory, identity)


def _refuse_foreign(directory: Path) -> None:
    """Raise StoreFormatError, before anything is written, where the directory holds what is not ours."""
    names = {path.name for path in directory.iterdir()} - _HARMLESS_NAMES
    if _LOCK_FILE in names:
        return
    if _DATA_FILE in names:
        _read_meta(directory)
    elif names - _OWN_NAMES:
        some = ", ".join(sorted(names - _OWN_NAMES)[:3])
        raise StoreFormatError(
            f"{directory} is no data directory: it holds other files ({some}); name an empty or a new one"
        )


def _create(directory: Path, identity: _Identity) -> None:
    # Built aside and renamed: a data file that is there is whole, so a short one was cut.
    birth = directory / _BIRTH_DIRECTORY
    birth.mkdir()
    environment = lmdb.open(str(birth), map_size=1024 * 1024, max_dbs=_MAX_DATABASES, lib_version=_LMDB_MAJOR_VERSION)
    try:
        environment.open_db(_ENTRIES)
        meta = environment.open_db(_META)
        with environment.begin(meta, write=True) as transaction:
            transaction.put(b"format", STORE_FORMAT)
            for name, value in identity._asdict().items():
                if value is not None:
                    transaction.put(name.encode(), value.encode())
    finally:
        environment.close()
    (birth / _DATA_FILE).rename(directory / _DATA_FILE)
    shutil.rmtree(birth)
    for changed in (directory, directory.parent):
        _sync_directory(changed)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_meta(directory: Path) -> dict[str, str]:
    """What a data file says of itself, read without leaving a trace in the directory.

    Raises StoreFormatError if it is none of ours, CorruptDataError if it was cut.
    """
    if (directory / _DATA_FILE).stat().st_size == 0:
        raise CorruptDataError(f"the data file in {directory} is empty: it was cut, restore it from a backup")
    try:
        environment = lmdb.open(str(directory), readonly=True, lock=False, create=False, max_dbs=_MAX_DATABASES)
    except lmdb.PageNotFoundError:
        raise CorruptDataError(f"the data file in {directory} was cut: restore it from a backup") from None
    except lmdb.Error as error:
        raise StoreFormatError(
            f"{directory / _DATA_FILE} is not a data file of this store, or its beginning is damaged: {error}"
        ) from error
    try:
        _check_length(directory, environment)
        if environment.lib_version()[0] != _LMDB_MAJOR_VERSION:
            raise _foreign(directory)
        try:
            meta = environment.open_db(_META, create=False)
        except (lmdb.NotFoundError, lmdb.ReadonlyError, lmdb.IncompatibleError):
            raise _foreign(directory) from None
        with environment.begin(meta) as transaction:
            return {key.decode(): value.decode() for key, value in transaction.cursor()}
    except lmdb.Error as error:
        _raise_translated(error, directory)
    except UnicodeDecodeError:
        raise _foreign(directory) from None
    finally:
        environment.close()


def _check_length(directory: Path, environment: lmdb.Environment) -> None:
    """Raise CorruptDataError if pages are missing at the end, the reading of which would kill the process."""
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found = (directory / _DATA_FILE).stat().st_size
    if found < expected:
        raise CorruptDataError(
            f"the data file in {directory} was cut: it has {found} bytes of {expected}; restore it from a backup"
        )


def _foreign(directory: Path) -> StoreFormatError:
    return StoreFormatError(
        f"{directory} holds an LMDB environment that this store did not write: name an empty or a new directory"
    )


def _check_identity(directory: Path, wanted: _Identity) -> None:
    """Raise StoreFormatError if the directory is of another format, cluster or shard."""
    meta = _read_meta(directory)
    found_format = meta.get("format")
    if found_format is None:
        raise _foreign(directory)
    if found_format != STORE_FORMAT.decode():
        raise StoreFormatError(
            f"{directory} has store format {found_format}; this version reads format {STORE_FORMAT.decode()}:"
            " open it with the version that wrote it, and export and import its entries"
        )
    for name, value in wanted._asdict().items():
        if value is not None and meta.get(name) != value:
            recorded = f"{name} {meta[name]!r}" if name in meta else f"no {name}"
            raise StoreFormatError(
                f"{directory} belongs to {recorded}, not to {name} {value!r}: name the right directory,"
                " or export its entries and import them through the cluster"
            )
