"""The log of changes in the environment: written in the transaction of each change, and read by watches.

An item is the version of a change and what changed, with the stored value. The first item has the identity of the log,
and the version after which it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from struct import Struct

import lmdb

from datastore.engine.changelog import LogPosition, changes_expired
from datastore.lmdb.gate import Gate
from datastore.model.changes import Change, ChangeKind
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES

__all__ = ["DELETE", "EXPIRE", "CommitLog", "StoredLog", "begin_log", "logged_after", "logged_items"]

_VERSION = Struct(">Q")
_HEAD_KEY = _VERSION.pack(0)
#: The identity of the log, and the version after which it is complete.
_HEAD = Struct(">8sQ")
#: The kind of a change, and the length of the text of its key, which follows, and then the value.
_ITEM = Struct(">BH")
_PUT_BYTES, _PUT_TEXT, DELETE, EXPIRE = range(4)
_KINDS = (ChangeKind.PUT, ChangeKind.PUT, ChangeKind.DELETE, ChangeKind.EXPIRE)
#: How many items a commit removes beyond twice those that it adds.
_TRIM_ITEMS = 16


def begin_log(transaction: lmdb.Transaction[bytes], database: lmdb._Database, last_version: int) -> None:
    """Make a new log complete from this version on, unless it has been begun."""
    transaction.put(_HEAD_KEY, _HEAD.pack(os.urandom(8), last_version), db=database, overwrite=False)


class CommitLog:
    """The log within one write transaction, whose cursor on the log it uses."""

    def __init__(self, cursor: lmdb.Cursor[bytes], size: Callable[[], int]) -> None:
        self._cursor = cursor
        #: The bytes of the log in the environment.
        self._size = size
        self._added = 0

    def put(self, versions: Iterable[int], texts: Iterable[bytes], values: Iterable[bytes], *, is_text: bool) -> None:
        """Add puts."""
        kind = _PUT_TEXT if is_text else _PUT_BYTES
        items = [
            (_VERSION.pack(version), b"".join((_ITEM.pack(kind, len(text)), text, value)))
            for version, text, value in zip(versions, texts, values, strict=False)
        ]
        self._cursor.putmulti(items, append=True)
        self._added += len(items)

    def remove(self, version: int, text: bytes, kind: int) -> None:
        """Add a deletion or an expiry."""
        self._cursor.put(_VERSION.pack(version), _ITEM.pack(kind, len(text)) + text, append=True)
        self._added += 1

    def trim(self, oldest: int, most_bytes: int) -> None:
        """Remove items before the version `oldest`, and the oldest beyond `most_bytes`; some in each commit."""
        cursor, floor = self._cursor, 0
        for _ in range(2 * self._added + _TRIM_ITEMS):
            if not cursor.set_range(_VERSION.pack(1)):
                break
            (version,) = _VERSION.unpack(cursor.key())
            if version >= oldest and self._size() <= most_bytes:
                break
            cursor.delete()
            floor = version
        if floor:
            self._complete_after(floor)

    def clear(self, last_version: int) -> None:
        """Remove all items."""
        while self._cursor.set_range(_VERSION.pack(1)):
            self._cursor.delete()
        self._complete_after(last_version)

    def _complete_after(self, floor: int) -> None:
        if self._cursor.set_key(_HEAD_KEY):
            log_id, _ = _HEAD.unpack(self._cursor.value())
            self._cursor.put(_HEAD_KEY, _HEAD.pack(log_id, floor))


class StoredLog:
    """The log as watches read it, see `datastore.engine.changelog.Log`. The number of a change is its version."""

    def __init__(self, environment: lmdb.Environment, database: lmdb._Database, gate: Gate, last_version: int) -> None:
        self._environment = environment
        self.database = database
        self._gate = gate
        #: The latest version that was committed.
        self.last = last_version
        self.wakers: set[Callable[[], None]] = set()
        with environment.begin(database) as transaction:
            self.log_id, _ = _HEAD.unpack(transaction.get(_HEAD_KEY) or b"")

    def renew(self, environment: lmdb.Environment, database: lmdb._Database) -> None:
        """Continue in the same environment after it was opened again."""
        self._environment, self.database = environment, database

    @property
    def has_items(self) -> bool:
        """Whether it has any changes."""
        with self._environment.begin() as transaction:
            return bool(transaction.stat(self.database)["entries"] > 1)

    def figures(self, now_us: int) -> dict[str, float]:
        """What it measures, see `Description`. Versions are times in microseconds, as is `now_us`."""
        with self._gate, self._environment.begin(self.database) as transaction:
            cursor = transaction.cursor()
            has_any = cursor.set_range(_VERSION.pack(1))
            age_us = now_us - _VERSION.unpack(cursor.key())[0] if has_any else 0
        return {"change_log_age_seconds": max(0, age_us) / 1_000_000, "watchers": len(self.wakers)}

    def committed(self, last_version: int) -> None:
        """Note that everything up to a version is committed, and wake the watches."""
        self.last = last_version
        self.wake()

    def wake(self) -> None:
        """Wake the watches."""
        for wake in tuple(self.wakers):
            wake()

    def number_after(self, position: LogPosition) -> int:
        """The version of a position. Raises ChangesExpiredError if it is not one of this log."""
        if position.log_id != self.log_id or position.version > self.last:
            raise changes_expired()
        return position.version

    def read(self, number: int) -> tuple[list[Change], int]:
        """A batch of changes with versions above `number`, and the last of these."""
        changes: list[Change] = []
        filled = 0
        with self._gate, self._environment.begin(self.database) as transaction:
            _, floor = _HEAD.unpack(transaction.get(_HEAD_KEY) or b"")
            if number < floor:
                raise changes_expired()
            cursor = transaction.cursor()
            if cursor.set_range(_VERSION.pack(number + 1)):
                for key, item in cursor:
                    (number,) = _VERSION.unpack(key)
                    changes.append(_change(number, item))
                    filled += len(item)
                    if filled >= BATCH_BYTES or len(changes) == BATCH_ENTRIES:
                        break
        return changes, number


def _change(version: int, item: bytes) -> Change:
    kind, text_bytes = _ITEM.unpack_from(item)
    value_at = _ITEM.size + text_bytes
    key = Key._trusted(item[_ITEM.size : value_at].decode())
    data = item[value_at:]
    value: bytes | str | None = None
    if kind in (_PUT_BYTES, _PUT_TEXT):
        value = data.decode() if kind == _PUT_TEXT else data
    return Change(_KINDS[kind], key, version, value)


def logged_after(cursor: lmdb.Cursor[bytes]) -> int:
    """The version after which the log is complete."""
    return int(_HEAD.unpack(cursor.get(_HEAD_KEY) or _HEAD.pack(b"", 0))[1])


def logged_items(cursor: lmdb.Cursor[bytes]) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Each change: its version, its kind, the text of its key, and the value that was put."""
    if cursor.set_range(_VERSION.pack(1)):
        for key, item in cursor:
            kind, text_bytes = _ITEM.unpack_from(item)
            value_at = _ITEM.size + text_bytes
            yield _VERSION.unpack(key)[0], kind, item[_ITEM.size : value_at], item[value_at:]
