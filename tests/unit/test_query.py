"""Queries as data, and applied to values and entries."""

from __future__ import annotations

import copy
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Cursor, Entry, Filter, Key, Order, Position, Query
from datastore.model.errors import (
    CursorReuseError,
    CursorRunningError,
    DatastoreError,
    InvalidQueryError,
    UnsupportedTypeError,
)
from datastore.model.ordering import encode
from datastore.sync.cursor import chain_gen, is_iterable, limit_gen, offset_gen
from datastore.testing import cases, model


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"key": "/a"}, TypeError),
        ({"key": None}, TypeError),
        ({"limit": -1}, ValueError),
        ({"offset": -1}, ValueError),
        ({"limit": 1.5}, TypeError),
        ({"limit": "3"}, TypeError),
        ({"offset": None}, TypeError),
        ({"limit": True}, TypeError),
        ({"start_after": Key("/a")}, TypeError),
    ],
)
def test_bad_arguments_are_refused_at_once_and_on_assignment(arguments, error):
    with pytest.raises(error) as raised:
        Query(**{"key": Key("/a"), **arguments})
    assert isinstance(raised.value, (InvalidQueryError, UnsupportedTypeError))
    query = Query(Key("/a"), 5, 2)
    ((name, value),) = arguments.items()
    with pytest.raises(error):
        setattr(query, name, value)
    assert query == Query(Key("/a"), 5, 2)


FLAGS = ["recursive", "keys_only", "allow_partial", "sort_keys"]


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("wrong", [1, 0, None, "yes", "", []], ids=repr)
def test_a_flag_is_true_or_false(flag, wrong):
    with pytest.raises(UnsupportedTypeError, match=flag):
        Query(Key("/a"), **{flag: wrong})
    for value in (True, False):
        query = Query(Key("/a"), **{flag: value})
        with pytest.raises(UnsupportedTypeError, match=flag):
            setattr(query, flag, wrong)
        assert getattr(query, flag) is value
        setattr(query, flag, not value)
        assert getattr(query, flag) is not value
    if flag != "sort_keys":
        with pytest.raises(UnsupportedTypeError, match=flag):
            Query.from_dict({"key": "/a", flag: wrong})


@pytest.mark.parametrize("wrong", ["name", 5, [], object()], ids=lambda wrong: type(wrong).__name__)
def test_a_getter_can_be_called(wrong):
    for make in (
        lambda: Query(Key("/a"), object_getattr=wrong),
        lambda: Query(Key("/a")).filter("n", "=", 1, wrong),
        lambda: Query(Key("/a")).order("n", wrong),
        lambda: Filter("n", "=", 1, wrong),
        lambda: Order("n", wrong),
    ):
        with pytest.raises(UnsupportedTypeError, match="object_getattr"):
            make()


def test_filter_and_order_append_and_return_the_query():
    query = Query(Key("/a"))
    part = Filter("x", "=", 1)
    assert query.filter(part) is query.filter("y", "<", 2) is query.order(Order("-z")) is query.order("w") is query
    assert query.filters == [part, Filter("y", "<", 2)]
    assert query.orders == [Order("-z"), Order("+w")]


def test_a_copy_has_separate_lists():
    getter = lambda obj, field: obj[field]
    query = Query(Key("/a"), 3, 1, getter, recursive=True).filter("x", "=", 1).order("y")
    for twin in (query.copy(), copy.copy(query)):
        assert twin == query
        assert twin.object_getattr is getter
        twin.filter("z", "=", 2).order("-q")
        twin.limit = 9
    assert (len(query.filters), len(query.orders), query.limit) == (1, 1, 3)


@given(cases.queries(cases.wire_values()))
def test_a_query_survives_as_data_and_as_text(query):
    assert Query.from_dict(query.dict()) == query
    assert hash(query) == hash(query.copy()) == hash(query.key)


