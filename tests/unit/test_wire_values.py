"""Values on the wire: every plain value and back, and the refused ones."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import CorruptDataError, InvalidValueError, UnsupportedTypeError
from datastore.model.fields import object_getattr
from datastore.model.key import Key
from datastore.model.limits import VALUE_DEPTH
from datastore.testing import cases, model
from datastore.v1 import service_pb2
from datastore.v1.value_pb2 import Value
from datastore.wire import WireValue, check_value, codec, decode_value, encode_value, is_null, lazy, values
from tests.support.vectors import value_of, vectors


@given(cases.wire_values())
def test_any_value_comes_back_equal_and_of_its_types(value):
    wire = encode_value(value)
    assert model.same(decode_value(wire.data), value)
    assert model.same(codec.loads(codec.dumps(value)), value)
    check_value(wire.data)
    assert is_null(wire.data) == (value is None)


@pytest.mark.parametrize("row", vectors("values"), ids=lambda row: str(row["value"]))
def test_the_bytes_are_those_of_the_vectors(row):
    value = value_of(row["value"])
    assert encode_value(value).data.hex() == row["wire"]
    assert model.same(decode_value(bytes.fromhex(row["wire"])), value)


@pytest.mark.parametrize("number", [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_ints_are_exact_to_the_edges_of_64_bits(number):
    found = decode_value(encode_value(number).data)
    assert found == number
    assert type(found) is int


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400, 10**5000], ids=["over", "under", "far", "further"])
def test_larger_ints_are_refused_with_their_path(number):
    with pytest.raises(ValueError, match="64 bits") as raised:
        encode_value({"a": [1, {"b": number}]})
    assert isinstance(raised.value, InvalidValueError)
    assert raised.value.path == "value['a'][1]['b']"


def test_floats_keep_their_sign_nan_and_infinity():
    assert math.copysign(1, decode_value(encode_value(-0.0).data)) == -1
    assert math.isnan(decode_value(encode_value(math.nan).data))
    assert decode_value(encode_value(-math.inf).data) == -math.inf


@pytest.mark.parametrize("value", ["", b"", 0, 0.0, False, [], {}, [[]], {"": {}}, [None]])
def test_empty_values_stay_unchanged(value):
    assert model.same(decode_value(encode_value(value).data), value)
    assert not is_null(encode_value(value).data)


def test_datetimes_come_back_in_utc_to_the_microsecond():
    moment = datetime(2026, 11, 24, 10, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    found = decode_value(encode_value(moment).data)
    assert found == moment
    assert found.tzinfo is UTC
    for edge in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert decode_value(encode_value(edge).data) == edge


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 1), "time zone"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "1 to 9999"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "1 to 9999"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
    ],
)
def test_values_out_of_range_are_refused(value, text):
    with pytest.raises(InvalidValueError, match=text) as raised:
        encode_value([value])
    assert raised.value.path.startswith("value[0]")


@pytest.mark.parametrize("value", [{1}, object(), 1j, {1: 2}, {"a": {None: 1}}, range(3), memoryview(b"")])
def test_types_that_cannot_be_sent_are_refused_with_their_path(value):
    with pytest.raises(TypeError) as raised:
        encode_value({"x": [value]})
    assert isinstance(raised.value, UnsupportedTypeError)
    assert raised.value.path.startswith("value['x'][0]")


class Level(IntEnum):
    LOW = 1


class Colour(str, Enum):  # noqa: UP042 - whose text is its name, unlike a StrEnum's
    RED = "red"


class Name(str):
    __slots__ = ()


def test_subclasses_are_sent_as_their_plain_value_and_tuples_as_lists():
    found = decode_value(encode_value([Level.LOW, Name("n"), Colour.RED, bytearray(b"b"), (1, 2)]).data)
    assert found == [1, "n", "red", b"b", [1, 2]]
    assert [type(item) for item in found] == [int, str, str, bytes, list]
    assert decode_value(encode_value({Colour.RED: 1}).data) == {"red": 1}


def test_a_circular_value_is_refused():
    around: list = []
    around.append({"around": around})
    with pytest.raises(InvalidValueError, match="deep"):
        encode_value(around)


def test_serialized_values_within_others_are_unwrapped():
    assert decode_value(encode_value({"a": [encode_value({"b": 1})]}).data) == {"a": [{"b": 1}]}


def test_a_path_shows_only_the_beginning_of_a_long_name():
    with pytest.raises(UnsupportedTypeError) as raised:
        encode_value({"n" * 10_000: {1}})
    assert len(raised.value.path) < 100


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["lists", "maps"])
def test_the_nesting_of_values_is_limited(wrap):
    deepest = nested(VALUE_DEPTH, wrap)
    data = encode_value(deepest).data
    check_value(data)
    assert decode_value(data) == deepest
    # Every generated client can read it: their parsers stop at a hundred messages within one another.
    response = service_pb2.QueryResponse()
    response.entries.add().value.MergeFromString(data)
    assert service_pb2.QueryResponse.FromString(response.SerializeToString()) == response
    with pytest.raises(InvalidValueError, match="32 deep"):
        encode_value(wrap(deepest))


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["lists", "maps"])
@pytest.mark.parametrize("depth", [VALUE_DEPTH + 1, 200, 5000])
def test_a_node_refuses_values_nested_too_deep(wrap, depth):
    message, build = b"\x10\x01", wrap(0)
    for _ in range(depth):
        inner = b"\x0a" + _varint(len(message)) + message if isinstance(build, list) else _pair(message)
        tag = b"\x4a" if isinstance(build, list) else b"\x52"
        message = tag + _varint(len(inner)) + inner
    with pytest.raises(InvalidValueError, match="deep"):
        check_value(message)


def _pair(value):
    entry = b"\x0a\x01a\x12" + _varint(len(value)) + value
    return b"\x0a" + _varint(len(entry)) + entry


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _bad_values():
    unset_in_list, unset_in_map = Value(), Value()
    unset_in_list.list_value.values.add()
    unset_in_map.map_value.fields["a"].SetInParent()
    fine_stamp, far_stamp, late_nanos = Value(), Value(), Value()
    fine_stamp.timestamp_value.nanos = 1
    far_stamp.timestamp_value.seconds = 253_402_300_800
    late_nanos.timestamp_value.nanos = 1_000_000_000
    key, control = Value(), Value()
    key.key_value.text = "a//b"
    control.key_value.text = "/a\x00"
    return {
        "no kind": (b"", "value"),
        "no kind in a list": (unset_in_list.SerializeToString(), "value[0]"),
        "no kind in a map": (unset_in_map.SerializeToString(), "value['a']"),
        "a kind of the future": (b"\xfa\x01\x00", "value"),
        "nanoseconds": (fine_stamp.SerializeToString(), "value"),
        "the year 10000": (far_stamp.SerializeToString(), "value"),
        "too many nanoseconds": (late_nanos.SerializeToString(), "value"),
        "a key in other words": (key.SerializeToString(), "value"),
        "a key that is none": (control.SerializeToString(), "value"),
        "bytes that are not a message": (b"\x4a\xff", "value"),
        "a null after another kind": (b"\x10\x01\x08\x00", "value"),
    }


@pytest.mark.parametrize(("data", "path"), _bad_values().values(), ids=_bad_values())
def test_a_node_refuses_bytes_that_are_not_a_value(data, path):
    with pytest.raises(InvalidValueError) as raised:
        check_value(data)
    assert raised.value.path == path


@given(st.binary(max_size=40))
def test_bytes_that_pass_the_check_are_values_and_others_raise_the_one_error(data):
    try:
        check_value(data)
    except InvalidValueError:
        return
    value = decode_value(data)
    assert (value is None) == is_null(data)


def test_bytes_that_are_not_a_value_are_corrupt():
    for data in (b"", b"\xff", b"\x42\x04\x0a\x02/\x00"):
        with pytest.raises(CorruptDataError):
            decode_value(data)


def test_lazy_values_are_decoded_only_on_access_and_keep_nothing(monkeypatch):
    loads = []
    monkeypatch.setattr(values, "decode_value", lambda data: loads.append(1) or decode_value(data))
    value = lazy.loads(lazy.dumps({"a": 1}))
    assert isinstance(value, WireValue)
    assert lazy.dumps(value) == value.data
    assert encode_value(value) is value
    assert not loads
    assert value.decode() == {"a": 1} == value.decode()
    assert len(loads) == 2
    assert sys.getsizeof(value) <= 64


@given(cases.wire_values(), st.sampled_from(["a", "b", "a.b", "a.b.c", "", "a.", "\ud800", "__key__"]))
def test_a_view_has_the_fields_of_the_value(value, field):
    for held in (value, {"a": value}, {"a": {"b": value}}, {"a.b": value, "a": {"b": {"c": value}}}):
        wire_value = encode_value(held)
        found = object_getattr(wire_value.view(), field)
        assert model.compare(found, object_getattr(held, field)) == 0


def test_a_view_is_a_mapping_that_looking_up_does_not_change():
    view = encode_value({"a": {"b": 1}, "c": Key("/k"), "d": None}).view()
    assert dict(view) == {"a": {"b": 1}, "c": Key("/k"), "d": None}
    assert view["a"]["b"] == 1
    assert view.get("x", 7) == 7
    with pytest.raises(KeyError):
        view["x"]
    assert len(view) == 3
    assert "x" not in view
    assert encode_value([1]).view() == [1]
    with pytest.raises(CorruptDataError):
        WireValue(b"\xff").view()
    with pytest.raises(CorruptDataError, match="1 bytes"):
        WireValue.views([encode_value(1).data, b"\xff"])


def test_wire_values_equal_by_content():
    assert encode_value({"a": 1, "b": 2}) == encode_value({"b": 2, "a": 1})
    assert encode_value(1) != encode_value(2)
    assert encode_value(1) != 1
