"""LMDBDatastore: reads in short transactions, and passes its writes to the writer."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from datastore.lmdb.changelog import StoredLog
from datastore.lmdb.changes import Restored
from datastore.lmdb.directory import (
    DATA_FILE,
    LAST_VERSION,
    NODE_ID,
    Databases,
    Identity,
    new_node_id,
    open_directory,
    open_environment,
)
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.gate import Gate
from datastore.lmdb.reading import LMDBReads
from datastore.lmdb.writer import FLUSH_INTERVAL_S, FORGET_REQUESTS, Job, Writer
from datastore.model.arguments import check_count
from datastore.model.capability import Capability, Durability
from datastore.model.changes import Watch
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.entries import Write
from datastore.model.errors import ConfigError, DatastoreError, InvalidError
from datastore.model.histogram import Histogram
from datastore.model.limits import REQUESTS_KEPT, REQUESTS_KEPT_S
from datastore.model.operations import Operation, WriteResult
from datastore.sync._concurrency import Lock
from datastore.sync.feeds import Feed, LogFeed, unlogged

__all__ = ["CHANGES_AGE_S", "CHANGES_BYTES", "MAP_BYTES", "MAX_MAP_BYTES", "LMDBDatastore", "Stats"]

#: The map a new store begins with. It is address space, not disk: the file grows as it is used.
MAP_BYTES = 1024 * 1024 * 1024
#: The map grows by doubling up to here; an eighth of the address space of a process on x86-64.
MAX_MAP_BYTES = 16 * 1024**4
#: For how long a log of changes is kept by default, in seconds: enough for a watcher that is away for a night.
CHANGES_AGE_S = 86_400.0
#: How large it becomes by default, in bytes.
CHANGES_BYTES = 1024 * 1024 * 1024


class Stats(NamedTuple):
    """The size of a store.

    `used_bytes` counts pages with entries, `map_used_bytes` all pages in use, and `file_bytes` also those that can be
    reused.
    """

    entries: int
    used_bytes: int
    file_bytes: int
    map_bytes: int
    max_map_bytes: int
    commits: int
    map_used_bytes: int = 0


class LMDBDatastore(LMDBReads):
    """Stores bytes and text in the LMDB environment of a directory, which it creates if needed.

    Values are bytes or text (stored as UTF-8, read back as text) of at most VALUE_BYTES; others raise
    UnsupportedTypeError: wrap the store in a serializer.
    `durability="sync"` acknowledges a write after it is safe on disk; writes that wait at the same time share one
    commit. With "async" the operating system writes them later; the store flushes every second and in
    `close()`. They survive the end of the process, but after a power failure the last ones are missing, or the
    file is damaged if the file system reorders writes.

    The map starts with `map_bytes` and doubles when it is full, up to `max_map_bytes`; a write that needs more,
    or more than the disk has, raises StoreFullError and changes nothing. Existing entries stay readable, and
    can be deleted.

    `cluster` and `shard` name what the directory belongs to. They are recorded when it is created, and must match
    the recorded ones later. None skips the check.

    Entries have versions, which grow even if the clock is set back or the store is opened again. `clock` returns
    seconds since 1970. An entry of a release without versions has version 1 and the times 0 until it is written.
    Entries can expire by the same clock. They are removed some time later, at most SWEEP_ENTRIES in a commit, and until
    then `stats` counts them.

    With `keep_changes` it can be watched. Every change is then stored twice, in the same commit: also in a log, which
    survives restarts, and is kept for `most_change_age_s` seconds and up to `most_change_bytes`. Its oldest changes are
    dropped by later writes, some in each commit; all of them if the map is full, or the store is opened without it.

    The requests of writes that have an attempt are remembered in the same commit, at most `most_requests` and for
    `most_request_age_s` seconds: a later attempt of one that was made is answered, and not made again. Later writes
    forget the oldest, some in each commit.

    One process at a time, and one object in it, can open the directory: any other gets StoreLockedError. Any number
    of threads may use that object. After a fork the child must not use it (StoreError). Queries see each entry as it
    was at some moment during the query, and a cursor never returns an entry twice; they hold no snapshot, so a slow
    reader costs nothing.

    Raises StoreFormatError for a directory with other files, or of another format, cluster or shard, and leaves it
    untouched. Raises CorruptDataError if stored data cannot be read back.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        durability: str = "sync",
        map_bytes: int = MAP_BYTES,
        max_map_bytes: int = MAX_MAP_BYTES,
        cluster: str | None = None,
        shard: str | None = None,
        clock: Callable[[], float] = time.time,
        keep_changes: bool = False,
        most_change_bytes: int = CHANGES_BYTES,
        most_change_age_s: float = CHANGES_AGE_S,
        most_requests: int = REQUESTS_KEPT,
        most_request_age_s: float = REQUESTS_KEPT_S,
    ) -> None:
        check_count("most_requests", most_requests)
        check_seconds("most_request_age_s", most_request_age_s)
        check_count("most_change_bytes", most_change_bytes)
        check_seconds("most_change_age_s", most_change_age_s)
        if not os.fspath(directory):
            raise InvalidError("directory must name a directory, not ''", field="directory")
        check_count("map_bytes", map_bytes)
        check_count("max_map_bytes", max_map_bytes)
        if durability not in ("sync", "async"):
            raise ConfigError(f"durability must be 'sync' or 'async', not {durability!r}")
        self.directory = Path(directory).absolute()
        self._durability = Durability(durability)
        self._max_map_bytes = max_map_bytes
        self._gate = Gate(self.directory)
        lock, self._environment, databases = open_directory(
            self.directory,
            Identity(cluster, shard),
            sync=durability == "sync",
            map_bytes=min(map_bytes, max_map_bytes),
            max_map_bytes=max_map_bytes,
            keep_changes=keep_changes,
        )
        self._entries, self._meta = databases.entries, databases.meta
        self._log: StoredLog | None = None
        if databases.changes is not None:
            self._log = StoredLog(self._environment, databases.changes, self._gate, databases.last_version)
        self._log_lock = Lock()
        self._writer = Writer(
            self._environment,
            databases,
            self._gate,
            lock,
            reopen=partial(
                open_environment,
                self.directory,
                sync=durability == "sync",
                map_bytes=map_bytes,
                max_map_bytes=max_map_bytes,
                keep_changes=keep_changes,
            ),
            # Weak: the writer's thread must not keep a dropped store.
            renew=weakref.WeakMethod(self._renew),
            max_map_bytes=max_map_bytes,
            flush_interval_s=None if durability == "sync" else FLUSH_INTERVAL_S,
            clock=clock,
            log=self._log,
            most_change_bytes=most_change_bytes,
            most_change_age_s=most_change_age_s,
            most_requests=most_requests,
            most_request_age_s=most_request_age_s,
        )
        # Also at the end of the process, and when a store is dropped unclosed.
        self._finalizer = weakref.finalize(self, self._writer.close)
        _open_stores.add(self)

    def _renew(self, environment: lmdb.Environment, databases: Databases) -> None:
        """Continue with an environment that was opened again."""
        self._environment = environment
        self._entries, self._meta = databases.entries, databases.meta

    # Reading

    def _expiry_index(self) -> lmdb._Database | None:
        return self._writer.expiries

    def _latest_us(self) -> int:
        return self._writer.versions.latest_us()

    # Writing

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes in order, usually in one commit; returns when they are as durable as promised."""
        return self.submit(operations).result()

    def submit(self, writes: Sequence[Operation | Write]) -> Future[list[WriteResult]]:
        """Queue writes without waiting for the disk: the future has the results of `write`.

        Writes take effect in the order of their submission. Cancelling the future before its writes have begun
        withdraws them. Blocks only while BACKLOG_WRITES or BACKLOG_BYTES are waiting. The future's callbacks run on the
        writer's thread: they must be short, and must not close the store.
        """
        return self._writer.submit(Job(writes))

    def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make all writes or none, in one commit, which others may share; returns when it is as durable as promised."""
        return self.submit_atomic(operations).result()

    def submit_atomic(self, writes: Sequence[Operation | Write]) -> Future[list[WriteResult]]:
        """Like `submit`, for `write_atomic`."""
        return self._writer.submit(Job(writes, is_atomic=True))

    def has_room(self) -> bool:
        """Whether `submit` would not block."""
        return self._writer.has_room()

    def wait_for_room(self) -> None:
        """Wait until `submit` would not block."""
        self._writer.wait_for_room()

    def flush(self) -> None:
        """Flush everything written so far to disk, even with durability "async"."""
        self._writer.submit(Job((), flush=True)).result()

    # Changes

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feed of the log, if it is kept. Expired entries are shown when they are removed."""
        if self._log is None:
            raise unlogged(self)
        self._gate.check()
        return LogFeed(self, self._log, self._log_lock, watch, wake, sweep=_nothing)

    # System records, which no read, write or query of entries sees

    def node_id(self) -> str:
        """The identity of this directory, assigned once: 32 hexadecimal digits. A copy of the directory has it too."""
        found = self._read_record(self._meta, NODE_ID)
        if found is None:
            # Created by a version without identities.
            self._writer.submit(Job((), record=(NODE_ID, new_node_id().encode()))).result()
            found = self._read_record(self._meta, NODE_ID) or b""
        return found.decode()

    def take_node_id(self, node_id: str) -> None:
        """Give this directory the identity of a lost node, of which it is a copy. Returns once that is on disk."""
        self._writer.submit(Job((), record=(NODE_ID, node_id.encode()))).result()

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None."""
        system = self._writer.system
        return None if system is None else self._read_record(system, name.encode())

    def write_system(self, name: str, content: bytes) -> None:
        """Replace a system record, after all writes submitted so far.

        Returns once it and all of them are on disk, whatever the durability; raises StoreFullError and the like.
        Releases that do not know system records refuse a directory that has any.
        """
        self._writer.submit(Job((), record=(name.encode(), content))).result()

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, also to one that was deleted since. Not while writes are under way."""
        return self._writer.latest_version

    def raise_versions(self, version: int) -> None:
        """Give only versions above this one from now on, e.g. because entries come from a store that gave it.

        Returns once that is on disk, whatever the durability.
        """
        self._writer.submit(Job((), record=(LAST_VERSION, b"%d" % version))).result()

    def restore(self, entries: Sequence[Restored]) -> None:
        """Store entries with their versions and times, in place of what their keys have.

        Each is the text of its key, its value as bytes, and its metadata. Later writes get greater versions. Watches
        that have begun before get ChangesExpiredError. Returns once the entries are as durable as promised.
        """
        self._writer.submit(Job((), restored=entries)).result()

    def forget_readers(self) -> None:
        """Allow reuse of pages that are held by reads of other processes that were killed."""
        try:
            with self._gate:
                self._environment.reader_check()
        except lmdb.Error as error:
            raise_translated(error, self.directory)

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now that were not made here, because another store made some.

        Returns once that is on disk, whatever the durability.
        """
        self._writer.submit(Job((), record=(FORGET_REQUESTS, b""))).result()

    # The rest

    @property
    def capability(self) -> Capability:
        """That of reading, and of its writer."""
        return super().capability._replace(
            durability=self._durability, changes=self._log is not None, atomic=True, retries=True
        )

    def describe(self) -> Description:
        """Kind `lmdb`, with its directory and durability; of an open store also its entries, bytes and figures."""
        described = Description("lmdb", str(self.directory), self.capability)
        # A closed store is still described.
        with suppress(DatastoreError, OSError):
            stats = self.stats()
            described = described._replace(
                entries=stats.entries, stored_bytes=stats.file_bytes, figures=self._figures(stats)
            )
        return described

    def _figures(self, stats: Stats) -> dict[str, float | Histogram]:
        disk = os.statvfs(self.directory)
        log = {} if self._log is None else self._log.figures(self._writer.versions.latest_us())
        return {
            "map_used_bytes": stats.map_used_bytes,
            "map_limit_bytes": stats.max_map_bytes,
            "disk_free_bytes": disk.f_bavail * disk.f_frsize,
            "disk_bytes": disk.f_blocks * disk.f_frsize,
            "waiting_writes": self._writer.waiting_writes,
            "commit_duration_seconds": self._writer.commit_seconds,
            "commit_writes": self._writer.commit_writes,
            **log,
        }

    def stats(self) -> Stats:
        """The number of entries, including expired ones that are not removed yet, and their size on disk."""
        try:
            with self._gate:
                page_bytes = self._environment.stat()["psize"]
                # A transaction sees no database that was created after it had begun.
                databases = self._writer.databases
                with self._environment.begin() as transaction:
                    found = transaction.stat(self._entries)
                    pages = sum(map(_pages, map(transaction.stat, databases)))
                return Stats(
                    entries=found["entries"],
                    used_bytes=_pages(found) * page_bytes,
                    file_bytes=(self.directory / DATA_FILE).stat().st_size,
                    map_bytes=self._environment.info()["map_size"],
                    max_map_bytes=self._max_map_bytes,
                    commits=self._writer.commits,
                    map_used_bytes=pages * page_bytes,
                )
        except lmdb.Error as error:
            raise_translated(error, self.directory)

    def close(self) -> None:
        """Commit everything submitted, and release the directory. May be repeated."""
        self._finalizer()

    def _abandon_after_fork(self) -> None:
        # The child must neither touch LMDB nor hold the lock; the parent is not affected.
        self._finalizer.detach()
        self._writer.abandon()
        self._gate.abandon()


def _pages(stat: Any) -> int:
    """The pages that a database occupies."""
    pages: int = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages


def _nothing() -> None:
    """The writer's thread removes expired entries."""


_open_stores: weakref.WeakSet[LMDBDatastore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_open_stores):
        store._abandon_after_fork()
    _open_stores.clear()


os.register_at_fork(after_in_child=_after_fork)
