"""Aggregates: exact sums, ties, groups, bad input, and what is asked of which store."""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datastore import (
    Avg,
    Count,
    DictDatastore,
    Filter,
    Key,
    LimitExceededError,
    Max,
    Min,
    NamespaceDatastore,
    NullDatastore,
    Order,
    Query,
    QueryNotSupportedError,
    ShardedDatastore,
    ShimDatastore,
    Sum,
    TieredDatastore,
    UnsupportedTypeError,
)
from datastore.core.basic import InterfaceMappingDatastore
from datastore.engine import room
from datastore.engine.states import ExtremeState, SumState, expansion
from datastore.engine.tally import Tally
from datastore.model import limits
from datastore.model.aggregates import AGGREGATIONS, Aggregate
from datastore.model.errors import InvalidQueryError
from datastore.sync.scan import exact

QUERY = Query(Key("/a"))
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from([1e308, -1e308, 5e-324, -5e-324, 2.0**1000, -(2.0**1000), 0.1, -0.0, 1e16, 1.0]),
)


def filled(values: Sequence[Any]) -> DictDatastore:
    store = DictDatastore()
    for index, value in enumerate(values):
        store.put(Key(f"/a/{index:06}"), {"v": value})
    return store


def computed(part: Any, values: Sequence[Any]) -> Any:
    (row,) = filled(values).aggregate(QUERY, {"x": part})
    return row["x"]


def bits(state: SumState) -> tuple[Any, ...]:
    return (state.numbers, state.exact(), state.has_doubles, struct.pack("d", state.non_finite))


def packed(result: float | None) -> Any:
    """A result to the bit."""
    return struct.pack("d", result) if isinstance(result, float) else result


def exactly(numbers: Sequence[float]) -> float:
    """The exact sum of finite numbers, rounded once."""
    total = sum(map(Fraction, numbers), Fraction())
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


# Sums


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@example([1e308, 1e308, -1e308])
@example([1e308] * 300 + [-1e308] * 300 + [5e-324])
@example([2.0**999] * 4000)
@example([0.1] * 1000)
@example([1e16, 1.0, -1e16])
def test_a_sum_of_doubles_is_the_exact_one_rounded_once(numbers: list[float]) -> None:
    assert computed(Sum("v"), numbers) == exactly(numbers)
    assert computed(Avg("v"), numbers) == float(sum(map(Fraction, numbers), Fraction()) / len(numbers))


@given(st.lists(NUMBERS, max_size=40), st.data())
def test_a_sum_is_the_same_to_the_bit_however_the_numbers_are_sharded(
    numbers: list[float], data: st.DataObject
) -> None:
    whole = SumState()
    whole.add(numbers)
    states = [SumState() for _ in range(4)]
    for number in data.draw(st.permutations(numbers)):
        data.draw(st.sampled_from(states)).add([number])
    while len(states) > 1:
        states[data.draw(st.integers(0, len(states) - 2))].merge(states.pop())
    assert bits(states[0]) == bits(whole)
    assert packed(states[0].total()) == packed(whole.total())
    assert packed(states[0].mean()) == packed(whole.mean())


def test_long_sums_are_reduced_and_stay_exact() -> None:
    state = SumState()
    for _ in range(50):
        state.add([0.1] * 500)
        assert len(state._doubles) < 100
    assert state.total() == exactly([0.1] * 25_000)


