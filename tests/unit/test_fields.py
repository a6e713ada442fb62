"""Field lookup, filters and orders."""

from __future__ import annotations

import math
from collections import ChainMap, UserDict
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from functools import cmp_to_key
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import DictDatastore, Filter, Key, Order, Query
from datastore.model.errors import InvalidQueryError, UnsupportedTypeError
from datastore.model.fields import column_of, field_of, object_getattr
from datastore.model.operators import column_predicate
from datastore.testing import cases, model
from datastore.wire import encode_value
from tests.support.vectors import value_of, vectors

COMPARISONS = ["<", "<=", "=", "!=", ">=", ">"]
values = cases.wire_values()
operators = st.sampled_from(COMPARISONS)


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


class Unreadable:
    """Fails on every access."""

    def __getattr__(self, name):
        raise OSError(name)

    def __getitem__(self, name):
        raise RuntimeError(name)


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
        (Unreadable(), "x", None),
    ],
    ids=lambda thing: type(thing).__name__ if "object at" in repr(thing) else repr(thing),
)
def test_a_field_is_looked_up_by_the_documented_rules(obj, field, found):
    assert object_getattr(obj, field) == found


def test_fields_match_the_vectors():
    for row in vectors("filters")["fields"]:
        assert object_getattr(value_of(row["value"]), row["field"]) == row["found"], row


def test_filters_match_the_vectors():
    for row in vectors("filters")["filters"]:
        value, wanted = value_of(row["value"]), value_of(row["wanted"])
        for kind in (value, encode_value(value)):
            passes = [op for op in COMPARISONS if Filter("f", op, wanted).value_passes(kind)]
            assert passes == row["passes"], row


def plain(value):
    """A map that is made plain member by member, as a dict."""
    return {name: plain(member) for name, member in value.items()} if isinstance(value, Mapping) else value


@given(values, st.sampled_from(["a", "b", "a.b", "n"]))
def test_a_field_of_an_encoded_value_is_that_of_its_content(value, field):
    found, expected = object_getattr(encode_value(value), field), object_getattr(value, field)
    assert model.same(plain(found), expected)


@given(values, operators, values)
def test_a_filter_matches_like_the_naive_model(value, op, wanted):
    assert Filter("f", op, wanted).value_passes(value) == model.matches(value, op, wanted)


#: Values of every kind, some of them close together, and subclasses, which Python may compare differently.
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


@pytest.mark.parametrize("op", COMPARISONS)
def test_every_two_values_compare_as_the_naive_model_one_by_one_and_in_columns(op):
    for wanted in MIXED:
        expected = [model.matches(value, op, wanted) for value in MIXED]
        assert [Filter("f", op, wanted).value_passes(value) for value in MIXED] == expected, wanted
        assert column_predicate(op, wanted)(MIXED) == expected, wanted
        for value, passes in zip(MIXED, expected, strict=True):
            assert column_predicate(op, wanted)([value, value]) == [passes, passes]


@pytest.mark.parametrize("op", ["in", "not in", "starts_with", "contains", "exists"])
def test_operators_on_lists_and_parts_match_as_the_naive_model_one_by_one_and_in_columns(op):
    wanteds = [value for value in MIXED if op not in ("in", "not in") and takes(op, value)]
    if op in ("in", "not in"):
        wanteds = [MIXED, [], MIXED[::2], tuple(MIXED[1::3]), *([value] for value in MIXED)]
    assert wanteds
    columns = [*MIXED, *([value] for value in MIXED), MIXED]
    for wanted in wanteds:
        expected = [model.matches(value, op, wanted) for value in columns]
        assert [Filter("f", op, wanted).value_passes(value) for value in columns] == expected, wanted
        assert column_predicate(op, wanted)(columns) == expected, wanted
        for value, passes in zip(columns, expected, strict=True):
            assert column_predicate(op, wanted)([value, value]) == [passes, passes]


def takes(op, value):
    kinds = {"exists": (bool,), "starts_with": (str, bytes, Key)}.get(op, (object,))
    return isinstance(value, kinds)


@pytest.mark.parametrize(
    ("op", "value", "says"),
    [
        ("in", "CH", "'in' takes a list of values, not str"),
        ("not in", None, "'not in' takes a list of values, not NoneType"),
        ("starts_with", 3, "'starts_with' takes a text, bytes or a key, not int"),
        ("exists", 1, "'exists' takes true or false, not int"),
    ],
)
def test_a_value_that_an_operator_does_not_take_is_refused(op, value, says):
    with pytest.raises(InvalidQueryError, match=says):
        Filter("f", op, value)