def test_the_dict_of_a_query_leaves_defaults_out():
    assert Query(Key("/a")).dict() == {"key": "/a"}
    query = Query(Key("/a"), 1, 2, recursive=True, keys_only=True, start_after=Position(b"\x01", Key("/a/b")))
    query.filter("x", ">", 1).order("-y")
    assert query.dict() == {
        "key": "/a",
        "limit": 1,
        "offset": 2,
        "recursive": True,
        "keys_only": True,
        "start_after": ["01", "/a/b"],
        "filter": [["x", ">", 1]],
        "order": ["-y"],
    }
    assert eval(repr(query)) == query
    assert Query.from_dict({"key": "/a", "unknown": 1}) == Query(Key("/a"))
    with pytest.raises(KeyError):
        Query.from_dict({})
    with pytest.raises(ValueError):
        Query.from_dict({"key": "/a", "limit": -1})


@pytest.mark.parametrize(
    ("data", "error", "reported"),
    [
        ({"filter": 5}, TypeError, r"\[field, operator, value\]"),
        ({"filter": "abc"}, TypeError, r"\[field, operator, value\]"),
        ({"filter": None}, TypeError, r"\[field, operator, value\]"),
        ({"filter": {"n": 1}}, TypeError, r"\[field, operator, value\]"),
        ({"filter": [5]}, TypeError, r"\[field, operator, value\]"),
        ({"filter": ["n=1"]}, TypeError, r"\[field, operator, value\]"),
        ({"filter": [["n", "="]]}, TypeError, r"\[field, operator, value\]"),
        ({"filter": [["n", "=", 1, 2]]}, TypeError, r"\[field, operator, value\]"),
        ({"filter": [["n", "==", 1]]}, ValueError, "<=, =, !="),
        ({"filter": [["", "=", 1]]}, ValueError, "empty"),
        ({"filter": [[5, "=", 1]]}, TypeError, "str"),
        ({"order": "n"}, TypeError, "list of orders"),
        ({"order": None}, TypeError, "list of orders"),
        ({"order": {"n": 1}}, TypeError, "list of orders"),
        ({"order": [5]}, TypeError, "str"),
        ({"order": [["n"]]}, TypeError, "str"),
        ({"order": [""]}, ValueError, "empty"),
        ({"order": ["-"]}, ValueError, "empty"),
        ({"start_after": "00"}, TypeError, "sort key"),
        ({"start_after": 5}, TypeError, "sort key"),
        ({"start_after": ["00"]}, TypeError, "sort key"),
        ({"start_after": ["00", "/a/b", 1]}, TypeError, "sort key"),
        ({"start_after": ["00", None]}, TypeError, "key"),
        ({"start_after": ["zz", "/a/b"]}, ValueError, "sort key.*hexadecimal.*'zz'"),
        ({"start_after": [5, "/a/b"]}, TypeError, "sort key.*hexadecimal.*5"),
        ({"offset": -1}, ValueError, "offset"),
        ({"offset": "1"}, TypeError, "offset"),
        ({"limit": -1}, ValueError, "limit"),
        ({"limit": 1.5}, TypeError, "limit"),
        ({"key": 5.5}, TypeError, "key"),
        ({"key": None}, TypeError, "key"),
        ({"key": b"/a"}, TypeError, "key"),
        ({"key": "/a\n"}, ValueError, "key"),
    ],
    ids=lambda thing: repr(thing) if isinstance(thing, dict) else "",
)
def test_data_of_another_form_is_refused_with_the_expected_form(data, error, reported):
    with pytest.raises(error, match=reported) as raised:
        Query.from_dict({"key": "/a", **data})
    assert isinstance(raised.value, DatastoreError)


def test_data_may_hold_tuples():
    data = {"key": "/a", "filter": (("n", "=", 1),), "order": ("-n",), "start_after": ("00", "/a/b")}
    query = Query(Key("/a"), start_after=Position(b"\x00", Key("/a/b"))).filter("n", "=", 1).order("-n")
    assert Query.from_dict(data) == query


