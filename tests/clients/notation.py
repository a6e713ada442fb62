"""Values as drivers write them in JSON, by kind, to and from plain values of Python. README.md has the table."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from datastore.model.key import Key

__all__ = ["Inexpressible", "instant_us", "plain", "written"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NAN = struct.pack(">d", math.nan).hex()


class Inexpressible(Exception):  # noqa: N818 - it is an answer, not a failure
    """Python cannot express what a request contains; the text says why."""


def plain(notation: dict[str, Any]) -> Any:
    """The value that is written so."""
    [(kind, content)] = notation.items()
    return _PLAIN[kind](content)


def written(value: Any) -> dict[str, Any]:
    """How a value is written. All NaNs are written alike."""
    for kind, (types, write) in _WRITTEN.items():
        if isinstance(value, types):
            return {kind: write(value)}
    raise TypeError(f"{type(value).__name__} is not a value")


def instant_us(time: datetime) -> str:
    """A time in microseconds since 1970, as text."""
    return str((time - _EPOCH) // _MICROSECOND)


def _instant(microseconds: str) -> datetime:
    try:
        return _EPOCH + int(microseconds) * _MICROSECOND
    except OverflowError:
        raise Inexpressible("a datetime is in the years 1 to 9999") from None


def _nanoseconds(text: str) -> datetime:
    raise Inexpressible("a datetime has microseconds")


def _utf8(text: str) -> str:
    try:
        return bytes.fromhex(text).decode()
    except UnicodeDecodeError:
        raise Inexpressible("a str is text, not bytes") from None


_PLAIN: dict[str, Any] = {
    "null": lambda _: None,
    "bool": bool,
    "int64": int,
    "double": lambda bits: struct.unpack(">d", bytes.fromhex(bits))[0],
    "string": str,
    "utf16": lambda units: bytes.fromhex(units).decode("utf-16-be", "surrogatepass"),
    "utf8": _utf8,
    "bytes": bytes.fromhex,
    "timestamp": _instant,
    "timestamp_ns": _nanoseconds,
    "key": Key,
    "list": lambda elements: [plain(element) for element in elements],
    "map": lambda members: {name: plain(member) for name, member in members.items()},
    "foreign": lambda _: 1 + 2j,
}
# A bool is an int in Python, so it is first.
_WRITTEN: dict[str, tuple[type, Any]] = {
    "null": (type(None), lambda _: True),
    "bool": (bool, bool),
    "int64": (int, str),
    "double": (float, lambda value: _NAN if math.isnan(value) else struct.pack(">d", value).hex()),
    "string": (str, str),
    "bytes": (bytes, bytes.hex),
    "timestamp": (datetime, instant_us),
    "key": (Key, str),
    "list": (list, lambda elements: [written(element) for element in elements]),
    "map": (dict, lambda members: {name: written(member) for name, member in members.items()}),
}
