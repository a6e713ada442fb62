"""A query's own steps over batches: filters, orders, start_after, offset, limit. Sans I/O.

Whoever scans a scope feeds the raw batches in and passes on what comes out. Knows queries and batches; no store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate, compress, repeat
from operator import add, ge, le, ne
from sys import maxsize
from typing import Any

from datastore.core.batch import Batch, Position, value_bytes
from datastore.core.description import QueryDescription
from datastore.core.encoded import decoded, encoded_bytes
from datastore.core.errors import DatastoreError, LimitExceededError
from datastore.core.fields import Filter, all_of, column_of, column_predicate
from datastore.core.key import Key
from datastore.core.limits import BATCH_BYTES, BATCH_ENTRIES, FIRST_BATCH_BYTES, SORT_BYTES
from datastore.core.ordering import order_key

__all__ = ["Cutter", "Pipeline"]

#: Which of some entries, given as their keys and their values, pass a filter.
Predicate = Callable[[list[Any], list[Any]], list[bool]]


class Pipeline:
    """Applies one query to the raw batches of its scope, which come in key order.

    Feed batches until `done` or until there are no more, then take what `finish` gives. Without orders results come
    out as they are fed; with orders they come at the end, and with a limit too no more than twice offset + limit
    entries are held. Ties are ordered by key; where keys are None, as they came. Pure; for one query, one reader.
    """

    def __init__(self, query: QueryDescription) -> None:
        self._query = query
        self._passes = [_predicate(query, filter_) for filter_ in query.filters]
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
        if not self._passes and self._sorter is None and self._after is None:
            return self._cutter.cut(_placed(batch))
        keys, values = self._passing(batch)
        if self._sorter is not None:
            self._sorter.add(keys, values)
            return Batch([], [], skipped=batch.skipped, scanned=batch.scanned)
        if self._after is not None:
            start = _first_after(keys, self._after.key)
            keys, values = keys[start:], values[start:]
        position = _placed(batch).position
        return self._cutter.cut(Batch(keys, values, position=position, skipped=batch.skipped, scanned=batch.scanned))

    def finish(self) -> Iterator[Batch]:
        """The sorted results of an ordered query; nothing for others."""
        if self._sorter is None or self.done:
            return
        for batch in self._sorter.batches():
            yield self._cutter.cut(batch)
            if self.done:
                return

    def _passing(self, batch: Batch) -> tuple[list[Any], list[Any]]:
        keys, values = batch.keys, batch.values
        for passes in self._steps():
            keys, values = _selected(passes(keys, values), keys, values)
        return keys, values

    def _steps(self) -> list[Predicate]:
        """The filters, and where it is known what comes too late, that; before them if it leaves out the most.

        Code of the caller's may raise, so it sees each entry that comes to it.
        """
        if self._sorter is None or not self._sorter.full:
            return self._passes
        if self._sorter.sharp and not self._query.has_custom_code:
            return [self._sorter.in_time, *self._passes]
        return [*self._passes, self._sorter.in_time]


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
            batch.cut(dropped, len(batch))
        if self._limit is not None:
            if len(batch) >= self._limit:
                if len(batch) > self._limit:
                    batch.cut(0, self._limit)
                    batch.position = _position_of_last(batch, self._query)
                self.done = True
            self._limit -= len(batch)
        if self._query.keys_only:
            batch.drop_values()
        return batch


def _placed(batch: Batch) -> Batch:
    """A raw batch that knows its place, if its keys are known."""
    if batch.position is None and len(batch) and batch.keys[-1] is not None:
        batch.position = Position(b"", batch.keys[-1])
    return batch


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


def _predicate(query: QueryDescription, filter_: Filter) -> Predicate:
    kind = type(filter_)
    if kind.__call__ is not Filter.__call__:
        # A subclass that judges whole objects in its own way.
        return lambda keys, values: [filter_(decoded(value)) for value in values]
    read = column_of(query.getter_of(filter_), filter_.field)
    if kind.value_passes is not Filter.value_passes:
        return lambda keys, values: [bool(filter_.value_passes(value)) for value in read(keys, values)]
    judge = column_predicate(filter_.op, filter_.value)
    return lambda keys, values: judge(read(keys, values))


def _selected(held: list[bool], *columns: list[Any]) -> list[list[Any]]:
    """The columns, without what is not held."""
    return list(columns) if all(held) else [list(compress(column, held)) for column in columns]


class _Sorter:
    """Collects entries and gives them back in the query's order, the first `offset + limit` of them at most.

    Entries lie in columns: keys, values, and one of field values for each order.
    """

    def __init__(self, query: QueryDescription) -> None:
        self._query = query
        self._fields = [query.order_column(order) for order in query.orders]
        self._keep = maxsize if query.limit is None else query.offset + query.limit
        #: Whether the first `_keep` entries are sorted: what comes after the last of them is too late.
        self.full = False
        #: Whether most of a few entries were too late when that was last looked at.
        self.sharp = True
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._columns: list[list[Any]] = [[] for _ in query.orders]
        self._bytes = 0

    def add(self, keys: list[Any], values: list[Any]) -> None:
        """Take in entries that passed the filters."""
        columns = [field(keys, values) for field in self._fields]
        after = self._query.start_after
        if after is not None:
            place = (after.sort_key, str(after.key))
            places = zip(self._query.sort_keys_of(columns), _texts(keys), strict=True)
            keys, values, *columns = _selected([here > place for here in places], keys, values, *columns)
        self._keys += keys
        self._values += values
        for column, more in zip(self._columns, columns, strict=True):
            column += more
        self._bytes += encoded_bytes(values)
        if len(self._keys) > 2 * self._keep or (self._bytes > SORT_BYTES and self._keep < maxsize):
            self._sort()
            self._bytes = encoded_bytes(self._values)
        if self._bytes > SORT_BYTES:
            raise LimitExceededError(
                f"to sort these results takes more than {SORT_BYTES:,} bytes; give the query a limit, or filters",
                limit="sort_bytes",
                maximum=SORT_BYTES,
            )

    def in_time(self, keys: list[Any], values: list[Any]) -> list[bool]:
        """Which entries do not come after the last one kept, by the first order."""
        column, last = self._fields[0](keys, values), self._columns[0][self._keep - 1]
        descending = self._query.orders[0].is_descending()
        if type(last) in _SORTABLE and all_of(type(last), column):
            held = list(map(ge if descending else le, column, repeat(last)))
        else:
            *ours, last = _comparable([*column, last])
            held = [not value < last for value in ours] if descending else [not last < value for value in ours]
        self.sharp = held[:_SAMPLE].count(False) > _SAMPLE // 2
        return held

    def _sort(self) -> list[str]:
        """Sort the columns, and keep what can still be wanted; the texts of its keys."""
        # Sorting is stable: ties first, then the last order, each within the one before it.
        texts = _texts(self._keys)
        places = sorted(range(len(texts)), key=texts.__getitem__)
        for order, column in zip(reversed(self._query.orders), reversed(self._columns), strict=True):
            places.sort(key=_comparable(column).__getitem__, reverse=order.is_descending())
        places = places[: self._keep]
        self._keys = [self._keys[i] for i in places]
        self._values = [self._values[i] for i in places]
        self._columns = [[column[i] for i in places] for column in self._columns]
        self.full = len(places) == self._keep
        return [texts[i] for i in places]

    def batches(self) -> Iterator[Batch]:
        """The entries in order, in batches, the first of them small."""
        texts = self._sort()
        sort_keys = self._sort_keys() if self._query.sort_keys else None
        start, most = 0, FIRST_BATCH_BYTES
        while start < len(self._keys):
            stop = self._fill(texts, start, most)
            batch = Batch(self._keys[start:stop], self._values[start:stop])
            batch.sort_keys = None if sort_keys is None else sort_keys[start:stop]
            batch.position = _position_of_last(batch, self._query)
            yield batch
            start, most = stop, BATCH_BYTES

    def _fill(self, texts: list[str], start: int, most: int) -> int:
        """The index after the entries, from `start`, that fill a batch of `most` bytes: at least one."""
        stop = min(start + BATCH_ENTRIES, len(texts))
        sizes = accumulate(map(add, map(len, texts[start:stop]), map(value_bytes, self._values[start:stop])))
        return next((end for end, size in enumerate(sizes, start + 1) if size >= most), stop)

    def _sort_keys(self) -> list[bytes] | None:
        """All sort keys, or none where some value has no place on the wire: whoever merges then compares values."""
        try:
            return self._query.sort_keys_of(self._columns)
        except DatastoreError:
            return None


def _comparable(column: list[Any]) -> list[Any]:
    """The values of a column as Python itself sorts them in the total order, without a wrapping if it can."""
    kinds = set(map(type, column))
    if kinds <= _NUMBERS and not any(map(ne, column, column)):
        return column
    if kinds == {Key}:
        return list(map(str, column))
    return column if len(kinds) == 1 and kinds <= _SORTABLE else list(map(order_key, column))


#: How many entries tell whether most are too late.
_SAMPLE = 64
_NUMBERS = {int, float}
#: The types whose values, among themselves, Python sorts as the total order does.
_SORTABLE = {bool, int, str, bytes}


def _texts(keys: list[Any]) -> list[str]:
    return ["" if key is None else str(key) for key in keys]
