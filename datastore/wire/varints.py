"""Lengths as protobuf varints, and fields that begin with one. Pure."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["length_delimited", "length_prefix"]


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
