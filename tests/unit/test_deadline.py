"""The time left, as it is handed down."""

from __future__ import annotations

import asyncio

from datastore.core.deadline import set_time_left, time_left


async def test_a_call_may_take_what_it_likes_where_nobody_waits():
    assert time_left(10) == 10


async def test_a_call_made_for_another_gets_less_than_that_has_left():
    set_time_left(5)
    assert 4.5 < time_left(10) < 5
    assert time_left(1) == 1
    set_time_left(0.1)
    assert 0.05 < time_left(10) < 0.1
    set_time_left(-1)
    assert 0 < time_left(10) < 0.01
    set_time_left(None)
    assert time_left(10) == 10


async def test_tasks_inherit_the_time_left_and_keep_their_own():
    async def inner():
        found = time_left(10)
        set_time_left(1)
        return found

    set_time_left(5)
    assert await asyncio.create_task(inner()) < 5
    assert time_left(10) > 4
