"""A query's own steps over batches: filters, orders, start_after, offset, limit, fields. Sans I/O.

The caller scans a scope, feeds in the raw batches and passes on the output. Knows queries and batches, but no stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import and_
from typing import Any, TypeAlias

from datastore.engine.columns import Columns
from datastore.engine.sorting import ColumnSorter, NewFile, RunSorter, sorter_for
from datastore.model.encoded import Encoded, decoded
from datastore.model.entries import Batch, Position
from datastore.model.errors import DatastoreError
from datastore.model.fields import BESIDE_VALUES, METADATA_FIELDS, Filter
from datastore.model.key import Key
from datastore.model.operators import OPERATORS, column_predicate
from datastore.model.ordering import DATETIME, order_key, rank
from datastore.model.query import Query
from datastore.model.spellings import is_overridden
from datastore.model.trees import Condition

__all__ = ["Cutter", "Pipeline", "has_long_value", "passing"]

#: How many entries an ordered query collects in one step, which takes a few milliseconds.
STEP_ENTRIES = 500
#: A larger serialized value may have so many parts that reading it takes longer than a step should.
LONG_VALUE_BYTES = 32 * 1024

#: Selects the entries that pass a filter.
Predicate: TypeAlias = Callable[[Columns], list[bool]]


class Pipeline:
    """Applies one query to the raw batches of its scope, which come in key order.

    Feed batches until `done` or until there are no more, then take what `finish` returns. Without orders results come
    out as they are fed; with orders they come at the end, and if there is also a limit, at most twice offset + limit
    entries are held. Ties are ordered by key; where keys are None, in the order in which they came. Serialized values
    are read once, and only the members that the query asks for. With `new_file`, which makes a file, serialized values
    that take much memory while they are sorted are moved to files. Otherwise pure; for one query, one reader.
    """

    def __init__(self, query: Query, new_file: NewFile | None = None) -> None:
        self._query = query
        self._new_file = new_file
        self._passes = [passes for part in query.filters for passes in _steps_of(query, part)]
        #: Chosen by the first entries.
        self._sorter: RunSorter | ColumnSorter | None = None
        self._after = None if query.orders else query.start_after
        self._cutter = Cutter(query)

    @property
    def done(self) -> bool:
        """Whether there can be no more results, so that reading can stop."""
        return self._cutter.done

    def steps(self, batch: Batch) -> Iterator[Batch]:
        """Split a raw batch into parts to be fed one by one: short steps, between which other tasks can run.

        Only serialized values, which have to be read, take long.
        """
        if not self._query.orders or isinstance(self._sorter, ColumnSorter):
            return iter([batch])
        return batch.parts(STEP_ENTRIES)

    def feed(self, batch: Batch) -> Batch | None:
        """The results of feeding one raw batch; an empty batch if there are none, so that its counts are passed on."""
        if self.done:
            return None
        if not (self._passes or self._query.orders or self._after):
            return self._cutter.cut(_placed(batch))
        if self._query.orders:
            if len(batch):
                self._collect(batch)
            return Batch([], [], skipped=batch.skipped, scanned=batch.scanned)
        passing = self._passing(batch).batch
        if self._after is not None:
            start = _first_after(passing.keys, self._after.key)
            passing.cut(start, len(passing))
        passing.position = self._onward(_placed(batch).position)
        passing.skipped, passing.scanned = batch.skipped, batch.scanned
        return self._cutter.cut(passing)

    def _onward(self, position: Position | None) -> Position | None:
        """The position after a batch: never before `start_after`, which a scan from the beginning passes."""
        if position is None or self._after is None:
            return position
        return position if str(position.key) > str(self._after.key) else self._after

    def _collect(self, batch: Batch) -> None:
        if self._sorter is None:
            self._sorter = sorter_for(self._query, batch, self._new_file)
        self._sorter.add(self._passing(batch))

    @property
    def must_spill(self) -> bool:
        """Whether to take all steps of `sort` and then call `spill` before the next batch is fed."""
        return isinstance(self._sorter, RunSorter) and self._sorter.must_spill

    def sort(self) -> Iterator[None]:
        """Sort the entries held, in short steps. Not in another thread than `feed`, which makes memory grow."""
        if isinstance(self._sorter, RunSorter):
            yield from self._sorter.sort()

    def spill(self) -> None:
        """Move the entries held for sorting to a file. Takes long."""
        if isinstance(self._sorter, RunSorter):
            self._sorter.spill()

    @property
    def has_spilled(self) -> bool:
        """Whether entries are in files, so that a step of `finish` may take long: take all steps of `sort` before."""
        return isinstance(self._sorter, RunSorter) and self._sorter.has_spilled

    def finish(self) -> Iterator[Batch]:
        """The sorted results of an ordered query; nothing for others."""
        if self._sorter is None or self.done:
            return
        for batch in self._sorter.batches():
            yield self._cutter.cut(batch)
            if self.done:
                return

    def close(self) -> None:
        """Release the entries held for sorting. May be repeated."""
        if self._sorter is not None:
            self._sorter.close()

    def release(self) -> Iterator[None]:
        """Like `close`, in short steps unless entries are in files."""
        if self._sorter is not None:
            yield from self._sorter.release()

    def takes_long(self, batch: Batch) -> bool:
        """Whether to feed a batch in a thread: it has a value that takes long to read.

        False if the caller's code sees the values, because it may be bound to one thread.
        """
        if not (self._passes or self._query.orders) or self._query.has_custom_code:
            return False
        return has_long_value(batch)

    def _passing(self, batch: Batch) -> Columns:
        """The entries that pass."""
        columns = Columns(batch, self._query)
        for passes in self._steps():
            held = passes(columns)
            if not all(held):
                columns = columns.selected(held)
        return columns

    def _steps(self) -> list[Predicate]:
        """The filters, and the cut-off for entries that come too late if it is known; first if it drops the most.

        The caller's code may raise, so it must see every entry that reaches it.
        """
        sorter = self._sorter
        if not isinstance(sorter, ColumnSorter) or not sorter.full:
            return self._passes
        if sorter.sharp and not self._query.has_custom_code:
            return [sorter.in_time, *self._passes]
        return [*self._passes, sorter.in_time]


class Cutter:
    """Applies a query's offset and limit to batches in their final order, and drops what is not asked for of values."""

    def __init__(self, query: Query) -> None:
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
        # Between stores, a value replaces its sort key if that is long.
        if self._query.keys_only:
            batch.drop_values(except_long=self._query.sort_keys)
        elif self._query.fields is not None:
            batch.project(self._query.fields, except_long=self._query.sort_keys)
        if not self._query.metadata:
            batch.metadata = None
        return batch


