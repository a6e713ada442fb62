"""A readers-writer lock around replacing the memory map. Knows nothing about transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datastore.model.errors import DatastoreClosedError, DatastoreError, StoreError

__all__ = ["READS_PATIENCE_S", "Gate"]

#: How long to wait for reads, in seconds. They take milliseconds; one that lasts longer was aborted by a signal.
#: Divided into short waits, because time spent suspended must not count: replacing the map during a read would crash
#: the process.
READS_PATIENCE_S = 10.0
_WAITS = 100


class Gate:
    """A readers-writer lock around replacing and closing the memory map.

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
        """Raise the error that a read would raise now, if any."""
        refusal = self._refusal
        if refusal is not None:
            raise refusal()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no read is active, and block new ones until the block ends."""
        with self._changed:
            self._shut = True
            for _ in range(_WAITS):
                if self._changed.wait_for(lambda: not self._inside, READS_PATIENCE_S / _WAITS):
                    break
        try:
            yield
        finally:
            with self._changed:
                self._shut = False
                self._changed.notify_all()

    def suspend(self, refusal: Callable[[], DatastoreError]) -> None:
        """Refuse every read with this error until `resume`."""
        self._refusal = refusal

    def resume(self) -> None:
        """Admit reads again."""
        self._refusal = None

    def close(self) -> None:
        """Refuse every read from now on."""
        self._refusal = lambda: DatastoreClosedError("the store is closed")

    def abandon(self) -> None:
        """Refuse every read in a forked process, where the locks may be held by threads that no longer exist."""
        self._refusal = lambda: StoreError(
            "the store was opened before this process was forked; LMDB does not survive a fork: open the store in the"
            " child",
            where=str(self._directory),
        )
        self._reset()
