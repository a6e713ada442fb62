"""A query's own steps over batches: filters, orders, start_after, offset, limit. Sans I/O.

Whoever scans a scope feeds the raw batches in and passes on what comes out. Knows queries and batches; no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from datastore.core.batch import Batch, Position, value_bytes
from datastore.core.description import QueryDescription
from datastore.core.errors import DatastoreError
from datastore.core.fields import KEY_FIELD, Filter, field_of, object_getattr, value_predicate
from datastore.core.key import Key
from datastore.core.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_BATCH_BYTES

__all__ = ["Cutter", "Pipeline"]

Predicate = Callable[[Key | None, Any], bool]

# The in-process order key, the key's text, the number of arrival, the key, the value.
_Row = tuple[Any, str, int, Any, Any]


class Pipeline:
    """Applies one query to the raw batches of its scope, which come in key order.

    Feed batches until `done` or until there are no more, then take what `finish` gives. Without orders results come
    out as they are fed; with orders they come at the end, and with a limit too no more than twice offset + limit
    entries are held. Ties are ordered by key; where keys are None, as they came. Pure; for one query, one reader.
    """

    def __init__(self, query: QueryDescription) -> None:
        self._query = query
        self._passes = _predicates(query)
        self._sorter = _Sorter(query) if query.orders else None
        self._after = None if query.orders else query.start_after
        self._cutter = Cutter(query)

    @property
    def done(self) -> bool:
        """Whether nothing more can come: reading on would be in vain."""
        return self._cutter.done

    def feed(self, batch: Batch) -> Batch | None:
        """What of one raw batch goes on now; an empty batch where nothing does, so that its counts move on."""
        if self.done:
            return None
        keys, values = self._selected(batch)
        if self._sorter is not None:
            self._sorter.add(keys, values)
            return Batch([], [], skipped=batch.skipped, scanned=batch.scanned)
        if self._after is not None:
            start = _first_after(keys, self._after.key)
            keys, values = keys[start:], values[start:]
        return self._cutter.cut(
            Batch(keys, values, position=batch.position, skipped=batch.skipped, scanned=batch.scanned)
        )

    def finish(self) -> Iterator[Batch]:
        """The sorted results of an ordered query; nothing for others."""
        if self._sorter is None or self.done:
            return
        for batch in self._sorter.batches():
            yield self._cutter.cut(batch)
            if self.done:
                return

    def _selected(self, batch: Batch) -> tuple[list[Any], list[Any]]:
        keys, values = batch.keys, batch.values
        for passes in self._passes:
            held = [i for i, value in enumerate(values) if passes(keys[i], value)]
            if len(held) < len(values):
                keys = [keys[i] for i in held]
                values = [values[i] for i in held]
        return keys, values


class Cutter:
    """Applies a query's offset and limit to batches in their final order, and drops values not asked for."""

    def __init__(self, query: QueryDescription) -> None:
        self._query = query
        self._offset = query.offset
        self._limit = query.limit
        self.done = query.limit == 0

    def cut(self, batch: Batch) -> Batch:
        """The batch itself, cut."""
        if self._offset and len(batch):
            dropped = min(self._offset, len(batch))
            self._offset -= dropped
            batch.skipped += dropped
            _slice(batch, dropped, len(batch))
        if self._limit is not None:
            if len(batch) >= self._limit:
                if len(batch) > self._limit:
                    _slice(batch, 0, self._limit)
                    batch.position = _position_of_last(batch, self._query)
                self.done = True
            self._limit -= len(batch)
        if self._query.keys_only:
            batch.values = [None] * len(batch.values)
        return batch


def _slice(batch: Batch, start: int, stop: int) -> None:
    batch.keys = batch.keys[start:stop]
    batch.values = batch.values[start:stop]
    if batch.sort_keys is not None:
        batch.sort_keys = batch.sort_keys[start:stop]


def _position_of_last(batch: Batch, query: QueryDescription) -> Position | None:
    key = batch.keys[-1]
    if key is None:
        return None
    if not query.orders:
        return Position(b"", key)
    if batch.sort_keys is not None:
        return Position(batch.sort_keys[-1], key)
    try:
        return Position(query.order_sort_key(key, batch.values[-1]), key)
    except DatastoreError:
        return None


def _first_after(keys: list[Any], after: Key) -> int:
    """The index of the first key after `after`, in keys sorted ascending; keys of None come before all."""
    return next((i for i, key in enumerate(keys) if key is not None and key > after), len(keys))


def _predicates(query: QueryDescription) -> list[Predicate]:
    return [_predicate(query, filter_) for filter_ in query.filters]


def _predicate(query: QueryDescription, filter_: Filter) -> Predicate:
    getter = query.getter_of(filter_)
    field = filter_.field
    # A subclass may judge values in its own way.
    judge = value_predicate(filter_.op, filter_.value) if type(filter_) is Filter else filter_.value_passes
    if field == KEY_FIELD:
        return lambda key, value: judge(key)
    if getter is object_getattr:
        return lambda key, value: judge(object_getattr(value, field))
    return lambda key, value: judge(field_of(getter, key, value, field))


class _Sorter:
    """Collects entries and gives them back in the query's order, the first `offset + limit` of them at most."""

    def __init__(self, query: QueryDescription) -> None:
        self._query = query
        self._keep = None if query.limit is None else query.offset + query.limit
        self._rows: list[_Row] = []
        self._count = 0

    def add(self, keys: list[Any], values: list[Any]) -> None:
        """Take in entries that passed the filters."""
        query, after = self._query, self._query.start_after
        for key, value in zip(keys, values, strict=True):
            if after is not None and not _comes_after(query, after, key, value):
                continue
            self._count += 1
            self._rows.append((query.order_tuple(key, value), "" if key is None else str(key), self._count, key, value))
        if self._keep is not None and len(self._rows) > 2 * self._keep + BATCH_ENTRIES:
            self._sort()

    def _sort(self) -> None:
        self._rows.sort(key=itemgetter(0, 1, 2))
        if self._keep is not None:
            del self._rows[self._keep :]

    def batches(self) -> Iterator[Batch]:
        """The entries in order, in batches, the first of them small."""
        self._sort()
        rows = self._rows
        sort_keys = self._sort_keys(rows) if self._query.sort_keys else None
        start, most = 0, FIRST_BATCH_BYTES
        while start < len(rows):
            stop = _fill(rows, start, most)
            part = rows[start:stop]
            batch = Batch([row[3] for row in part], [row[4] for row in part])
            batch.sort_keys = None if sort_keys is None else sort_keys[start:stop]
            batch.position = _position_of_last(batch, self._query)
            yield batch
            start, most = stop, BATCH_BYTES

    def _sort_keys(self, rows: list[_Row]) -> list[bytes] | None:
        """All sort keys, or none where some value has no place on the wire: whoever merges then compares values."""
        try:
            return [self._query.order_sort_key(row[3], row[4]) for row in rows]
        except DatastoreError:
            return None


def _comes_after(query: QueryDescription, after: Position, key: Key | None, value: Any) -> bool:
    sort_key = query.order_sort_key(key, value)
    return (sort_key, "" if key is None else str(key)) > (after.sort_key, str(after.key))


def _fill(rows: list[_Row], start: int, most: int) -> int:
    """The index after the rows, from `start`, that fill a batch of `most` bytes: at least one."""
    size = 0
    for index in range(start, min(start + BATCH_ENTRIES, len(rows))):
        size += len(rows[index][1]) + value_bytes(rows[index][4])
        if size >= most:
            return index + 1
    return min(start + BATCH_ENTRIES, len(rows))
