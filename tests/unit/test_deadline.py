"""The time left, and how it is passed on."""

from __future__ import annotations

import asyncio
import math

import pytest

from datastore.model.deadline import LONGEST_TIMEOUT_S, check_timeout, set_time_left, time_left
from datastore.model.errors import InvalidError
from datastore_client import RemoteDatastore, connect
from datastore_client.aio import connect as connect_tasks


async def test_a_call_without_a_deadline_has_no_time_limit():
    assert time_left(10) == 10


async def test_a_nested_call_gets_less_time_than_its_caller_has_left():
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


@pytest.mark.parametrize("timeout_s", [0.001, 1, 10.0, LONGEST_TIMEOUT_S - 1, LONGEST_TIMEOUT_S, math.inf])
def test_a_timeout_is_a_number_of_seconds_up_to_a_year_or_none(timeout_s):
    assert check_timeout(timeout_s, "timeout_s") == timeout_s
    for make in (connect, connect_tasks):
        make("grpc://localhost:1", timeout_s=timeout_s, query_timeout_s=timeout_s)


@pytest.mark.parametrize(
    "timeout_s", [0, -1, -0.0, math.nan, -math.inf, LONGEST_TIMEOUT_S + 1, 1e18, 10**400, True, "10", None]
)
@pytest.mark.parametrize("name", ["timeout_s", "query_timeout_s"])
@pytest.mark.parametrize("make", [connect, connect_tasks, RemoteDatastore])
def test_any_other_timeout_is_refused_by_name(make, name, timeout_s):
    with pytest.raises(InvalidError, match=rf"^{name} must be .* at most 31,622,400 \(a year\), or inf") as raised:
        make("grpc://localhost:1", **{name: timeout_s})
    assert raised.value.field == name
