"""Lengths as protobuf varints, and fields that begin with one. Pure."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["filling_head", "length_delimited", "length_prefix", "nested_head"]

#: The tag of field 1, if it is length-delimited.
_FIELD_1 = b"\x0a"
#: The most bytes of the tag and the length of a field that is in a message.
_MOST_HEAD_BYTES = 6


@lru_cache(maxsize=16_384)
def length_prefix(length: int) -> bytes:
    """A length as a varint: seven bits in each byte, the lowest first."""
    encoded = bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def length_delimited(tag: bytes, data: bytes) -> bytes:
    """A field with this tag whose content is `data`: text, bytes or a message."""
    return b"".join((tag, length_prefix(len(data)), data))


@lru_cache(maxsize=4096)
def nested_head(size: int) -> bytes:
    """What precedes so many bytes that are field 1 of a message that is itself field 1, as the text of a key is."""
    head = _FIELD_1 + length_prefix(size)
    return _FIELD_1 + length_prefix(len(head) + size) + head


def filling_head(tag: bytes, size: int) -> bytes | None:
    """The tag and length of the field that takes exactly `size` bytes with them; None if there is no such field."""
    heads = (tag + length_prefix(max(0, size - head_bytes)) for head_bytes in range(2, _MOST_HEAD_BYTES + 1))
    return next((head for head_bytes, head in enumerate(heads, 2) if len(head) == head_bytes <= size), None)
