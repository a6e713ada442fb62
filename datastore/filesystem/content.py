"""The content of a file: plain text, or a header line before anything that would not be read back unchanged. Pure."""

from __future__ import annotations

from datastore.model.errors import CorruptDataError, UnsupportedTypeError
from datastore.model.text import utf8_of

__all__ = ["HEADER_BYTES", "header_key", "pack", "unpack"]

#: `%datastore 1 str` or `%datastore 1 bytes`, then a space and the key if the path does not say it.
_MARK = b"%datastore 1 "
_KINDS = (b"str", b"bytes")
#: No header is longer: mark, kind, the longest key, line feed.
HEADER_BYTES = 1100


def pack(value: object, key: str | None = None) -> bytes:
    """The file's bytes for a value; `key` if the path does not contain it.

    Raises UnsupportedTypeError (a TypeError) unless the value is str, bytes or bytearray, InvalidValueError (a
    ValueError) for text with a lone surrogate.
    """
    if isinstance(value, str):
        data, kind = utf8_of(value), b"str"
        if key is None and not data.startswith(_MARK):
            return data
    elif isinstance(value, (bytes, bytearray)):
        data, kind = bytes(value), b"bytes"
    else:
        raise UnsupportedTypeError(
            f"a file stores str and bytes, got {type(value).__name__}: wrap the store in a serializer", path="value"
        )
    return b"".join((_MARK, kind, b"" if key is None else b" " + key.encode(), b"\n", data))


def unpack(data: bytes) -> str | bytes:
    """The value of a file's bytes; for another program's file its text, or its bytes if it is not text.

    Raises CorruptDataError for a malformed header.
    """
    if not data.startswith(_MARK):
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data
    header, line_feed, rest = data[len(_MARK) :].partition(b"\n")
    kind = header.split(b" ", 1)[0]
    if not line_feed or kind not in _KINDS:
        raise CorruptDataError(f"a header of a file says {header[:40]!r}; known are str and bytes")
    if kind == b"bytes":
        return rest
    try:
        return rest.decode()
    except UnicodeDecodeError:
        raise CorruptDataError("a text file is not valid UTF-8") from None


def header_key(data: bytes) -> str | None:
    """The key that the header at the beginning of a file names, or None."""
    header, line_feed, _ = data[:HEADER_BYTES].partition(b"\n")
    kind, space, key = header.removeprefix(_MARK).partition(b" ")
    if not header.startswith(_MARK) or not line_feed or not space or kind not in _KINDS:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
