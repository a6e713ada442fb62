"""The results of a query: read once, as values, as entries, or as batches.

Between stores, shims and collections results move as batches (`batches()`); single values and entries exist only
here, where a caller iterates. Knows queries as data, but no stores.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from datastore.aio._concurrency import close_iterator, give_way, in_thread, iterate, was_closed
from datastore.engine.pipeline import Pipeline
from datastore.model.entries import Batch, Entry, Reason, ShardReport, StoredEntry, Summary
from datastore.model.errors import CursorReuseError, CursorRunningError, DatastoreClosedError, InvalidError
from datastore.model.fields import KEY_FIELD, Order
from datastore.model.key import Key
from datastore.model.limits import BATCH_ENTRIES
from datastore.model.query import Query
from datastore.model.spellings import TwoNames, definer_of
from datastore.spill import SpillFile

if TYPE_CHECKING:
    from datastore.model.explanation import Explanation

__all__ = ["Cursor", "chain_gen", "close_all", "is_iterable", "limit_gen", "offset_gen", "refine"]

T = TypeVar("T")

#: The steps of a query that look at sorted results.
_AT_THE_END = ("start_after", "offset", "limit", "keys_only", "fields", "sort_keys")
#: The attributes of a query that are steps, in the order in which they are applied.
_STEPS = ("filters", "orders", *_AT_THE_END)


class Cursor(TwoNames):
    """Iterates over the values that a query selects.

    It can be iterated once: `iter(cursor)` a second time, after the end, or after `close()` raises
    CursorReuseError. `next(cursor)` may be called before `for`, which then continues. A cursor belongs to one
    thread or task. Work starts at the first item.

    `query` is the caller's query, `returned` counts the values returned, `skipped` those that the offset skipped.
    Raises InvalidError (a ValueError) if `query` is not a Query or `iterable` is not iterable.

    A shim may read `_iterable`, the remaining values, and replace it with another iterable before the
    iteration starts. Values keep their keys as long as the replacement yields one value for each value that it
    consumes; from the first deviation on, keys are None.
    """

    two_names: ClassVar = {"next": "__anext__"}
    #: Whether a subclass overrides `next`, through which all reading then goes.
    _overrides_next = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Route all reading through the subclass's `next`, if it has one."""
        super().__init_subclass__(**arguments)
        cls._overrides_next = definer_of(cls, "next") < cls.__mro__.index(Cursor)

    # Counts are updated for every value, which is faster without the checks of the base class.
    __setattr__ = object.__setattr__

    def __init__(self, query: Query, iterable: AsyncIterable[Any] | Iterable[Any]) -> None:
        _require_iterable(iterable, "a cursor needs something to iterate over")
        self._begin(query, _bare_batches(iterable), [iterable])

    def _begin(self, query: Query, batches: AsyncGenerator[Batch], producers: list[Any]) -> None:
        if not isinstance(query, Query):
            raise InvalidError(f"a cursor needs a Query, got {type(query).__name__}")
        self.query = query
        #: A copy, because the caller may change the query.
        self._limit = query.limit
        self._with_metadata = query.metadata
        self.returned = 0
        self.skipped = 0
        self.scanned = 0
        #: What each shard did; filled at the end by stores that have shards.
        self.shards: list[ShardReport] = []
        #: How each store evaluated the query, if it is to be explained; complete at the end.
        self.explained: list[Explanation] = []
        self._batches = batches
        #: What `close` has to close, outermost first.
        self._producers = [batches, *producers]
        self._tracked: _TrackedValues | None = None
        self._sorts_by_key = False
        #: The rest of the last batch. A reader of it continues only while it is the same object.
        self._pending: Iterator[tuple[Key | None, Any]] = iter(())
        #: The entry, or key and value, whose value `next` returned last.
        self._last: tuple[Key | None, Any] = (None, None)
        self._started = False
        self._iterated = False
        self._ended = False
        self._exhausted = False

    @classmethod
    def from_batches(
        cls,
        query: Query,
        batches: AsyncGenerator[Batch],
        *,
        shards: list[ShardReport] | None = None,
        source: Any = None,
    ) -> Cursor:
        """A cursor over batches to which the query's own steps have been applied.

        `batches` is closed with the cursor (`aclose`), even if the cursor was abandoned halfway, and then `source`, the
        scan that they are made from. `shards` is a list that the producer fills by its end.
        """
        cursor = cls.__new__(cls)
        cursor._begin(query, batches, [] if source is None else [source])
        if shards is not None:
            cursor.shards = shards
        if source is not None:
            cursor.explained = source.explained
        return cursor

    @classmethod
    def from_entries(cls, query: Query, entries: AsyncIterable[Entry] | Iterable[Entry]) -> Cursor:
        """A cursor over entries to which no step of the query has been applied yet."""
        return cls._of_entries(query, entries, 1)

    @classmethod
    def _of_entries(cls, query: Query, entries: AsyncIterable[Entry] | Iterable[Entry], batch_entries: int) -> Cursor:
        _require_iterable(entries, "entries must be something to iterate over")
        cursor = cls.__new__(cls)
        cursor._begin(query, _entry_batches(entries, batch_entries), [entries])
        cursor._sorts_by_key = True
        return cursor

    @classmethod
    def applied(cls, query: Query, entries: AsyncIterable[Entry] | Iterable[Entry]) -> Cursor:
        """A lazy cursor over the results of a query, from the entries of its scope in any order.

        For custom stores. The caller selects the scope; see `query.covers`.
        """
        # All entries must be read before the first result, so large batches cost nothing.
        cursor = cls._of_entries(query, entries, BATCH_ENTRIES)
        cursor._apply("filters")
        if query.orders:
            cursor._apply("orders", *_AT_THE_END)
        else:
            # By key, before the steps that depend on the order.
            cursor._apply("orders")
            cursor._apply(*_AT_THE_END)
        return cursor

    # Reading

    def __aiter__(self) -> AsyncIterator[Any]:
        self._take_iteration()
        return self._values_of_next() if self._overrides_next else self._read_values()

    async def __anext__(self) -> Any:
        """The next value."""
        self._started = True
        while not self._ended:
            for entry in self._pending:
                self._last = entry
                self._returned_inc(entry[1])
                return entry[1]
            await self._fill()
        raise StopAsyncIteration

    next = __anext__

    def entries(self) -> AsyncGenerator[Entry]:
        """The one iteration, as entries: NamedTuples of key and value. Over bare values the key is None.

        Each is a StoredEntry, with version and times, if the query has `metadata`.
        """
        self._take_iteration()
        return self._entries_of_next() if self._overrides_next else self._read_entries()

    async def _entries_of_next(self) -> AsyncGenerator[Entry]:
        """The values of a subclass's `next`, each with the key of the last value taken for it."""
        with suppress(StopAsyncIteration):
            while True:
                value = await self.__anext__()
                yield _with_value(self._last, value)

    async def _values_of_next(self) -> AsyncGenerator[Any]:
        async for _, value in self._entries_of_next():
            yield value

    async def _batches_of_next(self) -> AsyncGenerator[Batch]:
        async for entry in self._entries_of_next():
            yield Batch.of_entries([entry])

    async def _read_entries(self) -> AsyncGenerator[Entry]:
        while not self._ended:
            pending = self._pending
            for entry in pending:
                self._returned_inc(entry[1])
                yield entry if isinstance(entry, StoredEntry) else Entry._make(entry)
                if self._pending is not pending:
                    break
            if self._pending is pending:
                await self._fill()

    def batches(self) -> AsyncGenerator[Batch]:
        """The one iteration, as batches; empty ones are heartbeats. Stores read each other this way."""
        self._take_iteration()
        return self._batches_of_next() if self._overrides_next else self._read_batches()

    async def _read_batches(self) -> AsyncGenerator[Batch]:
        while not self._ended:
            rest = list(self._pending)
            if rest:
                self.returned += len(rest)
                yield Batch.of_entries(rest)
                continue
            batch = await self._next_batch()
            if batch is not None:
                self.returned += len(batch)
                yield batch

    def _take_iteration(self) -> None:
        if self._iterated or self._ended:
            raise CursorReuseError("a cursor can be read once; ask the store again")
        self._iterated = True
        self._started = True

    async def _read_values(self) -> AsyncGenerator[Any]:
        while not self._ended:
            pending = self._pending
            for _, value in pending:
                self._returned_inc(value)
                yield value
                # Meanwhile closed, or advanced by `next`.
                if self._pending is not pending:
                    break
            if self._pending is pending:
                await self._fill()

    async def _fill(self) -> None:
        batch = await self._next_batch()
        if batch is not None:
            self._pending = batch.pairs()

    async def _next_batch(self) -> Batch | None:
        try:
            if was_closed(self._batches):
                # Otherwise the cursor would look exhausted.
                raise DatastoreClosedError(
                    "these results were closed before their end, with the event loop that read them; query again"
                )
            batch = await anext(self._batches, None)
            if self._with_metadata and batch is not None:
                batch.require_metadata()
        except BaseException:
            await self.aclose()
            raise
        if batch is None:
            self._exhausted = True
            await self.aclose()
            return None
        if type(self)._skipped_inc is Cursor._skipped_inc:
            self.skipped += batch.skipped
        else:
            for _ in range(batch.skipped):
                self._skipped_inc(None)
        self.scanned += batch.scanned
        return batch

    # Ending

    #: A cursor over a cursor closes it.
    closes_with_cursor = True

    async def aclose(self) -> None:
        """Stop producing results. May be repeated; afterwards there are no more values."""
        self._started = True
        self._ended = True
        self._pending = iter(())
        producers, self._producers = self._producers, []
        await close_all([partial(close_iterator, producer) for producer in producers])

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def summary(self) -> Summary | None:
        """How the results ended; None before the end, and after an early `close()`."""
        if not self._exhausted:
            return None
        if any(report.error is not None for report in self.shards):
            reason = Reason.PARTIAL
        elif self._limit is not None and self.returned >= self._limit:
            reason = Reason.LIMIT
        else:
            reason = Reason.EXHAUSTED
        explanation = next(iter(self.explained), None)
        return Summary(reason, self.returned, self.skipped, self.scanned, tuple(self.shards), explanation)

    # The documented way of changing a cursor before it starts

    @property
    def _iterable(self) -> Any:
        if self._tracked is None:
            self._tracked = _TrackedValues(self._batches)
            # Reading the attribute consumes nothing: the remaining values are read through it.
            self._batches = self._tracked.batches()
            self._producers[:0] = [self._batches, self._tracked]
        return self._tracked

    @_iterable.setter
    def _iterable(self, iterable: Any) -> None:
        self._ensure_modification_is_safe()
        _require_iterable(iterable, "a cursor needs something to iterate over")
        self._batches = _rekeyed_batches(iterable, self._tracked)
        self._tracked = None
        self._producers[:0] = [self._batches, iterable]

    def apply_filter(self) -> None:
        """Drop what the query's filters do not match. Raises CursorRunningError after the start."""
        self._apply("filters")

    def apply_order(self) -> None:
        """Sort by the query's orders; ties by key if keys are known, otherwise in their original order."""
        self._apply("orders")

    def apply_offset(self) -> None:
        """Drop the first `offset` values."""
        self._apply("offset")

    def apply_limit(self) -> None:
        """Stop after `limit` values, without reading another."""
        self._apply("limit")

    def _apply(self, *parts: str) -> None:
        """Apply these steps of the query."""
        self._ensure_modification_is_safe()
        step = _only(self.query, parts)
        self._limit = self.query.limit
        if self._sorts_by_key and "orders" in parts and not step.orders:
            step = step.replaced(orders=[Order(KEY_FIELD)])
        self._batches = refine(step, self._batches)
        self._tracked = None
        self._producers.insert(0, self._batches)

    def _ensure_modification_is_safe(self) -> None:
        if self._started:
            raise CursorRunningError("a cursor cannot be changed after its first item, or once its iteration has begun")

    def _skipped_inc(self, item: Any) -> None:
        """Count one item that the offset dropped; `item` is None, because dropped items are not kept."""
        self.skipped += 1

    def _returned_inc(self, item: Any) -> None:
        """Count one item returned to the caller."""
        self.returned += 1


