"""Cursors of both colours: read in turns, closed at any place, inspected, and stacked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, core, wire
from datastore.aio import cursor as async_cursors
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Batch, Entry, Position
from datastore.model.errors import CursorReuseError, CursorRunningError, DatastoreClosedError, InvalidError, StoreError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync import cursor as cursors
from datastore.testing import cases, model

A = Key("/a")
END = object()


class Tasks:
    """Cursors for asyncio."""

    name = "tasks"
    stores = aio
    cursors = async_cursors
    the_end = StopAsyncIteration

    def of_blocking(self, store: Any) -> Any:
        """The store itself, or an async one over it."""
        return lift(store)

    def iterator(self, iterable: Any) -> Any:
        """The iterator that a loop would use."""
        return aiter(iterable)

    async def next(self, iterator: Any) -> Any:
        """The next item, or END."""
        return await anext(iterator, END)

    async def result(self, answer: Any) -> Any:
        """The result of a call."""
        return await answer

    def each(self, iterable: Any) -> AsyncIterator[Any]:
        """The items, for a loop."""
        return aiter(iterable)

    def mapped(self, function: Callable[[Any], Any], iterable: Any) -> Any:
        """The items, each changed."""
        return (function(item) async for item in iterable)

    def source(self, *items: Any, at_close: Callable[[], object] = lambda: None) -> Any:
        """A generator of these items; an item that is an error is raised."""

        async def generator() -> AsyncIterator[Any]:
            try:
                for item in items:
                    yield _item(item)
            finally:
                at_close()

        return generator()

    async def close(self, closes: Any) -> None:
        """Close a cursor or a store."""
        await closes.aclose()

    @asynccontextmanager
    async def within(self, closes: Any) -> AsyncIterator[Any]:
        """The block of a `with`."""
        async with closes:
            yield closes


class Threads:
    """Cursors for threads."""

    name = "threads"
    stores = core
    cursors = cursors
    the_end = StopIteration

    def of_blocking(self, store: Any) -> Any:
        """The store itself, or an async one over it."""
        return store

    def iterator(self, iterable: Any) -> Any:
        """The iterator that a loop would use."""
        return iter(iterable)

    async def next(self, iterator: Any) -> Any:
        """The next item, or END."""
        return next(iterator, END)

    async def result(self, answer: Any) -> Any:
        """The result of a call."""
        return answer

    async def each(self, iterable: Any) -> AsyncIterator[Any]:
        """The items, for a loop."""
        for item in iterable:
            yield item

    def mapped(self, function: Callable[[Any], Any], iterable: Any) -> Any:
        """The items, each changed."""
        return (function(item) for item in iterable)

    def source(self, *items: Any, at_close: Callable[[], object] = lambda: None) -> Any:
        """A generator of these items; an item that is an error is raised."""
        try:
            for item in items:
                yield _item(item)
        finally:
            at_close()

    async def close(self, closes: Any) -> None:
        """Close a cursor or a store."""
        closes.close()

    @asynccontextmanager
    async def within(self, closes: Any) -> AsyncIterator[Any]:
        """The block of a `with`."""
        with closes:
            yield closes


def _item(item: Any) -> Any:
    if isinstance(item, Exception):
        raise item
    return item


COLOURS: list[Any] = [Tasks(), Threads()]
both = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
forms = pytest.mark.parametrize("form", ["values", "entries"])


async def all_of(colour: Any, iterable: Any) -> list[Any]:
    """All items."""
    return [item async for item in colour.each(iterable)]


def numbered(colour: Any, query: Query, *numbers: int) -> Any:
    """A cursor over entries of these numbers, to which nothing has been applied."""
    entries = [Entry(Key(f"/a/{number}"), {"n": number}) for number in numbers]
    return colour.cursors.Cursor.from_entries(query, entries)


def reading(cursor: Any, form: str) -> Any:
    """The cursor, or its entries."""
    return cursor if form == "values" else cursor.entries()


# Over stores

COUNT = 300
VALUES = [f"value {number:04}" for number in range(COUNT)]


def in_memory(colour: Any, _: Path) -> Any:
    return colour.stores.DictDatastore()


def in_files(colour: Any, directory: Path) -> Any:
    return colour.of_blocking(FileSystemDatastore(directory))


def on_lmdb(colour: Any, directory: Path) -> Any:
    lmdb = colour.of_blocking(LMDBDatastore(directory, durability="async"))
    return colour.stores.SerializerShimDatastore(lmdb, wire.codec)


def in_shards(colour: Any, _: Path) -> Any:
    return colour.stores.ShardedDatastore([colour.stores.DictDatastore() for _ in range(3)])


STORES = [in_memory, in_files, on_lmdb, in_shards]
over_stores = pytest.mark.parametrize("make", STORES, ids=lambda make: make.__name__)


@asynccontextmanager
async def filled(make: Any, colour: Any, directory: Path) -> AsyncIterator[Any]:
    """A store that holds the values."""
    async with colour.within(make(colour, directory)) as store:
        for number, value in enumerate(VALUES):
            await colour.result(store.put(Key(f"/a/{number:04}"), value))
        yield store


@both
@over_stores
@forms
async def test_next_inside_a_loop_takes_one_item_and_the_loop_continues_after_it(
    colour: Any, make: Any, form: str, tmp_path: Path
):
    async with filled(make, colour, tmp_path) as store:
        cursor = store.query(Query(A))
        looped, seen = [], [await colour.next(cursor)]
        async for item in colour.each(reading(cursor, form)):
            looped.append(item)
            seen.append(item if form == "values" else item.value)
            following = await colour.next(cursor)
            seen += [] if following is END else [following]
        assert seen == VALUES
        assert cursor.returned == COUNT
        if form == "entries":
            assert looped == [Entry(Key(f"/a/{number:04}"), VALUES[number]) for number in range(1, COUNT, 2)]


@both
@over_stores
@forms
async def test_closing_a_cursor_inside_its_loop_ends_the_loop(colour: Any, make: Any, form: str, tmp_path: Path):
    async with filled(make, colour, tmp_path) as store:
        cursor = store.query(Query(A))
        seen = []
        async for item in colour.each(reading(cursor, form)):
            seen.append(item)
            if len(seen) == 3:
                await colour.close(cursor)
        assert len(seen) == cursor.returned == 3


@both
@over_stores
@forms
@pytest.mark.parametrize("left", [False, True], ids=["closed", "left"])
async def test_an_iterator_is_at_its_end_once_its_cursor_is_closed(
    colour: Any, make: Any, form: str, left: bool, tmp_path: Path
):
    async with filled(make, colour, tmp_path) as store:
        cursor = store.query(Query(A))
        iterator = colour.iterator(reading(cursor, form))
        if left:
            async with colour.within(cursor):
                assert await colour.next(iterator) is not END
        else:
            assert await colour.next(iterator) is not END
            await colour.close(cursor)
        assert await colour.next(iterator) is END
        assert await colour.next(cursor) is END
        assert cursor.returned == 1


@both
@over_stores
async def test_reading_the_iterable_attribute_consumes_nothing(colour: Any, make: Any, tmp_path: Path):
    async with filled(make, colour, tmp_path) as store:
        cursor = store.query(Query(A))
        assert cursor._iterable is cursor._iterable
        assert await all_of(colour, cursor) == VALUES
        assert cursor.returned == COUNT
        cursor = store.query(Query(A))
        assert await colour.next(colour.iterator(cursor._iterable)) == VALUES[0]
        rest = [(entry.key.name, entry.value) async for entry in colour.each(cursor.entries())]
        assert rest == [(f"{number:04}", VALUES[number]) for number in range(1, COUNT)]


@both
@over_stores
@pytest.mark.parametrize("orders", [[], ["-__key__"]], ids=["by key", "by order"])
async def test_a_cursor_has_the_query_that_its_caller_made(colour: Any, make: Any, orders: list[str], tmp_path: Path):
    async with filled(make, colour, tmp_path) as store:
        query = Query(A, limit=2, offset=1).filter("__key__", "!=", Key("/a/0000"))
        for order in orders:
            query.order(order)
        before = query.copy()
        async with colour.within(store.query(query)) as cursor:
            assert cursor.query is query
            assert await colour.next(cursor) == VALUES[-2 if orders else 2]
            assert cursor.query is query
        assert query == before


SHIMS: dict[str, Callable[[Any, Any], Any]] = {
    "any": lambda stores, child: stores.ShimDatastore(child),
    "cache": lambda stores, child: stores.CacheShimDatastore(child, cache=stores.DictDatastore()),
    "logging": lambda stores, child: stores.LoggingDatastore(child),
    "lowercase": lambda stores, child: stores.LowercaseKeyDatastore(child),
    "namespace": lambda stores, child: stores.NamespaceDatastore("x", child),
    "transform": lambda stores, child: stores.KeyTransformDatastore(child, prefix_preserving=True),
    "links": lambda stores, child: stores.SymlinkDatastore(child),
    "directories": lambda stores, child: stores.DirectoryDatastore(child),
    "json": lambda stores, child: stores.SerializerShimDatastore(child),
    "tiers": lambda stores, child: stores.TieredDatastore([stores.DictDatastore(), child]),
    "lru": lambda stores, _: stores.LRUCacheDatastore(10),
}


@both
@pytest.mark.parametrize("name", SHIMS)
async def test_a_cursor_through_a_shim_has_its_callers_query_and_counts_by_it(colour: Any, name: str):
    store = SHIMS[name](colour.stores, colour.stores.DictDatastore())
    for number in range(5):
        await colour.result(store.put(Key(f"/a/{number}"), {"n": number}))
    query = Query(A, limit=2, offset=1).filter("n", ">", 0)
    cursor = store.query(query)
    assert cursor.query is query
    assert await all_of(colour, cursor) == [{"n": 2}, {"n": 3}]
    assert cursor.query is query
    assert (cursor.returned, cursor.skipped) == (2, 1)


# Steps, and replacing the remaining items


@both
async def test_an_item_taken_from_the_iterable_is_not_returned_again(colour: Any):
    for cursor in (colour.cursors.Cursor(Query(A), [1, 2, 3]), colour.cursors.Cursor(Query(A), colour.source(1, 2, 3))):
        assert await colour.next(colour.iterator(cursor._iterable)) == 1
        assert await all_of(colour, cursor) == [2, 3]
        assert cursor.returned == 2


@both
async def test_a_step_counts_even_after_the_iterable_was_read(colour: Any):
    cursor = numbered(colour, Query(A, limit=1, offset=1).filter("n", ">", 3).order("-n"), *range(7))
    for step in (cursor.apply_filter, cursor.apply_order, cursor.apply_offset, cursor.apply_limit):
        assert cursor._iterable is not None
        step()
    assert [tuple(entry) for entry in await all_of(colour, cursor.entries())] == [(Key("/a/5"), {"n": 5})]
    assert (cursor.returned, cursor.skipped) == (1, 1)


@both
@pytest.mark.parametrize("looked", [False, True], ids=["unseen", "seen"])
async def test_a_replaced_iterable_comes_after_the_steps_before_it(colour: Any, looked: bool):
    cursor = numbered(colour, Query(A, limit=2).filter("n", ">", 3), *range(7))
    if looked:
        assert cursor._iterable is not None
    cursor.apply_filter()
    cursor._iterable = colour.mapped(lambda value: {"n": value["n"] * 10}, cursor._iterable)
    cursor.apply_limit()
    cursor._iterable = colour.mapped(lambda value: value["n"] + 1, cursor._iterable)
    assert [tuple(entry) for entry in await all_of(colour, cursor.entries())] == [(Key("/a/4"), 41), (Key("/a/5"), 51)]


@both
async def test_items_dropped_by_an_offset_are_counted_one_by_one(colour: Any):
    class Telling(colour.cursors.Cursor):  # type: ignore[misc, name-defined]
        def _skipped_inc(self, item: Any) -> None:
            reported.append(item)
            super()._skipped_inc(item)

    reported: list[Any] = []
    cursor = Telling(Query(A, offset=3), range(5))
    cursor.apply_offset()
    assert await all_of(colour, cursor) == [3, 4]
    assert (len(reported), cursor.skipped) == (3, 3)
    reported.clear()
    keys = [Key(f"/a/{number:03}") for number in range(100)]
    query = Query(A, limit=2, offset=90)
    cursor = Telling.from_batches(query, colour.cursors.refine(query, colour.source(Batch(keys, list(range(100))))))
    assert await all_of(colour, cursor) == [90, 91]
    assert (len(reported), cursor.skipped) == (90, 90)


@both
async def test_counts_may_be_written(colour: Any):
    cursor = colour.cursors.Cursor(Query(A, offset=1), [1, 2, 3])
    cursor.apply_offset()
    cursor.returned, cursor.skipped = 10, 20
    assert await all_of(colour, cursor) == [2, 3]
    assert (cursor.returned, cursor.skipped) == (12, 21)


@both
async def test_next_at_the_end_says_so(colour: Any):
    cursor = colour.cursors.Cursor(Query(A), [1])
    assert await colour.result(cursor.next()) == 1
    for _ in range(2):
        with pytest.raises(colour.the_end):
            await colour.result(cursor.next())


STEPS = ["apply_filter", "apply_order", "apply_offset", "apply_limit"]


@both
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_is_refused_once_reading_has_begun(colour: Any, step: str):
    begun, entries, batches, closed = [numbered(colour, Query(A), 1, 2) for _ in range(4)]
    colour.iterator(begun)
    entries.entries()
    batches.batches()
    await colour.close(closed)
    for cursor in (begun, entries, batches, closed):
        with pytest.raises(CursorRunningError) as raised:
            getattr(cursor, step)()
        assert isinstance(raised.value, AssertionError)
        with pytest.raises(CursorRunningError):
            cursor._iterable = []


# Ending


@both
@pytest.mark.parametrize("form", ["entries", "batches"])
async def test_a_cursor_that_ended_or_was_closed_is_not_read_again(colour: Any, form: str):
    spent, closed, emptied = [numbered(colour, Query(A), 1, 2) for _ in range(3)]
    await all_of(colour, spent)
    await colour.close(closed)
    while await colour.next(emptied) is not END:
        pass
    for cursor in (spent, closed, emptied):
        with pytest.raises(CursorReuseError):
            getattr(cursor, form)()
        with pytest.raises(CursorReuseError):
            colour.iterator(cursor)


@both
@pytest.mark.parametrize("form", ["entries", "batches"])
async def test_a_cursor_that_is_being_read_is_not_read_a_second_time(colour: Any, form: str):
    cursor = numbered(colour, Query(A), 1, 2)
    iterator = colour.iterator(cursor)
    with pytest.raises(CursorReuseError):
        getattr(cursor, form)()
    assert await all_of(colour, iterator) == [{"n": 1}, {"n": 2}]


@both
async def test_closing_a_cursor_over_a_cursor_stops_what_is_below(colour: Any):
    closed: list[str] = []
    inner = colour.cursors.Cursor(Query(A), colour.source(1, 2, 3, at_close=lambda: closed.append("below")))
    outer = colour.cursors.Cursor(Query(A), inner)
    assert await colour.next(outer) == 1
    assert closed == []
    await colour.close(outer)
    assert closed == ["below"]
    assert await colour.next(inner) is END


@both
async def test_a_limit_that_is_reached_closes_the_cursor_below(colour: Any):
    closed: list[str] = []
    inner = colour.cursors.Cursor(Query(A), colour.source(1, 2, 3, at_close=lambda: closed.append("below")))
    outer = colour.cursors.Cursor(Query(A, limit=1), inner)
    outer.apply_limit()
    assert await all_of(colour, outer) == [1]
    assert closed == ["below"]


def test_a_query_over_a_cursor_closes_it_at_its_limit():
    closed: list[str] = []
    colour = Threads()
    inner = cursors.Cursor(Query(A), colour.source(1, 2, 3, at_close=lambda: closed.append("below")))
    assert list(Query(A, 1)(inner)) == [1]
    assert closed == ["below"]


@both
async def test_everything_is_closed_even_if_some_raise_and_the_first_error_is_raised(colour: Any):
    closed: list[str] = []

    def failing(name: str) -> Callable[[], object]:
        def fail() -> None:
            closed.append(name)
            raise OSError(name)

        return fail

    below = colour.source(1, 2, at_close=failing("below"))
    above = colour.source(10, 20, at_close=failing("above"))
    cursor = colour.cursors.Cursor(Query(A), below)
    assert await colour.next(colour.iterator(cursor._iterable)) == 1
    cursor._iterable = above
    assert await colour.next(cursor) == 10
    with pytest.raises(OSError, match="above"):
        await colour.close(cursor)
    assert closed == ["above", "below"]
    assert await colour.next(cursor) is END
    await colour.close(cursor)


# What can be iterated over


class Indexed:
    """A sequence of the oldest kind."""

    def __getitem__(self, place: int) -> int:
        return [1, 2, 3][place]


class NotIterable:
    __iter__ = None
    __aiter__ = None


@both
@pytest.mark.parametrize(
    "thing",
    [list, dict, Indexed, NotIterable(), 5, None, len],
    ids=lambda thing: getattr(thing, "__name__", type(thing).__name__),
)
def test_a_cursor_needs_something_to_iterate_over(colour: Any, thing: Any):
    for make in (colour.cursors.Cursor, colour.cursors.Cursor.from_entries):
        with pytest.raises(InvalidError) as raised:
            make(Query(A), thing)
        assert isinstance(raised.value, ValueError)
    cursor = colour.cursors.Cursor(Query(A), [1])
    with pytest.raises(InvalidError):
        cursor._iterable = thing
    assert not colour.cursors.is_iterable(thing)


def test_a_cursor_for_threads_refuses_async_iterables():
    source = Tasks().source(1)
    with pytest.raises(InvalidError):
        cursors.Cursor(Query(A), source)


@both
async def test_a_sequence_of_indexed_items_is_read(colour: Any):
    assert await all_of(colour, colour.cursors.Cursor(Query(A), Indexed())) == [1, 2, 3]
    cursor = colour.cursors.Cursor(Query(A), [])
    cursor._iterable = Indexed()
    assert await all_of(colour, cursor) == [1, 2, 3]
    assert colour.cursors.is_iterable(Indexed())


class Touched:
    """Items that record when they are first read."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return iter(self.items)


