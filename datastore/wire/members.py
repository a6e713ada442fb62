"""Reads some members of many maps, and leaves the others unread: for queries, which need few members of each."""

from __future__ import annotations

import struct
from itertools import repeat
from operator import contains
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

from datastore.v1 import value_pb2

__all__ = ["UNREAD", "members_of", "scalars"]


def _pool() -> descriptor_pool.DescriptorPool:
    """Messages in which the members of maps are bytes: the same on the wire, but the members are not parsed."""
    pool = descriptor_pool.DescriptorPool()
    for file in (*value_pb2.DESCRIPTOR.dependencies, value_pb2.DESCRIPTOR):
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            if message.name == "MapValue":
                _, member = message.nested_type[0].field
                member.type = FieldDescriptor.TYPE_BYTES  # type: ignore[assignment]
                member.ClearField("type_name")
        if file is value_pb2.DESCRIPTOR:
            _add_joined(proto)
        pool.Add(proto)
    return pool


def _add_joined(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Add `message Joined { repeated MapValue maps = 10; }`: many Values that are maps, one after the other."""
    file.message_type.add(name="Joined").field.add(
        name="maps",
        number=_MAP,
        label=FieldDescriptor.LABEL_REPEATED,
        type=FieldDescriptor.TYPE_MESSAGE,
        type_name=".datastore.v1.MapValue",
    )


_MAP = value_pb2.Value.DESCRIPTOR.fields_by_name["map_value"].number
_POOL = _pool()
_Joined: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("datastore.v1.Joined"))

_MAP_TAG = bytes([_MAP << 3 | 2])


def members_of(datas: list[bytes]) -> list[Any] | None:
    """The members of many serialized maps, as bytes by their names. Raises DecodeError.

    None if one is not a map, or is encoded in a way in which members may differ from what the parser reads. Looking up
    a member that is missing adds an empty one.
    """
    if not all(map(bytes.startswith, datas, repeat(_MAP_TAG))):
        return None
    data = b"".join(datas)
    joined = _Joined.FromString(data)
    # Each is a map and nothing else if no field is unknown, and there are as many maps.
    if len(joined.maps) != len(datas) or len(UnknownFieldSet(joined)):
        return None
    maps = [each.fields for each in joined.maps]
    # If an entry repeats its value, the parser merges all of them, but of bytes the last one wins. Encoded again, the
    # entry is shorter. Of what is ever stored, only entries without a name are longer.
    if joined.ByteSize() != len(data) or any(map(contains, maps, repeat(""))):
        return None
    return maps


def _tag(field: str, wire_type: int) -> int:
    return value_pb2.Value.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type


_INT64, _STRING = _tag("int64_value", 0), _tag("string_value", 2)
_DOUBLE_TAG = bytes([_tag("double_value", 1)])
_DOUBLE_BYTES = 9


#: The longest member that is read here, in bytes: a text whose length takes one byte.
_SHORT_BYTES = 129


class _Unread:
    """Stands for a member that is neither empty nor a scalar that is read here."""


UNREAD = _Unread()


def scalars(column: list[bytes]) -> list[Any]:
    """The plain values of those Values that are a short text, a small int or a double; None for empty ones, or UNREAD.

    Raises UnicodeDecodeError for a text that is not one.
    """
    longest = max(map(len, column), default=0)
    if longest > _SHORT_BYTES:
        return [UNREAD if data else None for data in column]
    if longest == _DOUBLE_BYTES:
        joined = b"".join(column)
        if joined[::_DOUBLE_BYTES] == _DOUBLE_TAG * len(column) and len(joined) == _DOUBLE_BYTES * len(column):
            return list(struct.unpack("<" + "xd" * len(column), joined))
    distinct = set(column)
    if len(distinct) > len(column) // 2:
        return list(map(_scalar, column))
    # Nothing is remembered beyond this column: a sort holds only what it counts.
    plain = dict(zip(distinct, map(_scalar, distinct), strict=True))
    return list(map(plain.__getitem__, column))


def _scalar(data: bytes) -> Any:
    """One of `scalars`."""
    if len(data) < 2:
        return UNREAD if data else None
    tag = data[0]
    if tag == _STRING and data[1] == len(data) - 2:
        return data[2:].decode()
    if tag == _INT64 and len(data) == 2 and data[1] < 128:
        return data[1]
    if tag == _INT64 and len(data) == 3 and data[1] >= 128 > data[2]:
        return data[1] & 127 | data[2] << 7
    return UNREAD
