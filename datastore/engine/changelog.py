"""The latest changes of a store, kept in memory within limits, and positions in such a log. Pure."""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from datastore.model.changes import Change, ChangeKind
from datastore.model.entries import value_bytes
from datastore.model.errors import ChangesExpiredError, InvalidTokenError
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES, CHANGES_AGE_S, CHANGES_BYTES, CHANGES_KEPT

__all__ = ["CHANGE_BYTES", "ChangeLog", "Log", "LogPosition", "changes_expired"]

#: The assumed size of a change besides its value, in bytes: the objects and their place in the log.
CHANGE_BYTES = 200

_HEAD = struct.Struct(">8sQ?")


class LogPosition(NamedTuple):
    """A place in the log with this id: after the changes up to `version`.

    During an initial listing `listed` is the key up to which entries have been listed, "" at its beginning; None after
    it, or without one.
    """

    log_id: bytes
    version: int
    listed: str | None = None

    def packed(self) -> bytes:
        """The position as bytes."""
        text = (self.listed or "").encode("utf-8", "surrogatepass")
        return _HEAD.pack(self.log_id, self.version, self.listed is not None) + text

    @classmethod
    def unpacked(cls, data: bytes) -> LogPosition:
        """The position of these bytes. Raises InvalidTokenError if they are not one."""
        try:
            log_id, version, is_listing = _HEAD.unpack_from(data)
            text = data[_HEAD.size :].decode("utf-8", "surrogatepass")
        except (struct.error, UnicodeDecodeError):
            raise InvalidTokenError("the resume token is not a position in a log of changes") from None
        return cls(log_id, version, text if is_listing else None)


class Log(Protocol):
    """What a feed needs of a store's log. The store's lock protects it."""

    log_id: bytes
    #: Called after each change.
    wakers: set[Callable[[], None]]

    @property
    def last(self) -> int:
        """The version of the latest change, or one above."""
        ...

    def number_after(self, position: LogPosition) -> int:
        """The number of the first change after a position. Raises ChangesExpiredError if it is not one of this log."""
        ...

    def read(self, number: int) -> tuple[list[Change], int]:
        """A batch of changes from that with a number on, empty if there are none yet, and the number after them.

        Raises ChangesExpiredError if they have been discarded.
        """
        ...


class ChangeLog:
    """The changes after version `floor`, the oldest first. Not safe for threads: the store's lock protects it.

    Each change that is appended calls the `wakers`. The oldest changes are dropped beyond `most_changes`, `most_bytes`
    or `most_age_s`; the age is that between versions, which are times in microseconds.
    """

    def __init__(
        self,
        last: int,
        most_changes: int = CHANGES_KEPT,
        most_bytes: int = CHANGES_BYTES,
        most_age_s: float = CHANGES_AGE_S,
    ) -> None:
        self.log_id = os.urandom(8)
        #: The version of the latest change, or of the store when the log began.
        self.last = self.floor = last
        self.wakers: set[Callable[[], None]] = set()
        #: Lists, because slices of a deque take the longer the farther they are from its ends. The first `_dropped`
        #: items are None; they are removed when they are half of all.
        self._changes: list[Any] = []
        #: The bytes of all changes up to each, since the log began.
        self._ends: list[int] = []
        self._dropped = 0
        #: How many items have been removed: a change's number is its index and this.
        self._removed = 0
        self._bytes = 0
        self._dropped_bytes = 0
        self._most_changes = most_changes
        self._most_bytes = most_bytes
        self._most_age_us = int(most_age_s * 1_000_000)

    def figures(self, now_us: int) -> dict[str, float]:
        """What it measures, see `Description`. Versions are times in microseconds, as is `now_us`."""
        kept = len(self._changes) - self._dropped
        age_us = now_us - self._changes[self._dropped].version if kept else 0
        return {
            "change_log_age_seconds": max(0, age_us) / 1_000_000,
            "change_log_bytes": self._bytes - self._dropped_bytes,
            "watchers": len(self.wakers),
        }

    def put(self, key: Key, version: int, value: Any) -> None:
        """Keep a change, whose version is above all others, and drop the oldest beyond the limits."""
        self._append(Change(ChangeKind.PUT, key, version, value))

    def delete(self, key: Key, version: int) -> None:
        """Like `put`, for a deletion."""
        self._append(Change(ChangeKind.DELETE, key, version))

    def expire(self, key: Key, version: int) -> None:
        """Like `put`, for an entry that expired."""
        self._append(Change(ChangeKind.EXPIRE, key, version))

    def _append(self, change: Change) -> None:
        self._bytes += CHANGE_BYTES + value_bytes(change.value)
        self._changes.append(change)
        self._ends.append(self._bytes)
        self.last = change.version
        oldest = change.version - self._most_age_us
        while self._dropped < len(self._changes) and (
            len(self._changes) - self._dropped > self._most_changes
            or self._bytes - self._dropped_bytes > self._most_bytes
            or self._changes[self._dropped].version < oldest
        ):
            self._drop()
        for wake in self.wakers:
            wake()

    def _drop(self) -> None:
        """Drop the oldest change."""
        place = self._dropped
        self.floor, self._dropped_bytes = self._changes[place].version, self._ends[place]
        self._changes[place] = None
        self._dropped += 1
        if 2 * self._dropped > len(self._changes):
            del self._changes[: self._dropped], self._ends[: self._dropped]
            self._removed += self._dropped
            self._dropped = 0

    def number_after(self, position: LogPosition) -> int:
        """The number of the first change after a position. Raises ChangesExpiredError unless all of them are kept."""
        if position.log_id != self.log_id or not self.floor <= position.version <= self.last:
            raise changes_expired()
        found = bisect_right(self._changes, position.version, lo=self._dropped, key=lambda change: change.version)
        return self._removed + found

    def read(self, number: int) -> tuple[list[Change], int]:
        """A batch of changes from that with a number on, empty if there are none yet, and the number after them.

        Raises ChangesExpiredError if that change was dropped.
        """
        start = number - self._removed
        if start < self._dropped:
            raise changes_expired()
        begun = self._ends[start - 1] if start > self._dropped else self._dropped_bytes
        # At least one, and the one that fills the batch.
        filled = bisect_left(self._ends, begun + BATCH_BYTES, lo=start) + 1
        stop = min(filled, start + BATCH_ENTRIES, len(self._changes))
        return self._changes[start:stop], self._removed + stop


def changes_expired() -> ChangesExpiredError:
    """The error for a position whose changes are not kept."""
    return ChangesExpiredError(
        "the changes after this position have been discarded: list the entries again, e.g. watch with initial=True"
    )
