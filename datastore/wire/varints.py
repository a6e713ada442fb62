"""Lengths in protobuf's notation. Pure."""

from __future__ import annotations

__all__ = ["length_prefix"]


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


#: The lengths that nearly all values have, prepared.
_VARINTS = [_varint(number) for number in range(16384)]


def length_prefix(length: int) -> bytes:
    """What precedes so many bytes of a field, after its tag."""
    return _VARINTS[length] if length < 16384 else _varint(length)
