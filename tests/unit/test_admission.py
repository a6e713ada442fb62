"""A server admits what it can answer in time, shares its memory, and refuses the rest with a clear error."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack

import pytest

from datastore.model.errors import LimitExceededError, OverloadedError, UnavailableError
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES
from datastore_server.admission import CALLS_UNQUESTIONED, Admission
from datastore_server.budget import ByteBudget, OpenStreams
from datastore_server.limits import Limits
from tests.support.waiting import PATIENCE_S

STREAM_BYTES = 4 * 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_calls_in_progress_are_limited() -> None:
    admission = Admission(3)
    numbers = [admission.enter(None) for _ in range(3)]
    with pytest.raises(OverloadedError, match="calls_in_hand") as caught:
        admission.enter(None)
    assert caught.value.retry_after_s
    admission.leave(numbers[0])
    admission.enter(None)


def busy(calls: int, seconds_each: float) -> Admission:
    """The admission of a server with so many calls in progress, each of which takes so long."""
    clock = Clock()
    admission = Admission(1000, clock=clock)
    numbers = deque(admission.enter(None) for _ in range(calls))
    for _ in range(300):
        clock.now_s += seconds_each
        admission.leave(numbers.popleft())
        numbers.append(admission.enter(None))
    return admission


def test_a_call_that_would_end_after_its_deadline_is_refused() -> None:
    admission = busy(200, 0.01)
    with pytest.raises(OverloadedError, match="its deadline is in 1") as caught:
        admission.enter(1.0)
    assert caught.value.retry_after_s == 1.0
    with pytest.raises(OverloadedError):
        admission.enter(3.0)
    for time_left_s in (5.0, None):
        admission.enter(time_left_s)


def test_with_few_calls_in_progress_none_is_refused() -> None:
    busy(CALLS_UNQUESTIONED - 1, 10.0).enter(0.01)
    with pytest.raises(OverloadedError):
        busy(CALLS_UNQUESTIONED, 10.0).enter(0.01)


def test_idle_time_does_not_count_as_work() -> None:
    clock = Clock()
    admission = Admission(1000, clock=clock)
    for _ in range(100):
        clock.now_s += 60.0
        number = admission.enter(None)
        clock.now_s += 0.001
        admission.leave(number)
    for _ in range(CALLS_UNQUESTIONED + 1):
        admission.enter(1.0)


def test_calls_that_others_overtake_do_not_make_these_wait() -> None:
    clock = Clock()
    admission = Admission(1000, clock=clock)
    stuck = [admission.enter(None) for _ in range(10 * CALLS_UNQUESTIONED)]
    # Nothing ends for a while; then calls come and go beside those that are stuck.
    clock.now_s += 2.0
    for _ in range(100):
        number = admission.enter(5.0)
        clock.now_s += 0.001
        admission.leave(number)
    for number in stuck:
        admission.leave(number)
    assert admission.in_hand == 0
    admission.leave(admission.enter(0.01))


def test_a_server_that_drains_refuses_every_call() -> None:
    admission = Admission(1000)
    admission.close(lambda: UnavailableError("it shuts down", retry_after_s=0.5))
    raised = []
    for _ in range(2):
        with pytest.raises(UnavailableError, match="shuts down") as caught:
            admission.enter(None)
        raised.append(caught.value)
    # A shared error would hold the frames of every call that raised it.
    assert raised[0] is not raised[1]


@pytest.mark.parametrize("open_streams", [1, 2])
def test_open_streams_have_a_limit_in_total(open_streams: int) -> None:
    streams = OpenStreams(Limits(open_streams=2))
    with streams.one_more("a"):
        if open_streams == 1:
            with streams.one_more("b"):
                return
        with streams.one_more("b"), pytest.raises(OverloadedError, match="open_streams"), streams.one_more("c"):
            pass


def test_open_streams_have_a_limit_for_each_client() -> None:
    streams = OpenStreams(Limits(open_streams_per_client=1))
    with streams.one_more("a"):
        with pytest.raises(LimitExceededError, match="close their cursors") as caught, streams.one_more("a"):
            pass
        assert (caught.value.limit, caught.value.maximum) == ("open_streams_per_client", 1)
        with streams.one_more("b"):
            pass
    with streams.one_more("a"):
        pass


def test_a_refused_stream_leaves_nothing_behind() -> None:
    streams = OpenStreams(Limits(open_streams=1))
    with streams.one_more("a"):
        for _ in range(3):
            with pytest.raises(OverloadedError), streams.one_more("b"):
                pass
    assert not streams._by_client


def test_streams_share_what_they_may_hold() -> None:
    streams = OpenStreams(Limits(stream_bytes=STREAM_BYTES))
    assert streams.share_bytes() == BATCH_BYTES
    shares = []
    with ExitStack() as stack:
        for index in range(100):
            stack.enter_context(streams.one_more(str(index)))
            shares.append(streams.share_bytes())
    assert shares[0] == BATCH_BYTES
    assert FIRST_BATCH_BYTES <= shares[-1] <= STREAM_BYTES // 100
    assert shares == sorted(shares, reverse=True)


async def test_a_byte_budget_is_granted_in_order() -> None:
    budget = ByteBudget(10)
    begun: list[str] = []
    ends = {name: asyncio.Event() for name in ("first", "large", "small")}

    async def use(name: str, count: int) -> None:
        async with budget.hold(count):
            begun.append(name)
            await ends[name].wait()

    tasks = [asyncio.create_task(use(*pair)) for pair in (("first", 6), ("large", 100), ("small", 1))]
    await asyncio.sleep(0)
    # The small one would fit, but does not overtake the large one indefinitely.
    assert begun == ["first"]
    for name in ("first", "large", "small"):
        ends[name].set()
        await tasks[list(ends).index(name)]
    assert begun == ["first", "large", "small"]
    async with asyncio.timeout(PATIENCE_S), budget.hold(10):
        pass


@pytest.mark.parametrize("granted", [False, True])
async def test_a_waiter_that_is_cancelled_takes_no_bytes(granted: bool) -> None:
    budget = ByteBudget(10)

    async def use() -> None:
        async with budget.hold(10):
            pass

    async with budget.hold(10):
        waiting = asyncio.create_task(use())
        following = asyncio.create_task(use())
        await asyncio.sleep(0)
        if not granted:
            waiting.cancel()
            await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.wait_for(following, PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S), budget.hold(10):
        pass
