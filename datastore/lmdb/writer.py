"""One thread that commits all waiting writes together, and grows the map when they need room."""

from __future__ import annotations

import logging
import mmap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import lmdb

from datastore.lmdb.directory import FORMAT, NODE_ID, PLACED_FORMAT, SYSTEM, Databases, DirectoryLock
from datastore.lmdb.errors import translated
from datastore.lmdb.gate import Gate
from datastore.lmdb.records import pack
from datastore.model.arguments import check_key
from datastore.model.entries import Write
from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    LimitExceededError,
    StoreError,
    StoreFullError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.operations import Operation, WriteResult, refusal_of
from datastore.model.text import utf8_of

__all__ = [
    "BACKLOG_BYTES",
    "BACKLOG_WRITES",
    "DELETE_RESERVE_BYTES",
    "FLUSH_INTERVAL_S",
    "GROUP_BYTES",
    "VALUE_BYTES",
    "Job",
    "Writer",
]

logger = logging.getLogger("datastore")

#: The longest value. A commit needs room for one more value than is stored.
VALUE_BYTES = 64 * 1024 * 1024
#: Space beyond the largest map, for deletes only: a full tree needs free pages to shrink.
DELETE_RESERVE_BYTES = 4 * 1024 * 1024
#: The maximum size of one commit, unless it is a single write. Other writes wait for the next commit.
GROUP_BYTES = 16 * 1024 * 1024
#: `submit` blocks while so many writes, or so many bytes, are waiting.
BACKLOG_WRITES = 100_000
BACKLOG_BYTES = 64 * 1024 * 1024
#: With durability "async", how often writes are flushed to disk.
FLUSH_INTERVAL_S = 1.0
_DONE = WriteResult()


class Job:
    """One submission: the writes, and the future for their results.

    Writes that are refused before they reach the disk have their results from the start. `record` is a system record,
    its name and content; with one, or with `flush`, the future is done once everything is on disk, whatever the
    durability.
    """

    __slots__ = ("bytes", "flush", "future", "operations", "positions", "record", "results")

    def __init__(
        self, writes: Sequence[Operation | Write], *, flush: bool = False, record: tuple[bytes, bytes] | None = None
    ) -> None:
        self.flush = flush or record is not None
        self.record = record
        self.future: Future[list[WriteResult]] = Future()
        self.results = [_DONE] * len(writes)
        self.operations: list[tuple[bytes, bytes | None]] = []
        self.positions: list[int] = []
        self.bytes = 0
        for position, write in enumerate(writes):
            try:
                text, packed = _operation(write.key, write.value)
            except DatastoreError as error:
                self.results[position] = WriteResult(refusal_of(error))
                continue
            self.operations.append((text, packed))
            self.positions.append(position)
            self.bytes += len(text) + (0 if packed is None else len(packed))


def _operation(key: Key, value: object) -> tuple[bytes, bytes | None]:
    text = str(check_key(key)).encode()
    if value is None:
        return text, None
    if not isinstance(value, (bytes, str)):
        raise UnsupportedTypeError(
            f"this store accepts bytes and text, not {type(value).__name__}: wrap it in a serializer", path="value"
        )
    data = utf8_of(value) if isinstance(value, str) else value
    if len(data) > VALUE_BYTES:
        raise LimitExceededError(
            f"the value of {key} has {len(data)} bytes, more than {VALUE_BYTES}",
            limit="value_bytes",
            maximum=VALUE_BYTES,
        )
    return text, pack(text, data, is_text=isinstance(value, str))