def test_a_list_of_values_is_hashed_consistently_with_equality():
    assert column_predicate("in", [1, True, -0.0, "1"])([1.0, 0, False, True, "1", b"1", None]) == [
        *(True, True, False, True, True, False, False)
    ]
    assert column_predicate("in", [math.nan, [math.nan]])([math.nan, [math.nan]]) == [False, True]


@pytest.mark.parametrize("field", ["a", "a.b", "N", "__key__"])
def test_a_column_is_the_field_of_each_value(field):
    found = [{"a": {"b": 1}}, {"a": 2}, {"a.b": 3}, {"N": 6}, {}, None, SimpleNamespace(a=4), UserDict(a=5)]
    keys = [Key(f"/{number}") for number in range(len(found))]
    expected = keys if field == "__key__" else [object_getattr(value, field) for value in found]
    assert column_of(object_getattr, field)(keys, found, None) == expected
    maps = [{"a": number} for number in range(3)]
    assert column_of(object_getattr, "a")(keys[:3], maps, None) == [0, 1, 2]
    assert column_of(object_getattr, "c")(keys[:3], maps, None) == [None, None, None]
    assert [field_of(object_getattr, key, value, field) for key, value in zip(keys, found, strict=True)] == expected
    own = lambda obj, name: (name, obj)
    expected = keys if field == "__key__" else [(field, value) for value in found]
    assert column_of(own, field)(keys, found, None) == expected


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
def test_values_pass_as_the_table_says(value, op, wanted, passes):
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
    for op in COMPARISONS:
        for number in (1, 2, 3):
            assert Filter("f", op, Size(2)).value_passes(Size(number)) == model.matches(number, op, 2)
        assert Filter("f", op, Size(2)).value_passes({"n": 2}) == (op == "!=")


def namesake():
    """A new class on each call, with the same name each time."""

    class Size:
        def __lt__(self, other):
            return False

    return Size


def test_values_of_classes_of_one_name_are_of_different_kinds():
    one, other = namesake(), namesake()
    wanted, same, foreign = one(), one(), other()
    for op in COMPARISONS:
        assert Filter("f", op, wanted).value_passes(same) == (op in ("=", "<=", ">="))
        assert Filter("f", op, wanted).value_passes(foreign) == (op == "!=")
        assert column_predicate(op, wanted)([same, foreign]) == [op in ("=", "<=", ">="), op == "!="]


class Unbound:
    """Raises on every access, even to its class, like a proxy outside its context."""

    def __getattribute__(self, name):
        raise RuntimeError(f"unbound: {name}")


def refuse(*_):
    raise RuntimeError("refused")


def hostile(base, *names):
    """A subclass that refuses to be compared, printed or converted."""
    compared = ["__lt__", "__le__", "__eq__", "__ne__", "__ge__", "__gt__", "__str__", "__repr__", *names]
    return type(f"Hostile{base.__name__.title()}", (base,), dict.fromkeys([*compared, "__hash__"], refuse))


class SameHash:
    """As a name in a map it has the hash of "f", but comparing them raises."""

    def __hash__(self):
        return hash("f")

    def __eq__(self, other):
        raise RuntimeError("refused")


HostileInt = hostile(int, "__int__", "__index__", "__float__", "__bool__")
HostileFloat = hostile(float, "__int__", "__float__", "__bool__")
HostileBytes = hostile(bytes, "__bytes__", "__len__", "__iter__", "__getitem__")
HostileStr = hostile(str, "__len__", "__iter__", "__getitem__", "encode")
HostileKey = hostile(Key)
HostileTime = hostile(datetime)

#: Objects that refuse access, and the plain values of the same content.
REFUSING = [
    (HostileInt(3), 3),
    (HostileInt(2**70), 2**70),
    (HostileFloat(1.5), 1.5),
    (HostileFloat("nan"), math.nan),
    (HostileBytes(b"a"), b"a"),
    (HostileStr("a"), "a"),
    (HostileKey("/a"), Key("/a")),
    (HostileTime(2026, 1, 1), datetime(2026, 1, 1)),
    ([HostileInt(1), HostileStr("a")], [1, "a"]),
    ({"a": HostileInt(2)}, {"a": 2}),
]
of_refusing = pytest.mark.parametrize("place", range(len(REFUSING)), ids=[repr(plain) for _, plain in REFUSING])


