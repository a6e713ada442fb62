"""Expiry: by a clock that the tests move, in memory, and what compositions and caches make of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.faults import FaultyDatastore as AsyncFaultyDatastore
from datastore.engine.expiries import SWEEP_ENTRIES, Expiries
from datastore.model.errors import ConditionFailedError, InvalidError, UnsupportedError
from datastore.model.expiry import MAX_EXPIRES_US, Expiry, expiry_of
from datastore.model.key import Key
from datastore.model.operations import ENTRIES, Put
from datastore.model.query import Query
from datastore.testing.faults import FaultyDatastore
from tests.support.clocks import Clock

A, B = Key("/c/a"), Key("/c/b")
YEAR_10000 = MAX_EXPIRES_US + 1


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_000_000.0)


@pytest.fixture
def store(library: Any, clock: Clock) -> Any:
    return library.DictDatastore(clock=clock)


class Ticking(Clock):
    """Goes on by a microsecond each time somebody looks at it."""

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


def test_a_value_is_read_with_its_metadata_until_both_are_gone() -> None:
    store = core.DictDatastore(clock=Ticking(1_700_000_000.0))
    store.put(A, 1, expires_in_s=50e-6)
    results = [store.read([A], ENTRIES)[0] for _ in range(60)]
    assert [result.value is None for result in results] == [result.metadata is None for result in results]
    assert results[-1].value is None
    store.put(A, 1, expires_in_s=50e-6)
    cached = core.TieredDatastore([core.DictDatastore(), store])
    while cached.get(A) is not None:
        pass


# What callers say


def test_an_instant_is_kept_to_the_microsecond() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert expiry_of(expire_time=time) == Expiry(at_us=1_767_303_245_678_901)
    assert expiry_of(expires_in_s=1.5) == Expiry(in_us=1_500_000)
    assert expiry_of(expires_in_s=1e-9) == Expiry(in_us=1)
    assert expiry_of() is None


def test_the_last_instant_is_the_end_of_the_year_9999() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert expiry_of(expire_time=last) == Expiry(at_us=MAX_EXPIRES_US)
    with pytest.raises(InvalidError, match="after the year 9999"):
        expiry_of(expire_time=last.replace(tzinfo=timezone(timedelta(minutes=-1))))
    now_us = 1_700_000_000_000_000
    assert Expiry(in_us=MAX_EXPIRES_US - now_us).instant_us(now_us) == MAX_EXPIRES_US
    with pytest.raises(InvalidError, match="after the year 9999"):
        Expiry(in_us=YEAR_10000 - now_us).instant_us(now_us)


def test_an_instant_before_1970_has_passed() -> None:
    for time in (datetime(1970, 1, 1, tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
        assert Expiry.at(time).instant_us(1) == 1


# By the clock of the store


async def test_an_entry_expires_at_its_instant_and_not_before(colour: Any, store: Any, clock: Clock) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    await colour.call(store.put, B, 2)
    clock.now += 59.999
    assert await colour.call(store.get, A) == 1
    assert len(store) == 2
    clock.now += 0.001
    assert await colour.call(store.get, A) is None
    assert await colour.call(store.contains, A) is False
    assert [result.value for result in await colour.call(store.batch_get, [A, B])] == [None, 2]
    assert len(store) == 1
    assert [entry.value for entry in await colour.read(store.query(Query(Key("/c"))))] == [2]
    assert [entry.value for entry in await colour.read(store.query(Query(Key("/"), recursive=True)))] == [2]


async def test_a_clock_set_back_brings_nothing_back(colour: Any, store: Any, clock: Clock) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    clock.now += 60
    assert await colour.call(store.get, A) is None
    clock.now -= 3600
    assert await colour.call(store.get, A) is None
    assert len(store) == 0
    # What is written now expires no earlier than it should.
    await colour.call(store.put, B, 2, expires_in_s=60)
    assert await colour.call(store.get, B) == 2
    clock.now += 3600 + 61
    assert await colour.call(store.get, B) is None


async def test_versions_of_a_node_whose_clock_is_ahead_expire_nothing(colour: Any, store: Any, clock: Clock) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    store.raise_versions(int((clock.now + 7200) * 1_000_000))
    assert await colour.call(store.get, A) == 1
    await colour.call(store.put, B, 2, expires_in_s=60)
    clock.now += 59
    assert await colour.call(store.get, B) == 2
    clock.now += 2
    assert await colour.call(store.get, A) is None
    assert await colour.call(store.get, B) is None


async def test_a_condition_sees_no_expired_entry_and_a_new_entry_begins_anew(
    colour: Any, store: Any, clock: Clock
) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    before = await colour.call(store.entry, A)
    clock.now += 60
    with pytest.raises(ConditionFailedError) as failed:
        await colour.call(store.put, A, 2, if_version=before.version)
    assert failed.value.version == 0
    await colour.call(store.put, A, 2, if_absent=True)
    after = await colour.call(store.entry, A)
    assert after.create_time - before.create_time >= timedelta(seconds=60)
    assert after.expire_time is None


async def test_expired_entries_are_removed_by_later_writes_some_at_a_time(
    colour: Any, store: Any, clock: Clock
) -> None:
    keys = [Key(f"/c/{place}") for place in range(3 * SWEEP_ENTRIES)]
    await colour.call(store.batch_write, [Put(key, 1, expiry=Expiry.after(60)) for key in keys])
    # The versions of a batch are some microseconds ahead of the clock.
    clock.now += 61
    assert len(store) == 0
    for left in (2, 1, 0):
        await colour.call(store.put, B, 2)
        assert len(store._items["/c"]) == left * SWEEP_ENTRIES + 1
    assert store._stamps["/c"].keys() == {str(B)}
    assert not store._expiries.at_us


async def test_a_running_query_keeps_the_entries_that_it_began_with(colour: Any, store: Any, clock: Clock) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    await colour.call(store.put, B, 2, expires_in_s=60)
    cursor = store.query(Query(Key("/c")))
    assert [entry.value for entry in await colour.read(cursor, 1)] == [1]
    clock.now += 60
    await colour.call(store.put, A, 3)
    assert [entry.value for entry in await colour.read(cursor)] == [2]
    assert [entry.value for entry in await colour.read(store.query(Query(Key("/c"))))] == [3]


async def test_a_touch_again_and_again_keeps_the_entry_and_little_else(colour: Any, store: Any, clock: Clock) -> None:
    await colour.call(store.put, A, 1, expires_in_s=60)
    for _ in range(300):
        clock.now += 30
        assert await colour.call(store.touch, A, expires_in_s=60)
    assert await colour.call(store.get, A) == 1
    assert len(store._expiries._heap) < 100


def test_the_expired_entries_are_found_among_many(clock: Clock) -> None:
    expiries = Expiries()
    keys = [Key(f"/c/{place}") for place in range(1000)]
    for place, key in enumerate(keys):
        expiries.put(key, 1 + place * 7919 % 1000)
    for key in keys[::3]:
        expiries.put(key, 0)
    for key in keys[1::3]:
        expiries.put(key, expiries.at_us[key] + 10)
    for now_us in (0, 1, 2, 500, 2000):
        assert expiries.passed(now_us) == {key for key, at_us in expiries.at_us.items() if at_us <= now_us}
    found = expiries.pop(500)
    assert len(found) == SWEEP_ENTRIES
    assert not expiries.at_us.keys() & set(found)


# Compositions


async def test_a_touch_goes_through_keys_serializers_links_and_shards(colour: Any, library: Any, clock: Clock) -> None:
    shards = library.ShardedDatastore([library.DictDatastore(clock=clock) for _ in range(3)])
    store = library.NamespaceDatastore("n", library.SymlinkDatastore(library.SerializerShimDatastore(shards)))
    await colour.call(store.put, A, {"n": 1}, expires_in_s=60)
    assert await colour.call(store.touch, A, expires_in_s=120)
    clock.now += 119
    assert await colour.call(store.get, A) == {"n": 1}
    clock.now += 2
    assert await colour.call(store.get, A) is None
    assert await colour.call(store.touch, A) is False


async def test_a_link_to_an_expired_entry_dangles(colour: Any, library: Any, store: Any, clock: Clock) -> None:
    links = library.SymlinkDatastore(store)
    await colour.call(links.put, A, 1)
    await colour.call(links.link, A, B)
    # Of the entry, not of the link.
    assert await colour.call(links.touch, B, expires_in_s=60)
    clock.now += 61
    assert await colour.call(links.get, B) is None
    await colour.call(links.put, B, 2)
    assert await colour.call(links.get, A) == 2


async def test_a_cache_keeps_text_that_looks_like_a_link_as_it_was_put_after_a_touch(
    colour: Any, library: Any, store: Any, cache: Any
) -> None:
    tiers = library.TieredDatastore([cache, library.SymlinkDatastore(store)])
    await colour.call(tiers.put, A, "/c/b/datastore_link")
    assert await colour.call(tiers.touch, A)
    assert await colour.call(tiers.get, A) == "/c/b/datastore_link"


async def test_a_directory_refuses_an_expiry_because_names_do_not_expire(colour: Any, library: Any, store: Any) -> None:
    directories = library.DirectoryDatastore(store)
    with pytest.raises(UnsupportedError, match="cannot expire"):
        await colour.call(directories.put, A, 1, expires_in_s=60)
    assert await colour.call(directories.directory, Key("/c")) == []


# Caches


@pytest.fixture(params=["lru", "dict"])
def cache(request: pytest.FixtureRequest, library: Any) -> Any:
    return {"lru": lambda: library.LRUCacheDatastore(10), "dict": library.DictDatastore}[request.param]()


async def test_a_cache_shows_no_expired_entry(colour: Any, library: Any, store: Any, cache: Any, clock: Clock) -> None:
    tiers = library.TieredDatastore([cache, store])
    await colour.call(tiers.put, A, 1, expires_in_s=60)
    assert await colour.call(tiers.get, A) == 1
    assert await colour.call(cache.get, A) is None
    await colour.call(store.put, B, 2, expires_in_s=60)
    assert [result.value for result in await colour.call(tiers.batch_get, [A, B])] == [1, 2]
    clock.now += 61
    assert await colour.call(tiers.get, A) is None
    assert await colour.call(tiers.get, B) is None
    assert await colour.call(tiers.contains, A) is False


async def test_an_entry_that_was_permanent_leaves_the_cache_when_it_is_touched(
    colour: Any, library: Any, store: Any, cache: Any, clock: Clock
) -> None:
    tiers = library.TieredDatastore([cache, store])
    await colour.call(tiers.put, A, {"n": 1})
    assert await colour.call(cache.get, A) == {"n": 1}
    await colour.call(tiers.touch, A, expires_in_s=60)
    assert await colour.call(cache.get, A) is None
    await colour.call(tiers.patch, A, {"n": 2})
    assert await colour.call(cache.get, A) is None
    clock.now += 61
    assert await colour.call(tiers.get, A) is None
    await colour.call(tiers.put, A, {"n": 3}, expires_in_s=60)
    await colour.call(tiers.touch, A)
    assert await colour.call(cache.get, A) == {"n": 3}


async def test_a_miss_reads_metadata_only_where_entries_can_expire(colour: Any, library: Any, store: Any) -> None:
    faulty: Any = {core: FaultyDatastore, aio: AsyncFaultyDatastore}[library]
    asked = []

    class Noting(library.ShimDatastore):
        def read(self, keys: Any, options: Any) -> Any:
            asked.append(options.metadata)
            return super().read(keys, options)

    for last, metadata in ((Noting(store), True), (Noting(faulty(store)), False)):
        asked.clear()
        tiers = library.TieredDatastore([library.LRUCacheDatastore(10), last])
        await colour.call(tiers.put, A, 1)
        await colour.call(tiers.get, A)
        assert asked == []
        await colour.call(tiers.get, B)
        assert asked == [metadata]
