"""What stores remember of the writes that they have made: how much, for how long, and over restarts and moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

import datastore
from datastore import DictDatastore
from datastore.engine.requests import Outcome, Requests
from datastore.lmdb import LMDBDatastore
from datastore.lmdb.requests import RequestClock
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.errors import InvalidError, RequestForgottenError, StoreFullError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT
from datastore.model.operations import Delete, Patch, Put, WriteResult, raise_error
from datastore.model.patches import changes_of
from tests.support.clocks import Clock

KEY = Key("/a/b")
OUTCOME = Outcome("/a/b")
MINUTE_US = 60_000_000
NOW_US = 1_000_000_000


def write(store: Any, value: bytes, attempt: Attempt | None, key: Key = KEY) -> None:
    """Put a value. Raises the error of the result."""
    [result] = store.batch_write([Put(key, value, attempt=attempt)])
    raise_error(result)


def a_write(attempt: Attempt) -> Delete:
    return Delete(KEY, attempt=attempt)


# Which are forgotten


def test_requests_are_forgotten_when_they_are_too_old_and_another_comes() -> None:
    clock = Clock(NOW_US)
    requests = Requests(10, 600, clock=clock)
    first, second = Attempt.new(), Attempt.new()
    clock.now += 1
    sent = clock.now
    requests.note(a_write(first), WriteResult())
    clock.now += 10 * MINUTE_US
    requests.note(a_write(second), WriteResult())
    assert requests.find(first.followed(sent)) == OUTCOME
    clock.now += 1
    requests.note(a_write(Attempt.new()), WriteResult())
    with pytest.raises(RequestForgottenError):
        requests.find(first.followed(sent))
    assert requests.find(second.followed(sent + 1)) == OUTCOME


def test_an_unknown_write_is_new_only_if_it_was_first_sent_after_the_latest_that_was_forgotten() -> None:
    clock = Clock(NOW_US)
    requests = Requests(2, 600, clock=clock)
    for _ in range(3):
        clock.now += 10
        requests.note(a_write(Attempt.new()), WriteResult())
    # That of 20 us ago was forgotten.
    assert requests.find(Attempt.new().followed(clock.now - 19)) is None
    with pytest.raises(RequestForgottenError):
        requests.find(Attempt.new().followed(clock.now - 20))
    assert requests.find(Attempt.new()) is None


@pytest.fixture(params=["memory", "lmdb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Opens a store with some limits."""
    if request.param == "memory":
        return DictDatastore
    return lambda **limits: LMDBDatastore(tmp_path, durability="async", **limits)


@pytest.mark.parametrize(("most", "is_remembered"), [(3, False), (4, True), (5, True)])
def test_a_store_remembers_as_many_requests_as_its_limit(
    opened: Callable[..., Any], most: int, is_remembered: bool
) -> None:
    with opened(most_requests=most) as store:
        first, sent = Attempt.new(), elapsed_us()
        write(store, b"mine", first)
        for number in range(3):
            write(store, b"theirs", Attempt.new(), Key(f"/{number}"))
        write(store, b"theirs", None)
        if is_remembered:
            write(store, b"mine", first.followed(sent))
        else:
            with pytest.raises(RequestForgottenError):
                write(store, b"mine", first.followed(sent))
        assert store.get(KEY) == b"theirs"


@pytest.mark.parametrize("url", ["memory:", "lmdb:{}?durability=async&"])
def test_how_many_requests_a_store_remembers_and_for_how_long_is_in_its_url(url: str, tmp_path: Path) -> None:
    url = url.format(tmp_path)
    url += "" if "?" in url else "?"
    for options, is_remembered in (("requests=1", True), ("requests=9&request_age=0.000001s", False)):
        with datastore.open(f"{url}{options}") as store:
            first, sent = Attempt.new(), elapsed_us()
            write(store, b"mine", first)
            if is_remembered:
                write(store, b"mine", first.followed(sent))
                write(store, b"theirs", Attempt.new())
            else:
                for _ in range(3):
                    write(store, b"theirs", Attempt.new())
            with pytest.raises(RequestForgottenError):
                write(store, b"mine", first.followed(sent))


def test_a_store_remembers_requests_for_as_long_as_its_limit(opened: Callable[..., Any]) -> None:
    with opened(most_request_age_s=0.000_001) as store:
        first, sent = Attempt.new(), elapsed_us()
        write(store, b"mine", first)
        for _ in range(3):
            write(store, b"theirs", Attempt.new())
        with pytest.raises(RequestForgottenError):
            write(store, b"mine", first.followed(sent))