def passing(query: Query, keys: list[Key], values: list[Any]) -> list[bool]:
    """Whether each of some entries passes the filters of a query. The scope is not considered."""
    columns = Columns(Batch(keys, values), query)
    held = [True] * len(keys)
    for part in query.filters:
        held = list(map(and_, held, part.judged(partial(_predicate, query))(columns)))
    return held


def has_long_value(batch: Batch) -> bool:
    """Whether a batch has a serialized value that takes long to read."""
    if (serialized := batch.serialized()) is not None:
        return max(map(len, serialized[1]), default=0) > LONG_VALUE_BYTES
    return any(issubclass(type(value), Encoded) and len(value.data) > LONG_VALUE_BYTES for value in batch.values)


def _placed(batch: Batch) -> Batch:
    """A raw batch with its position, if its keys are known."""
    if batch.position is None and len(batch) and batch.keys[-1] is not None:
        batch.position = Position(b"", batch.keys[-1])
    return batch


def _position_of_last(batch: Batch, query: Query) -> Position | None:
    key = batch.keys[-1]
    if key is None:
        return None
    if not query.orders:
        return Position(b"", key)
    if batch.sort_keys is not None:
        return Position(batch.sort_keys[-1], key)
    try:
        return Position(query.sort_key_of(key, batch.values[-1], batch.metadata_at(-1)), key)
    except DatastoreError:
        return None


def _first_after(keys: list[Any], after: Key) -> int:
    """The index of the first key after `after`, in keys sorted ascending; keys of None come before all."""
    return next((i for i, key in enumerate(keys) if key is not None and key > after), len(keys))


def _steps_of(query: Query, part: Condition) -> Iterator[Predicate]:
    """How a filter is applied: sometimes after one that is much faster, and drops some of the same entries."""
    if isinstance(part, Filter) and not query.has_custom_code and part.field not in BESIDE_VALUES:
        wanted = decoded(part.value)
        if type(wanted) is str:
            wanted = wanted.encode("utf-8", "surrogatepass")
        if type(wanted) is bytes and OPERATORS[part.op].finds_part:
            yield lambda columns: columns.holding(wanted)
    yield part.judged(partial(_predicate, query))


def _predicate(query: Query, filter_: Filter) -> Predicate:
    # A subclass may override the test of iterables of objects, of single objects, or of their fields.
    own = filter_.looked_up_by(query.own_getter)
    if is_overridden(filter_, Filter, "generator"):
        return lambda columns: [any(True for _ in own.generator((decoded(value),))) for value in columns.values]
    if is_overridden(filter_, Filter, "__call__"):
        return lambda columns: [bool(own(decoded(value))) for value in columns.values]
    own_test = filter_.value_passes
    if is_overridden(filter_, Filter, "value_passes"):
        return lambda columns: list(map(bool, map(own_test, columns.of(filter_))))
    place = METADATA_FIELDS.get(filter_.field)
    if place and rank(decoded(filter_.value)) == DATETIME:
        # Times are kept in microseconds, and compared as such, because making datetimes takes much longer.
        is_passing = column_predicate(filter_.op, order_key(filter_.value)[1])
        return lambda columns: is_passing([stamp[place] for stamp in columns.batch.required_metadata()])
    judge = column_predicate(filter_.op, filter_.value)
    return lambda columns: judge(columns.of(filter_))
