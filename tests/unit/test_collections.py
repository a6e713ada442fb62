"""Collections: their stores, the calls that tiers and shards make, in which order, and how they close."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.faults import FaultyDatastore as AsyncFaultyDatastore
from datastore.model import errors
from datastore.model.capability import Durability
from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.operations import ReadResult
from datastore.model.query import Query
from datastore.testing._parallel import together
from datastore.testing.faults import FaultyDatastore

A, B, C = Key("/c/a"), Key("/c/b"), Key("/c/c")
SCOPE = Query(Key("/c"))
COLLECTIONS = ["DatastoreCollection", "TieredDatastore", "ShardedDatastore"]


@pytest.fixture
def faulty(library: Any) -> Any:
    """Creates stores over dicts that fail on request."""
    kind: Any = {core: FaultyDatastore, aio: AsyncFaultyDatastore}[library]
    return lambda: kind(library.DictDatastore())


def noting(library: Any, name: str, log: list[Any]) -> Any:
    """A dict that notes every call, under its name."""

    class Noting(library.DictDatastore):
        ordered_queries = True

        def get(self, key: Key) -> Any:
            log.append((name, "get", key))
            return super().get(key)

        def put(self, key: Key, value: Any) -> Any:
            log.append((name, "put", key))
            return super().put(key, value)

        def delete(self, key: Key) -> Any:
            log.append((name, "delete", key))
            return super().delete(key)

        def query(self, query: Query) -> Any:
            log.append((name, "query", query.copy()))
            return super().query(query)

    return Noting()


async def values_of(colour: Any, store: Any, key: Key) -> list[Any]:
    """The contents of each store of a collection."""
    return [await colour.call(held.get, key) for held in store._stores]


# The list of stores


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_is_described_by_its_stores(name: str, library: Any):
    store = getattr(library, name)([library.DictDatastore(), library.NullDatastore()])
    description = store.describe()
    assert [child.kind for child in description.children] == ["dict", "null"]
    assert description.capability.durability is Durability.MEMORY
    assert getattr(library, name)().describe().children == ()


def test_a_collection_is_of_the_kind_of_its_class(library: Any):
    assert library.DatastoreCollection([library.DictDatastore()]).describe().kind == "collection"


@pytest.fixture
def no_patience() -> Iterator[None]:
    """Threads switch as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("no_patience")
def test_many_threads_can_append_stores():
    store = core.TieredDatastore()
    added = [[core.NullDatastore() for _ in range(200)] for _ in range(8)]
    together([partial(list, map(store.append_datastore, stores)) for stores in added])
    held = {id(one): place for place, one in enumerate(store._stores)}
    assert len(held) == len(store._stores) == 8 * 200
    for stores in added:
        places = [held[id(one)] for one in stores]
        assert places == sorted(places)


@pytest.mark.usefixtures("no_patience")
def test_many_threads_can_remove_stores():
    stays, goes = core.NullDatastore(), [[core.NullDatastore() for _ in range(50)] for _ in range(8)]
    store = core.TieredDatastore([*chain.from_iterable(goes), stays])
    together([partial(list, map(store.remove_datastore, stores)) for stores in goes])
    assert store._stores == [stays]


@pytest.mark.parametrize("insert", ["insert_datastore", "insertDatastore"])
@pytest.mark.parametrize(("index", "order"), [(0, "nab"), (1, "anb"), (2, "abn"), (9, "abn"), (-1, "anb")])
def test_a_store_is_inserted_before_the_index(insert: str, index: int, order: str, library: Any):
    stores = {name: library.DictDatastore() for name in "abn"}
    store = library.ShardedDatastore([stores["a"], stores["b"]])
    getattr(store, insert)(index, stores["n"])
    assert [store.datastore(place) for place in range(3)] == [stores[name] for name in order]


def test_an_index_is_a_number(library: Any):
    store = library.TieredDatastore([library.DictDatastore()])
    with pytest.raises(errors.UnsupportedTypeError, match="index must be an int, got str"):
        store.insert_datastore("0", library.DictDatastore())
    assert len(store._stores) == 1


@pytest.mark.parametrize("append", ["append_datastore", "appendDatastore"])
def test_a_store_is_appended_as_the_last(append: str, library: Any):
    first, last = library.DictDatastore(), library.DictDatastore()
    store = library.TieredDatastore([first])
    getattr(store, append)(last)
    assert store._stores == [first, last]


class EqualToAll:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("remove", ["remove_datastore", "removeDatastore"])
def test_the_first_occurrence_of_a_store_is_removed(remove: str, library: Any):
    class Alike(EqualToAll, library.DictDatastore):
        pass

    other, twice = Alike(), Alike()
    store = library.DatastoreCollection([other, twice, other, twice])
    getattr(store, remove)(twice)
    assert list(map(id, store._stores)) == [id(other), id(other), id(twice)]