def test_queries_equal_by_typed_content():
    query = Query(Key("/a")).filter("x", "=", 1)
    for other in (
        Query(Key("/a")),
        Query(Key("/b")).filter("x", "=", 1),
        Query(Key("/a")).filter("x", "=", 1.0),
        Query(Key("/a"), 1).filter("x", "=", 1),
        Query(Key("/a"), recursive=True).filter("x", "=", 1),
        Query(Key("/a")).filter("x", "=", 1).order("x"),
        "/a",
    ):
        assert query != other


def test_queries_equal_by_the_types_of_names_too():
    some = [Query(Key("/a")).filter("x", "=", {name: "a"}) for name in (1, True, 1.0, "1")]
    for place, one in enumerate(some):
        for number, other in enumerate(some):
            assert (one == other) is (place == number)


@pytest.mark.parametrize("wrong", [5, None, Order("a"), "a", Filter], ids=repr)
def test_a_wrong_filter_is_refused_with_the_valid_forms(wrong):
    query = Query(Key("/a"))
    with pytest.raises(UnsupportedTypeError, match=r"a condition, e\.g\. Q.'age'. >= 18, or field, operator and value"):
        query.filter(wrong)
    assert query.filters == []


@pytest.mark.parametrize("wrong", [(5,), (None,), (Filter("a", "=", 1),), (), ("a", None, 1)], ids=repr)
def test_a_wrong_order_is_refused_with_the_valid_forms(wrong):
    query = Query(Key("/a"))
    with pytest.raises(UnsupportedTypeError, match="order must be"):
        query.order(*wrong)
    assert query.orders == []


def test_a_part_accepts_only_its_own_fields():
    getter = lambda obj, field: obj[field]
    query = Query(Key("/a")).filter("x", "=", 1, getter).filter(field="y", op="<", value=2).order("z", getter)
    assert [part.own_getter for part in (*query.filters, *query.orders)] == [getter, None, getter]
    for wrong in (
        query.filter,
        lambda: query.filter(Filter("x", "=", 1), 2),
        lambda: query.filter("x", "=", Filter("x", "=", 1), getter, 1),
        query.order,
        lambda: query.order(Order("x"), getter, 1),
    ):
        with pytest.raises(TypeError):
            wrong()
    assert (len(query.filters), len(query.orders)) == (2, 1)


class LengthOrder(Order):
    def keyfn(self, obj):
        return len(obj[self.field])


@pytest.mark.parametrize(
    ("query", "custom"),
    [
        (Query(Key("/a")).filter("x", "=", 1).order("y"), False),
        (Query(Key("/a")), False),
        (Query(Key("/a"), object_getattr=lambda obj, field: 1), True),
        (Query(Key("/a")).filter("x", "=", 1, lambda obj, field: 1), True),
        (Query(Key("/a")).filter("x", "=", 1).order("y", lambda obj, field: 1), True),
        (Query(Key("/a")).order(LengthOrder("y")), True),
    ],
)
def test_custom_code_is_recognized(query, custom):
    assert query.has_custom_code is custom


@given(st.lists(cases.wire_values(), min_size=1, max_size=3))
def test_the_sort_key_of_an_entry_is_its_fields_one_after_the_other(fields):
    names = [f"f{number}" for number in range(len(fields))]
    query = Query(Key("/a"))
    for number, name in enumerate(names):
        query.order(f"-{name}" if number % 2 else name)
    expected = b"".join(encode(value, descending=bool(number % 2)) for number, value in enumerate(fields))
    value = dict(zip(names, fields, strict=True))
    assert query.order_sort_key(None, value) == expected
    assert query.sort_keys_of(query.order_columns([None, None], [value, value])) == [expected, expected]
    assert Query(Key("/a")).order_sort_key(Key("/a/b"), value) == b""


