"""Field lookup, filters and orders."""

from __future__ import annotations

import math
from collections import ChainMap, UserDict
from datetime import UTC, datetime
from enum import IntEnum
from functools import cmp_to_key
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Filter, Key, Order
from datastore.core.errors import InvalidQueryError, UnsupportedTypeError
from datastore.core.fields import column_of, column_predicate, field_of, reader_of
from datastore.core.query import object_getattr
from datastore.testing import cases, model
from datastore.wire import encode_value
from tests.support.vectors import value_of, vectors

values = cases.wire_values()
operators = st.sampled_from(Filter.conditional_operators)


class Item:
    x = 1
    _private = 2

    def __getitem__(self, name):
        return {"y": 3, "_private": 4}[name]

    @property
    def broken(self):
        raise RuntimeError("no")


class Broken(dict):
    """A map that fails to look anything up."""

    def get(self, *_: object) -> object:
        raise RuntimeError("broken")


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("obj", "field", "found"),
    [
        ({"a": 1}, "a", 1),
        ({"a": None}, "a", None),
        ({}, "a", None),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a.b": None, "a": {"b": 2}}, "a.b", None),
        ({"a": {"b": {"c": 3}}}, "a.b.c", 3),
        ({"a": {"b.c": 4}}, "a.b.c", 4),
        ({"a": {"b": None}}, "a.b", None),
        ({"a": [1]}, "a.0", None),
        ({"a": 1}, "a.b", None),
        ({"a.b": {"c": 5}, "a": {}}, "a.b.c", None),  # the first dot alone counts: no backtracking
        ({"items": 6}, "items", 6),
        ({"x": 1}, "items", None),
        (UserDict(a=7), "a", 7),
        (ChainMap({"a": 8}), "a", 8),
        (5, "real", None),
        ("text", "upper", None),
        ([1], "count", None),
        (Key("/a"), "name", None),
        (None, "x", None),
        (Item(), "x", 1),
        (Item(), "y", 3),
        (Item(), "_private", 4),
        (Item(), "broken", None),
        (Item(), "z", None),
        (SimpleNamespace(a=9), "a", 9),
        (Level.LOW, "name", "LOW"),
        (Broken(a=1), "a", None),
        ({"a": Broken(b=1)}, "a.b", None),
    ],
    ids=lambda thing: type(thing).__name__ if "object at" in repr(thing) else repr(thing),
)
def test_a_field_is_looked_up_as_the_rules_say(obj, field, found):
    assert object_getattr(obj, field) == found


def test_fields_are_found_as_the_vectors_say():
    for row in vectors("filters")["fields"]:
        assert object_getattr(value_of(row["value"]), row["field"]) == row["found"], row


def test_filters_pass_what_the_vectors_say():
    for row in vectors("filters")["filters"]:
        value, wanted = value_of(row["value"]), value_of(row["wanted"])
        for kind in (value, encode_value(value)):
            passes = [op for op in Filter.conditional_operators if Filter("f", op, wanted).value_passes(kind)]
            assert passes == row["passes"], row


@given(values, st.sampled_from(["a", "b", "a.b", "n"]))
def test_a_field_of_an_encoded_value_is_that_of_what_it_holds(value, field):
    found, expected = object_getattr(encode_value(value), field), object_getattr(value, field)
    assert model.same(found, expected)


@given(values, operators, values)
def test_a_filter_matches_as_the_naive_model(value, op, wanted):
    assert Filter("f", op, wanted).value_passes(value) == model.matches(value, op, wanted)


#: Values of every kind, some of them close together, and subclasses, which Python may compare otherwise.
MIXED = [
    *(
        None,
        False,
        True,
        -1,
        0,
        1,
        Level.LOW,
        1.0,
        1.5,
        2**53,
        2.0**53,
        2**53 + 1,
        2**70,
        math.inf,
        -math.inf,
        math.nan,
    ),
    *("", "a", "b", b"", b"a", b"b", Key("/a"), Key("/b")),
    *([], [1], [1.0, 2], [2], [math.nan], (1,), {}, {"a": 1}, {"a": 2}, {"b": 0}),
    *(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2)),
]


