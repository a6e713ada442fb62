"""Serializers, and their shim."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datastore
from datastore import core, serialize
from datastore.filesystem import FileSystemDatastore
from datastore.model.entries import Position, Write
from datastore.model.errors import CorruptDataError, InvalidError, UnsupportedTypeError
from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.operations import ReadResult, WriteResult
from datastore.model.query import Query
from datastore.testing import cases, model
from tests.support.spies import spy
from tests.support.vectors import vectors

HELLO = Key("hello")


def test_the_base_does_nothing_yet():
    for call in (serialize.Serializer.loads, serialize.Serializer.dumps):
        with pytest.raises(NotImplementedError, match=r"Serializer does not implement (loads|dumps)"):
            call("x")
    assert serialize.Serializer.keeps_mappings is False


def test_serializers_match_the_vectors_in_both_directions():
    named = {"json": json, "prettyjson": serialize.prettyjson, "map_serializer": serialize.map_serializer}
    for row in vectors("serializers"):
        stack = serialize.Stack(named[name] for name in row["serializer"].split(", ") if name)
        assert stack.dumps(row["value"]) == row["dumped"], row
        assert stack.loads(row["dumped"]) == row["value"], row


@pytest.mark.parametrize("good", [json, pickle, serialize.prettyjson, serialize.Stack(), serialize.map_serializer])
def test_anything_with_loads_and_dumps_is_a_serializer(good: Any):
    assert serialize.implements_serializer_interface(good)
    assert serialize.Serializer.implements_serializer_interface(good)


@pytest.mark.parametrize("bad", [object(), None, "json", type("Half", (), {"loads": json.loads}), 3])
def test_anything_without_loads_and_dumps_is_not_a_serializer(bad: Any):
    assert not serialize.implements_serializer_interface(bad)
    if bad is not None:
        with pytest.raises(UnsupportedTypeError, match="loads and dumps"):
            serialize.shim(core.DictDatastore(), bad)


def test_checking_a_serializer_does_not_call_it():
    class Fussy:
        loads = dumps = staticmethod(lambda value: 1 / 0)

    serialize.shim(core.DictDatastore(), Fussy)


def test_pretty_json_is_sorted_and_indented():
    assert serialize.prettyjson.dumps({"b": [1], "a": None}) == '{\n "a": null,\n "b": [\n  1\n ]\n}'
    assert serialize.prettyjson.loads('{"a": 1}') == {"a": 1}


def test_the_non_serializer_leaves_values_unchanged():
    value = object()
    assert serialize.NonSerializer.dumps(value) is value
    assert serialize.NonSerializer.loads(value) is value


def test_an_empty_stack_leaves_values_unchanged():
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
def test_the_map_serializer_wraps_anything_but_maps(value: Any, stored: Any):
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
        part.mapped(lambda each: core.Filter("@wrapped", each.op, each.value) if each.field == "s" else each)
        for part in query.filters
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


def test_none_means_json_and_a_falsy_serializer_is_kept():
    assert datastore.SerializerShimDatastore(core.DictDatastore()).serializer is json

    class Falsy(list):
        loads = staticmethod(json.loads)
        dumps = staticmethod(json.dumps)

    falsy = Falsy()
    assert datastore.SerializerShimDatastore(core.DictDatastore(), falsy).serializer is falsy


def test_a_value_stored_as_null_is_absent():
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


def test_bson_keeps_its_own_functions():
    class BSON(bytes):
        __slots__ = ()
        encode = staticmethod(lambda value: BSON(json.dumps(value).encode()))

        def decode(self) -> Any:  # type: ignore[override]
            return json.loads(bytes(self))

    module = SimpleNamespace(BSON=BSON, dumps="its own")
    serialize.monkey_patch_bson(module)
    assert module.dumps == "its own"
    assert module.loads(b'{"a": 1}') == {"a": 1}
    loads = module.loads
    del module.dumps
    serialize.monkey_patch_bson(module)
    assert module.loads is loads
    assert module.dumps({"a": 1}) == b'{"a": 1}'


class Incomparable:
    """Like a numpy array: the result of a comparison has no truth value."""

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
    """Changes the serializer's output, in the documented way."""

    def serialized_value(self, value: Any) -> Any:
        return None if value is None else "signed " + super().serialized_value(value)

    def deserialized_value(self, stored: Any) -> Any:
        return None if stored is None else super().deserialized_value(stored.removeprefix("signed "))