def test_the_position_of_an_entry_without_its_value_is_known_only_by_key():
    by_key, by_both = Query(Key("/a")).order("-__key__"), Query(Key("/a")).order("__key__").order("n")
    assert by_key.order_sort_key(Key("/a/b"), None) == encode(Key("/a/b"), descending=True)
    assert Query(Key("/a")).order_sort_key(Key("/a/b"), None) == b""
    with pytest.raises(InvalidQueryError, match="/a/b"):
        by_both.order_sort_key(Key("/a/b"), None)
    # A value that lacks the field is a different case.
    assert by_both.order_sort_key(Key("/a/b"), {}) == encode(Key("/a/b")) + encode(None)


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        (Query(Key("/a")), sys.maxsize),
        (Query(Key("/a"), offset=3), sys.maxsize),
        (Query(Key("/a"), 0), 0),
        (Query(Key("/a"), 2), 2),
        (Query(Key("/a"), 2, 3), 5),
        (Query(Key("/a"), 2, 3, recursive=True, keys_only=True), 5),
        (Query(Key("/a"), 2).filter("n", "=", 1), sys.maxsize),
        (Query(Key("/a"), 2).filter("__key__", ">", Key("/a/b")), sys.maxsize),
        (Query(Key("/a"), 2).order("n"), sys.maxsize),
        (Query(Key("/a"), 2, start_after=Position(b"", Key("/a/b"))), sys.maxsize),
    ],
    ids=str,
)
def test_the_number_of_entries_needed_is_known(query, needed):
    assert query.entries_needed() == needed


def test_sort_keys_are_requested_only_by_stores():
    assert Query(Key("/a")).sort_keys is False


# Applied to bare values and to entries


def values(*numbers):
    return [{"n": number} for number in numbers]


def test_a_query_of_values_filters_sorts_and_cuts_and_keeps_the_sequence_of_ties():
    items = [{"n": 1, "i": i} for i in range(3)] + values(5, 3)
    query = Query(Key("/a"), limit=3, offset=1).filter("n", "<", 5).order("n")
    cursor = query(items)
    assert list(cursor) == [items[1], items[2], items[4]]
    assert (cursor.returned, cursor.skipped) == (3, 1)


def test_a_query_of_entries_ties_by_key():
    entries = [Entry(Key(f"/a/{name}"), {"n": n}) for name, n in [("c", 1), ("a", 2), ("b", 1)]]
    names = lambda cursor: [entry.key.name for entry in cursor.entries()]
    assert names(Query(Key("/a")).order("n").apply(entries)) == ["b", "c", "a"]
    assert names(Query(Key("/a")).order("-n").apply(entries)) == ["a", "b", "c"]
    assert names(Query(Key("/a")).apply(entries)) == ["a", "b", "c"]
    assert names(Query(Key("/a")).filter("__key__", ">", Key("/a/a")).apply(entries)) == ["b", "c"]


@given(cases.contents(cases.wire_values()), cases.queries(cases.wire_values()), st.data())
def test_applying_a_query_to_the_entries_it_covers_answers_like_a_store(contents, query, data):
    covered = [Entry(key, value) for key, value in contents.items() if query.covers(key)]
    after = data.draw(st.none() | st.sampled_from(covered)) if covered else None
    if after is not None:
        query.start_after = Position(query.sort_key_of(*after), after.key)
    expected = model.answer(query, contents, after)
    cursor = query.apply(data.draw(st.permutations(covered)))
    assert model.difference(list(cursor.entries()), expected.entries) is None
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped)


class ByLength(Filter):
    @staticmethod
    def object_getattr(obj, field):
        return len(obj[field])


def wrong_getter(obj, field):
    raise AssertionError("this getter is not to be asked")