def test_only_a_member_can_be_removed(library: Any):
    store = library.TieredDatastore([library.DictDatastore(), library.NullDatastore()])
    with pytest.raises(errors.InvalidError, match=r"LRUCacheDatastore.*DictDatastore, NullDatastore") as raised:
        store.remove_datastore(library.LRUCacheDatastore(1))
    assert isinstance(raised.value, ValueError)
    with pytest.raises(ValueError, match="holds nothing"):
        library.TieredDatastore().remove_datastore(library.DictDatastore())
    for wrong in ({}, None, "store", 0):
        with pytest.raises(errors.UnsupportedTypeError, match=f"Datastores, got {type(wrong).__name__}"):
            store.remove_datastore(wrong)
    assert len(store._stores) == 2


@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_given_list_is_not_changed(name: str, library: Any):
    first, second = library.DictDatastore(), library.DictDatastore()
    given = [first]
    store = getattr(library, name)(given)
    given.append(second)
    assert store._stores == [first]
    store.append_datastore(second)
    store.remove_datastore(first)
    assert given == [first, second]


async def test_calls_in_progress_keep_the_list_they_began_with(colour: Any, library: Any):
    class Meddling(library.DictDatastore):
        def get(self, key: Key) -> Any:
            store.remove_datastore(last)
            return super().get(key)

    last = library.DictDatastore()
    store = library.TieredDatastore([Meddling(), last])
    await colour.call(last.put, A, "found")
    assert await colour.call(store.get, A) == "found"
    assert len(store._stores) == 1


async def test_a_query_in_progress_keeps_the_shards_it_began_with(colour: Any, library: Any):
    shards = [library.DictDatastore() for _ in range(3)]
    for number, shard in enumerate(shards):
        await colour.call(shard.put, Key(f"/c/{number}"), number)
    store = library.ShardedDatastore(shards)
    cursor, one_by_one = store.query(SCOPE), store.shard_query_generator(SCOPE)
    found = [next(one_by_one) if library is core else await anext(one_by_one)]
    store.insert_datastore(0, library.DictDatastore())
    for shard in shards[1:]:
        store.remove_datastore(shard)
    assert [value for _, value in await colour.read(cursor)] == [0, 1, 2]
    found += list(one_by_one) if library is core else [value async for value in one_by_one]
    assert found == [0, 1, 2]


# Closing


def closing(library: Any, name: str, closed: list[str], error: Exception | None = None) -> Any:
    """A store that notes that it is closed, and may fail to."""

    def close(self: Any) -> None:
        closed.append(name)
        if error is not None:
            raise error

    async def aclose(self: Any) -> None:
        close(self)

    methods = {"close": close} if library is core else {"aclose": aclose}
    return type("Closing", (library.DictDatastore,), methods)()


@pytest.mark.parametrize("name", COLLECTIONS)
async def test_a_collection_closes_all_and_raises_the_first_error(name: str, colour: Any, library: Any):
    closed: list[str] = []
    failures = [None, errors.StoreError("second"), KeyError("third"), None]
    stores = [closing(library, str(place), closed, error) for place, error in enumerate(failures)]
    with pytest.raises(errors.StoreError, match="second"):
        await colour.close(getattr(library, name)(stores))
    assert closed == ["0", "1", "2", "3"]


@pytest.mark.parametrize("fails", [None, "cache", "child"])
async def test_a_cache_is_closed_with_its_child(fails: str | None, colour: Any, library: Any):
    closed: list[str] = []
    cache, child = (
        closing(library, name, closed, errors.StoreError(name) if name == fails else None)
        for name in ("cache", "child")
    )
    store = library.CacheShimDatastore(child, cache=cache)
    if fails is None:
        await colour.close(store)
    else:
        with pytest.raises(errors.StoreError, match=fails):
            await colour.close(store)
    assert sorted(closed) == ["cache", "child"]


@pytest.mark.parametrize("failing", [{0}, {1}, {2}, {0, 2}, {0, 1, 2}], ids=str)
async def test_a_cursor_that_cannot_be_closed_leaves_no_other_open(failing: set[int], colour: Any, library: Any):
    closed: list[int] = []
    cursors: list[Any] = []
    unclosable = set(failing)

    class Open(library.DictDatastore):
        ordered_queries = True
        number = 0

        def query(self, query: Query) -> Any:
            cursors.append(library.Cursor(query, self._values()))
            return cursors[-1]

        def _values(self) -> Iterator[int]:
            try:
                yield from range(10)
            finally:
                closed.append(self.number)
                if self.number in unclosable:
                    raise RuntimeError(f"{self.number} cannot be closed")

    shards = [Open() for _ in range(3)]
    for number, shard in enumerate(shards):
        shard.number = number
    cursor = library.ShardedDatastore(shards).query(SCOPE)
    await colour.read(cursor, 1)
    with pytest.raises(RuntimeError, match=f"{min(failing)} cannot be closed"):
        await colour.close(cursor)
    unclosable.clear()
    assert closed == [0, 1, 2]