@pytest.mark.parametrize("serializer", [json, serialize.NonSerializer], ids=["json", "none"])
def test_every_call_uses_a_subclass_that_converts_values_its_own_way(serializer: Any):
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


async def test_an_error_says_which_value_cannot_be_stored(colour: Any, library: Any):
    store = library.SerializerShimDatastore(library.DictDatastore())
    await colour.call(store.put, HELLO, "old")
    with pytest.raises(TypeError, match="JSON") as raised:
        await colour.call(store.put, HELLO, object())
    assert raised.value.__notes__ == ["this is the value of /hello"]
    (outcome,) = await colour.call(store.batch_write, [Write(HELLO, object())])
    assert "/hello" in str(outcome.error)
    assert await colour.call(store.get, HELLO) == "old"


async def test_none_is_not_serialized_and_leaves_nothing_below(colour: Any, library: Any):
    class Strict:
        @staticmethod
        def dumps(value: Any) -> str:
            assert value is not None
            return json.dumps(value)

        loads = staticmethod(json.loads)

    store = library.SerializerShimDatastore(library.DictDatastore(), Strict)
    await colour.call(store.batch_write, [Write(Key("/a"), 1), Write(Key("/b"), 1)])
    await colour.call(store.put, Key("/a"), None)
    await colour.call(store.batch_write, [Write(Key("/b"), None)])
    assert len(store.child_datastore) == 0
    assert store.serialized_value(None) is store.deserialized_value(None) is None


class BrokenError(Exception):
    """An error of an unknown class."""


class Fussy:
    """Accepts everything but text that begins with "bad"."""

    @staticmethod
    def dumps(value: Any) -> str:
        if str(value).startswith("bad"):
            raise BrokenError(value)
        return json.dumps(value)

    @staticmethod
    def loads(stored: str) -> Any:
        if "bad" in stored:
            raise BrokenError(stored)
        return json.loads(stored)


@pytest.mark.parametrize("serializer", [Fussy, pickle], ids=["fussy", "pickle"])
async def test_an_item_that_a_serializer_fails_on_fails_alone(serializer: Any, colour: Any, library: Any):
    store = library.SerializerShimDatastore(library.DictDatastore(), serializer)
    good, bad, rotten = Key("/good"), Key("/bad"), Key("/rotten")
    unserializable = "bad" if serializer is Fussy else lambda: None
    done, refused, later = await colour.call(
        store.batch_write, [Write(good, 1), Write(bad, unserializable), Write(good, 2)]
    )
    assert (done, later) == (WriteResult(), WriteResult())
    assert isinstance(refused.error, InvalidError)
    assert "/bad" in str(refused.error)
    assert [key for key, _ in await colour.read(store.child_datastore.query(Query(Key("/"))))] == [good]
    await colour.call(store.child_datastore.put, rotten, b"bad" if serializer is pickle else "bad")
    found, failed, absent = await colour.call(store.batch_get, [good, rotten, bad])
    assert (found, absent) == (ReadResult(2), ReadResult())
    assert isinstance(failed.error, InvalidError)
    assert "/rotten" in str(failed.error)


@pytest.mark.parametrize("serializer", [json, serialize.map_serializer], ids=["json", "map_serializer"])
def test_values_are_formed_under_both_names(serializer: Any, library: Any):
    store = library.SerializerShimDatastore(library.DictDatastore(), serializer)
    stored = store.serializedValue([1])
    assert stored == store.serialized_value([1]) == serializer.dumps([1])
    assert store.deserializedValue(stored) == store.deserialized_value(stored) == [1]