async def refine(query: Query, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """Apply the query's own steps to raw batches of its scope, which come in key order.

    Reads no further than the limit needs; closes `batches` at its end, or when it is closed itself.
    """
    pipeline = Pipeline(query, SpillFile)
    try:
        while not pipeline.done:
            batch = await anext(batches, None)
            if batch is None:
                break
            for part in pipeline.steps(batch):
                if pipeline.takes_long(part):
                    refined = await in_thread(partial(pipeline.feed, part))
                else:
                    refined = pipeline.feed(part)
                if pipeline.must_spill:
                    await _sorted(pipeline)
                    await in_thread(pipeline.spill)
                if refined is not None:
                    yield refined
        if pipeline.has_spilled:
            await _sorted(pipeline)
        step = partial(next, pipeline.finish(), None)
        while (rest := await in_thread(step) if pipeline.has_spilled else step()) is not None:
            yield rest
    finally:
        try:
            if pipeline.has_spilled:
                await in_thread(pipeline.close)
            for _ in pipeline.release():
                await give_way()
        finally:
            pipeline.close()
            await batches.aclose()


async def _sorted(pipeline: Pipeline) -> None:
    """Sort what a pipeline holds."""
    for _ in pipeline.sort():
        await give_way()


def _only(query: Query, parts: Sequence[str]) -> Query:
    """The query with only those of its steps that are among these parts."""
    nothing = Query(query.key)
    left_out: Any = {name: getattr(nothing, name) for name in _STEPS if name not in parts}
    if "fields" not in parts:
        # A later step may read it.
        left_out["metadata"] = query.needs_metadata
    return query.replaced(**left_out)


class _TrackedValues:
    """The values of some batches, one by one; remembers the entry of the last one."""

    closes_with_cursor = True

    def __init__(self, batches: AsyncGenerator[Batch]) -> None:
        self.taken = 0
        self.last: tuple[Key | None, Any] = (None, None)
        self.skipped = 0
        self.scanned = 0
        self._batches = batches
        self._pending: Iterator[tuple[Key | None, Any]] = iter(())

    def __aiter__(self) -> _TrackedValues:
        return self

    async def __anext__(self) -> Any:
        while True:
            for entry in self._pending:
                self.taken += 1
                self.last = entry
                return entry[1]
            batch = await anext(self._batches)
            self.skipped += batch.skipped
            self.scanned += batch.scanned
            self._pending = batch.pairs()

    async def batches(self) -> AsyncGenerator[Batch]:
        """The remaining results, as batches."""
        rest = list(self._pending)
        self._pending = iter(())
        if rest:
            yield _with_counts(Batch.of_entries(rest), self)
        async for batch in self._batches:
            yield _with_counts(batch, self)

    async def aclose(self) -> None:
        """Close the underlying batches."""
        self._pending = iter(())
        await close_iterator(self._batches)


async def _rekeyed_batches(
    iterable: AsyncIterable[Any] | Iterable[Any], tracked: _TrackedValues | None
) -> AsyncGenerator[Batch]:
    given = 0
    in_step = tracked is not None
    async for value in iterate(iterable):
        given += 1
        in_step = in_step and tracked is not None and tracked.taken == given
        entry = _with_value(tracked.last if in_step and tracked is not None else (None, None), value)
        yield _with_counts(Batch.of_entries([entry]), tracked)
    yield _with_counts(Batch([], []), tracked)


def _with_value(entry: tuple[Key | None, Any], value: Any) -> Entry:
    """An entry with another value."""
    if isinstance(entry, StoredEntry):
        return StoredEntry.read(entry.key, value, entry.metadata)
    return Entry(entry[0], value)


def _with_counts(batch: Batch, tracked: _TrackedValues | None) -> Batch:
    if tracked is not None:
        batch.skipped, tracked.skipped = batch.skipped + tracked.skipped, 0
        batch.scanned, tracked.scanned = batch.scanned + tracked.scanned, 0
    return batch


async def _bare_batches(iterable: AsyncIterable[Any] | Iterable[Any]) -> AsyncGenerator[Batch]:
    async for value in iterate(iterable):
        yield Batch([None], [value], scanned=1)


async def _entry_batches(entries: AsyncIterable[Entry] | Iterable[Entry], batch_entries: int) -> AsyncGenerator[Batch]:
    found: list[Entry] = []
    async for entry in iterate(entries):
        found.append(entry)
        if len(found) == batch_entries:
            yield Batch.of_entries(found, scanned=len(found))
            found = []
    if found:
        yield Batch.of_entries(found, scanned=len(found))


async def close_all(closers: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Make every call, even if others raise; then raise the first error."""
    first: BaseException | None = None
    for close in closers:
        try:
            await close()
        except BaseException as error:  # noqa: BLE001 - the others must be closed whatever it is
            # A cancellation or the program's exit must not be hidden by a failure.
            if first is None or (isinstance(first, Exception) and not isinstance(error, Exception)):
                first = error
    try:
        if first is not None:
            raise first
    finally:
        # Its traceback holds this frame; if the frame kept the error too, only the garbage collector could free both.
        del first


def is_iterable(obj: object) -> bool:
    """Whether `obj` can be iterated over."""
    # A class such as `list` cannot; its objects can.
    kind = type(obj)
    return any(getattr(kind, name, None) is not None for name in ("__aiter__", "__iter__", "__getitem__"))


def _require_iterable(obj: object, what: str) -> None:
    if not is_iterable(obj):
        raise InvalidError(f"{what}, got {type(obj).__name__}")


async def limit_gen(limit: int | None, iterable: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T]:
    """The first `limit` items, or all if it is None; never reads an item that it does not yield."""
    given = 0
    if limit == 0:
        return
    async for item in iterate(iterable):
        yield item
        given += 1
        if given == limit:
            return


async def offset_gen(
    offset: int, iterable: AsyncIterable[T] | Iterable[T], skip_signal: Callable[[T], object] | None = None
) -> AsyncGenerator[T]:
    """The items after the first `offset`; `skip_signal` is called with each skipped item."""
    skipped = 0
    async for item in iterate(iterable):
        if skipped < offset:
            skipped += 1
            if skip_signal is not None:
                skip_signal(item)
        else:
            yield item


async def chain_gen(iterables: Iterable[AsyncIterable[T] | Iterable[T]]) -> AsyncGenerator[T]:
    """The items of each iterable in turn."""
    for iterable in iterables:
        async for item in iterate(iterable):
            yield item
