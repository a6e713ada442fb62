"""Several byte strings in one, and tokens that are bound to what they belong to. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from xxhash import xxh3_64_digest

from datastore.model.errors import InvalidTokenError, UnsupportedTypeError

__all__ = ["packed", "sealed", "unpacked", "unsealed"]

#: The bytes of the seal before a token's position.
_SEAL_BYTES = 8
_LENGTH = struct.Struct(">I")


def packed(parts: Iterable[bytes]) -> bytes:
    """The parts in one, each after its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def unpacked(data: bytes) -> list[bytes]:
    """The parts of `packed`. Raises ValueError for anything else."""
    parts, start = [], 0
    while start < len(data):
        end = start + _LENGTH.size
        if end > len(data):
            raise ValueError("cut short")
        (size,) = _LENGTH.unpack_from(data, start)
        start, end = end, end + size
        if end > len(data):
            raise ValueError("cut short")
        parts.append(data[start:end])
        start = end
    return parts


def sealed(identity: str, position: bytes) -> bytes:
    """The resume token of a position, bound to the call with this identity."""
    return _seal(identity, position) + position


def unsealed(identity: str, token: object, belongs_to: str) -> bytes:
    """The position in a resume token.

    Raises InvalidTokenError if it is damaged or that of another call; `belongs_to` says what it then may belong to.
    """
    if not isinstance(token, bytes):
        raise UnsupportedTypeError(
            f"resume_token must be bytes, as they were given, got {type(token).__name__}", path="resume_token"
        )
    seal, position = token[:_SEAL_BYTES], token[_SEAL_BYTES:]
    if seal != _seal(identity, position):
        raise InvalidTokenError(f"the resume token is damaged, or that of {belongs_to}", field="resume_token")
    return position


def _seal(identity: str, position: bytes) -> bytes:
    return xxh3_64_digest(identity.encode("utf-8", "surrogatepass") + b"\0" + position)
