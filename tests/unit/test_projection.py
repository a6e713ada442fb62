"""Which fields of a value a query returns: as plain values, in wire form, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Key, Query
from datastore.model.encoded import projected
from datastore.model.errors import CorruptDataError, InvalidQueryError, UnsupportedTypeError
from datastore.model.projection import cut
from datastore.testing import cases, model
from datastore.wire import WireValue, encode_value
from tests.support.vectors import value_of, vectors

AIRPORT = {"name": "Bern", "geo": {"lat": 46.9, "lon": 7.5, "at": {"m": 510}}, "a.b": 1, "a": {"b": 2, "c": None}}

CUTS: list[tuple[list[str], Any]] = [
    (["name"], {"name": "Bern"}),
    (["geo.lat"], {"geo": {"lat": 46.9}}),
    (["geo.lat", "geo.at.m"], {"geo": {"lat": 46.9, "at": {"m": 510}}}),
    (["geo.lat", "geo"], {"geo": AIRPORT["geo"]}),
    (["geo", "geo.lat", "geo"], {"geo": AIRPORT["geo"]}),
    (["missing", "geo.missing", "name.x", "geo."], {}),
    # A member of that very name comes first, as for a filter.
    (["a.b"], {"a.b": 1}),
    (["a", "a.b"], {"a": AIRPORT["a"], "a.b": 1}),
    (["a.c"], {"a": {"c": None}}),
]


@pytest.mark.parametrize(("fields", "expected"), CUTS)
def test_a_value_keeps_the_fields_nested_as_they_were(fields: list[str], expected: Any) -> None:
    assert cut(AIRPORT, fields) == expected
    assert encode_value(AIRPORT).projected(fields).decode() == expected


def test_values_are_cut_as_the_vectors_say() -> None:
    for row in vectors("filters")["projections"]:
        value = value_of(row["value"])
        assert cut(value, row["fields"]) == row["cut"], row
        assert encode_value(value).projected(row["fields"]).decode() == row["cut"], row


@pytest.mark.parametrize("value", ["text", 3, None, [{"a": 1}], b"", Key("/a")])
def test_a_value_that_is_not_a_map_becomes_an_empty_one(value: Any) -> None:
    assert cut(value, ["a"]) == {}
    assert encode_value(value).projected(["a"]).decode() == {}


def test_a_value_in_wire_form_that_cannot_be_read_is_named_as_corrupt() -> None:
    with pytest.raises(CorruptDataError):
        WireValue(b"\xff").projected(["a"])


@given(cases.wire_values(), st.lists(st.sampled_from(["x", "y", "a.b", "x.y", "x.a.b", "y.x.y", "x."]), min_size=1))
def test_any_value_is_cut_identically_in_both_forms_and_only_once(value: Any, fields: list[str]) -> None:
    whole = {"x": value, "y": {"x": value, "a.b": value}}
    once = cut(whole, fields)
    assert model.same(projected(encode_value(whole), fields).decode(), encode_value(once).decode())
    assert model.same(cut(once, fields), once)


@pytest.mark.parametrize("fields", ["name", b"name", 3, {"name"}, ["name", 3]])
def test_fields_of_the_wrong_type_are_refused(fields: Any) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"a query's fields|a field to return"):
        Query(Key("/a"), fields=fields)


@pytest.mark.parametrize(
    ("fields", "helps"),
    [([], "keys_only"), ([""], "geo.lat"), (["__key__"], "always returned"), (["a", "__value__"], "whole value")],
)
def test_fields_that_name_nothing_to_return_are_refused_with_what_to_do(fields: Any, helps: str) -> None:
    query = Query(Key("/a"), fields=["kept"])
    with pytest.raises(InvalidQueryError, match=helps):
        query.fields = fields
    assert query.fields == ("kept",)


def test_a_query_for_keys_alone_has_no_fields() -> None:
    with pytest.raises(InvalidQueryError, match="either keys_only"):
        Query(Key("/a"), keys_only=True, fields=["a"])
    query = Query(Key("/a"), fields=["a"])
    with pytest.raises(InvalidQueryError, match="either keys_only"):
        query.keys_only = True
    query.fields = None
    query.keys_only = True
    with pytest.raises(InvalidQueryError, match="either keys_only"):
        query.fields = ["a"]


def test_a_position_needs_the_fields_of_its_orders() -> None:
    query = Query(Key("/a"), fields=["name"]).order("n").order("__key__")
    with pytest.raises(InvalidQueryError, match="'n'; add it"):
        query.order_sort_key(Key("/a/b"), {"name": "x"})
    whole = query.copy()
    whole.fields = None
    query.fields = ["name", "n"]
    value = {"name": "x", "n": 3}
    assert query.order_sort_key(Key("/a/b"), value) == whole.order_sort_key(Key("/a/b"), value)


def test_fields_are_part_of_a_query_as_data() -> None:
    query = Query(Key("/a"), fields=["name", "geo.lat", "name"])
    assert query.fields == ("name", "geo.lat")
    assert query.dict() == {"key": "/a", "fields": ["name", "geo.lat"]}
    assert Query.from_dict(query.dict()) == query
    assert repr(query) == "Query(Key('/a'), fields=['name', 'geo.lat'])"
    assert query != Query(Key("/a"))
    assert list(query([{"name": 1, "n": 2}, 3])) == [{"name": 1}, {}]
