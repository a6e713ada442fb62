"""Calls are watched only if they take long, and each once."""

from __future__ import annotations

import asyncio

from datastore_server.transport import watched
from datastore_server.transport.watched import Unwatched
from tests.support.waiting import PATIENCE_S


async def test_a_call_that_takes_long_is_watched_and_one_that_has_ended_is_not() -> None:
    calls, seen = Unwatched(), []
    all_seen = asyncio.Event()
    calls.begin("ended", lambda: seen.append("ended"))
    calls.begin("long", lambda: seen.append("long"))
    calls.end("ended")
    calls.end("ended")
    calls.begin("last", all_seen.set)
    await asyncio.wait_for(all_seen.wait(), PATIENCE_S)
    assert seen == ["long"]
    calls.end("long")
    calls.begin("again", all_seen.clear)
    async with asyncio.timeout(PATIENCE_S):
        while all_seen.is_set():
            await asyncio.sleep(watched.WATCHED_AFTER_S)
    assert seen == ["long"]
    calls.stop()


async def test_nothing_is_watched_after_the_end() -> None:
    calls = Unwatched()
    calls.stop()
    calls.begin("left", lambda: None)
    calls.stop()
    calls.stop()
    assert calls._timer is not None
    assert calls._timer.cancelled()
