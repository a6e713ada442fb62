"""Messages of too many parts are refused before they are parsed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from datastore import wire
from datastore.model.errors import InvalidValueError, LimitExceededError
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_PARTS
from datastore.v1 import service_pb2
from datastore.v1.value_pb2 import Value
from datastore.wire.parts import count_parts, parts_in

VALUES = {
    "scalar": (1, 0),
    "list": ([1, 2, 3], 4),
    "map": ({"a": 1}, 3),
    "nested": ([[], {}], 5),
    "others": ({"k": [Key("/a"), datetime.now(UTC)], "t": (1,)}, 12),
}


@pytest.mark.parametrize("name", VALUES)
def test_parts_are_the_embedded_messages(name: str) -> None:
    value, parts = VALUES[name]
    assert count_parts(wire.encode_value(value).data, Value.DESCRIPTOR, 1000) == parts
    assert parts_in(value) == parts


@pytest.mark.parametrize(
    ("most", "above"),
    [
        ([0] * (MESSAGE_PARTS - 1), [0] * MESSAGE_PARTS),
        ({"a": [None] * (MESSAGE_PARTS - 4)}, {"a": [None] * (MESSAGE_PARTS - 3)}),
        ([[]] * ((MESSAGE_PARTS - 2) // 2), [[]] * (MESSAGE_PARTS // 2)),
    ],
    ids=["list", "map", "lists"],
)
def test_the_parts_of_a_plain_value_are_limited_like_those_of_its_serialized_form(most: Any, above: Any) -> None:
    wire.check_parts_of(most)
    wire.check_parts(wire.encode_value(most).data, Value.DESCRIPTOR)
    for refused in (
        lambda: wire.check_parts_of(above),
        lambda: wire.check_parts(wire.encode_value(above).data, Value.DESCRIPTOR),
    ):
        with pytest.raises(LimitExceededError, match="a Value has at most 100,000 parts"):
            refused()


def list_of(elements: int) -> bytes:
    """The value of a list of so many null elements, which has one part more."""
    return Value(list_value={"values": [Value(null_value=0)] * elements}).SerializeToString()  # type: ignore[arg-type]


@pytest.mark.parametrize("above", [-1, 0, 1])
def test_a_value_has_at_most_so_many_parts(above: int) -> None:
    data = list_of(MESSAGE_PARTS - 1 + above)
    if above <= 0:
        wire.check_value(data)
        return
    with pytest.raises(LimitExceededError) as caught:
        wire.check_value(data)
    assert (caught.value.limit, caught.value.maximum) == ("message_parts", MESSAGE_PARTS)


def test_counting_ends_at_the_limit_whatever_follows() -> None:
    assert count_parts(list_of(1000) + b"\xff" * 10, Value.DESCRIPTOR, 100) == 101


@pytest.mark.parametrize("cut", range(1, 12))
def test_truncated_bytes_are_left_to_the_parser(cut: int) -> None:
    data = wire.encode_value({"a": [1, 2.5], "b": "x" * 200}).data
    assert count_parts(data[:-cut], Value.DESCRIPTOR, 1000) <= 8
    with pytest.raises(InvalidValueError):
        wire.check_value(data[:-cut])


def test_text_and_bytes_have_no_parts_whatever_is_in_them() -> None:
    newlines = b"\n" * (3 * MESSAGE_PARTS)
    wire.check_value(wire.encode_value(newlines).data)
    wire.check_value(wire.encode_value(newlines.decode()).data)


@pytest.mark.parametrize("kind", [service_pb2.BatchGetRequest, wire.raw.BatchWriteRequest], ids=["keys", "writes"])
def test_a_request_of_a_million_empty_items_is_refused_unparsed(kind: type) -> None:
    with pytest.raises(LimitExceededError):
        wire.check_parts(b"\x0a\x00" * 1_000_000, kind.DESCRIPTOR)  # type: ignore[attr-defined]


#: The fields of which a large GetRequest may consist, besides empty keys.
JUNK = {
    "an unknown number": b"\x78\x01",
    "unknown bytes": b"\x9a\x06\x00",
    "a group": b"\x0b\x0c",
    "a group that does not end": b"\x0b\x0b",
}


@pytest.mark.parametrize("name", JUNK)
def test_unknown_fields_and_groups_are_parts(name: str) -> None:
    with pytest.raises(LimitExceededError, match="unknown"):
        wire.check_parts(JUNK[name] * (2 * MESSAGE_PARTS), service_pb2.GetRequest.DESCRIPTOR)


def test_each_repetition_of_a_field_is_a_part() -> None:
    text = b"\x0a\x00" * (2 * MESSAGE_PARTS)
    request = service_pb2.GetRequest(key={"text": "/a"}).SerializeToString()  # type: ignore[arg-type]
    key_of_many = b"\x0a" + bytes([len(text) & 0x7F | 0x80, len(text) >> 7 & 0x7F | 0x80, len(text) >> 14]) + text
    wire.check_parts(request, service_pb2.GetRequest.DESCRIPTOR)
    with pytest.raises(LimitExceededError):
        wire.check_parts(key_of_many, service_pb2.GetRequest.DESCRIPTOR)


@pytest.mark.parametrize("above", [-1, 0, 1])
def test_a_few_fields_of_a_later_version_are_not_parts(above: int) -> None:
    fields = len(service_pb2.GetRequest.DESCRIPTOR.fields)
    data = JUNK["an unknown number"] * (fields + above)
    assert count_parts(data, service_pb2.GetRequest.DESCRIPTOR, 1000) == max(0, above)


def test_an_unterminated_number_is_an_error() -> None:
    # Read to its end, a number of a million bytes would take minutes.
    wire.check_parts(b"\xff" * 1_000_000, service_pb2.GetRequest.DESCRIPTOR)