# Tiers


async def test_a_hit_is_written_to_all_tiers_above(colour: Any, library: Any):
    for depth in range(4):
        store = library.TieredDatastore([library.DictDatastore() for _ in range(4)])
        await colour.call(store.datastore(depth).put, A, "x")
        assert await colour.call(store.get, A) == "x"
        assert await values_of(colour, store, A) == ["x"] * (depth + 1) + [None] * (3 - depth)


@pytest.mark.parametrize("failing", [0, 1], ids=["the first", "a middle one"])
async def test_a_tier_that_cannot_be_read_is_skipped_and_logged(
    failing: int, colour: Any, library: Any, faulty: Any, caplog: pytest.LogCaptureFixture
):
    tiers = [faulty() for _ in range(3)]
    store = library.TieredDatastore(tiers)
    await colour.call(tiers[2].put, A, "x")
    tiers[failing].fail("get", error=RuntimeError("out of order"), times=1)
    assert await colour.call(store.get, A) == "x"
    healthy = [None if tier is tiers[failing] else "x" for tier in tiers]
    assert await values_of(colour, store, A) == healthy
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("datastore", logging.WARNING)
    expected = "an upper tier, shim, failed for /c/a and is skipped for 5 s: out of order"
    assert record.getMessage() == expected


async def test_a_tier_that_cannot_store_is_logged(
    colour: Any, library: Any, faulty: Any, caplog: pytest.LogCaptureFixture
):
    upper, last = faulty(), faulty()
    store = library.TieredDatastore([upper, last])
    upper.fail("put", "batch_write", error=RuntimeError("full"), times=2)
    await colour.call(store.put, A, "x")
    await colour.call(store.batch_write, [Write(B, 1), Write(C, 1)])
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "an upper tier, shim, did not store /c/a: full",
        "an upper tier, shim, did not store 2 entries: full",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


async def test_contains_finds_a_key_in_any_tier(colour: Any, library: Any, faulty: Any):
    for depth in range(3):
        tiers = [faulty() for _ in range(3)]
        store = library.TieredDatastore(tiers)
        assert await colour.call(store.contains, A) is False
        await colour.call(tiers[depth].child_datastore.put, A, 0)
        for upper in tiers[:depth]:
            upper.fail("contains", error=RuntimeError("out of order"))
        assert await colour.call(store.contains, A) is True
        assert not any("put" in tier.calls for tier in tiers)


async def test_writes_go_to_the_last_tier_first_and_then_upwards(colour: Any, library: Any):
    log: list[Any] = []
    store = library.TieredDatastore([noting(library, name, log) for name in ("top", "middle", "last")])
    await colour.call(store.put, A, 1)
    await colour.call(store.delete, A)
    await colour.call(store.batch_write, [Write(B, 1), Write(C, None)])
    upwards = ("last", "middle", "top")
    assert log == [
        *[(name, "put", A) for name in upwards],
        *[(name, "delete", A) for name in upwards],
        *[(name, call, key) for name in upwards for call, key in (("put", B), ("delete", C))],
    ]


@pytest.mark.parametrize("error", [TimeoutError("late"), ConnectionResetError("gone"), errors.UnavailableError("gone")])
@pytest.mark.parametrize("kind", ["tiered", "cache"])
async def test_a_write_with_an_unknown_outcome_is_deleted_above(
    kind: str, error: Exception, colour: Any, library: Any, faulty: Any
):
    upper, last = faulty(), faulty()
    store = (
        library.TieredDatastore([upper, last]) if kind == "tiered" else library.CacheShimDatastore(last, cache=upper)
    )
    for name, arguments in [("put", (A, "new")), ("delete", (A,)), ("batch_write", ([Write(B, 1), Write(A, "new")],))]:
        await colour.call(store.put, A, "old")
        last.fail(name, error=error, times=1, afterwards=True)
        with pytest.raises(type(error)):
            await colour.call(getattr(store, name), *arguments)
        assert await colour.call(upper.child_datastore.get, A) is None, name
        assert await colour.call(store.get, A) == (None if name == "delete" else "new")


