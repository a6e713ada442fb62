"""The log of changes on the server, as watches read it, and the thread that waits for changes while anybody watches."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, NamedTuple

from datastore.engine.changelog import LogPosition, changes_expired
from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import CorruptDataError, DatastoreError
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES
from datastore.redis.names import Names
from datastore.redis.scripts import BEGIN, INDEX, READ, SWEEP

__all__ = ["SWEEP_ENTRIES", "WAIT_MS", "LogLimits", "ServerLog"]

logger = logging.getLogger("datastore")

#: How long the thread waits for a change, in milliseconds, before it looks for entries that have expired.
WAIT_MS = 1000
#: How many of these it logs in one step, which takes some milliseconds.
SWEEP_ENTRIES = 500
#: How many names are looked at in one step when the log is begun.
_INDEX_NAMES = 500
_LOG_ID_BYTES = 8


class LogLimits(NamedTuple):
    """How large the log becomes, and for how long it keeps changes."""

    most_bytes: int
    most_age_s: float


class ServerLog:
    """The log as watches read it, see `datastore.engine.changelog.Log`. The number of a change is its version.

    Any number of clients share it. `faults` translates the errors that its block raises, and refuses calls once the
    store is closed.
    """

    def __init__(
        self, client: Any, names: Names, limits: LogLimits, faults: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._client = client
        self._names = names
        self._limits = limits
        self._faults = faults
        self._encode = client.get_encoder().encode
        self._begin, self._index, self._read, self._sweep = map(client.register_script, (BEGIN, INDEX, READ, SWEEP))
        #: The identity of the log, empty until `begin`.
        self.log_id = b""
        self.wakers: set[Callable[[], None]] = _Wakers(self._wait)
        self._stopping = threading.Event()
        #: The version up to which the watches were woken.
        self._latest = ""

    def begin(self) -> None:
        """Begin the log, unless it has been begun, by this client or another."""
        names, (most_bytes, most_age_s) = self._names, self._limits
        arguments = [os.urandom(_LOG_ID_BYTES).hex(), most_bytes, int(most_age_s * 1_000_000)]
        with self._faults():
            log_id, is_indexed = self._begin([names.version, names.log_state], arguments)
            if not is_indexed:
                # Entries from before the log. Those written meanwhile are in the index already.
                for found in self._with_metadata():
                    self._index([names.expiring, *found])
                self._client.hset(names.log_state, "indexed", 1)
        self.log_id = bytes.fromhex(self._encode(log_id).decode())

    def _with_metadata(self) -> Iterator[list[bytes]]:
        """The names of all entries with metadata, each before that of its metadata, some at a time."""
        found = self._client.scan_iter(match=self._names.metadata_pattern, count=_INDEX_NAMES, _type="STRING")
        while some := list(islice(map(self._encode, found), _INDEX_NAMES)):
            yield [name for each in some for name in (self._names.beside(each), each)]

    @property
    def last(self) -> int:
        """The latest version."""
        with self._faults():
            return int(self._client.get(self._names.version) or 0)

    def number_after(self, position: LogPosition) -> int:
        """The version of a position. Raises ChangesExpiredError if it is not one of this log."""
        if position.log_id != self.log_id or position.version > self.last:
            raise changes_expired()
        return position.version

    def read(self, number: int) -> tuple[list[Change], int]:
        """A batch of changes with versions above `number`, and the last of these."""
        with self._faults():
            items = self._read(
                [self._names.log_state, self._names.log], [self.log_id.hex(), number, BATCH_ENTRIES, BATCH_BYTES]
            )
        if items is None:
            raise changes_expired()
        changes = list(map(self._change, items))
        return changes, changes[-1].version if changes else number

    def _change(self, item: Any) -> Change:
        """The change of an item of the stream. Raises CorruptDataError for one that is not ours."""
        identity, (kind, name, *value) = item
        key = self._names.key_of(name)
        if key is None:
            raise CorruptDataError(f"an item of the log of changes {self._names.log!r} has no key but {name!r}")
        version = int(self._encode(identity).partition(b"-")[0])
        return Change(ChangeKind(self._encode(kind).decode()), key, version, value[1] if value else None)

    def wake(self) -> None:
        """Wake the watches."""
        for wake in tuple(self.wakers):
            wake()

    def close(self) -> None:
        """End the thread soon, and wake the watches."""
        self._stopping.set()
        self.wake()

    # The thread

    def _wait(self) -> bool:
        """Wait for a change, and wake the watches if there is one. Returns whether to wait again."""
        try:
            with self._faults():
                latest, wait_ms = self._sweep(self._names.for_changes, [SWEEP_ENTRIES, self._longest_ms()])
                latest = self._encode(latest).decode()
                if latest != self._latest:
                    # After the version was read: a change after it ends the wait below.
                    self._latest = latest
                    self.wake()
                self._client.xread({self._names.log: f"{latest}-0"}, count=1, block=wait_ms)
        except Exception as error:
            if not isinstance(error, DatastoreError) and not self._stopping.is_set():
                # The watches depend on this thread, which goes on.
                logger.exception("waiting for changes in Redis failed")
            # Each watch finds out by itself.
            self.wake()
            self._stopping.wait(WAIT_MS / 1000)
        return not self._stopping.is_set()

    def _longest_ms(self) -> int:
        """How long to wait at most: half of what the client waits for an answer."""
        options = getattr(getattr(self._client, "connection_pool", None), "connection_kwargs", {})
        timeout_s = options.get("socket_timeout")
        return WAIT_MS if timeout_s is None else max(1, min(WAIT_MS, int(timeout_s * 500)))


class _Wakers(set[Callable[[], None]]):
    """The wakers of a log. While there are any, a thread calls `wait` again and again, as long as that returns True."""

    def __init__(self, wait: Callable[[], bool]) -> None:
        super().__init__()
        self._wait = wait
        self._guard = threading.Lock()
        self._is_running = False

    def add(self, wake: Callable[[], None]) -> None:
        """Add a waker, and start the thread if it is not running."""
        with self._guard:
            super().add(wake)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="datastore-redis-changes", daemon=True).start()

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = self._wait()
            with self._guard:
                goes_on = goes_on and bool(self)
                self._is_running = goes_on
