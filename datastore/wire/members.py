"""Reads some members of many maps, and leaves the others unread: for aggregates, which need few members of each."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

from datastore.v1 import value_pb2

__all__ = ["UNREAD", "MemberLists", "scalars"]


def _member_lists() -> Any:
    """A ListValue whose maps have their members as bytes: the same on the wire, but the members are not parsed."""
    pool = descriptor_pool.DescriptorPool()
    for file in (*value_pb2.DESCRIPTOR.dependencies, value_pb2.DESCRIPTOR):
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            if message.name == "MapValue":
                _, member = message.nested_type[0].field
                member.type = FieldDescriptor.TYPE_BYTES  # type: ignore[assignment]
                member.ClearField("type_name")
        pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("datastore.v1.ListValue"))


MemberLists: Any = _member_lists()


def _tag(field: str, wire_type: int) -> int:
    return value_pb2.Value.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type


_INT64, _STRING = _tag("int64_value", 0), _tag("string_value", 2)
_DOUBLE_TAG = bytes([_tag("double_value", 1)])
_DOUBLE_BYTES = 9


#: The longest member that is remembered, in bytes: a text whose length takes one byte.
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
    return list(map(_scalar, column))


@lru_cache(maxsize=16_384)
def _scalar(data: bytes) -> Any:
    """Remembered, because the members of many entries have the same few values."""
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
