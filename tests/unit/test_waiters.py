"""Waits of tasks that share a timer: each ends when it is woken, or after its time."""

from __future__ import annotations

import asyncio
import math

from datastore_client.aio import _calls
from datastore_client.aio._calls import Waiter
from tests.support.waiting import PATIENCE_S


async def test_a_wait_ends_after_its_time_while_others_continue() -> None:
    longer, endless = Waiter(), Waiter()
    waits = [asyncio.create_task(longer.wait(PATIENCE_S)), asyncio.create_task(endless.wait(math.inf))]
    await asyncio.wait_for(Waiter().wait(0.02), PATIENCE_S)
    assert not any(wait.done() for wait in waits)
    longer.wake()
    endless.finish()
    await asyncio.wait_for(asyncio.gather(*waits), PATIENCE_S)


async def test_a_waiter_that_was_woken_before_does_not_wait() -> None:
    waiter = Waiter()
    waiter.wake()
    await waiter.wait(math.inf)
    waiting = asyncio.create_task(waiter.wait(math.inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_no_timer_is_left_when_nobody_waits() -> None:
    await asyncio.wait_for(Waiter().wait(0.02), PATIENCE_S)
    timeouts = _calls._timeouts[asyncio.get_running_loop()]
    async with asyncio.timeout(PATIENCE_S):
        while timeouts._is_ticking:
            await asyncio.sleep(_calls.TICK_S)
    assert not timeouts._ends


def test_each_event_loop_has_its_own() -> None:
    for _ in range(2):
        asyncio.run(asyncio.wait_for(Waiter().wait(0.02), PATIENCE_S))
