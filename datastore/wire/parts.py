"""Counts the parts of a message before it is parsed.

A message of 4 MiB has room for two million embedded messages of two bytes, or as many unknown fields, and the parser
blocks the interpreter until it has read them all. Knows protobuf's encoding and descriptors; creates no messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from datastore.model.errors import LimitExceededError
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_PARTS

__all__ = ["FEW_PARTS_BYTES", "check_parts", "check_parts_of", "count_parts", "parts_in"]

#: The smallest embedded message, in bytes: its tag, and a length of 0. Only the tags of groups, which no message here
#: has, are smaller.
_PART_BYTES = 2
#: Messages up to this size cannot have too many.
FEW_PARTS_BYTES = MESSAGE_PARTS * _PART_BYTES
#: The maximum number of bits in a varint: ten bytes of seven bits.
_VARINT_BITS = 70
_VARINT, _LENGTH = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
#: The types of plain values that are not sent as embedded messages.
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


def check_parts(data: bytes, kind: Any) -> None:
    """Raise LimitExceededError if a serialized message has more than MESSAGE_PARTS parts, at any depth."""
    if len(data) > FEW_PARTS_BYTES and count_parts(data, kind, MESSAGE_PARTS) > MESSAGE_PARTS:
        raise _too_many(kind.name)


def _too_many(kind: str) -> LimitExceededError:
    return LimitExceededError(
        f"a {kind} has at most {MESSAGE_PARTS:,} parts (lists, maps, their elements and members, keys, timestamps,"
        " unknown and repeated fields), and this one has more: keep them in several entries, or as bytes",
        limit="message_parts",
        maximum=MESSAGE_PARTS,
    )


def check_parts_of(value: Any) -> None:
    """Like `check_parts` of a plain value that was serialized, in a fraction of the time."""
    if parts_in(value) > MESSAGE_PARTS:
        raise _too_many("Value")


def parts_in(value: Any) -> int:
    """The number of parts of the serialized form of a plain value."""
    if isinstance(value, Mapping):
        # Itself; of each member the entry of the map, and its value.
        return 1 + 2 * len(value) + sum(parts_in(held) for held in value.values() if type(held) not in _SCALARS)
    if isinstance(value, (list, tuple)):
        return 1 + len(value) + sum(parts_in(held) for held in value if type(held) not in _SCALARS)
    return int(isinstance(value, (Key, datetime)))


def count_parts(data: bytes, kind: Descriptor, most: int) -> int:
    """The number of parts of a serialized message, at any depth. Stops counting above `most`.

    A part is an embedded message, or any field beyond those that its message has: unknown fields, groups, and repeated
    occurrences. Pure. For malformed bytes, counts the parts before the error.
    """
    count = 0
    waiting = [(0, len(data), kind)]
    while waiting and count <= most:
        for inner, at, end in _parts_of(data, *waiting.pop()):
            count += 1
            if count > most:
                break
            if inner is not None and at < end:
                waiting.append((at, end, inner))
    return count


def _parts_of(data: bytes, at: int, end: int, kind: Descriptor) -> Iterator[tuple[Descriptor | None, int, int]]:
    """The direct parts of a message, up to an error if it has one.

    For embedded messages: type, start and end. For other parts the type is None.
    """
    embedded = _embedded(kind)
    others = 0
    most_others = len(kind.fields)
    # If the message ends in the middle of a field, the parser reports it.
    with suppress(IndexError):
        while at < end:
            tag, at = _varint(data, at)
            wire_type = tag & 7
            if wire_type == _LENGTH:
                size, at = _varint(data, at)
                inner = embedded.get(tag)
                if inner is not None:
                    yield inner, at, min(at + size, end)
                    at += size
                    continue
                at += size
            elif wire_type == _VARINT:
                _, at = _varint(data, at)
            elif wire_type in _FIXED_BYTES:
                at += _FIXED_BYTES[wire_type]
            others += 1
            if others > most_others:
                yield None, at, at


@cache
def _embedded(kind: Descriptor) -> dict[int, Descriptor]:
    """The tags of a message type's fields that hold messages, with their types."""
    return {field.number << 3 | _LENGTH: field.message_type for field in kind.fields if field.message_type is not None}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a position, and the position after it. Raises IndexError if it is unterminated."""
    number = data[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    for shift in range(7, _VARINT_BITS, 7):
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
    raise IndexError("a number of more than ten bytes")
