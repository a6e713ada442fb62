"""One step of a scan: the entries that one short read transaction adds to a batch of results."""

from __future__ import annotations

from collections.abc import Iterator

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.core.batch import Batch, Position
from datastore.core.key import Key
from datastore.core.ranges import END, ScanPlan
from datastore.lmdb.records import HEADER_BYTES, RECORD_START, damaged

__all__ = ["SCAN_ENTRIES", "Scan"]

#: The most entries that a query looks at in one transaction, taken or not: some milliseconds.
SCAN_ENTRIES = 2000


class Scan:
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
            value = record[HEADER_BYTES:]
            if record[:HEADER_BYTES] != RECORD_START + xxh3_64_digest(value, xxh3_64_intdigest(text)):
                raise damaged(text, record)
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
