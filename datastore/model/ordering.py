"""The total order of values, and its two sort keys: one for this process, one of bytes for the wire.

    None/missing < bool < number < datetime < str < bytes < Key < list < map < any other

Numbers by exact value, NaN first among them and tied; datetimes by instant, naive ones meaning UTC; text by code
points; lists element by element, then the shorter; maps as the list of their pairs sorted by key; others by class
name, then by their own `<`. A comparison that fails is a tie. Pure; knows values and Keys, no queries.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from math import inf
from operator import ne
from typing import Any

from datastore.model.encoded import decoded
from datastore.model.errors import DatastoreError, InvalidValueError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.limits import COMPARED_DEPTH

__all__ = ["compare", "encode", "encode_column", "is_nan", "is_plain_type", "microseconds", "order_key", "rank"]

NULL, BOOL, NUMBER, DATETIME, STR, BYTES, KEY, LIST, MAP, OTHER = range(1, 11)

# NaN sorts just before all numbers.
_NAN = NUMBER - 0.5

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - subtracted from naive datetimes, which mean UTC
_RANKS: dict[type, int] = {
    type(None): NULL,
    bool: BOOL,
    int: NUMBER,
    float: NUMBER,
    datetime: DATETIME,
    str: STR,
    bytes: BYTES,
    bytearray: BYTES,
    Key: KEY,
    list: LIST,
    tuple: LIST,
    dict: MAP,
}
#: The same for subclasses: bool before int.
_BASES: tuple[tuple[type, int], ...] = (*_RANKS.items(), (Mapping, MAP))


def rank(value: Any) -> int:
    """The place of a value's kind in the total order, 1 to 10; on the wire the first byte of its sort key."""
    found = _RANKS.get(type(value))
    if found is not None:
        return found
    # Not `isinstance`, which runs code of the value's class, and may raise.
    return next((number for base, number in _BASES if issubclass(type(value), base)), OTHER)


def is_plain_type(kind: type) -> bool:
    """Whether values of exactly this type, not of a subclass, can be sent."""
    return kind in _RANKS


def is_nan(value: Any) -> bool:
    """Whether a value is a float that is not a number."""
    return issubclass(type(value), float) and float.__ne__(value, value)


def microseconds(value: datetime) -> int:
    """The microseconds from 1970 in UTC to an instant; a naive datetime means UTC."""
    offset = value.utcoffset()
    # Not astimezone, which overflows at the ends of the calendar.
    since = value.replace(tzinfo=None) - _EPOCH
    whole = since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds
    if offset is None:
        return whole
    return whole - (offset.days * 86_400_000_000 + offset.seconds * 1_000_000 + offset.microseconds)


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1 as `a` comes before, with or after `b` in the total order. Never raises."""
    first, second = order_key(a), order_key(b)
    return -1 if first < second else int(second < first)


# The sort key of this process


def order_key(value: Any, *, descending: bool = False) -> tuple[Any, ...]:
    """A key for `sorted`: the keys of any two values, made with the same `descending`, can be compared.

    Descending keys sort the greatest value first. Never raises: values that cannot be read, or are nested too deeply,
    tie with each other and come first among their kind.
    """
    key = _order_key(decoded(value), COMPARED_DEPTH)
    return _reversed(key) if descending else key


def _order_key(value: Any, depth: int) -> tuple[Any, ...]:
    # A subclass, e.g. an enum, may print or compare something other than its content, and may raise.
    number = _RANKS.get(type(value)) or rank(value)
    if number == NUMBER:
        value = float.__float__(value) if issubclass(type(value), float) else int.__int__(value)
        return (_NAN,) if value != value else (NUMBER, value)  # noqa: PLR0124 - NaN
    if number == STR:
        return (STR, str.__str__(value))
    if number == KEY:
        return (KEY, Key.__str__(value))
    if number == NULL:
        return (NULL,)
    if number == BOOL:
        return (BOOL, bool(value))
    if number == BYTES:
        return (BYTES, b"".join((value,)))
    if number == DATETIME:
        return (DATETIME, _instant(value))
    if number == OTHER:
        return (OTHER, type(value).__name__, _Other(value))
    return (number, _parts(number, value, depth - 1) if depth else ())


def _instant(value: datetime) -> float:
    try:
        return microseconds(value)
    except Exception:  # noqa: BLE001 - a time zone can be of any class
        return -inf


def _parts(number: int, value: Any, depth: int) -> tuple[Any, ...]:
    try:
        if number == LIST:
            return tuple([_order_key(item, depth) for item in value])
        return tuple(sorted([(_order_key(name, depth), _order_key(held, depth)) for name, held in value.items()]))
    except Exception:  # noqa: BLE001 - a map can be of any class
        return ()


def _reversed(key: tuple[Any, ...]) -> tuple[Any, ...]:
    number = key[0]
    if len(key) == 1:
        return (-number,)
    if number in (NUMBER, DATETIME, BOOL):
        return (-number, -key[1])
    return (-number, _Reversed(key[1:]))


class _Reversed:
    """Sorts in the reverse order of its content."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.content == other.content)

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.content < self.content)

    __hash__ = None  # type: ignore[assignment]


