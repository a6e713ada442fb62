"""Serializers, and what a shim makes of them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datastore
from datastore import core, serialize
from datastore.core.batch import Write
from datastore.core.errors import UnsupportedTypeError
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.testing import cases, model
from tests.support.vectors import vectors

HELLO = Key("hello")


def test_the_base_does_nothing_yet():
    for call in (serialize.Serializer.loads, serialize.Serializer.dumps):
        with pytest.raises(NotImplementedError, match=r"Serializer does not implement (loads|dumps)"):
            call("x")
    assert serialize.Serializer.keeps_mappings is False


def test_serializers_dump_what_the_vectors_say_and_load_it_again():
    named = {"json": json, "prettyjson": serialize.prettyjson, "map_serializer": serialize.map_serializer}
    for row in vectors("serializers"):
        stack = serialize.Stack(named[name] for name in row["serializer"].split(", ") if name)
        assert stack.dumps(row["value"]) == row["dumped"], row
        assert stack.loads(row["dumped"]) == row["value"], row


@pytest.mark.parametrize("good", [json, pickle, serialize.prettyjson, serialize.Stack(), serialize.map_serializer])
def test_what_has_loads_and_dumps_is_a_serializer(good: Any):
    assert serialize.implements_serializer_interface(good)
    assert serialize.Serializer.implements_serializer_interface(good)


@pytest.mark.parametrize("bad", [object(), None, "json", type("Half", (), {"loads": json.loads}), 3])
def test_what_has_not_is_none(bad: Any):
    assert not serialize.implements_serializer_interface(bad)
    if bad is not None:
        with pytest.raises(UnsupportedTypeError, match="loads and dumps"):
            serialize.shim(core.DictDatastore(), bad)


def test_a_serializer_is_not_tried_out():
    class Fussy:
        loads = dumps = staticmethod(lambda value: 1 / 0)

    serialize.shim(core.DictDatastore(), Fussy)


def test_pretty_json_is_sorted_and_indented():
    assert serialize.prettyjson.dumps({"b": [1], "a": None}) == '{\n "a": null,\n "b": [\n  1\n ]\n}'
    assert serialize.prettyjson.loads('{"a": 1}') == {"a": 1}


def test_the_non_serializer_leaves_values_alone():
    value = object()
    assert serialize.NonSerializer.dumps(value) is value
    assert serialize.NonSerializer.loads(value) is value


def test_an_empty_stack_leaves_values_alone():
    value = object()
    stack = serialize.Stack()
    assert stack.loads(stack.dumps(value)) is value
    assert stack.keeps_mappings


def test_a_stack_applies_its_serializers_in_order_and_back():
    class Upper:
        loads = staticmethod(str.lower)
        dumps = staticmethod(str.upper)

    stack = serialize.Stack([serialize.map_serializer, json, Upper])
    assert stack.dumps("a") == '{"@WRAPPED": "A"}'
    assert stack.loads(stack.dumps("a")) == "a"
    assert not stack.keeps_mappings
    assert serialize.Stack([serialize.map_serializer, serialize.NonSerializer]).keeps_mappings
    assert isinstance(stack, list)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"a": 1}, {"a": 1}),
        ({}, {}),
        (5, {"@wrapped": 5}),
        ("", {"@wrapped": ""}),
        ([1], {"@wrapped": [1]}),
        ({"@wrapped": 5}, {"@wrapped": {"@wrapped": 5}}),
        ({"@wrapped": 5, "a": 1}, {"@wrapped": 5, "a": 1}),
    ],
)
def test_the_map_serializer_wraps_what_is_no_map(value: Any, stored: Any):
    assert serialize.map_serializer.dumps(value) == stored
    assert serialize.map_serializer.loads(stored) == value


@given(st.data())
def test_queries_through_the_map_serializer_are_those_of_a_dict(data: st.DataObject):
    mixed = st.one_of(
        cases.json_values().filter(lambda value: value is not None),
        st.fixed_dictionaries({"@wrapped": cases.json_values()}),
        st.fixed_dictionaries({"@wrapped": st.fixed_dictionaries({"@wrapped": cases.json_values()})}),
        st.fixed_dictionaries({}, optional={"n": cases.json_values(), "@wrapped": cases.json_values()}),
    )
    contents = data.draw(st.dictionaries(cases.keys(), mixed, max_size=10))
    store = serialize.shim(core.DictDatastore(), serialize.map_serializer)
    for key, value in contents.items():
        store.put(key, value)
    query = data.draw(cases.queries(cases.json_values()))
    query.filters = [
        core.Filter("@wrapped", part.op, part.value) if part.field == "s" else part for part in query.filters
    ]
    if data.draw(st.booleans()):
        query.order("-@wrapped.@wrapped").order("@wrapped")
    found = list(store.query(query).entries())
    problem = model.difference(found, model.answer(query, contents).entries)
    assert problem is None, problem


def test_the_generators_are_lazy():
    read = []

    def source():
        for number in range(3):
            read.append(number)
            yield str(number)

    values = serialize.deserialized_gen(json, source())
    assert read == []
    assert next(values) == 0
    assert read == [0]
    assert list(serialize.serialized_gen(json, [1, "a"])) == ["1", '"a"']


def test_none_stands_for_json_and_never_for_a_serializer_of_the_callers():
    assert datastore.SerializerShimDatastore(core.DictDatastore()).serializer is json

    class Falsy(list):
        loads = staticmethod(json.loads)
        dumps = staticmethod(json.dumps)

    falsy = Falsy()
    assert datastore.SerializerShimDatastore(core.DictDatastore(), falsy).serializer is falsy


def test_what_is_stored_as_null_is_absent():
    child = core.DictDatastore()
    store = serialize.shim(child)
    child.put(HELLO, "null")
    assert store.get(HELLO) is None
    assert store.contains(HELLO) is False


def test_bson_gets_the_names_of_a_serializer():
    code = """