@given(st.lists(st.floats(-1e300, 1e300), max_size=30))
def test_an_expansion_has_exactly_the_sum_and_no_double_more_than_it_needs(numbers: list[float]) -> None:
    parts = expansion(numbers)
    assert sum(map(Fraction, parts), Fraction()) == sum(map(Fraction, numbers), Fraction())
    assert all(abs(less) <= math.ulp(more) / 2 for more, less in pairwise(parts))


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([], 0),
        ([1, 2, 3], 6),
        ([1, 2.0], 3.0),
        ([0.1, 0.2], 0.30000000000000004),
        ([2**62, 2**62 - 1], 2**63 - 1),
        ([2**62, 2**62], float(2**63)),
        ([-(2**63)], -(2**63)),
        ([-(2**63), -1], -float(2**63)),
        ([-0.0], 0.0),
        ([1e308, 1e308], math.inf),
        ([1e308, 1e308, -1e308], 1e308),
        ([-1e308, -1e308], -math.inf),
        ([math.inf, 1], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, math.inf], math.nan),
        ([True, None, "3", [4], 5], 5),
    ],
)
def test_sums_in_special_cases(values: list[Any], total: float) -> None:
    assert repr(computed(Sum("v"), values)) == repr(total)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([], None),
        ([None, True, "1"], None),
        ([1, 2], 1.5),
        ([1e308, 1e308], 1e308),
        ([2**63 - 1, 2**63 - 1], float(2**63)),
        ([math.inf, 0], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([0.1, 0.1, 0.1], 0.1),
    ],
)
def test_means_in_special_cases(values: list[Any], mean: float | None) -> None:
    assert repr(computed(Avg("v"), values)) == repr(mean)


# Extremes, counts and groups


@pytest.mark.parametrize(
    ("values", "least", "greatest"),
    [
        ([], None, None),
        ([None], None, None),
        ([3, 1, 2], 1, 3),
        ([0.0, -0.0], 0.0, 0.0),
        ([1.0, 1], 1, 1),
        ([math.nan, 1.0], math.nan, 1.0),
        (["b", 7, True, None], True, "b"),
        ([[2], {"a": 1}, b"x"], b"x", {"a": 1}),
    ],
)
def test_extremes_follow_the_total_order_and_ties_have_one_winner(values: list[Any], least: Any, greatest: Any) -> None:
    for given_values in (values, values[::-1]):
        assert repr(computed(Min("v"), given_values)) == repr(least)
        assert repr(computed(Max("v"), given_values)) == repr(greatest)


def test_of_equal_datetimes_the_same_one_wins() -> None:
    utc = datetime(2026, 1, 1, tzinfo=UTC)
    later_zone = utc.astimezone(timezone(timedelta(hours=2)))
    for values in ([utc, later_zone], [later_zone, utc]):
        assert computed(Min("v"), values).utcoffset() == timedelta()


def test_a_count_of_a_field_leaves_out_none_and_missing() -> None:
    assert computed(Count(), [1, None, False]) == 3
    assert computed(Count("v"), [1, None, False]) == 2
    assert computed(Count("w"), [1, None, False]) == 0


def test_groups_are_equal_values_in_the_total_order() -> None:
    values = [1, 1.0, True, math.nan, float("nan"), 0.0, -0.0, "1", None, [1], (1.0,), {"a": 1}, {"a": 1.0}, b"1"]
    rows = filled(values).aggregate(QUERY, {"n": Count()}, group_by=["v"])
    assert [(repr(row["v"]), row["n"]) for row in rows] == [
        ("None", 1),
        ("True", 1),
        ("nan", 2),
        ("0.0", 2),
        ("1", 2),
        ("'1'", 1),
        ("b'1'", 1),
        ("[1]", 2),
        ("{'a': 1}", 2),
    ]


def test_values_of_other_classes_are_grouped_by_class_and_their_own_order() -> None:
    rows = filled([1j, 2j, {1}, {1, 2}]).aggregate(QUERY, {"n": Count()}, group_by=["v"])
    # Complex numbers have no order, so all tie.
    assert [row["n"] for row in rows] == [2, 1, 1]


def test_without_groups_there_is_exactly_one_row() -> None:
    assert DictDatastore().aggregate(QUERY, {"n": Count(), "s": Sum("v")}) == [{"n": 0, "s": 0}]
    assert DictDatastore().aggregate(QUERY, {"n": Count()}, group_by=["v"]) == []


def test_rows_keep_the_order_of_names_and_sort_by_several_orders() -> None:
    rows = filled([1, 2, 2, 3]).aggregate(
        QUERY, {"z": Count(), "a": Sum("v")}, group_by=["v"], orders=[Order("-z"), "-v"]
    )
    assert rows == [{"v": 2, "z": 2, "a": 4}, {"v": 3, "z": 1, "a": 3}, {"v": 1, "z": 1, "a": 1}]
    assert list(rows[0]) == ["v", "z", "a"]