def test_the_getter_of_a_query_wins_over_those_of_its_filters_and_orders():
    items = [{"n": 1, "m": 3}, {"n": 3, "m": 2}, {"n": 2, "m": 1}]
    getter = lambda obj, field: obj["m"]
    for filter_ in (Filter("n", ">", 1, wrong_getter), ByLength("n", ">", 1), Filter("n", ">", 1)):
        for order in (Order("n", wrong_getter), Order("n")):
            query = Query(Key("/a"), object_getattr=getter).filter(filter_).order(order)
            assert list(query(items)) == [items[1], items[0]]
            entries = [Entry(Key(f"/a/{place}"), item) for place, item in enumerate(items)]
            assert list(query.apply(entries)) == [items[1], items[0]]


def test_a_getter_of_a_filter_or_an_order_is_used_if_the_query_has_none():
    items = [{"n": "aaa"}, {"n": "a"}, {"n": "bb"}]
    length = lambda obj, field: len(obj[field])
    for filter_ in (Filter("n", ">", 1, length), ByLength("n", ">", 1)):
        assert list(Query(Key("/a")).filter(filter_)(items)) == [items[0], items[2]]
    assert list(Query(Key("/a")).order("-n", length)(items)) == [items[0], items[2], items[1]]


def raising(error):
    """A getter that raises if the field is missing."""

    def getter(obj, field):
        if field not in obj:
            raise error("missing")
        return obj[field]

    return getter


@pytest.mark.parametrize("where", ["query", "filter", "order"])
@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (KeyError, False),
        (IndexError, False),
        (LookupError, False),
        (AttributeError, False),
        (TypeError, False),
        (RuntimeError, True),
        (ValueError, True),
        (OSError, True),
    ],
)
def test_some_errors_of_a_getter_mean_a_missing_field_and_others_pass(where, error, passes):
    getter = raising(error)
    query = Query(Key("/a"), object_getattr=getter if where == "query" else None)
    query.filter("n", "!=", 2, getter if where == "filter" else None)
    query.order("-n", getter if where == "order" else None)
    items = [{}, {"n": 1}, {"n": 2}, {"n": 3}]
    for cursor in (query(items), query.apply([Entry(Key(f"/a/{i}"), item) for i, item in enumerate(items)])):
        if passes:
            with pytest.raises(error, match="missing"):
                list(cursor)
        else:
            assert list(cursor) == [items[3], items[1], items[0]]


def test_work_starts_at_the_first_item_and_reads_no_further_than_the_limit():
    taken = []

    def source():
        for number in range(5):
            taken.append(number)
            yield number
        raise AssertionError("read too far")

    cursor = Query(Key("/a"), limit=2, offset=1)(source())
    assert taken == []
    assert list(cursor) == [1, 2]
    assert taken == [0, 1, 2]
    assert list(Query(Key("/a"), limit=0)(source())) == []
    assert taken == [0, 1, 2]


# Cursors


def test_next_then_for_continues():
    cursor = Cursor(Query(Key("/a")), [1, 2, 3])
    assert next(cursor) == cursor.next() - 1 == 1
    assert list(cursor) == [3]
    assert cursor.returned == 3


def test_a_cursor_is_read_once():
    cursor = Cursor(Query(Key("/a")), [1, 2])
    iterator = iter(cursor)
    assert list(iterator) == [1, 2]
    for again in (lambda: iter(cursor), lambda: list(cursor.entries()), lambda: list(cursor.batches())):
        with pytest.raises(CursorReuseError):
            again()
    with pytest.raises(StopIteration):
        next(cursor)


def test_the_iterator_of_a_cursor_can_be_iterated():
    assert list(iter(iter(Cursor(Query(Key("/a")), [1, 2])))) == [1, 2]


def test_close_stops_the_producer_and_may_be_repeated():
    closed = []

    def source():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    with Cursor(Query(Key("/a")), source()) as cursor:
        assert next(cursor) == 1
    assert closed == [True]
    cursor.close()
    with pytest.raises(StopIteration):
        next(cursor)
    with pytest.raises(RuntimeError):
        iter(cursor)
    assert cursor.summary is None