@pytest.mark.parametrize("op", Filter.conditional_operators)
def test_every_two_values_compare_as_the_naive_model_one_by_one_and_in_columns(op):
    for wanted in MIXED:
        expected = [model.matches(value, op, wanted) for value in MIXED]
        assert [Filter("f", op, wanted).value_passes(value) for value in MIXED] == expected, wanted
        assert column_predicate(op, wanted)(MIXED) == expected, wanted
        for value, passes in zip(MIXED, expected, strict=True):
            assert column_predicate(op, wanted)([value, value]) == [passes, passes]


@pytest.mark.parametrize("field", ["a", "a.b", "N", "__key__"])
def test_a_column_is_the_field_of_each_value(field):
    found = [{"a": {"b": 1}}, {"a": 2}, {"a.b": 3}, {"N": 6}, {}, None, SimpleNamespace(a=4), UserDict(a=5)]
    keys = [Key(f"/{number}") for number in range(len(found))]
    expected = keys if field == "__key__" else [object_getattr(value, field) for value in found]
    assert column_of(object_getattr, field)(keys, found) == expected
    maps = [{"a": number} for number in range(3)]
    assert column_of(object_getattr, "a")(keys[:3], maps) == [0, 1, 2]
    assert column_of(object_getattr, "c")(keys[:3], maps) == [None, None, None]
    read = reader_of(object_getattr, field)
    assert [read(key, value) for key, value in zip(keys, found, strict=True)] == expected
    assert [field_of(object_getattr, key, value, field) for key, value in zip(keys, found, strict=True)] == expected
    own = lambda obj, name: (name, obj)
    expected = keys if field == "__key__" else [(field, value) for value in found]
    assert column_of(own, field)(keys, found) == expected


@given(values, values)
def test_not_equal_is_exactly_what_equal_is_not(value, wanted):
    assert Filter("f", "!=", wanted).value_passes(value) != Filter("f", "=", wanted).value_passes(value)


@pytest.mark.parametrize(
    ("value", "op", "wanted", "passes"),
    [
        (1, "=", 1.0, True),
        (True, "=", 1, False),
        ("3", "=", 3, False),
        ("3", "!=", 3, True),
        (None, "=", None, True),
        (None, "!=", None, False),
        (1, "!=", None, True),
        (None, "<", 5, False),
        (None, "<=", None, False),
        (5, ">", None, False),
        (math.nan, "=", math.nan, False),
        (math.nan, "!=", math.nan, True),
        (math.nan, "<", 1, False),
        (math.nan, ">=", math.nan, False),
        ([math.nan], "=", [math.nan], True),
        (2**53 + 1, "=", float(2**53), False),
        (2**53 + 1, ">", float(2**53), True),
        ([1, 2], ">", [1], True),
        ({"a": 1}, "=", {"a": 1.0}, True),
    ],
)
def test_what_passes(value, op, wanted, passes):
    assert Filter("f", op, wanted).value_passes(value) is passes
    assert Filter("f", op, wanted)({"f": value}) is passes


def test_values_of_other_classes_compare_within_their_class():
    class Size:
        def __init__(self, n):
            self.n = n

        def __lt__(self, other):
            return self.n < other.n

    assert Filter("f", "<", Size(2)).value_passes(Size(1))
    assert not Filter("f", "<", Size(2)).value_passes(object())
    assert Filter("f", "!=", Size(2)).value_passes(object())
    for op in Filter.conditional_operators:
        for number in (1, 2, 3):
            assert Filter("f", op, Size(2)).value_passes(Size(number)) == model.matches(number, op, 2)
        assert Filter("f", op, Size(2)).value_passes({"n": 2}) == (op == "!=")


def test_filters_over_iterables():
    items = [{"n": n} for n in range(6)]
    assert list(Filter("n", ">", 3).generator(items)) == items[4:]
    assert list(Filter.filter(Filter("n", ">", 3), items)) == items[4:]
    assert list(Filter.filter([Filter("n", ">", 1), Filter("n", "<", 4)], items)) == items[2:4]
    assert Filter("n", "=", 1).valuePasses(1)


def test_a_filter_reads_lazily():
    def source():
        yield {"n": 1}
        raise AssertionError("read too far")

    assert next(Filter("n", "=", 1).generator(source())) == {"n": 1}


