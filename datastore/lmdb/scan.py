"""One step of a scan: the entries that one short read transaction adds to a batch of results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, islice
from operator import lt
from typing import Any

from datastore.engine.ranges import END, ScanPlan
from datastore.lmdb.absence import check_key
from datastore.lmdb.records import has_expired, stamps_of, unpack_all
from datastore.model.entries import Batch, Position
from datastore.model.errors import CorruptDataError
from datastore.model.key import Key

__all__ = ["SCAN_ENTRIES", "RangeScan"]

#: The maximum number of entries that a query examines in one transaction, which takes some milliseconds.
SCAN_ENTRIES = 2000

#: How many entries are read before it is checked that they are in scope. As long as they are, each run is twice as long
#: as the last one, so few are read for nothing.
FIRST_RUN_ENTRIES = 4


class RangeScan:
    """A batch being built."""

    __slots__ = (
        "_begin",
        "_plan",
        "_records",
        "_texts",
        "bytes_left",
        "entries_left",
        "hidden_us",
        "last",
        "looks_left",
        "seek",
    )

    def __init__(self, plan: ScanPlan, seek: bytes, entries_wanted: int, bytes_wanted: int) -> None:
        self._plan = plan
        self.seek = self._begin = seek
        self.entries_left = entries_wanted
        self.bytes_left = bytes_wanted
        self.looks_left = SCAN_ENTRIES
        #: Entries that have expired by then, in microseconds since 1970, are left out of the batch; 0: none has.
        self.hidden_us = 0
        self.last = b""
        self._texts: list[bytes] = []
        self._records: list[bytes] = []

    @property
    def full(self) -> bool:
        """Whether it is time to hand the batch over."""
        return self.entries_left <= 0 or self.bytes_left <= 0 or self.looks_left <= 0

    def take(self, items: Iterator[Any], *, with_records: bool) -> None:
        """Take entries until the batch is full or the plan says to seek; `seek` then says where to.

        The items are pairs of key and record, or keys alone, if neither values nor metadata are wanted and `hidden_us`
        is 0.
        """
        read = _read if with_records else _read_keys
        most = FIRST_RUN_ENTRIES
        while not self.full:
            wanted = min(most, self.entries_left, self.looks_left)
            texts, records, bytes_left = read(items, wanted, self.bytes_left)
            if texts and not self._plan.covers(texts) and self._take_up_to_end(texts, records):
                return
            self._add(texts, records, looks=len(texts))
            self.bytes_left = bytes_left
            if texts:
                self.last, self.seek = texts[-1], texts[-1] + b"\x00"
            if len(texts) < wanted and bytes_left > 0:
                self.seek = END
                return
            most *= 2

    def _take_up_to_end(self, texts: list[bytes], records: list[bytes]) -> bool:
        """Take the entries of a run before the first that is out of scope; False, and take none, if all are in it."""
        matches_fast, seek_after = self._plan.matches_fast, self._plan.seek_after
        for place, text in enumerate(texts):
            if not matches_fast(text) and (beyond := seek_after(text)) is not None:
                self._add(texts[:place], records[:place], looks=place + 1)
                self.bytes_left -= sum(map(len, texts[:place])) + sum(map(len, records[:place]))
                self._check_skipped(text, records[place] if records else b"")
                self.last, self.seek = text, beyond
                return True
        return False

    def _add(self, texts: list[bytes], records: list[bytes], *, looks: int) -> None:
        self._texts += texts
        self._records += records
        self.entries_left -= len(texts)
        self.looks_left -= looks

    def batch(self, *, with_values: bool, with_metadata: bool) -> Batch:
        """The entries taken. Resuming after the last key examined loses nothing, even if that key was skipped."""
        self._check_order()
        if self.hidden_us:
            self._hide()
        values: list[Any] = [None] * len(self._texts)
        if with_values or with_metadata:
            stored = unpack_all(self._texts, self._records)
            values = stored if with_values else values
        else:
            # These are not protected by a checksum.
            b"\n".join(self._texts).decode()
        position = Position(b"", Key._trusted(self.last.decode())) if self.last else None
        return Batch.of_texts(
            self._texts,
            values,
            metadata=stamps_of(self._records) if with_metadata else None,
            position=position,
            scanned=SCAN_ENTRIES - self.looks_left,
        )

    def _check_order(self) -> None:
        """Raise CorruptDataError if the keys do not ascend: a damaged page shows entries twice, or hides others."""
        texts = self._texts
        if not all(map(lt, texts, islice(texts, 1, None))) or (texts and texts[0] < self._begin):
            raise CorruptDataError("the keys of stored entries are out of order: a page of the data file is damaged")

    def _check_skipped(self, text: bytes, record: bytes) -> None:
        """Raise CorruptDataError if an entry that seems to be out of scope is damaged: it may be in scope."""
        if self._texts and text <= self._texts[-1]:
            raise CorruptDataError(f"{text.decode(errors='backslashreplace')!r} is out of order: a page is damaged")
        if record:
            check_key(text, record)

    def _hide(self) -> None:
        """Leave out what has expired."""
        held = [not has_expired(record, self.hidden_us) for record in self._records]
        self._texts = list(compress(self._texts, held))
        self._records = list(compress(self._records, held))


# These run for every entry of every query: whatever can be done for many at once is done elsewhere.


def _read(items: Iterator[tuple[bytes, bytes]], most: int, bytes_left: int) -> tuple[list[bytes], list[bytes], int]:
    """The next keys with their records, up to where so many bytes are reached, and how many are left of these."""
    texts: list[bytes] = []
    records: list[bytes] = []
    add_text, add_record = texts.append, records.append
    for text, record in islice(items, most):
        add_text(text)
        add_record(record)
        bytes_left -= len(text) + len(record)
        if bytes_left <= 0:
            break
    return texts, records, bytes_left


def _read_keys(items: Iterator[bytes], most: int, bytes_left: int) -> tuple[list[bytes], list[bytes], int]:
    """Like `_read`, for keys alone, which are short: all of the run are read."""
    texts = list(islice(items, most))
    return texts, [], bytes_left - sum(map(len, texts))