class _Other:
    """A value of any other type: its own `<` decides; if that fails, it is a tie."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Other) and not (self < other or other < self)

    def __lt__(self, other: _Other) -> bool:
        try:
            return bool(self.value < other.value)
        except Exception:  # noqa: BLE001 - a foreign comparison that raises is a tie
            return False

    def __hash__(self) -> int:
        # Ties must have equal hashes, and nothing else is known of the values.
        return OTHER


# The sort key of the wire

_DOUBLE = struct.Struct(">d")
_UINT64 = struct.Struct(">Q")
_UINT16 = struct.Struct(">H")
_INVERTED = bytes(255 - byte for byte in range(256))
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
#: Added to the difference of an int from its nearest double, which is within 2**10 for 64-bit ints.
_RESIDUAL_BIAS = 0x8000


def encode(value: Any, *, descending: bool = False) -> bytes:
    """Bytes that sort like the value in the total order; none is a prefix of another.

    The format is on the wire: docs/protocol.md. Ties have equal bytes. Raises UnsupportedTypeError for other than plain
    types, and InvalidValueError for ints outside 64 bits, text with lone surrogates, and values that cannot be read or
    are nested deeper than values are compared.
    """
    try:
        data = _encode(decoded(value), COMPARED_DEPTH)
    except DatastoreError:
        raise
    except Exception as error:
        # Nested too deep, perhaps circular; or a custom class of map or time zone raised.
        raise InvalidValueError(f"a {type(value).__name__} cannot be read: {error!r}", path="value") from error
    return data.translate(_INVERTED) if descending else data


def encode_column(values: list[Any], *, descending: bool = False) -> list[bytes]:
    """`encode` for many values; faster if all are numbers or all are text. Raises like `encode`."""
    kinds = set(map(type, values))
    if kinds == {str}:
        encoded = [b"\x05" + _text(value) for value in values]
    elif (kinds == {int} and min(values) >= -_EXACT and max(values) <= _EXACT) or (
        kinds == {float} and not any(map(ne, values, values))
    ):
        encoded = _doubles(values)
    else:
        return [encode(value, descending=descending) for value in values]
    return [data.translate(_INVERTED) for data in encoded] if descending else encoded


#: Up to here, every int is exactly a double.
_EXACT = 1 << 53
_NUMBER = struct.Struct(">BQH").pack


def _doubles(values: list[Any]) -> list[bytes]:
    """`_encode` of many floats that are numbers, or of ints that are doubles."""
    doubles = struct.pack(f">{len(values)}d", *[value + 0.0 for value in values])
    return [
        _NUMBER(NUMBER, bits ^ _ALL if bits & _SIGN else bits | _SIGN, _RESIDUAL_BIAS)
        for bits in struct.unpack(f">{len(values)}Q", doubles)
    ]


def _encode(value: Any, depth: int) -> bytes:
    number = _RANKS.get(type(value)) or rank(value)
    if number == STR:
        return b"\x05" + _text(value)
    if number == NUMBER:
        return b"\x03" + _number(value)
    if number == NULL:
        return b"\x01"
    if number == BOOL:
        return b"\x02\x01" if value else b"\x02\x00"
    if number == DATETIME:
        return b"\x04" + _UINT64.pack(microseconds(value) + _SIGN)
    if number == BYTES:
        return b"\x06" + _escaped(bytes(value))
    if number == KEY:
        return b"\x07" + _text(str(value))
    if number in (LIST, MAP) and not depth:
        raise InvalidValueError(f"it cannot be read: nested more than {COMPARED_DEPTH} deep", path="value")
    if number == LIST:
        return b"\x08" + b"".join([_encode(item, depth - 1) for item in value]) + b"\x00"
    if number == MAP:
        return b"\x09" + _map(value, depth - 1) + b"\x00"
    raise UnsupportedTypeError(f"a {type(value).__name__} cannot be ordered on the wire", path="value")


def _map(value: Mapping[Any, Any], depth: int) -> bytes:
    for name in value:
        if not isinstance(name, str):
            raise UnsupportedTypeError(f"a map's names are str, not {type(name).__name__}", path="value")
    return b"".join(b"\x05" + _text(name) + _encode(value[name], depth) for name in sorted(value))


def _text(text: str) -> bytes:
    try:
        return _escaped(text.encode())
    except UnicodeEncodeError:
        raise InvalidValueError("text with a lone surrogate cannot be encoded as UTF-8", path="value") from None


def _escaped(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _number(value: float) -> bytes:
    if value != value:  # noqa: PLR0124 - NaN
        return bytes(10)
    residual = 0
    if not isinstance(value, float):
        if not -_SIGN <= value < _SIGN:
            raise InvalidValueError(f"{value} does not fit in 64 bits", path="value")
        residual = value - int(float(value))
    # Adding 0.0 makes -0.0 the 0.0 that it equals.
    bits: int = _UINT64.unpack(_DOUBLE.pack(float(value) + 0.0))[0]
    bits = bits ^ _ALL if bits & _SIGN else bits | _SIGN
    return _UINT64.pack(bits) + _UINT16.pack(residual + _RESIDUAL_BIAS)