@both
@pytest.mark.parametrize("helper", ["limit_gen", "offset_gen", "chain_gen"])
async def test_a_helper_touches_its_source_when_its_first_item_is_asked_for(colour: Any, helper: str):
    source, inner = Touched(1, 2, 3), Touched(1, 2, 3)
    if helper == "chain_gen":
        source = Touched(inner, inner)
        generator = colour.cursors.chain_gen(source)
    else:
        generator = getattr(colour.cursors, helper)(1, source)
    assert source.times == inner.times == 0
    assert await colour.next(generator) is not END
    assert source.times == 1
    if helper == "chain_gen":
        assert inner.times == 1
        assert await colour.next(generator) == 2
        assert (source.times, inner.times) == (1, 1)
        assert await all_of(colour, generator) == [3, 1, 2, 3]


@both
async def test_a_limit_of_zero_reads_nothing(colour: Any):
    source = Touched(1)
    assert await all_of(colour, colour.cursors.limit_gen(0, source)) == []
    assert source.times == 0


# A limit reads nothing beyond


class CountedJson:
    """JSON that counts what it reads."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def dumps(self, value: Any) -> str:
        return json.dumps(value)

    def loads(self, stored: str) -> Any:
        self.loaded.append(stored)
        return json.loads(stored)


async def with_one_corrupt(colour: Any) -> Any:
    """Three entries under JSON, of which the second cannot be read."""
    store = colour.stores.SerializerShimDatastore(colour.stores.DictDatastore(), CountedJson())
    for number, stored in enumerate(["1", "{bad", "3"], start=1):
        await colour.result(store.child_datastore.put(Key(f"/a/{number}"), stored))
    return store


@both
async def test_values_after_a_limit_are_not_read(colour: Any):
    store = await with_one_corrupt(colour)
    assert await all_of(colour, store.query(Query(A, limit=1))) == [1]
    assert store.serializer.loaded == ["1"]
    assert await all_of(colour, store.query(Query(A, limit=0))) == []
    assert store.serializer.loaded == ["1"]


@both
async def test_values_before_one_that_cannot_be_read_are_returned(colour: Any):
    store = await with_one_corrupt(colour)
    cursor = store.query(Query(A))
    assert await colour.next(cursor) == 1
    with pytest.raises(ValueError) as raised:
        await colour.next(cursor)
    assert any("/a/2" in note for note in raised.value.__notes__)
    assert await colour.next(cursor) is END


@both
@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (3, 0), (2, 5), (70, 10)])
async def test_only_offset_plus_limit_values_are_read(colour: Any, limit: int, offset: int):
    store = colour.stores.SerializerShimDatastore(colour.stores.DictDatastore(), CountedJson())
    for number in range(200):
        await colour.result(store.put(Key(f"/a/{number:03}"), number))
    cursor = store.query(Query(A, limit=limit, offset=offset))
    assert await all_of(colour, cursor) == list(range(offset, offset + limit))
    assert store.serializer.loaded == [str(number) for number in range(offset + limit)]


# The whole answer from entries


@both
@given(cases.contents(cases.wire_values()), cases.queries(cases.wire_values()), st.data())
async def test_a_query_applied_to_entries_returns_the_same_as_a_store(
    colour: Any, contents: dict[Key, Any], query: Query, data: st.DataObject
):
    store = colour.stores.DictDatastore()
    for key, value in contents.items():
        await colour.result(store.put(key, value))
    covered = [Entry(key, value) for key, value in contents.items() if query.covers(key)]
    after = data.draw(st.sampled_from(covered)) if covered and data.draw(st.booleans()) else None
    if after is not None:
        query.start_after = Position(query.sort_key_of(*after), after.key)
    from_store = store.query(query)
    expected = await all_of(colour, from_store.entries())
    shuffled = data.draw(st.permutations(covered))
    answers = [
        colour.cursors.Cursor.applied(query, shuffled),
        colour.cursors.Cursor.applied(query, colour.source(*shuffled)),
        *([query.apply(shuffled)] if colour.name == "threads" else []),
    ]
    for cursor in answers:
        assert cursor.query is query
        assert model.difference(await all_of(colour, cursor.entries()), expected) is None
        assert (cursor.returned, cursor.skipped) == (from_store.returned, from_store.skipped)


@both
async def test_entries_are_not_touched_before_the_first_item_of_the_answer(colour: Any):
    source = Touched(Entry(Key("/a/2"), 2), Entry(Key("/a/1"), 1))
    cursor = colour.cursors.Cursor.applied(Query(A), source)
    assert source.times == 0
    assert await colour.next(cursor) == 1
    assert source.times == 1


def test_batches_continue_after_next_was_called_between_them():
    store = core.DictDatastore()
    for number in range(130):
        store.put(Key(f"/c/{number:04}"), number)
    cursor = store.query(Query(Key("/c")))
    found = [next(cursor)]
    for number, batch in enumerate(cursor.batches()):
        found += batch.values
        if number == 0:
            found.append(next(cursor))
    assert found == list(range(130))


async def test_a_cancellation_is_not_lost_behind_a_failure():
    begun = asyncio.Event()

    async def fail() -> None:
        raise StoreError("disk")

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(async_cursors.close_all([fail, wait, fail]))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(StoreError):
        await async_cursors.close_all([fail])


def test_results_closed_with_their_event_loop_raise_instead_of_seeming_complete() -> None:
    async def batches() -> AsyncGenerator[Batch]:
        for number in range(3):
            yield Batch([Key(f"/K:{number}")], [number])

    cursor = aio.Cursor.from_batches(Query(Key("/K")), batches())

    async def begin() -> None:
        assert await anext(cursor) == 0

    async def go_on() -> None:
        with pytest.raises(DatastoreClosedError, match="query again"):
            await anext(cursor)

    asyncio.run(begin())
    asyncio.run(go_on())
    assert cursor.summary is None