def test_filters_equal_by_field_operator_and_typed_value():
    assert Filter("a", "=", 1) == Filter("a", "=", 1)
    assert hash(Filter("a", "=", 1)) == hash(Filter("a", "=", 2))
    for other in (Filter("b", "=", 1), Filter("a", "<", 1), Filter("a", "=", 1.0), Filter("a", "=", True), "a = 1"):
        assert Filter("a", "=", 1) != other
    assert Filter("a", "=", math.nan) == Filter("a", "=", math.nan) != Filter("a", "=", 1.0)
    some = [[1], [1, 2], [1.0], [True], (1,), {"a": 1}, {"a": 1, "b": 2}, {"b": 1}, {"a": 1.0}, {"a": [1]}, {"a": [2]}]
    for place, one in enumerate(some):
        for number, other in enumerate(some):
            assert (Filter("a", "=", one) == Filter("a", "=", other)) == (place == number)


@given(operators, values)
def test_a_filters_repr_gives_it_back(op, value):
    part = Filter("a.b", op, value)
    import datetime as _datetime

    names = {"Filter": Filter, "Key": Key, "nan": math.nan, "inf": math.inf, "datetime": _datetime}
    assert eval(repr(part), names) == part


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", "=", 1), InvalidQueryError),
        (("a", "==", 1), InvalidQueryError),
        (("a", "like", 1), InvalidQueryError),
        ((None, "=", 1), UnsupportedTypeError),
        ((3, "=", 1), UnsupportedTypeError),
    ],
)
def test_a_bad_filter_is_refused(arguments, error):
    with pytest.raises(error):
        Filter(*arguments)


def test_an_unknown_operator_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"< <= = != >= >"):
        Filter("a", "~", 1)


def test_getters_of_ones_own():
    assert Filter("f", "=", 2, object_getattr=lambda obj, field: obj[1])([1, 2])

    class Second(Filter):
        @staticmethod
        def object_getattr(obj, field):
            return obj[1]

    assert Second("f", "=", 2)([1, 2])
    assert not Second("f", "=", 2)([1])  # an IndexError means missing
    with pytest.raises(ZeroDivisionError):
        Filter("f", "=", 2, object_getattr=lambda obj, field: 1 / 0)({})


@pytest.mark.parametrize(
    ("text", "op", "field"),
    [("a", "+", "a"), ("+a", "+", "a"), ("-a", "-", "a"), ("--a", "-", "-a"), ("a-b", "+", "a-b"), ("+-a", "+", "-a")],
)
def test_an_order_has_one_operator_and_a_field(text, op, field):
    order = Order(text)
    assert (order.op, order.field) == (op, field)
    assert order.is_ascending() == order.isAscending() == (op == "+")
    assert order.is_descending() == order.isDescending() == (op == "-")
    assert eval(repr(order)) == order == Order(str(order))
    assert hash(order) == hash(Order(str(order)))


@pytest.mark.parametrize(("text", "error"), [("", ValueError), ("+", ValueError), ("-", ValueError), (None, TypeError)])
def test_an_order_needs_a_field(text, error):
    with pytest.raises(error):
        Order(text)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), values, max_size=2), max_size=8))
def test_orders_sort_stably_by_the_total_order(items):
    orders = [Order("-a"), Order("b")]
    naive = sorted(items, key=cmp_to_key(lambda x, y: model.compare(x.get("b"), y.get("b"))))
    naive = sorted(naive, key=cmp_to_key(lambda x, y: -model.compare(x.get("a"), y.get("a"))))
    assert [id(item) for item in Order.sorted(items, orders)] == [id(item) for item in naive]
    comparison = Order.multipleOrderComparison(orders)
    assert sorted(items, key=cmp_to_key(comparison)) == Order.sorted(items, orders)


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, 0),
        ({"a": 2}, {"a": 1}, -1),
        ({"a": 1, "b": 1}, {"a": 1, "b": 2}, -1),
        ({"a": 2, "b": 2}, {"a": 1, "b": 1}, -1),
        ({}, {"a": 1}, 1),
    ],
)
def test_a_comparison_by_orders_has_a_sign(one, other, sign):
    comparison = Order.multipleOrderComparison([Order("-a"), Order("b")])
    assert (comparison(one, other), comparison(other, one)) == (sign, -sign)


def test_orders_equal_by_content():
    assert Order("a") == Order("+a") != Order("-a")
    assert Order("a") != Order("b")
    assert Order("a").keyfn({"a": 5}) == 5
    assert Order("a", lambda obj, field: obj[1]).keyfn([5, 6]) == 6
    assert Order("a") != type("Own", (Order,), {})("a")
