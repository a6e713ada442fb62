"""One thread that commits all waiting writes together, and grows the map when they need room."""

from __future__ import annotations

import logging
import mmap
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple, TypeVar

import lmdb

from datastore.engine.requests import note_together
from datastore.engine.versions import Versions
from datastore.lmdb.changelog import CommitLog, StoredLog
from datastore.lmdb.changes import (
    Change,
    Changes,
    Restored,
    change_of,
    depends,
    have_attempts,
    may_expire,
    only_deletes,
    size_of,
)
from datastore.lmdb.directory import (
    EXPIRIES,
    FORMAT,
    LAST_VERSION,
    LATEST_TIME,
    NODE_ID,
    STORE_FORMAT,
    SYSTEM,
    Databases,
    DirectoryLock,
)
from datastore.lmdb.errors import REOPEN_S, reopening, translated
from datastore.lmdb.expiries import Expiries, has_due
from datastore.lmdb.gate import Gate
from datastore.lmdb.requests import CommitRequests
from datastore.model.entries import Write
from datastore.model.errors import (
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    StoreError,
    StoreFullError,
    UnavailableError,
)
from datastore.model.histogram import COUNT_BOUNDS, Histogram
from datastore.model.operations import Operation, WriteResult, refusal_of
from datastore.sync.atomic import none_made

__all__ = [
    "BACKLOG_BYTES",
    "BACKLOG_WRITES",
    "DELETE_RESERVE_BYTES",
    "FLUSH_INTERVAL_S",
    "FORGET_REQUESTS",
    "GROUP_BYTES",
    "SWEEP_ENTRIES",
    "SWEEP_INTERVAL_S",
    "Job",
    "Writer",
]

logger = logging.getLogger("datastore")

#: Space beyond the largest map, for deletes only: a full tree needs free pages to shrink.
DELETE_RESERVE_BYTES = 4 * 1024 * 1024
#: The maximum size of one commit, unless it is a single write or an atomic batch. Other writes wait for the next one.
GROUP_BYTES = 16 * 1024 * 1024
#: `submit` blocks while so many writes, or so many bytes, are waiting.
BACKLOG_WRITES = 100_000
BACKLOG_BYTES = 64 * 1024 * 1024
#: With durability "async", how often writes are flushed to disk.
FLUSH_INTERVAL_S = 1.0
#: How often expired entries are removed, in seconds. They are hidden anyway, and each time costs a commit.
SWEEP_INTERVAL_S = 1.0
#: How many are removed in one commit, which takes some milliseconds. Waiting writes are made in between.
SWEEP_ENTRIES = 1000

#: In place of the name of a system record: nothing is stored, but repetitions of requests from before now are refused.
FORGET_REQUESTS = b""

T = TypeVar("T")


class Job:
    """One submission: the changes, and the future for the results of its writes.

    Writes that are refused before they reach the disk have their results from the start; of an atomic job no other is
    made then. `record` is a system record, its name and content; with one, or with `flush`, the future is done once
    everything is on disk, whatever the durability. `restored` are entries to store with their metadata, whatever the
    store has. `failure` is the error of the whole job.
    """

    __slots__ = ("bytes", "changes", "failure", "flush", "future", "is_atomic", "record", "refused", "restored")

    def __init__(
        self,
        writes: Sequence[Operation | Write],
        *,
        is_atomic: bool = False,
        flush: bool = False,
        record: tuple[bytes, bytes] | None = None,
        restored: Sequence[Restored] = (),
    ) -> None:
        self.is_atomic = is_atomic
        self.restored = restored
        self.flush = flush or record is not None
        self.record = record
        self.failure: DatastoreError | None = None
        self.future: Future[list[WriteResult]] = Future()
        self.changes: list[Change] = []
        #: The results of refused writes, by their places.
        self.refused: dict[int, WriteResult] = {}
        for place, write in enumerate(writes):
            try:
                self.changes.append(change_of(write))
            except DatastoreError as error:
                self.refused[place] = WriteResult(refusal_of(error))
        if is_atomic and self.refused:
            self.changes.clear()
            failed = {place: result.error for place, result in self.refused.items() if result.error is not None}
            self.refused = dict(enumerate(none_made(failed, len(writes))))
        self.bytes = sum(map(size_of, self.changes))

    def finish(self, made: list[WriteResult]) -> None:
        """Report the results of all writes, given those of the changes, or the failure of the whole."""
        if self.failure is not None:
            self.future.set_exception(self.failure)
            return
        if self.refused:
            left = iter(made)
            places = range(len(made) + len(self.refused))
            made = [self.refused.get(place) or next(left) for place in places]
        self.future.set_result(made)


