"""Stores read as much as a server can use, and are not bounded otherwise."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from datastore import DictDatastore, SerializerShimDatastore, wire
from datastore.engine.room import SortBudget, set_batch_bytes, set_read_room, set_sort_budget
from datastore.lmdb import LMDBDatastore
from datastore.model.errors import LimitExceededError, OverloadedError
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES
from datastore.model.query import Query

KEYS = [Key(f"/k{index}") for index in range(10)]


def _lmdb(directory: Path) -> LMDBDatastore:
    return LMDBDatastore(directory, durability="async")


class OwnGet(DictDatastore):
    """A user's store, whose values may come from anywhere."""

    def get(self, key: Key) -> Any:
        return super().get(key)


@pytest.fixture(params=["own get", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with OwnGet() if request.param == "own get" else _lmdb(tmp_path) as made:
        for key in KEYS:
            made.put(key, b"x" * 1000)
        yield made


def within(room_bytes: int, store: Any) -> list[Any]:
    def read() -> list[Any]:
        set_read_room(room_bytes)
        outcomes: list[Any] = store.batch_get(KEYS)
        return outcomes

    return copy_context().run(read)


@pytest.mark.parametrize(("room_bytes", "read"), [(1, 1), (2999, 3), (3000, 3), (3001, 4), (10_000, 10)])
def test_a_batch_is_read_until_its_room_is_full(store: Any, room_bytes: int, read: int) -> None:
    outcomes = within(room_bytes, store)
    assert [outcome.value is not None for outcome in outcomes] == [True] * read + [False] * (10 - read)
    for outcome in outcomes[read:]:
        assert isinstance(outcome.error, LimitExceededError)
        assert outcome.error.limit == "message_bytes"


def test_without_a_server_everything_is_read(store: Any) -> None:
    assert all(outcome.value for outcome in store.batch_get(KEYS))


def test_batches_of_results_have_the_size_that_the_reader_can_use(tmp_path: Path) -> None:
    with _lmdb(tmp_path) as store:
        for index in range(100):
            store.put(Key(f"/k{index:03}"), b"x" * 10_000)

        def sizes(wanted: int | None) -> list[int]:
            if wanted is not None:
                set_batch_bytes(lambda: wanted)
            return [len(batch) for batch in store.query(Query(Key("/"))).batches()]

        assert max(copy_context().run(sizes, 20_000)) == 2
        assert max(copy_context().run(sizes, None)) == BATCH_BYTES // 10_000 + 1


@pytest.fixture(params=["dict", "lmdb"])
def wired(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store of serialized values, as a server has: more of them than are sorted or read at once."""
    with DictDatastore() if request.param == "dict" else _lmdb(tmp_path / "wired") as made:
        store = made if request.param == "dict" else SerializerShimDatastore(made, wire.lazy)
        for index in range(3000):
            store.put(Key(f"/k{index:04}"), wire.encode_value({"n": -index, "x": "x" * 100}))
        yield store


def sharing(budget: SortBudget, store: Any, query: Query) -> Any:
    """The batches of a query that shares a budget; read in its own context, as a call of a server is."""
    context = copy_context()
    context.run(set_sort_budget, budget)
    return context, store.query(query).batches()


def ordered() -> Query:
    return Query(Key("/")).order("n")


def test_a_sorted_query_holds_less_the_more_of_it_is_read(wired: Any) -> None:
    budget = SortBudget(10**9)
    context, batches = sharing(budget, wired, ordered())
    held, count = [], 0
    while (batch := context.run(next, batches, None)) is not None:
        count += len(batch)
        if len(batch):
            held.append(budget.held_bytes)
    assert count == 3000
    assert held == sorted(held, reverse=True)
    assert held[0] > 3000 * 100
    assert held[-1] == budget.held_bytes == 0


def test_a_sorted_query_that_is_closed_holds_nothing(wired: Any) -> None:
    budget = SortBudget(10**9)
    context, batches = sharing(budget, wired, ordered())
    while not context.run(next, batches):
        pass
    assert budget.held_bytes > 0
    context.run(batches.close)
    assert budget.held_bytes == 0


def test_a_sorted_query_over_the_shared_budget_is_refused_until_another_is_closed(wired: Any) -> None:
    measured = SortBudget(10**9)
    context, batches = sharing(measured, wired, ordered())
    while not context.run(next, batches):
        pass
    budget = SortBudget(measured.held_bytes * 3 // 2)
    first, second = sharing(budget, wired, ordered()), sharing(budget, wired, ordered())
    while not first[0].run(next, first[1]):
        pass
    held = budget.held_bytes
    with pytest.raises(OverloadedError, match="all_sort_bytes") as caught:
        second[0].run(list, second[1])
    assert caught.value.retry_after_s
    assert budget.held_bytes == held
    first[0].run(first[1].close)
    again = sharing(budget, wired, ordered())
    assert sum(map(len, again[0].run(list, again[1]))) == 3000


@pytest.mark.parametrize("above", [-1, 0, 1])
def test_a_budget_can_be_used_completely(above: int) -> None:
    budget = SortBudget(100)
    budget.change(0, 60)
    if above > 0:
        with pytest.raises(OverloadedError):
            budget.change(0, 40 + above)
        assert budget.held_bytes == 60
    else:
        budget.change(0, 40 + above)
        assert budget.held_bytes == 100 + above
    budget.change(60, 10)


def test_a_query_that_alone_exceeds_the_budget_is_not_retryable() -> None:
    with pytest.raises(LimitExceededError) as caught:
        SortBudget(100).change(0, 101)
    assert (caught.value.limit, caught.value.maximum) == ("sort_bytes", 100)
