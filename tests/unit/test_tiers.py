"""Tiers: concurrent misses are one call, no back-fill overtakes a write, and a failed tier comes back clean."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from datastore import aio, core
from datastore.aio import tier as async_tier
from datastore.aio.testing.faults import FaultyDatastore as AsyncFaultyDatastore
from datastore.aio.tiered import SKIP_FAILED_S
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.deadline import set_time_left
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, DeadlineExceededError, InvalidError, UnavailableError
from datastore.model.key import Key
from datastore.model.operations import Put
from datastore.sync import flights
from datastore.sync import tier as sync_tier
from datastore.testing.faults import FaultyDatastore
from tests.support.clocks import Clock

A, B = Key("/c/a"), Key("/c/b")
DOWN = UnavailableError("no connection")


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def faulty(library: Any) -> Any:
    """Creates stores over dicts that fail on request."""
    kind: Any = {core: FaultyDatastore, aio: AsyncFaultyDatastore}[library]
    return lambda: kind(library.DictDatastore())


@pytest.fixture
def tiers(library: Any, faulty: Any, clock: Clock) -> tuple[Any, Any, Any]:
    """A store of two tiers, and both."""
    upper, last = faulty(), faulty()
    return library.TieredDatastore([upper, last], clock=clock), upper, last


# Concurrent misses


async def test_a_thousand_tasks_that_miss_one_key_are_one_call():
    last = AsyncFaultyDatastore(aio.DictDatastore())
    await last.child_datastore.put(A, "x")
    last.hang("get")
    store = aio.TieredDatastore([aio.LRUCacheDatastore(10), last])
    reads = [asyncio.create_task(store.get(A)) for _ in range(1000)]
    await last.hanging.wait()
    last.release()
    assert await asyncio.gather(*reads) == ["x"] * 1000
    assert last.calls == {"get": 1}


def test_fifty_threads_that_miss_one_key_are_one_call(monkeypatch: pytest.MonkeyPatch):
    waiting = threading.Semaphore(0)

    class Noting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.release()
            return super().wait(timeout)

    monkeypatch.setattr(flights, "Event", Noting)
    last = FaultyDatastore(core.DictDatastore())
    last.child_datastore.put(A, "x")
    last.hang("get")
    store = core.TieredDatastore([core.LRUCacheDatastore(10), last])
    with ThreadPoolExecutor(50) as threads:
        reads = [threads.submit(store.get, A) for _ in range(50)]
        for _ in range(49):
            waiting.acquire()
        last.release()
    assert [read.result() for read in reads] == ["x"] * 50
    assert last.calls == {"get": 1}


async def test_each_waiter_of_a_failed_read_gets_its_own_copy_of_the_error():
    last = AsyncFaultyDatastore(aio.DictDatastore())
    last.hang("get", times=1)
    last.fail("get", error=DOWN, times=1)
    store = aio.TieredDatastore([aio.LRUCacheDatastore(10), last])
    reads = [asyncio.create_task(store.get(A)) for _ in range(10)]
    await last.hanging.wait()
    last._released.set()
    errors = await asyncio.gather(*reads, return_exceptions=True)
    assert [(type(error), str(error)) for error in errors] == [(UnavailableError, "no connection")] * 10
    assert len({id(error) for error in errors}) == 10
    assert last.calls == {"get": 1}


@pytest.mark.parametrize("ending", ["cancelled", "out of time"])
async def test_a_reader_that_gives_up_does_not_fail_the_others(ending: str):
    last = AsyncFaultyDatastore(aio.DictDatastore())
    await last.child_datastore.put(A, "x")
    last.hang("get", times=1)
    if ending == "out of time":
        last.fail("get", error=DeadlineExceededError("out of time"), times=1)
    store = aio.TieredDatastore([aio.LRUCacheDatastore(10), last])

    async def first() -> Any:
        set_time_left(0.001)
        return await store.get(A)

    leader = asyncio.create_task(first())
    await last.hanging.wait()
    others = [asyncio.create_task(store.get(A)) for _ in range(10)]
    await asyncio.sleep(0)
    if ending == "cancelled":
        leader.cancel()
    last._released.set()
    with pytest.raises((asyncio.CancelledError, DeadlineExceededError)):
        await leader
    assert await asyncio.gather(*others) == ["x"] * 10
    assert last.calls == {"get": 2}


@pytest.mark.parametrize("write", ["put", "delete"])
async def test_a_back_fill_never_overwrites_a_write_in_between(write: str):
    upper, last = AsyncFaultyDatastore(aio.DictDatastore()), aio.DictDatastore()

    class Slow(aio.ShimDatastore):
        """Answers a read only when released, with the former value."""

        async def read(self, keys: Any, options: Any) -> Any:
            found = await super().read(keys, options)
            reading.set()
            await answer.wait()
            return found

    reading, answer = asyncio.Event(), asyncio.Event()
    await last.put(A, "old")
    store = aio.TieredDatastore([upper, Slow(last)])
    reader = asyncio.create_task(store.get(A))
    await reading.wait()
    await (store.put(A, "new") if write == "put" else store.delete(A))
    expected = "new" if write == "put" else None
    answer.set()
    # This read began after the write: it must not join the earlier one.
    assert await store.get(A) == expected
    assert await reader == "old"
    assert await upper.child_datastore.get(A) == expected


# Tiers that fail


async def test_a_failed_tier_is_skipped_for_its_time_then_used_again(
    tiers: Any, clock: Clock, colour: Any, caplog: pytest.LogCaptureFixture
):
    store, upper, last = tiers
    await colour.call(store.put, A, 1)
    upper.fail(error=DOWN)
    assert await colour.call(store.get, A) == 1
    asked = dict(upper.calls)
    clock.now = SKIP_FAILED_S - 0.001
    assert await colour.call(store.get, A) == 1
    await colour.call(store.put, A, 2)
    assert await colour.call(store.contains, A)
    assert upper.calls == asked
    clock.now = SKIP_FAILED_S
    assert await colour.call(store.get, A) == 2
    assert upper.calls != asked
    upper.release()
    clock.now = 2 * SKIP_FAILED_S
    before = last.calls["get"]
    assert [await colour.call(store.get, A) for _ in range(3)] == [2] * 3
    assert last.calls["get"] == before + 1
    assert [record.getMessage() for record in caplog.records] == [
        "an upper tier, shim, failed for /c/a and is skipped for 5 s: no connection",
        "an upper tier, shim, is used again",
    ]


@pytest.mark.parametrize("afterwards", [False, True], ids=["not done", "done, but its answer lost"])
async def test_a_tier_that_comes_back_is_not_stale(afterwards: bool, tiers: Any, clock: Clock, colour: Any):
    store, upper, _ = tiers
    await colour.call(store.put, A, "old")
    await colour.call(store.put, B, "old")
    upper.fail(error=DOWN, afterwards=afterwards)
    await colour.call(store.put, A, "new")
    await colour.call(store.batch_write, [Write(A, "newer"), Write(B, None)])
    upper.release()
    clock.now = SKIP_FAILED_S
    assert await colour.call(store.get, A) == "newer"
    assert await colour.call(store.get, B) is None
    assert not await colour.call(store.contains, B)


async def test_the_keys_remembered_for_a_failed_tier_are_limited(
    tiers: Any, clock: Clock, colour: Any, library: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr({core: sync_tier, aio: async_tier}[library], "OWED_KEYS", 2)
    store, upper, _ = tiers
    keys = [Key(f"/c/{number}") for number in range(3)]
    for key in keys:
        await colour.call(store.put, key, "old")
    upper.fail(error=DOWN)
    for key in keys:
        await colour.call(store.put, key, "new")
    upper.release()
    clock.now = SKIP_FAILED_S
    # The oldest was forgotten.
    assert [await colour.call(store.get, key) for key in keys] == ["old", "new", "new"]


async def test_an_error_of_one_entry_does_not_skip_the_tier(tiers: Any, colour: Any):
    store, upper, last = tiers
    await colour.call(last.child_datastore.put, A, 1)
    await colour.call(store.put, B, 2)
    upper.fail("get", error=CorruptDataError("not JSON"), times=1)
    assert await colour.call(store.get, A) == 1
    assert await colour.call(store.get, B) == 2
    assert "get" not in last.calls or last.calls["get"] == 1


async def test_a_tier_that_does_not_answer_is_abandoned_after_a_time():
    upper, last = AsyncFaultyDatastore(aio.DictDatastore()), aio.DictDatastore()
    upper.hang()
    store = aio.TieredDatastore([upper, last], timeout_s=0.001)
    await store.put(A, 1)
    assert await store.get(A) == 1
    assert upper.calls == {"put": 1}


async def test_an_unreachable_last_tier_fails_the_call_and_nothing_above_is_touched(tiers: Any, colour: Any):
    store, upper, last = tiers
    last.fail(error=CorruptDataError("disk full"))
    with pytest.raises(CorruptDataError):
        await colour.call(store.put, A, 1)
    assert upper.calls == {}


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5s", True])
@pytest.mark.parametrize("name", ["skip_failed_s", "timeout_s"])
def test_times_are_numbers_above_0(name: str, seconds: Any, library: Any):
    with pytest.raises(InvalidError, match=rf"{name} must be a number of seconds above 0"):
        library.TieredDatastore([library.DictDatastore()], **{name: seconds})


# Hit rates


async def test_hits_and_misses_are_counted_for_each_tier(tiers: Any, colour: Any):
    store, _, last = tiers
    await colour.call(last.child_datastore.put, A, 1)
    for key in (A, A, A, B):
        await colour.call(store.get, key)
    upper, lower = store.describe().children
    assert (upper.hits, upper.misses) == (2, 2)
    assert (lower.hits, lower.misses) == (1, 1)
    # A server checks every second that its store answers; these checks are not counted.
    for key in (A, Key("/nothing")):
        await colour.call(store.contains, key)
    upper, lower = store.describe().children
    assert (upper.hits, upper.misses) == (2, 2)
    assert (lower.hits, lower.misses) == (1, 1)


async def test_a_cache_counts_hits_like_tiers(colour: Any, library: Any):
    store = library.CacheShimDatastore(library.DictDatastore(), cache=library.DictDatastore())
    await colour.call(store.put, A, 1)
    await colour.call(store.get, A)
    assert [(child.hits, child.misses) for child in store.describe().children] == [(1, 0), (0, 0)]


# Everything at once


class Tiers(RuleBasedStateMachine):
    """Random reads and writes while upper tiers fail and come back: every answer is that of a dict."""

    keys = st.sampled_from([Key(f"/c/{name}") for name in "abc"])

    @initialize(uppers=st.integers(1, 3))
    def open(self, uppers: int) -> None:
        self.contents: dict[Key, int] = {}
        self.clock = Clock(0.0)
        self.uppers = [FaultyDatastore(core.DictDatastore()) for _ in range(uppers)]
        self.store = core.TieredDatastore([*self.uppers, core.DictDatastore()], clock=self.clock)
        self.written = 0

    @rule(key=keys)
    def put(self, key: Key) -> None:
        self.written += 1
        self.store.put(key, self.written)
        self.contents[key] = self.written

    @rule(key=keys)
    def delete(self, key: Key) -> None:
        self.store.delete(key)
        self.contents.pop(key, None)

    @rule(keys=st.lists(keys, max_size=4))
    def write(self, keys: list[Key]) -> None:
        self.written += 1
        assert all(
            result.error is None for result in self.store.batch_write([Write(key, self.written) for key in keys])
        )
        self.contents.update(dict.fromkeys(keys, self.written))

    @rule(key=keys)
    def get(self, key: Key) -> None:
        assert self.store.get(key) == self.contents.get(key)

    @rule(keys=st.lists(keys, max_size=4))
    def read(self, keys: list[Key]) -> None:
        found = [result.value for result in self.store.batch_get(keys)]
        assert found == [self.contents.get(key) for key in keys]

    @rule(key=keys)
    def contains(self, key: Key) -> None:
        assert self.store.contains(key) is (key in self.contents)

    @rule(
        number=st.integers(0, 2),
        calls=st.lists(st.sampled_from(["get", "put", "delete", "contains", "batch_get", "batch_write"]), max_size=3),
        error=st.sampled_from([DOWN, DeadlineExceededError("slow"), RuntimeError("bug"), CorruptDataError("damaged")]),
        afterwards=st.booleans(),
        times=st.one_of(st.none(), st.integers(1, 3)),
    )
    def fail(self, number: int, calls: list[str], error: Exception, afterwards: bool, times: int | None) -> None:
        self.uppers[number % len(self.uppers)].fail(*calls, error=error, afterwards=afterwards, times=times)

    @rule(number=st.integers(0, 2))
    def come_back(self, number: int) -> None:
        self.uppers[number % len(self.uppers)].release()

    @rule(seconds=st.sampled_from([1.0, SKIP_FAILED_S]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds


TestTiers = Tiers.TestCase


def test_caches_forget_what_a_repeated_write_may_have_replaced() -> None:
    """Whether it was answered as before or refused: another attempt may have been made past this object."""
    key, cache, last = Key("/a"), core.DictDatastore(), core.DictDatastore()
    store = core.TieredDatastore([cache, last])
    first = Attempt.new()
    for attempt in (first, first.followed(elapsed_us()), Attempt.new().followed(0)):
        cache.put(key, "stale")
        [result] = store.batch_write([Put(key, "mine", attempt=attempt)])
        assert (result.error is None) is (attempt.request_id == first.request_id)
        assert cache.get(key) is None
        last.put(key, "theirs")
    assert store.get(key) == "theirs"