class Part(NamedTuple):
    """Changes that are committed together with other parts: those of an atomic job, or others in their order."""

    changes: list[Change]
    #: The job, if it is atomic.
    job: Job | None = None

    @property
    def can_fail(self) -> bool:
        """Whether it is to be made as a whole, and may have to be undone."""
        return self.job is not None and depends(self.changes)


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
        reopen: Callable[[], tuple[lmdb.Environment, Databases]],
        renew: Callable[[], Callable[[lmdb.Environment, Databases], None] | None],
        max_map_bytes: int,
        flush_interval_s: float | None,
        clock: Callable[[], float],
        log: StoredLog | None,
        most_change_bytes: int,
        most_change_age_s: float,
        most_requests: int,
        most_request_age_s: float,
    ) -> None:
        self.commits = 0
        #: How long commits take, in seconds, and how many writes each has.
        self.commit_seconds = Histogram()
        self.commit_writes = Histogram(COUNT_BOUNDS)
        self._requests, self._request_clock = databases.requests, databases.request_clock
        self._most_requests = most_requests
        self._most_request_age_us = int(most_request_age_s * 1_000_000)
        #: None if no changes are kept.
        self._log = log
        self._most_change_bytes = most_change_bytes
        self._most_change_age_us = int(most_change_age_s * 1_000_000)
        self._environment = environment
        self._entries, self._meta, self.system = databases.entries, databases.meta, databases.system
        #: The index of the entries that expire; None if there has been none.
        self.expiries = databases.expiries
        self.versions = Versions(databases.last_version, databases.latest_us, clock=clock)
        self._gate = gate
        self._lock = lock
        self._reopen, self._renew = reopen, renew
        #: When to try again to open the environment; None unless it is closed because that failed.
        self._reopen_due: float | None = None
        self._max_map_bytes = max_map_bytes
        self._flush_interval_s = flush_interval_s
        self._flush_due: float | None = None
        self._sweep_due: float | None = None if self.expiries is None else time.monotonic()
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

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, or raised to."""
        return self.versions.last

    def submit(self, job: Job) -> Future[list[WriteResult]]:
        """Queue a job; its future is done after its commit. Blocks while the backlog is full."""
        self._gate.check()
        with self._mutex:
            self._wait_for_room()
            if self._closing:
                self._gate.check()
                raise DatastoreClosedError("the store is being closed")
            self._jobs.append(job)
            self._waiting_writes += len(job.changes)
            self._waiting_bytes += job.bytes
            self._work.notify()
        return job.future

    def has_room(self) -> bool:
        """Whether `submit` would not block now."""
        full = self._waiting_writes >= BACKLOG_WRITES or self._waiting_bytes >= BACKLOG_BYTES
        return self._closing or not self._jobs or not full

    @property
    def databases(self) -> list[lmdb._Database]:
        """All databases that exist."""
        log = None if self._log is None else self._log.database
        found = (self._entries, self._meta, self._requests, self.system, self.expiries, log)
        return [database for database in found if database is not None]

    @property
    def waiting_writes(self) -> int:
        """How many writes wait for a commit."""
        return self._waiting_writes

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
                self._reopen_if_due()
                if self._reopen_due is None:
                    self._flush_if_due()
                    self._sweep_if_due()
        finally:
            self._end()

    def _end(self) -> None:
        self._gate.close()
        with self._gate.exclusive():
            if self._flush_interval_s is not None:
                self._flush()
            self._environment.close()
        self._lock.release()
        if self._log is not None:
            self._log.wake()

    def _take(self) -> list[Job] | None:
        """Wait for jobs, and take those that fit in one commit. Empty: other work is due. None: closed and done."""
        with self._mutex:
            while not self._jobs:
                if self._closing:
                    return None
                dues = (self._flush_due, self._sweep_due, self._reopen_due)
                due = min((due for due in dues if due is not None), default=None)
                if due is None:
                    self._work.wait()
                elif not self._work.wait(max(0.0, due - time.monotonic())):
                    return []
            taken: list[Job] = []
            taken_bytes = 0
            while self._jobs and (not taken or taken_bytes + self._jobs[0].bytes <= GROUP_BYTES):
                job = self._jobs.popleft()
                taken_bytes += job.bytes
                self._waiting_writes -= len(job.changes)
                self._waiting_bytes -= job.bytes
                # False: its caller cancelled it while it waited.
                if job.future.set_running_or_notify_cancel():
                    taken.append(job)
            self._room.notify_all()
            return taken

    def _write(self, jobs: list[Job]) -> None:
        results: list[WriteResult] = []
        for parts in _commits(jobs):
            self._apply(parts, results)
        for job in jobs:
            if job.restored:
                made = self._try(partial(self._commit_restored, job.restored))
                job.failure = made if isinstance(made, DatastoreError) else None
            if job.record is not None:
                job.failure = self._save(job.record)
        flush_failure = self._flush() if any(job.flush for job in jobs) else None
        start = 0
        for job in jobs:
            stop = start + len(job.changes)
            if job.flush:
                job.failure = job.failure or flush_failure
            job.finish(results[start:stop])
            start = stop

    def _apply(self, parts: list[Part], results: list[WriteResult]) -> None:
        """Commit changes, and add their results. If some cannot be made, halve and retry."""
        commit = partial(self._commit, parts)
        made = self._try(commit)
        if isinstance(made, StoreFullError) and self._log is not None and self._log.has_items:
            logger.warning("the log of changes in %s is given up, to make room", self._lock.directory)
            # LMDB reuses pages only two transactions after the one that freed them.
            for _ in range(2):
                self._in_reserve(self._clear_log)
            made = self._try(commit)
        if isinstance(made, StoreFullError) and all(only_deletes(part.changes) for part in parts):
            made = self._in_reserve(commit)
        # A damaged page fails the whole transaction, but only the writes that need it.
        halves = _halves(parts) if isinstance(made, StoreFullError | CorruptDataError) else ()
        for half in halves:
            self._apply(half, results)
        if not isinstance(made, DatastoreError):
            results += made
        elif not halves:
            for part in parts:
                results += [WriteResult(made) for _ in part.changes]
                if part.job is not None and part.changes:
                    part.job.failure = made

    def _save(self, record: tuple[bytes, bytes]) -> DatastoreError | None:
        """Commit a system record. Returns the error if that failed."""
        commit = partial(self._commit_record, *record)
        failure = self._try(commit)
        return self._in_reserve(commit) if isinstance(failure, StoreFullError) else failure

    def _commit_record(self, name: bytes, content: bytes) -> None:
        system = self.system
        with self._transaction() as transaction:
            if name == LAST_VERSION:
                self.versions.raise_to(int(content))
                self._keep_last_version(transaction)
            elif name == FORGET_REQUESTS:
                with self._requests_in(transaction) as requests:
                    requests.forget_others()
            elif name == NODE_ID:
                transaction.put(name, content, db=self._meta)
            else:
                system = system or self._environment.open_db(SYSTEM, txn=transaction)
                transaction.put(name, content, db=system)
                transaction.put(FORMAT, STORE_FORMAT, db=self._meta)
        self.system = system

    def _commit_restored(self, restored: Sequence[Restored]) -> None:
        """Store entries with their metadata. The log of changes starts after them."""
        if self.expiries is None and any(metadata.expires_us for *_, metadata in restored):
            self._begin_expiries()
        with self._transaction() as transaction, self._changes(transaction) as made:
            self.versions.raise_to(max(metadata.version for *_, metadata in restored))
            made.restore(restored)
            self._keep_last_version(transaction)
        self._committed()

    def _begin_expiries(self) -> None:
        self.expiries = self._environment.open_db(EXPIRIES)
        self._sweep_due = time.monotonic() + SWEEP_INTERVAL_S

    def _try(self, commit: Callable[[], T]) -> T | DatastoreError:
        """What `commit` returns, which commits all or nothing; or the error if that failed. Grows the map as needed."""
        while True:
            try:
                return commit()
            except lmdb.MapFullError:
                if not self._grow():
                    return StoreFullError(
                        f"the store is full: its map cannot grow beyond {self._environment.info()['map_size']} bytes"
                        f" (max_map_bytes {self._max_map_bytes})",
                        where=str(self._lock.directory),
                    )
            except lmdb.Error as error:
                if not self._has_panicked():
                    return translated(error, self._lock.directory)
                self._begin_again(error)
                return UnavailableError(f"the store failed in the middle of a write, which may have been made: {error}")

    def _has_panicked(self) -> bool:
        """Whether LMDB refuses everything, because a commit failed when it was nearly done."""
        try:
            self._environment.begin().abort()
        except lmdb.PanicError:
            return True
        except lmdb.Error:
            # Closed, because it could not be opened again.
            return self._reopen_due is not None
        return False

    def _begin_again(self, error: lmdb.Error) -> None:
        """Open the environment again; calls are refused until that succeeds."""
        where = self._lock.directory
        logger.error("writing to the store in %s failed (%s); it is opened again", where, error)
        self._gate.suspend(lambda: reopening(where))
        with self._gate.exclusive():
            self._environment.close()
        self._reopen_due = time.monotonic()
        self._reopen_if_due()

    def _reopen_if_due(self) -> None:
        if self._reopen_due is None or time.monotonic() < self._reopen_due:
            return
        try:
            self._environment, databases = self._reopen()
        except (lmdb.Error, OSError, DatastoreError) as error:
            logger.warning("the store in %s cannot be opened again: %s", self._lock.directory, error)
            self._reopen_due = time.monotonic() + REOPEN_S
            return
        self._reopen_due = None
        self._entries, self._meta, self.system = databases.entries, databases.meta, databases.system
        self._requests, self.expiries = databases.requests, databases.expiries
        if self._log is not None and databases.changes is not None:
            self._log.renew(self._environment, databases.changes)
        renew = self._renew()
        if renew is not None:
            renew(self._environment, databases)
        self._gate.resume()
        logger.info("the store in %s is open again", self._lock.directory)

    def _commit(self, parts: list[Part]) -> list[WriteResult]:
        """Make the changes in one transaction. Versions that a failed attempt has used are not used again."""
        if not any(part.changes for part in parts):
            return []
        if self.expiries is None and any(may_expire(part.changes) for part in parts):
            self._begin_expiries()
        versions, began = self.versions, time.monotonic()
        before = versions.last
        results: list[WriteResult] = []
        with self._transaction() as transaction:
            for part in parts:
                if part.can_fail:
                    results += self._make_or_undo(part.changes, transaction)
                else:
                    with self._changes(transaction, with_requests=have_attempts(part.changes)) as made:
                        results += made.make(part.changes)
            if versions.last > before:
                self._keep_last_version(transaction)
        self._committed()
        self.commit_seconds.add(time.monotonic() - began)
        self.commit_writes.add(len(results))
        return results

    def _make_or_undo(self, changes: list[Change], parent: lmdb.Transaction[bytes]) -> list[WriteResult]:
        """Make all changes, or none if one of them fails."""
        transaction = self._environment.begin(self._entries, parent=parent, write=True)
        is_made = False
        try:
            with self._changes(transaction, with_requests=have_attempts(changes)) as made:
                before = made.answers(changes)
                if before:
                    return before
                results = made.make(changes)
            failed = {place: result.error for place, result in enumerate(results) if result.error is not None}
            if not failed:
                transaction.commit()
                is_made = True
                return results
        finally:
            if not is_made:
                self._abort(transaction)
        # Those after the first were decided as if it were possible to go on.
        first = min(failed)
        results = none_made({first: failed[first]}, len(changes))
        if have_attempts(changes):
            with self._requests_in(parent) as requests:
                note_together([operation for *_, operation in changes], results, requests)
        return results

    def _clear_log(self) -> None:
        """Give up the log, to make room."""
        with self._transaction() as transaction, self._log_in(transaction) as log:
            if log is not None:
                log.clear(self.versions.last)

    @contextmanager
    def _log_in(self, transaction: lmdb.Transaction[bytes]) -> Iterator[CommitLog | None]:
        """The log in a transaction, trimmed at the end of the block."""
        if self._log is None:
            yield None
            return
        database, page_bytes = self._log.database, self._environment.stat()["psize"]

        def size() -> int:
            found = transaction.stat(database)
            pages: int = found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
            return pages * page_bytes

        with transaction.cursor(db=database) as cursor:
            log = CommitLog(cursor, size)
            yield log
            log.trim(self.versions.last - self._most_change_age_us, self._most_change_bytes)

    @contextmanager
    def _requests_in(self, transaction: lmdb.Transaction[bytes]) -> Iterator[CommitRequests]:
        """The requests in a transaction, trimmed at the end of the block."""
        with transaction.cursor(db=self._requests) as cursor:
            requests = CommitRequests(cursor, self._request_clock, lambda: transaction.stat(self._requests)["entries"])
            yield requests
            requests.trim(self._most_requests, self._most_request_age_us)

    @contextmanager
    def _changes(self, transaction: lmdb.Transaction[bytes], *, with_requests: bool = False) -> Iterator[Changes]:
        """What makes changes in a transaction on the entries."""
        with ExitStack() as cursors:
            cursor = cursors.enter_context(transaction.cursor())
            log = cursors.enter_context(self._log_in(transaction))
            requests = cursors.enter_context(self._requests_in(transaction)) if with_requests else None
            expiries = None
            if self.expiries is not None:
                expiries = Expiries(cursors.enter_context(transaction.cursor(db=self.expiries)))
            yield Changes(cursor, self.versions, expiries, log, requests)

    def _committed(self) -> None:
        self.commits += 1
        if self._log is not None:
            self._log.committed(self.versions.last)
        if self._flush_interval_s is not None and self._flush_due is None:
            self._flush_due = time.monotonic() + self._flush_interval_s

    def _keep_last_version(self, transaction: lmdb.Transaction[bytes]) -> None:
        """Record the latest version and time, and that releases without versions must not open the directory."""
        transaction.put(FORMAT, STORE_FORMAT, db=self._meta)
        transaction.put(LAST_VERSION, b"%d" % self.versions.last, db=self._meta)
        transaction.put(LATEST_TIME, b"%d" % self.versions.latest_us(), db=self._meta)

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction[bytes]]:
        """A transaction on the entries, committed at the end of the block."""
        transaction = self._environment.begin(self._entries, write=True)
        try:
            yield transaction
            transaction.commit()
        except BaseException:
            self._abort(transaction)
            raise

    def _abort(self, transaction: lmdb.Transaction[bytes]) -> None:
        # The binding's abort waits until no other thread is in a call: reads could starve it.
        with self._gate.exclusive():
            transaction.abort()

    def _in_reserve(self, commit: Callable[[], T]) -> T | DatastoreError:
        """Commit deletes, or a system record, with space that is reserved for them."""
        before = self._environment.info()["map_size"]
        reserve = self._max_map_bytes + DELETE_RESERVE_BYTES
        if before >= reserve or not self._resize(reserve):
            return self._try(commit)
        made = self._try(commit)
        # LMDB shrinks the map no further than the size in use.
        self._resize(self._max_map_bytes)
        return made

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

    def _sweep_if_due(self) -> None:
        """Remove some of the expired entries. If there may be more, continue after the writes that wait."""
        if self._sweep_due is None or time.monotonic() < self._sweep_due:
            return
        swept = self._try(self._sweep)
        if isinstance(swept, StoreFullError):
            swept = self._in_reserve(self._sweep)
        if isinstance(swept, DatastoreError):
            logger.warning("removing expired entries from %s failed: %s", self._lock.directory, swept)
        self._sweep_due = time.monotonic() + (0 if swept == SWEEP_ENTRIES else SWEEP_INTERVAL_S)

    def _sweep(self) -> int:
        """Commit the removal of up to SWEEP_ENTRIES expired entries; returns how many were found."""
        if self.expiries is None or not self._has_due(self.expiries):
            return 0
        with self._transaction() as transaction, self._changes(transaction) as made:
            before = self.versions.last
            count = made.sweep(SWEEP_ENTRIES)
            if self.versions.last > before:
                self._keep_last_version(transaction)
        self._committed()
        return count

    def _has_due(self, expiries: lmdb._Database) -> bool:
        with self._environment.begin() as transaction:
            return has_due(transaction, expiries, self.versions.latest_us())

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


def _commits(jobs: list[Job]) -> list[list[Part]]:
    """The parts of each commit. They are all in one, unless a single job that is not atomic exceeds GROUP_BYTES."""
    parts: list[Part] = []
    for is_atomic, group in groupby(jobs, attrgetter("is_atomic")):
        if is_atomic:
            parts += [Part(job.changes, job) for job in group]
        else:
            parts.append(Part([change for job in group for change in job.changes]))
    if len(jobs) != 1 or jobs[0].is_atomic:
        return [parts]
    [(changes, _)] = parts
    return [[Part(changes[start:stop])] for start, stop in pairwise([0, *_cuts(changes)])]


def _halves(parts: list[Part]) -> tuple[list[Part], ...]:
    """The halves of the parts or, if there is only one, of its changes; none if it is indivisible."""
    if len(parts) > 1:
        middle = len(parts) // 2
        return parts[:middle], parts[middle:]
    [(changes, job)] = parts
    middle = len(changes) // 2
    return () if job is not None or not middle else ([Part(changes[:middle])], [Part(changes[middle:])])


def _cuts(changes: list[Change]) -> list[int]:
    """Where to cut changes so that no part exceeds GROUP_BYTES, unless it is one change. The last is the end."""
    cuts, part_bytes = [], 0
    for index, size in enumerate(map(size_of, changes)):
        if part_bytes and part_bytes + size > GROUP_BYTES:
            cuts.append(index)
            part_bytes = 0
        part_bytes += size
    return [*cuts, len(changes)]


def _has_address_space(map_bytes: int) -> bool:
    # LMDB unmaps the old map before it requests the new one: a failure there would leave it with none.
    try:
        mmap.mmap(-1, map_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
