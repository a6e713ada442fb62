"""Caches that follow the changes of the last tier: what others write is seen, and nothing old is left after a gap."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio import invalidation as async_invalidation
from datastore.aio.feeds import Feed as AsyncFeed
from datastore.aio.feeds import feed_of as async_feed_of
from datastore.aio.testing.faults import FaultyDatastore as AsyncFaultyDatastore
from datastore.model.errors import (
    ChangesExpiredError,
    ConfigError,
    DatastoreClosedError,
    InvalidError,
    UnavailableError,
    UnsupportedError,
)
from datastore.model.key import Key
from datastore.spec import parse_url
from datastore.spec.building import build
from datastore.spec.collections import LRUConfig, MemoryConfig, TieredConfig
from datastore.sync import invalidation
from datastore.sync.feeds import Feed, feed_of
from tests.support.waiting import until

A, B = Key("/c/a"), Key("/c/b")


class Control:
    """What happens to the feeds of a store."""

    def __init__(self) -> None:
        self.is_held = False
        self.is_interrupted = False
        self.error: Exception | None = None
        self.opened = 0
        self.closed = 0

    def check(self) -> bool:
        """Whether the next batch comes now."""
        if self.error is not None:
            raise self.error
        return not self.is_held


class _Controlled:
    def __init__(self, feed: Any, control: Control) -> None:
        self._feed = feed
        self._control = control
        control.opened += 1

    @property
    def is_interrupted(self) -> bool:
        return self._control.is_interrupted


class ControlledFeed(_Controlled, Feed):
    def take(self) -> Any:
        return self._feed.take() if self._control.check() else None

    def close(self) -> None:
        self._control.closed += 1
        self._feed.close()


class AsyncControlledFeed(_Controlled, AsyncFeed):
    async def take(self) -> Any:
        return await self._feed.take() if self._control.check() else None

    async def aclose(self) -> None:
        self._control.closed += 1
        await self._feed.aclose()


class Complete(core.ShimDatastore):
    """A store with feeds that a test controls."""

    def __init__(self, control: Control) -> None:
        super().__init__(core.DictDatastore())
        self.control = control

    def changes(self, watch: Any, wake: Any) -> Feed:
        return ControlledFeed(feed_of(self.child_datastore, watch, wake), self.control)


class AsyncComplete(aio.ShimDatastore):
    def __init__(self, control: Control) -> None:
        super().__init__(aio.DictDatastore())
        self.control = control

    def changes(self, watch: Any, wake: Any) -> AsyncFeed:
        return AsyncControlledFeed(async_feed_of(self.child_datastore, watch, wake), self.control)


class Tiers:
    """A cache before a complete store, which others write too."""

    def __init__(self, colour: Any, library: Any) -> None:
        self._colour = colour
        self.control = Control()
        self.cache = library.LRUCacheDatastore(100)
        self.last = {core: Complete, aio: AsyncComplete}[library](self.control)
        self.store = library.TieredDatastore([self.cache, self.last], invalidate="watch")

    async def call(self, method: Any, *arguments: Any) -> Any:
        return await self._colour.call(method, *arguments)

    async def get(self, key: Key = A) -> Any:
        return await self.call(self.store.get, key)

    async def write(self, value: Any, key: Key = A) -> None:
        """As another process does."""
        await self.call(self.last.child_datastore.put, key, value)

    async def close(self) -> None:
        await self.call(getattr(self.store, "aclose", None) or self.store.close)

    @property
    def hits(self) -> int:
        return int(self.store.describe().children[0].hits or 0)

    async def follows(self, *, is_so: bool = True) -> None:
        """Wait until the changes are followed, or not."""

        async def text() -> str:
            await self.get(B)
            return str(self.store.describe().text)

        await until(text, f"the most complete last, whose changes are {'' if is_so else 'not '}followed")

    async def caches(self, value: Any) -> None:
        """Wait until a value is cached."""

        async def cached() -> Any:
            await self.get()
            return await self.call(self.cache.get, A)

        await until(cached, value)


@pytest.fixture
def module(library: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = {core: invalidation, aio: async_invalidation}[library]
    for name in ("FOLLOW_AGAIN_S", "REFUSED_AGAIN_S"):
        monkeypatch.setattr(found, name, 0.01)
    return found


@pytest.fixture
async def tiers(colour: Any, library: Any, module: ModuleType) -> AsyncIterator[Tiers]:
    tiers = Tiers(colour, library)
    yield tiers
    tiers.control.is_held = False
    await tiers.close()
    assert tiers.control.opened == tiers.control.closed


async def test_what_others_write_is_seen_and_the_rest_comes_from_the_cache(tiers: Tiers) -> None:
    await tiers.write(1)
    await tiers.follows()
    await tiers.caches(1)
    hits = tiers.hits
    assert [await tiers.get() for _ in range(5)] == [1] * 5
    assert tiers.hits == hits + 5
    await tiers.write(2)
    await until(tiers.get, 2)
    await tiers.call(tiers.last.child_datastore.delete, A)
    await until(tiers.get, None)


async def test_a_cached_value_is_as_old_as_the_feed_is_late(tiers: Tiers) -> None:
    await tiers.write(1)
    await tiers.follows()
    await tiers.caches(1)
    tiers.control.is_held = True
    await tiers.write(2)
    assert await tiers.get() == 1
    tiers.control.is_held = False
    await until(tiers.get, 2)


async def test_its_own_writes_are_read_at_once_and_cached_by_the_next_read(tiers: Tiers) -> None:
    await tiers.follows()
    tiers.control.is_held = True
    for number in range(3):
        await tiers.call(tiers.store.put, A, number)
        assert await tiers.call(tiers.cache.get, A) is None
        assert [await tiers.get(), await tiers.get()] == [number] * 2
        assert await tiers.call(tiers.cache.get, A) == number
    await tiers.call(tiers.store.delete, A)
    assert await tiers.get() is None


async def test_the_cache_is_not_used_before_the_feed_has_begun(tiers: Tiers) -> None:
    tiers.control.is_held = True
    await tiers.call(tiers.cache.put, A, "of an earlier time")
    await tiers.write(1)
    assert await tiers.get() == 1
    assert await tiers.call(tiers.store.contains, A)
    assert tiers.hits == 0
    tiers.control.is_held = False
    await tiers.follows()
    await tiers.caches(1)


@pytest.mark.parametrize(
    "error",
    [ChangesExpiredError("too late"), UnavailableError("down"), UnsupportedError("no log"), RuntimeError("bug")],
)
async def test_while_the_feed_fails_reads_ask_the_last_tier(
    error: Exception, tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    await tiers.write(1)
    await tiers.follows()
    await tiers.caches(1)
    tiers.control.error = error
    await tiers.write(2)
    await tiers.follows(is_so=False)
    hits, opened = tiers.hits, tiers.control.opened
    for number in range(10):
        await tiers.write(number)
        assert await tiers.get() == number
    assert tiers.hits == hits

    async def tried() -> bool:
        return tiers.control.opened > opened + 2

    await until(tried, answer=True)
    tiers.control.error = None
    await tiers.follows()
    assert await tiers.get() == 9
    await tiers.caches(9)
    assert caplog.messages == [
        f"the caches are not used while the changes of shim cannot be followed: {error}",
        "the caches are used again",
    ]


async def test_while_the_feed_is_interrupted_reads_ask_the_last_tier(tiers: Tiers) -> None:
    await tiers.write(1)
    await tiers.follows()
    await tiers.caches(1)
    tiers.control.is_held = tiers.control.is_interrupted = True
    await tiers.follows(is_so=False)
    await tiers.write(2)
    assert await tiers.get() == 2
    tiers.control.is_held = tiers.control.is_interrupted = False
    await tiers.follows()
    assert await tiers.get() == 2


async def test_tiers_that_come_later_are_cleared_and_followed_too(tiers: Tiers, library: Any) -> None:
    await tiers.follows()
    upper = library.LRUCacheDatastore(100)
    await tiers.call(upper.put, A, "old")
    await tiers.write(1)
    tiers.store.insert_datastore(0, upper)
    assert await tiers.get() == 1
    await tiers.follows()

    async def cached() -> list[Any]:
        await tiers.get()
        return [await tiers.call(cache.get, A) for cache in (upper, tiers.cache)]

    await until(cached, [1, 1])
    await tiers.write(2)
    await until(cached, [2, 2])
    with pytest.raises(UnsupportedError, match="the last tier, null, cannot be watched"):
        tiers.store.append_datastore(library.NullDatastore())
        await tiers.get()


async def test_a_closed_store_is_not_followed_any_more(tiers: Tiers) -> None:
    await tiers.follows()
    tiers.control.error = DatastoreClosedError("closed")
    await tiers.follows(is_so=False)
    await tiers.close()
    await tiers.close()
    assert tiers.store._invalidation._background is None
    assert tiers.control.opened == 1


# Changes during a back-fill


async def test_a_value_read_before_a_change_is_not_cached_after_it() -> None:
    class Slow(AsyncComplete):
        """Answers a read only when released, with the former value."""

        async def read(self, keys: Any, options: Any) -> Any:
            found = await super().read(keys, options)
            if A in keys:
                reading.set()
                await answer.wait()
            return found

        def changes(self, watch: Any, wake: Any) -> AsyncFeed:
            return super().changes(watch, wake)

    reading, answer = asyncio.Event(), asyncio.Event()
    last, cache = Slow(Control()), aio.LRUCacheDatastore(100)
    async with aio.TieredDatastore([cache, aio.LRUCacheDatastore(100), last], invalidate="watch") as store:
        await _followed(store)
        await last.child_datastore.put(A, "old")
        reader = asyncio.create_task(store.get(A))
        await reading.wait()
        await last.child_datastore.put(A, "new")

        async def outdated() -> bool:
            return A not in store._flights._in_flight

        await until(outdated, answer=True)
        answer.set()
        assert await reader == "old"
        assert await cache.get(A) is None
        assert await store.get(A) == "new"


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_change_during_a_back_fill_deletes_what_it_wrote(*, is_cancelled: bool) -> None:
    last, cache, middle = aio.DictDatastore(), aio.LRUCacheDatastore(100), AsyncFaultyDatastore(aio.DictDatastore())
    async with aio.TieredDatastore([cache, middle, last], invalidate="watch") as store:
        await _followed(store)
        await last.put(A, "old")
        middle.hang("put", times=1)
        reader = asyncio.create_task(store.get(A))
        await middle.hanging.wait()
        deleted = middle.calls.get("delete", 0)
        await last.put(A, "new")

        async def was_deleted() -> bool:
            return middle.calls.get("delete", 0) > deleted

        await until(was_deleted, answer=True)
        if is_cancelled:
            await middle.child_datastore.put(A, "old")
            reader.cancel()
        middle.release()
        await asyncio.wait([reader])
        assert [await tier.get(A) for tier in (cache, middle.child_datastore)] == [None, None]
        assert await store.get(A) == "new"


async def _followed(store: aio.TieredDatastore) -> None:
    async def text() -> bool:
        await store.get(B)
        return "not" not in store.describe().text

    await until(text, answer=True)


async def test_a_feed_has_not_the_deadline_of_the_read_that_began_it() -> None:
    from datastore.model.deadline import has_deadline, set_time_left

    class Last(aio.ShimDatastore):
        def changes(self, watch: Any, wake: Any) -> AsyncFeed:
            found.append(has_deadline())
            return super().changes(watch, wake)

    found: list[bool] = []
    async with aio.TieredDatastore([aio.LRUCacheDatastore(9), Last(aio.DictDatastore())], invalidate="watch") as store:
        set_time_left(60)
        await _followed(store)
    assert found == [False]


@pytest.mark.parametrize("seed", range(4))
def test_threads_that_write_and_read_through_two_stores_leave_nothing_old(seed: int) -> None:
    last = core.DictDatastore()
    stores = [
        core.TieredDatastore([core.LRUCacheDatastore(4), core.LRUCacheDatastore(8), last], invalidate="watch")
        for _ in range(2)
    ]
    keys = [Key(f"/c/{number}") for number in range(6)]

    def work(number: int) -> None:
        chosen = random.Random(f"{seed} {number}")
        for step in range(300):
            store, key = chosen.choice(stores), chosen.choice(keys)
            if chosen.random() < 0.2:
                store.put(key, (number, step))
            else:
                store.get(key)

    async def seen() -> list[Any]:
        return [store.get(key) for store in stores for key in keys]

    with stores[0], stores[1], ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
        asyncio.run(until(seen, [last.get(key) for key in keys] * 2))
        assert sum(tier.hits or 0 for store in stores for tier in store.describe().children[:2]) > 0


# What it is not for


def test_a_last_tier_that_cannot_be_watched_is_refused(library: Any) -> None:
    for last in (library.NullDatastore(), library.SymlinkDatastore(library.DictDatastore())):
        with pytest.raises(UnsupportedError, match=f"the last tier, {last.describe().kind}, cannot be watched"):
            library.TieredDatastore([library.LRUCacheDatastore(1), last], invalidate="watch")


def test_a_cache_that_others_can_fill_is_refused(library: Any) -> None:
    class Shared(library.DictDatastore):  # type: ignore[misc]
        @property
        def capability(self) -> Any:
            return super().capability._replace(queries=False)

    with pytest.raises(UnsupportedError, match="tier 1, dict, does not keep its entries in the memory"):
        library.TieredDatastore([Shared(), library.DictDatastore()], invalidate="watch")


def test_another_word_is_refused(library: Any) -> None:
    with pytest.raises(InvalidError, match="invalidate must be \"watch\" or None, got 'poll'"):
        library.TieredDatastore([library.DictDatastore()], invalidate="poll")


def test_a_configuration_names_the_tier() -> None:
    lru, memory = LRUConfig(max_entries=9), MemoryConfig()
    with build(TieredConfig(children=(lru, memory), invalidate="watch")) as store:
        assert "followed" in store.describe().text
    with pytest.raises(ConfigError, match="tier 1, memcached, does not keep its entries in the memory"):
        build(TieredConfig(children=(parse_url("memcached://127.0.0.1:1"), memory), invalidate="watch"))
    with pytest.raises(InvalidError, match="invalidate is watch, not 'poll'"):
        TieredConfig(children=(lru, memory), invalidate="poll")  # type: ignore[arg-type]