import bson
from datastore import serialize
assert not serialize.is_serializer(bson) if hasattr(serialize, "is_serializer") else True
serialize.monkey_patch_bson()
assert bson.loads(bson.dumps({"a": 1})) == {"a": 1}
loads = bson.loads
serialize.monkey_patch_bson(bson)
assert bson.loads is loads
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Incomparable:
    """As an array of numpy's: comparing it gives no truth."""

    def __eq__(self, other: object) -> Any:
        return Truthless()

    __hash__ = None  # type: ignore[assignment]


class Truthless:
    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


def test_loaded_values_are_not_compared():
    store = serialize.shim(core.DictDatastore(), pickle)
    store.put(HELLO, Incomparable())
    assert [type(value) for value in store.query(Query(Key("/")))] == [Incomparable]


class Signed(serialize.SerializerShimDatastore):
    """Changes what the serializer makes, in the documented way."""

    def serialized_value(self, value: Any) -> Any:
        return None if value is None else "signed " + super().serialized_value(value)

    def deserialized_value(self, stored: Any) -> Any:
        return None if stored is None else super().deserialized_value(stored.removeprefix("signed "))


@pytest.mark.parametrize("serializer", [json, serialize.NonSerializer], ids=["json", "none"])
def test_a_subclass_that_forms_values_its_own_way_is_asked_by_every_call(serializer: Any):
    store = Signed(core.DictDatastore(), serializer)
    values = [str(number) for number in range(5)]
    store.batch_write([Write(Key(f"/{value}"), value) for value in values])
    assert store.child_datastore.get(Key("/3")).startswith("signed ")
    assert [outcome.value for outcome in store.batch_get([Key("/3")])] == ["3"]
    assert list(store.query(Query(Key("/")))) == values
    assert list(store.query(Query(Key("/")).filter("__key__", ">", Key("/2")))) == values[3:]


def test_an_error_says_which_value_cannot_be_read():
    store = serialize.shim(core.DictDatastore())
    store.put(Key("/good"), 1)
    store.child_datastore.put(Key("/bad"), "{")
    for read in (
        lambda: store.get(Key("/bad")),
        lambda: store.contains(Key("/bad")),
        lambda: list(store.query(Query(Key("/")))),
    ):
        with pytest.raises(ValueError, match="Expecting") as raised:
            read()
        assert raised.value.__notes__ == ["this is the value of /bad"]
    good, bad = store.batch_get([Key("/good"), Key("/bad")])
    assert good.value == 1
    assert "/bad" in str(bad.error)