@of_refusing
@pytest.mark.parametrize("op", COMPARISONS)
def test_objects_that_refuse_comparison_are_compared_by_content(place, op):
    value, plain = REFUSING[place]
    for other in (*MIXED, plain):
        expected = model.matches(plain, op, other)
        assert Filter("f", op, other).value_passes(value) is expected
        assert column_predicate(op, other)([value, plain]) == [expected, expected]
        expected = model.matches(other, op, plain)
        assert Filter("f", op, value).value_passes(other) is expected
        assert column_predicate(op, value)([other, other]) == [expected, expected]


@of_refusing
@pytest.mark.parametrize("text", ["f", "-f"])
def test_objects_that_refuse_comparison_are_sorted_by_content(place, text):
    value, plain = REFUSING[place]
    held = [*MIXED, plain]
    refusing = [{"f": item} for item in [*MIXED, value]]
    expected = Order.sorted([{"f": item, "at": place} for place, item in enumerate(held)], [Order(text)])
    places = [item["at"] for item in expected]
    assert [id(item) for item in Order.sorted(refusing, [Order(text)])] == [id(refusing[place]) for place in places]
    store = DictDatastore()
    for number, item in enumerate(refusing):
        store.put(Key(f"/a/{number:03}"), item)
    for limit in (None, 3):
        answer = store.query(Query(Key("/a"), limit).order(text)).entries()
        assert [int(entry.key.name) for entry in answer] == places[:limit]


#: Other objects that refuse all access. In functions, because pytest would inspect the values.
OPAQUE = [Unbound, lambda: [Unbound()], lambda: {SameHash(): 1}, lambda: {"f": {SameHash(): 1}}]
REFUSING_ALL = [*OPAQUE, *(lambda value=value: value for value, _ in REFUSING)]
NAMES_OF_ALL = [f"{type(make()).__name__} {number}" for number, make in enumerate(REFUSING_ALL)]


@pytest.mark.parametrize("make", REFUSING_ALL, ids=NAMES_OF_ALL)
def test_no_query_fails_over_objects_that_refuse_access(make):
    store = DictDatastore()
    for number, held in enumerate([{"f": 2}, make(), {"f": make()}, {"f": None}]):
        store.put(Key(f"/a/{number}"), held)
    keys = lambda query: [entry.key.name for entry in store.query(query).entries()]
    for wanted in (2, 2.5, b"x", "x", Key("/x"), None, [1], {"f": 1}, {SameHash(): 1}, Unbound(), make()):
        for field in ("f", "f.f"):
            equal, unequal = [keys(Query(Key("/a")).filter(field, op, wanted)) for op in ("=", "!=")]
            assert sorted(equal + unequal) == ["0", "1", "2", "3"]
            for op in ("<", "<=", ">=", ">"):
                assert "3" not in keys(Query(Key("/a")).filter("f", op, wanted))
    assert keys(Query(Key("/a")).filter("f", "=", 2)) == ["0"]
    for text in ("f", "-f", "f.f"):
        whole = keys(Query(Key("/a")).order(text).order("-g"))
        assert sorted(whole) == ["0", "1", "2", "3"]
        assert keys(Query(Key("/a"), 1).order(text).order("-g")) == whole[:1]


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


def test_filters_equal_by_the_types_of_names_too():
    some = [{1: "a"}, {True: "a"}, {1.0: "a"}, {"1": "a"}, {(1,): "a"}, {(True,): "a"}, {"x": {1: 2}}, {"x": {True: 2}}]
    for place, one in enumerate(some):
        for number, other in enumerate(some):
            assert (Filter("a", "=", one) == Filter("a", "=", other)) is (place == number)
    assert Filter("a", "=", {1: "a", 2: "b"}) == Filter("a", "=", {2: "b", 1: "a"})


@given(operators, values)
def test_a_filters_repr_evaluates_to_it(op, value):
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
    with pytest.raises(ValueError, match=r"<, <=, =, !=, >=, >, in, not in, starts_with, contains, exists$"):
        Filter("a", "~", 1)


def test_custom_getters():
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