class Writer:
    """The single writer thread: it collects waiting writes, commits them together, and reports each outcome.

    It owns the environment: it also grows the map, and at the end closes the environment and releases `lock`.
    """

    def __init__(
        self,
        environment: lmdb.Environment,
        databases: Databases,
        gate: Gate,
        lock: DirectoryLock,
        *,
        max_map_bytes: int,
        flush_interval_s: float | None,
    ) -> None:
        self.commits = 0
        self._environment = environment
        self._entries, self._meta, self.system = databases
        self._gate = gate
        self._lock = lock
        self._max_map_bytes = max_map_bytes
        self._flush_interval_s = flush_interval_s
        self._flush_due: float | None = None
        self._jobs: deque[Job] = deque()
        self._waiting_writes = 0
        self._waiting_bytes = 0
        self._closing = False
        self._mutex = threading.Lock()
        self._work = threading.Condition(self._mutex)
        self._room = threading.Condition(self._mutex)
        self._thread = threading.Thread(target=self._run, name="datastore-lmdb-writer", daemon=True)
        self._thread.start()

    # Called by any thread

    def submit(self, job: Job) -> Future[list[WriteResult]]:
        """Queue a job; its future is done after its commit. Blocks while the backlog is full."""
        self._gate.check()
        with self._mutex:
            self._wait_for_room()
            if self._closing:
                self._gate.check()
                raise DatastoreClosedError("the store is being closed")
            self._jobs.append(job)
            self._waiting_writes += len(job.operations)
            self._waiting_bytes += job.bytes
            self._work.notify()
        return job.future

    def has_room(self) -> bool:
        """Whether `submit` would not block now."""
        full = self._waiting_writes >= BACKLOG_WRITES or self._waiting_bytes >= BACKLOG_BYTES
        return self._closing or not self._jobs or not full

    def wait_for_room(self) -> None:
        """Wait until `submit` would not block."""
        with self._mutex:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        while not self.has_room():
            self._room.wait()

    def close(self) -> None:
        """Commit what was submitted, and end the thread. May be repeated."""
        with self._mutex:
            self._closing = True
            self._work.notify()
            self._room.notify_all()
        # Not if the garbage collector closes a dropped store on this very thread, which then ends by itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def abandon(self) -> None:
        """Abandon everything, in a forked child: the thread, the lock and the environment are the parent's."""
        self._lock.abandon()

    # The thread

    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                try:
                    self._write(jobs)
                except Exception as error:
                    # The thread must survive any failure of one group: all writes depend on it.
                    logger.exception("writing to the store in %s failed", self._lock.directory)
                    _fail(jobs, StoreError(f"writing failed: {error}", where=str(self._lock.directory)))
                self._flush_if_due()
        finally:
            self._end()

    def _end(self) -> None:
        self._gate.close()
        with self._gate.exclusive():
            if self._flush_interval_s is not None:
                self._flush()
            self._environment.close()
        self._lock.release()

    def _take(self) -> list[Job] | None:
        """Wait for jobs, and take those that fit in one commit. An empty list: time to flush. None: closed and done."""
        with self._mutex:
            while not self._jobs:
                if self._closing:
                    return None
                if self._flush_due is None:
                    self._work.wait()
                elif not self._work.wait(max(0.0, self._flush_due - time.monotonic())):
                    return []
            taken: list[Job] = []
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

    def _write(self, jobs: list[Job]) -> None:
        operations = [operation for job in jobs for operation in job.operations]
        failures: dict[int, DatastoreError] = {}
        start = 0
        for stop in _cuts(operations):
            self._apply(operations, start, stop, failures)
            start = stop
        records = {job: self._save(job.record) for job in jobs if job.record is not None}
        flush_failure = self._flush() if any(job.flush for job in jobs) else None
        start = 0
        for job in jobs:
            for index, position in enumerate(job.positions if failures else ()):
                if start + index in failures:
                    job.results[position] = WriteResult(failures[start + index])
            start += len(job.operations)
            failure = records.get(job) or (flush_failure if job.flush else None)
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(job.results)

    def _apply(
        self,
        operations: list[tuple[bytes, bytes | None]],
        start: int,
        stop: int,
        failures: dict[int, DatastoreError],
    ) -> None:
        """Commit some of the operations. If there is no space for all of them, halve and retry."""
        part = operations[start:stop]
        failure: DatastoreError | None = self._try_commit(part)
        if isinstance(failure, StoreFullError) and all(record is None for _, record in part):
            failure = self._in_reserve(partial(self._commit, part))
        if failure is None:
            return
        if isinstance(failure, StoreFullError) and stop - start > 1:
            middle = (start + stop) // 2
            self._apply(operations, start, middle, failures)
            self._apply(operations, middle, stop, failures)
            return
        failures.update(dict.fromkeys(range(start, stop), failure))

    def _save(self, record: tuple[bytes, bytes]) -> DatastoreError | None:
        """Commit a system record. Returns the error if that failed."""
        commit = partial(self._commit_record, *record)
        failure = self._try(commit)
        return self._in_reserve(commit) if isinstance(failure, StoreFullError) else failure

    def _commit_record(self, name: bytes, content: bytes) -> None:
        system = self.system
        with self._transaction() as transaction:
            if name == NODE_ID:
                transaction.put(name, content, db=self._meta)
            else:
                system = system or self._environment.open_db(SYSTEM, txn=transaction)
                transaction.put(name, content, db=system)
                transaction.put(FORMAT, PLACED_FORMAT, db=self._meta)
        self.system = system

    def _try_commit(self, operations: list[tuple[bytes, bytes | None]]) -> DatastoreError | None:
        """Commit all of the operations or none, growing the map as needed. Returns the error if that failed."""
        return self._try(partial(self._commit, operations))

    def _try(self, commit: Callable[[], None]) -> DatastoreError | None:
        """Commit, growing the map as needed. Returns the error if that failed."""
        while True:
            try:
                commit()
                return None
            except lmdb.MapFullError:
                if not self._grow():
                    return StoreFullError(
                        f"the store is full: its map cannot grow beyond {self._environment.info()['map_size']} bytes"
                        f" (max_map_bytes {self._max_map_bytes})",
                        where=str(self._lock.directory),
                    )
            except lmdb.Error as error:
                return translated(error, self._lock.directory)

    def _commit(self, operations: list[tuple[bytes, bytes | None]]) -> None:
        if not operations:
            return
        with self._transaction() as transaction:
            for text, record in operations:
                if record is None:
                    transaction.delete(text)
                else:
                    transaction.put(text, record)
        self.commits += 1
        if self._flush_interval_s is not None and self._flush_due is None:
            self._flush_due = time.monotonic() + self._flush_interval_s

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction[bytes]]:
        """A transaction on the entries, committed at the end of the block."""
        transaction = self._environment.begin(self._entries, write=True)
        try:
            yield transaction
            transaction.commit()
        except BaseException:
            # The binding's abort waits until no other thread is in a call: reads could starve it.
            with self._gate.exclusive():
                transaction.abort()
            raise

    def _in_reserve(self, commit: Callable[[], None]) -> DatastoreError | None:
        """Commit deletes, or a system record, with space that is reserved for them."""
        before = self._environment.info()["map_size"]
        reserve = self._max_map_bytes + DELETE_RESERVE_BYTES
        if before >= reserve or not self._resize(reserve):
            return self._try(commit)
        failure = self._try(commit)
        # LMDB shrinks the map no further than the size in use.
        self._resize(self._max_map_bytes)
        return failure

    def _grow(self) -> bool:
        size = self._environment.info()["map_size"]
        return size < self._max_map_bytes and self._resize(min(size * 2, self._max_map_bytes))

    def _resize(self, map_bytes: int) -> bool:
        if not _has_address_space(map_bytes):
            return False
        with self._gate.exclusive():
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
            return translated(error, self._lock.directory)
        return None


def _fail(jobs: list[Job], failure: StoreError) -> None:
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
    # LMDB unmaps the old map before it requests the new one: a failure there would leave it with none.
    try:
        mmap.mmap(-1, map_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