@pytest.mark.parametrize("kind", ["tiered", "cache"])
async def test_an_invalid_key_reaches_no_tier(kind: str, colour: Any, library: Any):
    class Strict(library.DictDatastore):
        def batch_write(self, writes: Any) -> Any:
            handed.extend(writes)
            return super().batch_write(writes)

    handed: list[Write] = []
    upper, last = Strict(), Strict()
    store = (
        library.TieredDatastore([upper, last]) if kind == "tiered" else library.CacheShimDatastore(last, cache=upper)
    )
    outcomes = await colour.call(store.batch_write, [Write("/c/a", 1), Write(A, 1), Write(B, 1), Write(None, 1)])
    assert [type(outcome.error) for outcome in outcomes] == [
        errors.UnsupportedTypeError,
        type(None),
        type(None),
        errors.UnsupportedTypeError,
    ]
    assert handed == [Write(A, 1), Write(B, 1)] * 2
    outcomes = await colour.call(store.batch_write, [Write("/c/a", 1)])
    assert outcomes[0].error is not None
    assert len(handed) == 4


# Shards


@pytest.mark.parametrize(
    ("limit", "offset", "asked"), [(None, 0, None), (None, 5, None), (3, 0, 3), (3, 5, 8), (1, 1, 2)]
)
async def test_each_shard_is_queried_for_everything_that_may_be_needed(
    limit: int | None, offset: int, asked: int | None, colour: Any, library: Any
):
    log: list[Any] = []
    store = library.ShardedDatastore([noting(library, str(number), log) for number in range(3)])
    query = Query(Key("/c"), limit=limit, offset=offset).filter("n", ">=", 0).order("-n")
    for number in range(20):
        await colour.call(store.put, Key(f"/c/{number}"), {"n": number})
    log.clear()
    cursor = store.query(query)
    found = [value["n"] for _, value in await colour.read(cursor)]
    assert found == list(range(20))[::-1][offset:][:limit]
    assert cursor.skipped == offset
    assert [name for name, _, _ in log] == ["0", "1", "2"]
    for _, _, down in log:
        assert (down.offset, down.limit, down.filters, down.orders) == (0, asked, query.filters, query.orders)


async def test_a_limit_of_zero_sends_no_queries(colour: Any, library: Any):
    log: list[Any] = []
    store = library.ShardedDatastore([noting(library, "0", log), noting(library, "1", log)])
    cursor = store.query(Query(Key("/c"), limit=0, offset=3))
    assert await colour.read(cursor) == []
    assert (cursor.returned, cursor.skipped, log) == (0, 0, [])


async def test_shards_are_read_one_after_the_other_if_requested(colour: Any, library: Any):
    store = library.ShardedDatastore([library.DictDatastore() for _ in range(3)], lambda key: -ord(key.name))
    for name in "fedcba":
        await colour.call(store.put, Key("/c").child(name), name)
    generator = store.shard_query_generator(Query(Key("/c"), limit=1))
    assert (list(generator) if library is core else [value async for value in generator]) == ["c", "b", "a"]
    assert [value for _, value in await colour.read(store.query(SCOPE))] == list("abcdef")


@pytest.mark.parametrize("shard", ["shard_datastore", "shardDatastore"])
def test_a_key_is_in_the_store_of_its_number(shard: str, library: Any):
    stores = [library.DictDatastore() for _ in range(3)]
    store = library.ShardedDatastore(stores, lambda key: int(key.name))
    for number in range(-4, 8):
        key = Key(f"/c/{number}")
        assert store.shard(key) == number % 3
        assert getattr(store, shard)(key) is stores[number % 3]


@pytest.mark.parametrize(("number", "kind"), [(True, "bool"), ("1", "str"), (1.0, "float"), (None, "NoneType")])
async def test_a_shard_is_an_int(number: Any, kind: str, colour: Any, library: Any):
    shards = [library.DictDatastore(), library.DictDatastore()]
    store = library.ShardedDatastore(shards, lambda _: number)
    for call, *arguments in [
        (store.get, A),
        (store.put, A, 1),
        (store.put, A, None),
        (store.delete, A),
        (store.contains, A),
    ]:
        with pytest.raises(errors.UnsupportedTypeError, match=f"shardingfn must return an int, got {kind} for /c/a"):
            await colour.call(call, *arguments)
    for call in (store.shard, store.shard_datastore):
        with pytest.raises(TypeError, match="shardingfn must return an int"):
            call(A)
    assert [len(shard) for shard in shards] == [0, 0]


async def test_a_key_whose_shard_cannot_be_determined_fails_alone(colour: Any, library: Any):
    store = library.ShardedDatastore([library.DictDatastore() for _ in range(2)], lambda key: int(key.name))
    good, bad = Key("/c/1"), Key("/c/x")
    outcomes = await colour.call(store.batch_write, [Write(bad, 1), Write(good, 1)])
    assert [outcome.error is None for outcome in outcomes] == [False, True]
    assert await colour.call(store.get, good) == 1
    failed, found = await colour.call(store.batch_get, [bad, good])
    assert found == ReadResult(1)
    assert isinstance(failed.error, errors.InvalidError)
    assert "'x'" in str(failed.error)