def test_limit_and_offset_of_the_query_count_entries() -> None:
    store = ShardedDatastore([DictDatastore() for _ in range(3)])
    for n in range(20):
        store.put(Key(f"/a/{n:02}"), {"v": n})
    query = Query(Key("/a"), limit=5, offset=2).order("-v")
    assert store.aggregate(query, {"s": Sum("v")}) == [{"s": 17 + 16 + 15 + 14 + 13}]


def test_a_custom_getter_finds_the_fields() -> None:
    query = Query(Key("/a"), object_getattr=lambda value, field: value["v"] * len(field))
    assert filled([1, 2]).aggregate(query, {"s": Sum("xxx")}) == [{"s": 9}]


# What is asked of which store


class Watched(ShimDatastore):
    """Notes the queries that reach it."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.asked: list[Query] = []

    def scan(self, query: Query) -> Any:
        self.asked.append(query)
        return super().scan(query)


def test_only_keys_are_read_if_no_value_is_needed() -> None:
    store = Watched(filled([1, 2]))
    store.aggregate(QUERY, {"n": Count(), "last": Max("__key__")})
    store.aggregate(QUERY, {"n": Count("v")})
    assert [query.keys_only for query in store.asked] == [True, False]


def test_entries_are_sorted_only_if_a_limit_needs_it() -> None:
    store = Watched(filled([1, 2]))
    store.aggregate(Query(Key("/a")).order("v"), {"n": Count()})
    store.aggregate(Query(Key("/a"), limit=1).order("v"), {"n": Count()})
    assert [len(query.orders) for query in store.asked] == [0, 1]


def test_a_subclass_that_changes_what_a_query_finds_changes_aggregates_too() -> None:
    class Hiding(ShardedDatastore):
        def query(self, query: Any) -> Any:
            return super().query(query.copy().filter("v", "!=", 2))

    class Lower(TieredDatastore):
        def scan(self, query: Query) -> Any:
            narrow = query.replaced(filters=[*query.filters, Filter("v", "!=", 2)])
            return exact(narrow, super().scan(narrow))

    for kind in (Hiding, Lower):
        assert kind([filled([1, 2, 3])]).aggregate(QUERY, {"n": Count()}) == [{"n": 2}]


def test_shims_that_change_keys_aggregate_under_their_own() -> None:
    store = NamespaceDatastore("/ns", DictDatastore())
    store.put(Key("/a/1"), {"v": 1})
    assert store.aggregate(QUERY, {"k": Max("__key__")}) == [{"k": Key("/a/1")}]


def test_a_store_without_queries_answers_with_its_one_error() -> None:
    service = {"x": 1}
    store = InterfaceMappingDatastore(service, get="get", put="__setitem__", delete="pop")
    with pytest.raises(QueryNotSupportedError):
        store.aggregate(QUERY, {"n": Count()})


# Limits


@pytest.mark.parametrize("shards", [0, pytest.param(2, marks=pytest.mark.long)])
def test_as_many_groups_as_the_limit_and_no_more(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def aggregate(groups: int) -> int:
        store: Any = ShardedDatastore([DictDatastore() for _ in range(shards)]) if shards else DictDatastore()
        for n in range(groups):
            store.put(Key(f"/a/{n:06}"), {"v": n})
        return len(store.aggregate(QUERY, {"n": Count()}, group_by=["v"]))

    assert aggregate(limits.GROUPS - 1) == limits.GROUPS - 1
    assert aggregate(limits.GROUPS) == limits.GROUPS
    with pytest.raises(LimitExceededError, match=r"at most 10,000 groups") as raised:
        aggregate(limits.GROUPS + 1)
    assert (raised.value.limit, raised.value.maximum) == ("groups", 10_000)


def test_what_groups_hold_counts_toward_the_memory_for_sorting() -> None:
    budget = room.SortBudget(100_000)
    room.set_sort_budget(budget)
    try:
        store = filled(["x" * 10_000 + str(n) for n in range(20)])
        for grouped in ({"group_by": ["v"]}, {"group_by": ["__key__"]}):
            with pytest.raises(LimitExceededError) as raised:
                store.aggregate(QUERY, {"v last": Max("v")}, **grouped)
            assert raised.value.limit == "sort_bytes"
        assert store.aggregate(QUERY, {"last": Max("v")}) == [{"last": "x" * 10_000 + "9"}]
        assert budget.held_bytes == 0
    finally:
        room._sort_budget.set(None)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"query": "/a"}, UnsupportedTypeError, "must be a Query"),
        ({"query": Query(Key("/a"), keys_only=True)}, InvalidQueryError, "leave out keys_only"),
        ({"query": Query(Key("/a"), fields=["v"])}, InvalidQueryError, "leave out keys_only, fields and metadata"),
        ({"query": Query(Key("/a"), metadata=True)}, InvalidQueryError, "leave out keys_only, fields and metadata"),
        ({"query": Query(Key("/a"), allow_partial=True)}, InvalidQueryError, "never partial"),
        ({"aggregations": [Count()]}, UnsupportedTypeError, "must be a dict of names"),
        ({"aggregations": {}}, InvalidQueryError, "at least one aggregation"),
        ({"aggregations": {"n": Count}}, UnsupportedTypeError, "one of Count, Sum, Avg, Min, Max"),
        ({"aggregations": {"": Count()}}, InvalidQueryError, "is empty"),
        ({"aggregations": {1: Count()}}, UnsupportedTypeError, "must be a str"),
        ({"group_by": "v"}, UnsupportedTypeError, "must be a list of fields"),
        ({"group_by": [1]}, UnsupportedTypeError, "must be a str"),
        ({"group_by": ["n"]}, InvalidQueryError, "'n' would be in each row twice"),
        ({"group_by": ["v", "v"]}, InvalidQueryError, "'v' would be in each row twice"),
        ({"orders": "-n"}, UnsupportedTypeError, "must be a list of names"),
        ({"orders": ["-m"]}, InvalidQueryError, "cannot be sorted by 'm'; they have 'n'"),
        ({"orders": [""]}, InvalidQueryError, "is empty"),
        ({"limit": -1}, InvalidQueryError, "at least 0"),
        ({"limit": True}, UnsupportedTypeError, "must be an int or None"),
        ({"limit": 1.0}, UnsupportedTypeError, "must be an int or None"),
    ],
)
def test_bad_arguments_are_refused_in_plain_words(arguments: dict[str, Any], kind: type[Exception], text: str) -> None:
    call: dict[str, Any] = {"query": QUERY, "aggregations": {"n": Count()}, **arguments}
    with pytest.raises(kind, match=text):
        NullDatastore().aggregate(call.pop("query"), call.pop("aggregations"), **call)


def test_a_bad_field_is_refused_when_the_aggregation_is_made() -> None:
    for kind in AGGREGATIONS:
        with pytest.raises(InvalidQueryError, match="is empty"):
            kind("")  # type: ignore[call-arg]
        with pytest.raises(UnsupportedTypeError, match="must be a str"):
            kind(3)  # type: ignore[call-arg]
    with pytest.raises(UnsupportedTypeError):
        Sum(None)  # type: ignore[arg-type]


def test_aggregations_are_values() -> None:
    assert (Sum("a"), Count()) == (Sum("a"), Count(None))
    assert Sum("a") != Avg("a")
    assert pickle.loads(pickle.dumps(Sum("a"))) == Sum("a")
    assert repr([Max("geo.lat"), Count()]) == "[Max('geo.lat'), Count()]"


def test_tallies_of_parts_combine_to_that_of_the_whole() -> None:
    asked = Aggregate.checked(QUERY, {"n": Count(), "lo": Min("v")}, group_by=["v"])
    tallies = [Tally(asked) for _ in range(2)]
    for tally, values in zip(tallies, ([1.0, 2], [1, "x"]), strict=True):
        for batch in filled(values).query(QUERY).batches():
            tally.add(batch)
    tallies[0].merge(tallies[1])
    assert [(row["v"], row["n"]) for row in tallies[0].rows()] == [(1, 2), (2, 1), ("x", 1)]
    assert type(tallies[0].rows()[0]["v"]) is int
    assert ExtremeState(min).merge(ExtremeState(min)) == 0