async def test_a_class_may_have_a_custom_serializer(colour: Any, library: Any):
    class Pretty(library.SerializerShimDatastore):
        serializer = serialize.prettyjson

    store = Pretty(library.DictDatastore())
    await colour.call(store.put, HELLO, {"a": 1})
    assert await colour.call(store.child_datastore.get, HELLO) == '{\n "a": 1\n}'
    assert await colour.call(store.get, HELLO) == {"a": 1}
    assert Pretty(library.DictDatastore(), json).serializer is json
    assert library.SerializerShimDatastore.serializer is json


# Queries


class Marked(serialize.map_serializer):
    sentinel = "@w"


class Voiding(serialize.Serializer):
    """Keeps maps; those with a true "void" load as None."""

    keeps_mappings = True

    @classmethod
    def dumps(cls, value: Any) -> Any:
        return value

    @classmethod
    def loads(cls, value: Any) -> Any:
        return None if value.get("void") else value


def keyed(values: Any) -> dict[Key, Any]:
    return {Key(f"/c/{place}"): value for place, value in enumerate(values)}


def spying(library: Any, serializer: Any) -> Any:
    """A shim over a dict that keeps the queries that it is asked, in `asked`."""
    return library.SerializerShimDatastore(spy(library), serializer)


@pytest.mark.parametrize("void", [set(), {0}, {2, 3}, {0, 1, 2, 5}, set(range(8))], ids=str)
@pytest.mark.parametrize(
    "query",
    [
        Query(Key("/c"), limit=2),
        Query(Key("/c"), offset=1, limit=2),
        Query(Key("/c"), limit=2).order("-n"),
        Query(Key("/c"), offset=2).order("-n"),
        Query(Key("/c"), offset=1, limit=1).filter("n", ">", 1),
        Query(Key("/c"), limit=2).filter("__key__", ">", Key("/c/1")),
    ],
    ids=str,
)
async def test_a_value_that_loads_as_none_does_not_count(query: Query, void: set[int], colour: Any, library: Any):
    values = [{"n": number, "void": number in void} for number in range(8)]
    store = spying(library, Voiding)
    for key, value in keyed(values).items():
        await colour.call(store.put, key, value)
    expected = model.answer(query, {key: value for key, value in keyed(values).items() if not value["void"]})
    cursor = store.query(query)
    assert await colour.read(cursor) == expected.entries
    assert cursor.skipped == expected.skipped
    (asked,) = store.child_datastore.asked
    assert asked.filters == query.filters
    assert (asked.orders, asked.offset, asked.limit) == ([], 0, None)


@pytest.mark.parametrize(
    "serializer",
    [serialize.NonSerializer, serialize.Stack([serialize.NonSerializer]), serialize.Stack()],
    ids=["alone", "in a stack", "no stack"],
)
async def test_a_whole_query_is_pushed_down_if_nothing_can_change_it(serializer: Any, colour: Any, library: Any):
    store = spying(library, serializer)
    contents = keyed({"n": number % 3} for number in range(9))
    for key, value in contents.items():
        await colour.call(store.put, key, value)
    query = Query(Key("/c"), limit=3, offset=1).filter("n", ">", 0).order("-n")
    assert await colour.read(store.query(query)) == model.answer(query, contents).entries
    assert store.child_datastore.asked == [query]


class OwnFilter(Filter):
    """Matches as any filter does."""


@pytest.mark.parametrize("serializer", [serialize.NonSerializer, serialize.map_serializer, Voiding])
@pytest.mark.parametrize("part", ["query", "filter", "order", "class"])
async def test_the_callers_code_sees_only_loaded_values(part: str, serializer: Any, colour: Any, library: Any):
    def item(value: Any, field: str) -> Any:
        return value[field]

    query = Query(Key("/c"), limit=2)
    match part:
        case "query":
            query.object_getattr = item
            query.filter("n", ">", 2)
        case "filter":
            query.filter("n", ">", 2, item)
        case "order":
            query.filter("n", ">", 2).order("n", item)
        case _:
            query.filter(OwnFilter("n", ">", 2))
    store = spying(library, serializer)
    for key, value in keyed({"n": number} for number in range(6)).items():
        await colour.call(store.put, key, value)
    assert [value for _, value in await colour.read(store.query(query))] == [{"n": 3}, {"n": 4}]
    assert store.child_datastore.asked == [Query(Key("/c"))]