def test_steps_can_be_applied_only_before_the_start():
    cursor = Cursor(Query(Key("/a"), 1, 1).filter("n", ">", 0).order("-n"), values(0, 1, 2, 3))
    cursor.apply_filter()
    cursor.apply_order()
    cursor.apply_offset()
    cursor.apply_limit()
    assert next(cursor) == {"n": 2}
    assert cursor.skipped == 1
    for late in (cursor.apply_filter, cursor.apply_order, cursor.apply_offset, cursor.apply_limit):
        with pytest.raises(AssertionError) as raised:
            late()
        assert isinstance(raised.value, CursorRunningError)
    with pytest.raises(CursorRunningError):
        cursor._iterable = []


@pytest.mark.parametrize(("query", "iterable"), [("/a", []), (Query(Key("/a")), 5), (None, None)])
def test_a_cursor_needs_a_query_and_an_iterable(query, iterable):
    with pytest.raises(ValueError):
        Cursor(query, iterable)


def entry_cursor(count):
    entries = [Entry(Key(f"/a/{i}"), i) for i in range(count)]
    return Cursor.from_entries(Query(Key("/a")), entries)


def test_a_mapped_iterable_keeps_the_keys():
    cursor = entry_cursor(3)
    cursor._iterable = (value * 10 for value in cursor._iterable)
    assert [(entry.key.name, entry.value) for entry in cursor.entries()] == [("0", 0), ("1", 10), ("2", 20)]


def test_a_filtering_iterable_loses_the_keys_from_where_it_deviates():
    cursor = entry_cursor(4)
    cursor._iterable = (value for value in cursor._iterable if value != 1)
    assert [(entry.key and entry.key.name, entry.value) for entry in cursor.entries()] == [
        ("0", 0),
        (None, 2),
        (None, 3),
    ]


def test_a_buffering_iterable_has_no_keys():
    cursor = entry_cursor(3)
    cursor._iterable = sorted(cursor._iterable, reverse=True)
    assert [tuple(entry) for entry in cursor.entries()] == [(None, 2), (None, 1), (None, 0)]


def test_an_iterable_replaced_twice_keeps_the_keys():
    cursor = entry_cursor(2)
    cursor._iterable = (value + 1 for value in cursor._iterable)
    cursor._iterable = (value * 2 for value in cursor._iterable)
    assert [(entry.key.name, entry.value) for entry in cursor.entries()] == [("0", 2), ("1", 4)]


def test_closing_stops_a_replaced_iterable_and_its_source():
    events = []

    def below():
        try:
            yield 1
            yield 2
        finally:
            events.append("below")

    def above(iterable):
        try:
            yield from iterable
        finally:
            events.append("above")

    cursor = Cursor(Query(Key("/a")), below())
    cursor._iterable = above(cursor._iterable)
    assert next(cursor) == 1
    cursor.close()
    assert events == ["above", "below"]


def test_a_foreign_iterable_is_not_closed_by_the_cursor(tmp_path):
    path = tmp_path / "lines"
    path.write_text("a\nb\n")
    with path.open() as lines:
        with Cursor(Query(Key("/a")), lines) as cursor:
            assert next(cursor) == "a\n"
        assert not lines.closed


def test_counts_can_be_written_and_hooks_are_called():
    class Counting(Cursor):
        def _returned_inc(self, item):
            seen.append(item)
            super()._returned_inc(item)

    seen = []
    cursor = Counting(Query(Key("/a")), [1, 2])
    cursor.returned = 10
    assert list(cursor) == seen == [1, 2]
    assert cursor.returned == 12


def test_an_error_of_the_source_closes_and_is_raised():
    def source():
        yield 1
        raise OSError("gone")

    cursor = Cursor(Query(Key("/a")), source())
    with pytest.raises(OSError, match="gone"):
        list(cursor)
    with pytest.raises(StopIteration):
        next(cursor)


# The helpers


