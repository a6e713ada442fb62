"""The total order of values, and that both sort keys keep it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum, IntEnum
from functools import cmp_to_key
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import DictDatastore, Key, Query
from datastore.model.errors import InvalidValueError, UnsupportedTypeError
from datastore.model.limits import COMPARED_DEPTH
from datastore.model.ordering import compare, encode, microseconds, order_key
from datastore.testing import cases, model
from datastore.wire import encode_value
from tests.support.vectors import value_of, vectors

values = cases.wire_values()
#: Numbers that are close together, where doubles round.
close = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from([2**53, 2**62, 2**63 - 512]).flatmap(lambda base: st.integers(base - 3, base + 3)),
    st.sampled_from([2.0**53, 2.0**62, 2.0**63]),
)


def sign(one, other):
    return (one > other) - (one < other)


@given(st.one_of(values, close), st.one_of(values, close))
def test_the_order_is_that_of_the_naive_model(one, other):
    assert compare(one, other) == model.compare(one, other) == -compare(other, one)


@given(st.lists(cases.plain_values(), max_size=8))
def test_any_shuffle_sorts_into_one_order(items):
    once = sorted(items, key=order_key)
    backwards = items[::-1]
    again = sorted(backwards, key=order_key)
    assert [order_key(item) for item in once] == [order_key(item) for item in again]
    assert [order_key(item) for item in once] == [order_key(i) for i in sorted(items, key=cmp_to_key(compare))]


@given(cases.plain_values(), cases.plain_values(), cases.plain_values())
def test_the_order_is_transitive(one, two, three):
    if compare(one, two) <= 0 and compare(two, three) <= 0:
        assert compare(one, three) <= 0


@given(st.one_of(values, close), st.one_of(values, close))
def test_bytes_sort_as_values_do(one, other):
    order = compare(one, other)
    assert sign(encode(one), encode(other)) == order
    assert sign(encode(one, descending=True), encode(other, descending=True)) == -order


@given(cases.plain_values(), cases.plain_values())
def test_descending_keys_sort_in_reverse(one, other):
    first, second = order_key(one, descending=True), order_key(other, descending=True)
    assert (second < first) - (first < second) == compare(one, other) * -1


@given(values, values)
def test_no_encoding_begins_another(one, other):
    for descending in (False, True):
        first, second = encode(one, descending=descending), encode(other, descending=descending)
        assert first == second or not second.startswith(first)


@given(st.lists(values, min_size=2, max_size=2), st.lists(values, min_size=2, max_size=2))
def test_encodings_in_a_row_compare_item_by_item(one, other):
    expected = next((compare(a, b) for a, b in zip(one, other, strict=True) if compare(a, b)), 0)
    assert sign(b"".join(map(encode, one)), b"".join(map(encode, other))) == expected


def test_the_vectors_are_in_order_and_have_their_encodings():
    ties = vectors("sort_keys")
    for tie in ties:
        for item in tie:
            value = value_of(item["value"])
            assert encode(value).hex() == item["ascending"]
            assert encode(value, descending=True).hex() == item["descending"]
            assert compare(value, value_of(tie[0]["value"])) == 0
    for lower, higher in pairwise(ties):
        assert compare(value_of(lower[0]["value"]), value_of(higher[0]["value"])) == -1
        assert lower[0]["ascending"] < higher[0]["ascending"]
        assert lower[0]["descending"] > higher[0]["descending"]


def test_the_keys_of_this_process_keep_the_order_of_the_vectors():
    ties = [[value_of(item["value"]) for item in tie] for tie in vectors("sort_keys")]
    for descending in (False, True):
        keys = [[order_key(value, descending=descending) for value in tie] for tie in ties]
        for tie in keys:
            assert all(key == tie[0] and not key < tie[0] and not tie[0] < key for key in tie)
        for (lower, *_), (higher, *_) in pairwise(keys):
            assert lower != higher and higher != lower
            assert (lower < higher, higher < lower) == (not descending, descending)


def test_descending_is_keyword_only():
    for key in (order_key, encode):
        with pytest.raises(TypeError):
            key(1, True)


zones = st.timedeltas(-timedelta(hours=23), timedelta(hours=23)).map(timezone)


@given(st.datetimes(timezones=zones) | st.datetimes(timezones=st.just(UTC)))
def test_an_instant_is_its_microseconds_from_1970(instant):
    local, offset = instant.replace(tzinfo=None), instant.utcoffset()
    assert microseconds(instant) == (local - datetime(1970, 1, 1) - offset) // timedelta(microseconds=1)


@given(values)
def test_an_encoded_value_is_ordered_by_its_content(value):
    wire = encode_value(value)
    assert encode(wire) == encode(value)
    assert order_key(wire) == order_key(value)


def test_naive_datetimes_mean_utc_and_the_ends_of_the_calendar_work():
    naive, aware = datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)
    assert compare(naive, aware) == 0
    far = timezone(timedelta(hours=14))
    assert compare(datetime.min.replace(tzinfo=far), datetime.min.replace(tzinfo=UTC)) == -1
    assert compare(datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))) == -1


class Odd:
    def __init__(self, size):
        self.size = size

    def __lt__(self, other):
        return self.size < other.size


class Unordered:
    pass


def test_other_objects_come_last_by_class_and_then_by_their_own_order():
    assert compare(Odd(1), {"a": 1}) == 1
    assert compare(Odd(1), Odd(2)) == -1
    assert order_key(Odd(1)) == order_key(Odd(1))
    assert order_key(Odd(1)) != order_key(Odd(2)) and order_key(Odd(2)) != order_key(Odd(1))
    assert compare(Odd(2), Unordered()) == -1
    assert compare(Unordered(), Unordered()) == 0


def test_values_without_a_sort_key_on_the_wire_are_refused():
    for value in (object(), [object()], {"a": object()}, {1: 2}):
        with pytest.raises(UnsupportedTypeError):
            encode(value)
    for value in (2**63, -(2**63) - 1, "\ud800"):
        with pytest.raises(InvalidValueError):
            encode(value)


def test_ints_of_any_size_are_ordered_exactly_in_process():
    assert compare(2**70, 2**70 + 1) == -1
    assert compare(10**400, float("inf")) == -1
    assert compare(Key("/a"), "/a") == 1


def nested(depth, innermost):
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


def test_values_nested_too_deep_tie_and_nothing_is_too_deep_to_sort():
    assert compare(nested(COMPARED_DEPTH - 1, 1), nested(COMPARED_DEPTH - 1, 2)) == -1
    assert compare(nested(COMPARED_DEPTH + 1, 1), nested(COMPARED_DEPTH + 1, 2)) == 0
    loop: list = []
    loop.append(loop)
    assert compare(loop, loop) == 0
    assert compare(nested(10_000, 1), nested(10_000, 2)) == 0
    assert sorted([{"a": loop}, loop, "x"], key=order_key) == ["x", loop, {"a": loop}]


def nested_maps(depth, innermost):
    value = innermost
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize("nest", [nested, nested_maps])
@pytest.mark.parametrize("descending", [False, True])
def test_encoded_values_are_compared_to_the_limit_of_depth_and_deeper_ones_are_refused(nest, descending):
    for depth in (1, COMPARED_DEPTH - 1, COMPARED_DEPTH):
        one, other = [encode(nest(depth, leaf), descending=descending) for leaf in (1, 2)]
        assert sign(one, other) == compare(nest(depth, 1), nest(depth, 2)) * (-1 if descending else 1) != 0
    for leaf in (1, [], {}):
        with pytest.raises(InvalidValueError, match=f"more than {COMPARED_DEPTH} deep"):
            encode(nest(COMPARED_DEPTH + 1, leaf), descending=descending)
    for empty in ([], {}):
        assert encode(nest(COMPARED_DEPTH - 1, empty), descending=descending)
        with pytest.raises(InvalidValueError):
            encode(nest(COMPARED_DEPTH, empty), descending=descending)


class BrokenZone(tzinfo):
    def utcoffset(self, when):
        raise RuntimeError("no")


def test_unreadable_values_tie_with_each_other_and_come_first_among_their_kind():
    broken = datetime(2026, 1, 1, tzinfo=BrokenZone())
    assert compare(broken, broken.replace(year=2027)) == 0
    assert compare(broken, datetime(1, 1, 1)) == -1
    assert compare(broken, 5) == 1
    assert order_key(broken, descending=True) > order_key(datetime(1, 1, 1), descending=True)


def test_unreadable_values_have_no_sort_key_on_the_wire_but_can_be_sorted():
    loop: dict = {}
    loop["d"] = loop
    for value in (loop, nested(10_000, 1), datetime(2026, 1, 1, tzinfo=BrokenZone()), BrokenMap(a=1)):
        with pytest.raises(InvalidValueError, match="cannot be read"):
            encode(value)
        store = DictDatastore()
        for number, held in enumerate([{"d": 1}, {"d": value}]):
            store.put(Key(f"/{number}"), held)
        assert len(list(store.query(Query(Key("/")).order("-d").filter("d", "!=", 5)))) == 2


class BrokenMap(dict):
    def items(self):
        raise RuntimeError("no")

    __iter__ = items


def test_a_map_that_cannot_be_read_ties_with_an_empty_one():
    assert compare(BrokenMap(a=1), {}) == 0
    assert compare(BrokenMap(a=1), {"a": 1}) == -1


class Colour(str, Enum):  # noqa: UP042 - prints differently from a StrEnum
    RED = "r"


def test_subclasses_are_ordered_by_content():
    assert compare(Colour.RED, "r") == 0
    assert compare(Colour.RED, "a") == 1
    assert compare(IntEnum("Level", "LOW").LOW, 1.0) == 0
    assert encode(Colour.RED) == encode("r")