@pytest.mark.parametrize(
    "serializer",
    [Marked, serialize.Stack([Marked]), serialize.Stack([serialize.NonSerializer, serialize.Stack([Marked])])],
    ids=["alone", "in a stack", "deep in stacks"],
)
@pytest.mark.parametrize("field", ["@w", "@w.n", "@w.@w"])
@pytest.mark.parametrize("never_loads_none", [False, True])
async def test_no_query_sees_how_values_are_wrapped(
    field: str, serializer: Any, never_loads_none: bool, colour: Any, library: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Marked, "never_loads_none", never_loads_none, raising=False)
    store = spying(library, serializer)
    contents = keyed([5, {"@w": 5}, {"@w": {"n": 5}}, {"n": 5}, {"@w": {"@w": 5}}, {"@w": 5, "n": 1}, [5]])
    for key, value in contents.items():
        await colour.call(store.put, key, value)
        stored = await colour.call(store.child_datastore.get, key)
        assert isinstance(stored, Mapping)
        assert await colour.call(store.get, key) == value
    for query in (Query(Key("/c")).filter(field, "=", 5), Query(Key("/c"), limit=4).order(f"-{field}")):
        assert await colour.read(store.query(query)) == model.answer(query, contents).entries


def test_continuing_a_query_does_not_skip_a_value_that_cannot_be_loaded():
    child = core.DictDatastore()
    store = core.SerializerShimDatastore(child)
    for number in range(64):
        store.put(Key(f"/c/{number:02}"), number)
    child.put(Key("/c/63"), "{bad")
    batches = store.query(Query(Key("/c"))).batches()
    first = next(batches)
    assert len(first) == 63
    assert first.position in (None, Position(b"", Key("/c/62")))
    with pytest.raises(ValueError, match="Expecting"):
        next(batches)


def test_a_counted_value_that_loads_as_none_is_reported():
    child = core.DictDatastore()
    child.put(Key("/a"), {"@wrapped": None})
    assert list(core.SerializerShimDatastore(child, serialize.map_serializer).query(Query(Key("/"), limit=1))) == []
    # Its queries apply the whole query, so it counts entries without loading them.
    counting = core.ShardedDatastore([child])
    store = core.SerializerShimDatastore(counting, serialize.map_serializer)
    store.put(Key("/b"), {"n": 1})
    assert store.get(Key("/a")) is None
    with pytest.raises(CorruptDataError, match="never to load") as raised:
        list(store.query(Query(Key("/"), limit=1)))
    assert raised.value.__notes__ == ["this is the value of /a"]
    assert list(store.query(Query(Key("/")))) == [{"n": 1}]


def test_only_the_selected_values_are_loaded_where_the_store_below_sees_the_same_fields(tmp_path: Path):
    loaded: list[Any] = []

    class Counting(serialize.Serializer):
        keeps_mappings = never_loads_none = True

        @classmethod
        def dumps(cls, value: Any) -> Any:
            return value

        @classmethod
        def loads(cls, value: Any) -> Any:
            loaded.append(value)
            return value

    with core.SerializerShimDatastore(FileSystemDatastore(tmp_path), json) as files:
        store = core.SerializerShimDatastore(files, Counting)
        for n in range(20):
            store.put(Key(f"/Number:{n}"), {"n": n})
        query = Query(Key("/Number")).filter("n", ">", 9).order("-n")
        query.limit = 3
        assert [value["n"] for value in store.query(query)] == [19, 18, 17]
    assert [value["n"] for value in loaded] == [19, 18, 17]
