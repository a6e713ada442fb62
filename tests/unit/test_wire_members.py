"""Members of many maps read together: the same as one by one, with everything else left unread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Avg, Batch, Key, Query
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.errors import CorruptDataError
from datastore.model.fields import object_getattr
from datastore.testing import cases, model
from datastore.v1 import value_pb2
from datastore.wire import WireValue, decode_value, encode_value
from tests.support import odd_maps

SCALARS = st.one_of(
    st.integers(-5, 20_000), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(st.characters(codec="utf-8"))
)
MAPS = st.fixed_dictionaries({}, optional={"a": SCALARS, "b": SCALARS, "c": cases.wire_values()})
VALUES = st.one_of(cases.wire_values(), MAPS)


def members(plain: list[Any], names: list[str]) -> list[list[Any]] | None:
    return WireValue.members([encode_value(each).data for each in plain], names)


def assert_found(datas: list[bytes], columns: list[list[Any]], names: Sequence[str]) -> None:
    for name, column in zip(names, columns, strict=True):
        assert model.same(column, [object_getattr(decode_value(data), name) for data in datas]), name


@given(st.lists(MAPS, min_size=1, max_size=8))
def test_members_are_those_that_a_filter_finds(plain: list[Any]) -> None:
    datas = [encode_value(each).data for each in plain]
    columns = WireValue.members(datas, ["a", "b", "c"])
    assert columns is not None
    assert_found(datas, columns, "abc")


@given(st.lists(st.one_of(odd_maps.maps(), VALUES.map(odd_maps.scalar)), min_size=1, max_size=3))
def test_members_of_values_in_any_encoding_are_those_of_the_parser_or_left_to_it(datas: list[bytes]) -> None:
    columns = WireValue.members(datas, ["a", "b", ""])
    if columns is not None:
        assert_found(datas, columns, ["a", "b", ""])


@pytest.mark.parametrize("nameless", [0, 1, 2])
@pytest.mark.parametrize("last", [b"", odd_maps.scalar(5)], ids=["empty", "five"])
def test_a_value_that_an_entry_repeats_is_left_to_the_parser(last: bytes, nameless: int) -> None:
    # Entries without a name can make up for the repeated bytes.
    five = odd_maps.scalar(5)
    datas = [
        odd_maps.of(odd_maps.entry("a", five, last)),
        *[odd_maps.of(odd_maps.field(odd_maps.VALUE, five))] * nameless,
    ]
    assert WireValue.members(datas, ["a"]) is None


@pytest.mark.parametrize("number", [0, 127, 128, 16_383, 16_384, -1, 2**63 - 1, 0.0, -0.0, 1e308])
@pytest.mark.parametrize("text", ["", "x" * 127, "x" * 128, "é" * 64, "\x00"], ids=lambda text: f"{len(text)} letters")
def test_members_at_the_edges_of_the_fast_paths(number: float, text: str) -> None:
    values: list[Any] = [{"n": number, "t": text}, {"n": 1.5, "t": ""}, {}]
    assert model.same(members(values, ["n", "t"]), [[number, 1.5, None], [text, "", None]])
    assert model.same(members(values[:1], ["n", "t"]), [[number], [text]])


def test_doubles_between_other_members_of_their_length_are_read_right() -> None:
    plain = [{"a": 1.5}, {"a": "1234567"}, {"a": 2**50}, {}]
    assert members(plain, ["a"]) == [[1.5, "1234567", 2**50, None]]


def test_lists_and_maps_are_not_shared_between_entries() -> None:
    ((one, other),) = members([{"a": [1]}] * 2, ["a"]) or ()
    assert one == other == [1]
    assert one is not other


@pytest.mark.parametrize(
    "member",
    [b"\x2a\x02\xff\xfe", b"\x2a\x05ab", b"\x18\x80", b"\x21\x00", b"\x07"],
    ids=["not a text", "cut text", "cut int", "cut double", "not a message"],
)
def test_a_member_that_cannot_be_read_is_an_error(member: bytes) -> None:
    intact = value_pb2.Value()
    intact.map_value.fields["v"].bytes_value = member
    data = intact.SerializeToString().replace(b"\x32" + bytes([len(member)]) + member, member)
    data = bytes([data[0], data[1] - 2, data[2], data[3] - 2]) + data[4:]
    data = data[:8] + bytes([len(member)]) + data[9:]
    tally = Tally(Aggregate.checked(Query(Key("/a")), {"m": Avg("v")}))
    with pytest.raises(CorruptDataError):
        tally.add(Batch([Key("/a/b")], [WireValue(data)]))