@pytest.mark.parametrize("limits", [{"most_requests": 0}, {"most_request_age_s": 0}, {"most_requests": -1}])
def test_limits_of_requests_are_above_zero(opened: Callable[..., Any], limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        opened(**limits)


def test_many_requests_are_forgotten_some_at_a_time(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path, durability="async") as store:
        for start in range(0, 1000, 100):
            store.batch_write([Put(Key(f"/{n}"), b"", attempt=Attempt.new()) for n in range(start, start + 100)])
    assert remembered(tmp_path) == 1000
    with LMDBDatastore(tmp_path, durability="async", most_requests=10) as store:
        write(store, b"", Attempt.new())
    left = remembered(tmp_path)
    assert 950 < left < 1000
    with LMDBDatastore(tmp_path, durability="async", most_requests=10) as store:
        for _ in range(100):
            write(store, b"", Attempt.new())
    assert remembered(tmp_path) == 10


def remembered(directory: Path) -> int:
    """How many requests a directory has."""
    with lmdb.open(str(directory), readonly=True, max_dbs=8) as environment:
        requests = environment.open_db(b"requests", create=False)
        with environment.begin() as transaction:
            items: int = transaction.stat(requests)["entries"]
    return (items - 1) // 2


# Restarts


def test_a_directory_remembers_all_kinds_of_outcomes_over_a_restart(tmp_path: Path) -> None:
    put = Put(KEY, b"1", ABSENT, attempt=Attempt.new())
    delete = Delete(Key("/c"), attempt=Attempt.new())
    with LMDBDatastore(tmp_path) as store:
        failing = Put(KEY, b"2", ABSENT, attempt=Attempt.new().followed(elapsed_us()))
        misfit = Patch(KEY, changes_of(increment={"n": 1}), attempt=Attempt.new().followed(elapsed_us()))
        before = store.batch_write([put, delete, failing, misfit])
        store.delete(KEY)
    with LMDBDatastore(tmp_path) as store:
        after = store.batch_write([put, delete, failing, misfit])
        assert store.get(KEY) is None
    assert [result.metadata for result in after] == [result.metadata for result in before]
    assert [str(result.error) for result in after] == [str(result.error) for result in before]
    assert isinstance(after[3].error, ValueError)


def test_the_time_in_which_a_directory_is_closed_does_not_make_its_requests_older(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        write(store, b"1", Attempt.new())
        sent = elapsed_us()
    with LMDBDatastore(tmp_path) as store:
        # If it had been made when the store was open before, that would be known.
        write(store, b"2", Attempt.new().followed(sent))
        assert store.get(KEY) == b"2"


def test_a_directory_from_before_remembers_from_its_opening_on(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        write(store, b"1", None)
    with lmdb.open(str(tmp_path), max_dbs=8) as environment:
        requests = environment.open_db(b"requests", create=False)
        with environment.begin(write=True) as transaction:
            transaction.drop(requests)
    sent = elapsed_us()
    with LMDBDatastore(tmp_path) as store:
        with pytest.raises(RequestForgottenError):
            write(store, b"2", Attempt.new().followed(sent))
        write(store, b"3", Attempt.new().followed(elapsed_us()))
        assert store.get(KEY) == b"3"


def test_moments_of_a_directory_grow_and_never_run_ahead_of_its_clock_for_long() -> None:
    clock = Clock(NOW_US)
    moments = RequestClock(5000, clock=clock)
    assert moments.now() == 5000
    taken = [moments.take() for _ in range(5)]
    assert taken == [5001, 5002, 5003, 5004, 5005]
    clock.now += 100
    assert moments.take() == 5100
    assert moments.of(clock.now - 30) == 5070


# Moves


def test_after_others_were_forgotten_only_what_was_made_here_is_known(opened: Callable[..., Any]) -> None:
    with opened() as store:
        first, sent = Attempt.new(), elapsed_us()
        write(store, b"1", first)
        store.forget_requests()
        write(store, b"1", first.followed(sent))
        with pytest.raises(RequestForgottenError):
            write(store, b"2", Attempt.new().followed(sent))
        write(store, b"3", Attempt.new().followed(elapsed_us()))
        assert store.get(KEY) == b"3"


# Room


def test_a_full_store_says_so_and_can_be_emptied_by_writes_with_ids(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path, durability="async", map_bytes=2**20, max_map_bytes=2**20) as store:
        keys = [Key(f"/{number}") for number in range(1000)]
        results = store.batch_write([Put(key, b"x" * 2000, attempt=Attempt.new()) for key in keys])
        assert any(isinstance(result.error, StoreFullError) for result in results)
        assert all(
            result.error is None for result in store.batch_write([Delete(key, attempt=Attempt.new()) for key in keys])
        )
        write(store, b"1", Attempt.new())