@given(st.one_of(st.none(), st.integers(0, 5)), st.lists(st.integers(), max_size=6))
def test_limit_gen_behaves_like_islice(limit, items):
    iterator = iter(items)
    expected = items[:limit] if limit is not None else items
    assert list(limit_gen(limit, iterator)) == expected
    assert list(iterator) == items[len(expected) :]


@given(st.integers(0, 5), st.lists(st.integers(), max_size=6))
def test_offset_gen_signals_what_it_skips(offset, items):
    skipped = []
    assert list(offset_gen(offset, items, skipped.append)) == items[offset:]
    assert skipped == items[:offset]


def test_chain_gen_and_is_iterable():
    assert list(chain_gen([[1], (), iter([2, 3])])) == [1, 2, 3]
    assert is_iterable([]) and is_iterable("") and not is_iterable(3)


@pytest.mark.parametrize("field", ["A", "n", "_", "__key", "__key__x"])
def test_any_field_but_the_key_is_in_the_value(field):
    for change in (lambda query: query.filter(field, "=", 1), lambda query: query.order(field)):
        assert change(Query(Key("/a"), keys_only=True)).reads_values
    with pytest.raises(InvalidQueryError, match="without its value"):
        Query(Key("/a")).order(field).order_sort_key(Key("/a/b"), None)


def test_the_key_is_not_in_the_value():
    query = Query(Key("/a"), keys_only=True).filter("__key__", ">", Key("/a/b")).order("-__key__")
    assert not query.reads_values
    assert query.order_sort_key(Key("/a/c"), None) == query.order_sort_key(Key("/a/c"), {"n": 1})
    query.keys_only = False
    assert query.reads_values


# Frozen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("key", Key("/b")), ("limit", 1), ("offset", 1), ("start_after", None), ("fields", ["n"])),
        *(("filters", []), ("orders", []), ("object_getattr", getattr)),
        *((flag, True) for flag in FLAGS),
    ],
)
def test_no_attribute_of_a_frozen_query_can_be_assigned(name, value):
    query = Query(Key("/a"), 3).filter("n", ">", 1).order("-n")
    frozen = query.frozen()
    with pytest.raises(InvalidQueryError, match=rf"'{name}' .*copy\(\)"):
        setattr(frozen, name, value)
    assert frozen == query


def test_a_frozen_query_takes_no_more_filters_and_orders():
    frozen = Query(Key("/a")).frozen()
    for change in (lambda: frozen.filter("n", "=", 1), lambda: frozen.order("n")):
        with pytest.raises(InvalidQueryError, match=r"copy\(\)"):
            change()
    assert (frozen.filters, frozen.orders) == ((), ())


def test_a_copy_of_a_frozen_query_can_be_changed():
    frozen = Query(Key("/a"), 3).filter("n", ">", 1).frozen()
    for copied in (frozen.copy(), copy.copy(frozen)):
        copied.limit = 5
        copied.filters.append(Filter("m", "=", 2))
        assert copied.order("n") == Query(Key("/a"), 5).filter("n", ">", 1).filter("m", "=", 2).order("n")
    assert frozen == Query(Key("/a"), 3).filter("n", ">", 1)


def test_changes_after_freezing_have_no_effect():
    query = Query(Key("/a")).filter("n", ">", 1)
    frozen = query.frozen()
    query.filters.clear()
    query.limit = 1
    assert frozen == Query(Key("/a")).filter("n", ">", 1)
    assert frozen.frozen() is frozen


def test_a_replaced_attribute_is_checked_and_the_query_stays():
    query = Query(Key("/a"), 3).order("n")
    changed = query.replaced(limit=5, filters=[Filter("n", ">", 1)])
    assert changed == Query(Key("/a"), 5).filter("n", ">", 1).order("n")
    assert query == Query(Key("/a"), 3).order("n")
    with pytest.raises(InvalidQueryError, match="copy"):
        changed.limit = 1
    with pytest.raises(InvalidQueryError, match="at least 0"):
        query.replaced(limit=-1)
