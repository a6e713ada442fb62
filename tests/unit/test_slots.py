"""Call slots: in FIFO order, never more than allowed, and no slot is ever lost."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datastore_client import _calls
from datastore_client._slots import SPARE_TIME, STREAMS_AT_ONCE, STUCK_S, Slots, Turn
from datastore_client.aio._calls import CallSlots


def test_a_freed_slot_goes_to_the_longest_waiter() -> None:
    slots: Slots[str] = Slots(2, 10)
    assert [slots.take(), slots.take(), slots.take()] == [True, True, False]
    assert slots.line_up("first")
    assert slots.line_up("second")
    assert [slots.give_back(), slots.give_back(), slots.give_back()] == ["first", "second", None]
    assert slots.free == 1


@pytest.mark.parametrize(("waiting", "takes_one_more"), [(1, True), (2, False), (3, False)])
def test_no_more_calls_wait_than_the_limit(waiting: int, takes_one_more: bool) -> None:
    slots: Slots[int] = Slots(0, 2)
    for waiter in range(waiting):
        slots.line_up(waiter)
    assert slots.line_up(-1) is takes_one_more
    assert slots.waiting == min(waiting + 1, 2)


def test_a_waiter_that_gave_up_is_skipped() -> None:
    slots: Slots[str] = Slots(0, 10)
    for waiter in ("first", "second"):
        slots.line_up(waiter)
    assert slots.give_up("first")
    assert slots.give_back() == "second"
    assert not slots.give_up("second")


def stuck(at_once: int, waiting: int) -> Slots[int]:
    """Slots that are all taken, with so many waiters."""
    slots: Slots[int] = Slots(at_once, 10_000)
    for _ in range(at_once):
        slots.take()
    for waiter in range(waiting):
        slots.line_up(waiter)
    return slots


def test_while_no_call_ends_as_many_again_start_up_to_a_limit() -> None:
    slots = stuck(100, 2000)
    lent = []
    while more := slots.lend():
        assert len(more) == 100
        lent += more
    assert lent == list(range(STREAMS_AT_ONCE - 100))


def test_a_slot_that_was_lent_ends_with_the_call_in_whose_place_it_was() -> None:
    slots = stuck(2, 5)
    assert slots.lend() == [0, 1]
    # Calls that end soon pass their slots on; those that were stuck end what was lent for them.
    assert slots.give_back(STUCK_S / 2) == 2
    assert [slots.give_back(STUCK_S), slots.give_back(STUCK_S * 2)] == [None, None]
    assert [slots.give_back(STUCK_S / 2), slots.give_back(STUCK_S / 2)] == [3, 4]
    # What was stuck says nothing about the calls beside it.
    assert slots.expected_s(0) < STUCK_S / 2
    assert [slots.give_back(), slots.give_back()] == [None, None]
    assert slots.free == 2


def test_slots_are_what_they_were_once_all_calls_have_ended() -> None:
    slots = stuck(2, 1)
    assert slots.lend() == [0]
    for _ in range(3):
        slots.give_back(STUCK_S / 2)
    assert slots.free == 2
    assert [slots.take(), slots.take(), slots.take()] == [True, True, False]


def busy(at_once: int, seconds_each: float, waiting: int = 0) -> Slots[int]:
    """Slots that are all taken, by calls that take so long, with so many waiters."""
    slots: Slots[int] = Slots(at_once, 1000)
    for _ in range(at_once):
        slots.take()
    for waiter in range(waiting + 2000):
        slots.line_up(waiter)
        if waiter >= waiting:
            slots.give_back(seconds_each)
    assert slots.waiting == waiting
    return slots


@pytest.mark.parametrize(("waiting", "expected_s"), [(0, 0.1), (10, 0.2), (90, 1.0)])
def test_the_expected_time_counts_the_calls_ahead_and_the_call_itself(waiting: int, expected_s: float) -> None:
    assert busy(10, 0.1, waiting).expected_s(waiting) == pytest.approx(expected_s)


@pytest.mark.parametrize(("left_s", "in_time"), [(1.499, False), (1.501, True), (math.inf, True)])
def test_a_call_that_has_little_more_time_than_calls_take_is_not_in_time(left_s: float, in_time: bool) -> None:
    assert SPARE_TIME == 1.5
    slots = busy(10, 0.1, 90)
    assert slots.is_in_time(left_s, slots.waiting) is in_time


def test_every_call_is_in_time_while_durations_are_unknown() -> None:
    slots: Slots[int] = Slots(1, 10)
    assert slots.take()
    assert slots.is_in_time(0.001, slots.waiting)


def test_the_average_of_slow_calls_is_reset_once_all_slots_are_free() -> None:
    slots = busy(2, 1000.0)
    slots.give_back(1000.0)
    assert not slots.is_in_time(10.0, 0)
    slots.give_back(1000.0)
    assert slots.is_in_time(0.001, 0)


def test_fast_calls_soon_outweigh_a_slow_time() -> None:
    slots = busy(10, 10.0)
    fast = 0
    while not slots.is_in_time(1.0, 0):
        # Even if every waiter is refused, a free slot is always taken.
        assert slots.give_back(0.001) is None
        assert slots.take()
        fast += 1
    assert fast < 400


def test_one_slow_call_among_many_has_little_weight() -> None:
    slots = busy(10, 0.01)
    slots.line_up(-1)
    slots.give_back(10.0)
    assert slots.is_in_time(0.5, 0)


async def waiting_tasks(slots: CallSlots, number: int, timeout_s: float = math.inf) -> list[asyncio.Task[Turn]]:
    """Tasks that wait for a slot, in order."""
    tasks = [asyncio.create_task(slots.acquire(timeout_s)) for _ in range(number)]
    for _ in range(2):
        await asyncio.sleep(0)
    return tasks


async def test_tasks_get_slots_in_fifo_order() -> None:
    slots = CallSlots(1, 10)
    assert await slots.acquire(math.inf) is Turn.TAKEN
    ended: list[int] = []

    async def work(number: int) -> None:
        assert await slots.acquire(math.inf) is Turn.TAKEN
        ended.append(number)
        await asyncio.sleep(0)
        slots.release()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(number))
        await asyncio.sleep(0)
        slots.release()
    assert ended == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("granted", [False, True], ids=["while waiting", "at its turn"])
async def test_a_cancelled_task_keeps_no_slot_and_no_place(granted: bool) -> None:
    slots = CallSlots(1, 10)
    await slots.acquire(math.inf)
    first, second = await waiting_tasks(slots, 2)
    if granted:
        slots.release()
    first.cancel()
    if not granted:
        slots.release()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is Turn.TAKEN
    slots.release()
    assert await slots.acquire(0.001) is Turn.TAKEN


async def test_thousands_of_cancelled_waiters_leave_nothing() -> None:
    slots = CallSlots(1, 5000)
    await slots.acquire(math.inf)
    tasks = await waiting_tasks(slots, 5000)
    assert await slots.acquire(math.inf) is Turn.FULL
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slots._slots.waiting == 0
    slots.release()
    assert slots._slots.free == 1


async def test_a_task_that_waits_too_long_is_late_and_leaves_no_place() -> None:
    slots = CallSlots(1, 10)
    await slots.acquire(math.inf)
    assert await slots.acquire(0.01) is Turn.LATE
    assert slots._slots.waiting == 0


async def test_a_task_that_would_be_answered_too_late_is_refused_at_once_or_at_its_turn() -> None:
    slots = CallSlots(1, 10)
    await slots.acquire(math.inf)
    in_a_hurry, patient = await waiting_tasks(slots, 1, 300) + await waiting_tasks(slots, 1)
    slots.release(1e6)
    assert await in_a_hurry is Turn.REFUSED
    assert await patient is Turn.TAKEN
    assert await slots.acquire(300) is Turn.REFUSED
    assert slots._slots.waiting == 0
    slots.release()
    assert slots._slots.free == 1
    assert await slots.acquire(300) is Turn.TAKEN


async def test_closing_ends_the_wait_of_tasks() -> None:
    slots = CallSlots(1, 10)
    await slots.acquire(math.inf)
    tasks = await waiting_tasks(slots, 3)
    slots.close()
    assert await asyncio.gather(*tasks) == [Turn.CLOSED] * 3


def test_threads_take_turns_and_lose_no_slot() -> None:
    slots = _calls.CallSlots(3, 100)
    active = most = 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal active, most
        for _ in range(50):
            assert slots.acquire(math.inf) is Turn.TAKEN
            with guard:
                active += 1
                most = max(most, active)
            with guard:
                active -= 1
            slots.release()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 3
    assert (slots._slots.free, slots._slots.waiting) == (3, 0)


def test_a_thread_that_waits_too_long_is_late_and_leaves_no_place() -> None:
    slots = _calls.CallSlots(1, 1)
    slots.acquire(math.inf)
    assert slots.acquire(0.01) is Turn.LATE
    assert slots._slots.waiting == 0
    slots.release()
    assert slots.acquire(0.01) is Turn.TAKEN


def test_a_thread_that_would_be_answered_too_late_is_refused_at_once_or_at_its_turn() -> None:
    slots = _calls.CallSlots(1, 10)
    slots.acquire(math.inf)
    with ThreadPoolExecutor(2) as threads:
        in_a_hurry = threads.submit(slots.acquire, 300)
        while slots._slots.waiting < 1:
            time.sleep(0.001)
        patient = threads.submit(slots.acquire, math.inf)
        while slots._slots.waiting < 2:
            time.sleep(0.001)
        slots.release(1e6)
        assert in_a_hurry.result() is Turn.REFUSED
        assert patient.result() is Turn.TAKEN
    assert slots.acquire(300) is Turn.REFUSED
    assert slots._slots.waiting == 0
    slots.release()
    assert slots._slots.free == 1
    assert slots.acquire(300) is Turn.TAKEN


def test_a_thread_that_gives_up_while_it_is_lent_a_slot_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_calls, "STUCK_S", 0.05)
    slots = _calls.CallSlots(2, 10)
    for _ in range(2):
        slots.acquire(math.inf)
    gave_up = threading.Event()
    wake = _calls._Waiter.wake

    def woken_late(waiter: _calls._Waiter, turn: Turn) -> None:
        gave_up.wait(0.2)
        wake(waiter, turn)

    monkeypatch.setattr(_calls._Waiter, "wake", woken_late)

    def in_a_hurry() -> None:
        turn = slots.acquire(0.05)
        gave_up.set()
        if turn is Turn.TAKEN:
            slots.release()

    with ThreadPoolExecutor(2) as threads:
        patient = threads.submit(slots.acquire, math.inf)
        while slots._slots.waiting < 1:
            time.sleep(0.001)
        threads.submit(in_a_hurry).result()
        assert patient.result() is Turn.TAKEN
    for _ in range(3):
        slots.release()
    assert slots._slots.free == 2


def test_closing_ends_the_wait_of_threads() -> None:
    slots = _calls.CallSlots(1, 1)
    slots.acquire(math.inf)
    turns: list[Turn] = []
    thread = threading.Thread(target=lambda: turns.append(slots.acquire(math.inf)))
    thread.start()
    while not slots._slots.waiting:
        time.sleep(0.001)
    assert slots.acquire(math.inf) is Turn.FULL
    slots.close()
    thread.join()
    assert turns == [Turn.CLOSED]


def test_a_cursor_collected_while_its_thread_holds_the_lock_returns_its_slot_later() -> None:
    slots = _calls.CallSlots(1, 1)
    slots.acquire(math.inf)
    with slots._lock:
        # As garbage collection may do at any moment.
        slots.release()
        assert slots._slots.free == 0
    assert slots.acquire(math.inf) is Turn.TAKEN
