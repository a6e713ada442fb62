"""Converts values to `datastore.v1.Value` and back.

Knows no entries, queries or calls. Instances of subclasses of the plain types are sent as their plain values.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain, repeat
from typing import Any

from google.protobuf.message import DecodeError

from datastore.model.encoded import Encoded
from datastore.model.errors import CorruptDataError, InvalidKeyError, InvalidValueError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.limits import VALUE_DEPTH
from datastore.model.ordering import microseconds
from datastore.model.projection import split
from datastore.v1.value_pb2 import ListValue, MapValue, Value
from datastore.wire.members import UNREAD, members_of, scalars
from datastore.wire.parts import FEW_PARTS_BYTES, check_parts
from datastore.wire.times import set_time
from datastore.wire.varints import length_prefix

__all__ = [
    "WireValue",
    "are_plain_values",
    "check_value",
    "codec",
    "decode_value",
    "encode_value",
    "is_null",
    "lazy",
    "value_message",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000
#: The seconds of the years 1 to 9999, the range of datetime and RFC 3339.
_SECONDS = range(-62_135_596_800, 253_402_300_800)
_INT64 = range(-(2**63), 2**63)
#: How many characters of a long name a path shows.
_NAME_SHOWN = 60
_NULL = Value(null_value=0).SerializeToString()  # type: ignore[arg-type]
#: The tag of a list's elements.
_ELEMENT = b"\x0a"


class WireValue(Encoded):
    """A value as the bytes of a `datastore.v1.Value`."""

    __slots__ = ()

    def decode(self) -> Any:
        """The plain value. Raises CorruptDataError if the bytes cannot be read."""
        return decode_value(self.data)

    def view(self) -> Any:
        """The plain value; for a map, a Mapping that converts members on access."""
        # Runs for every entry of many queries.
        try:
            return _view(Value.FromString(self.data))
        except _UNREADABLE as error:
            raise _corrupt(self.data, error) from error

    def projected(self, fields: Sequence[str]) -> WireValue:
        """The bytes with these fields only, whose values are not converted."""
        try:
            kept = _cut(Value.FromString(self.data), fields)
        except _UNREADABLE as error:
            raise _corrupt(self.data, error) from error
        return WireValue(kept.SerializeToString())

    @classmethod
    def views(cls, datas: list[bytes]) -> list[Any]:
        """`view` of each value, all parsed as one message, which takes half as long."""
        try:
            return list(map(_view, _parsed(datas)))
        except _UNREADABLE:
            # One by one, to name the first malformed one.
            return [cls(data).view() for data in datas]

    @classmethod
    def members(cls, datas: list[bytes], names: Sequence[str]) -> list[list[Any]] | None:
        """Columns of members of maps, whose other members are not parsed, in half the time; None for other values."""
        try:
            maps = members_of(datas)
            if maps is None:
                return None
            # A member without a value, which is never stored, reads like one that is missing.
            return [_read_all([fields[name] for fields in maps]) for name in names]
        except (*_UNREADABLE, UnicodeDecodeError):
            return None

    @classmethod
    def holding(cls, datas: list[bytes], part: bytes) -> list[bool]:
        """Texts and bytes are in serialized values as they are; all values are searched at once."""
        joined, ends = b"".join(datas), list(accumulate(map(len, datas)))
        held = [False] * len(datas)
        at = joined.find(part)
        while 0 <= at < len(joined):
            place = bisect_right(ends, at)
            held[place] = True
            # What is found across two values may be in the second one, too.
            at = joined.find(part, ends[place])
        return held


def _parsed(datas: Sequence[bytes]) -> Sequence[Value]:
    """Many serialized values, all parsed as one message, which takes half as long. Raises DecodeError."""
    # One element after the other, each with its tag and length.
    parts = zip(repeat(_ELEMENT), map(length_prefix, map(len, datas)), datas, strict=False)
    return ListValue.FromString(b"".join(chain.from_iterable(parts))).values


def _read_all(column: list[bytes]) -> list[Any]:
    """The plain values of serialized members, None for empty ones."""
    found = scalars(column)
    if UNREAD in found:
        pairs = zip(found, column, strict=True)
        found = [_plain(Value.FromString(data)) if value is UNREAD else value for value, data in pairs]
    return found


def is_null(data: bytes) -> bool:
    """Whether bytes that passed `check_value` are a null."""
    return data == _NULL


# Encoding


def encode_value(value: Any) -> WireValue:
    """The bytes of a plain value, or those of a WireValue.

    Raises UnsupportedTypeError (a TypeError) for a type that cannot be sent and InvalidValueError (a ValueError) for
    an int over 64 bits, a naive datetime, text with lone surrogates, or nesting over 32 deep. Both name the
    offending part in `path`: `value['a'][3]`.
    """
    if isinstance(value, WireValue):
        return value
    message = Value()
    try:
        _fill(message, value, 0)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # The fast path does not track where it is: repeat it slowly to find the path.
        _find_fault(value, "value", 0)
        raise InvalidValueError(f"the value cannot be sent: {error}", path="value") from error
    return WireValue(message.SerializeToString())


def value_message(value: Any) -> Value:
    """The message of a plain value, for a part of another message. Raises like `encode_value`."""
    return Value.FromString(encode_value(value).data)


def _fill(message: Value, value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str:
        message.string_value = value
    elif kind is int:
        message.int64_value = value
    elif kind is float:
        message.double_value = value
    elif kind is bool:
        message.bool_value = value
    elif value is None:
        message.null_value = 0  # type: ignore[assignment]
    elif kind is bytes:
        message.bytes_value = value
    elif isinstance(value, Mapping):
        _check_depth(depth, "value")
        message.map_value.SetInParent()
        fields = message.map_value.fields
        for name, held in value.items():
            if not isinstance(name, str):
                raise TypeError(name)
            _fill(fields[name], held, depth + 1)
    elif isinstance(value, (list, tuple)):
        _check_depth(depth, "value")
        message.list_value.SetInParent()
        values = message.list_value.values
        for held in value:
            _fill(values.add(), held, depth + 1)
    else:
        _fill_other(message, value, depth)


def _fill_other(message: Value, value: Any, depth: int) -> None:
    if isinstance(value, Key):
        message.key_value.text = str(value)
    elif isinstance(value, datetime):
        _check_datetime(value, "value")
        set_time(message.timestamp_value, microseconds(value))
    elif isinstance(value, Encoded):
        _fill(message, value.decode(), depth)
    elif isinstance(value, str):
        # The plain value, because str() of an enum member may be its name.
        message.string_value = str.__str__(value)
    elif isinstance(value, int):
        message.int64_value = int.__int__(value)
    elif isinstance(value, float):
        message.double_value = float.__float__(value)
    elif isinstance(value, (bytes, bytearray)):
        message.bytes_value = bytes(value)
    else:
        raise TypeError(type(value))


def _find_fault(value: Any, path: str, depth: int) -> None:
    """Raise the error for the first part that cannot be sent, with its path."""
    if isinstance(value, Mapping):
        _check_depth(depth, path)
        for name, held in value.items():
            if not isinstance(name, str):
                raise UnsupportedTypeError(
                    f"{path} has a name of type {type(name).__name__}; the names of a map are str", path=path
                )
            _check_text(name, f"a name in {path}", path)
            _find_fault(held, _member_path(path, name), depth + 1)
    elif isinstance(value, (list, tuple)):
        _check_depth(depth, path)
        for index, held in enumerate(value):
            _find_fault(held, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, path, path)
    elif isinstance(value, datetime):
        _check_datetime(value, path)
    elif isinstance(value, int):
        if value not in _INT64:
            # Not the number itself, because Python refuses to print thousands of digits.
            bits = value.bit_length() + 1
            raise InvalidValueError(f"{path} is an int that does not fit in 64 bits: it takes {bits:,}", path=path)
    elif not (value is None or isinstance(value, (float, bytes, bytearray, Key, Encoded))):
        raise UnsupportedTypeError(
            f"{path} is of type {type(value).__name__}, which cannot be sent; values are None, bool, int, float, str,"
            " bytes, aware datetime, Key, list and dict of these (a serializer shim takes other types)",
            path=path,
        )


def _member_path(path: str, name: str) -> str:
    return f"{path}[{name if len(name) <= _NAME_SHOWN else name[:_NAME_SHOWN] + '...'!r}]"


def _check_depth(depth: int, path: str) -> None:
    if depth >= VALUE_DEPTH:
        raise InvalidValueError(f"{path} is nested more than {VALUE_DEPTH} deep", path=path)


def _check_text(text: str, what: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"{what} has a lone surrogate at {error.start}, which UTF-8 cannot carry", path=path
        ) from None


def _check_datetime(value: datetime, path: str) -> None:
    if value.utcoffset() is None:
        raise InvalidValueError(f"{path} is a datetime without a time zone; give it one, e.g. datetime.UTC", path=path)
    if microseconds(value) // _MICROSECONDS not in _SECONDS:
        raise InvalidValueError(f"{path} is outside the years 1 to 9999 of UTC", path=path)


# Decoding


def decode_value(data: bytes) -> Any:
    """The plain value of serialized bytes. Datetimes are in UTC. Raises CorruptDataError if it is malformed."""
    try:
        return _plain(Value.FromString(data))
    except _UNREADABLE as error:
        raise _corrupt(data, error) from error


#: The errors of parsing bytes that are not a value.
_UNREADABLE = (DecodeError, InvalidKeyError, InvalidValueError, OverflowError)


def _corrupt(data: bytes, error: Exception) -> CorruptDataError:
    return CorruptDataError(f"{len(data)} bytes are not a value: {error}")


def _plain(message: Value) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "map_value":
        return {name: _plain(held) for name, held in message.map_value.fields.items()}
    if kind == "list_value":
        return [_plain(held) for held in message.list_value.values]
    if kind == "timestamp_value":
        stamp = message.timestamp_value
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    if kind == "key_value":
        return Key(message.key_value.text)
    if kind == "null_value":
        return None
    if kind is None:
        raise InvalidValueError("a value has no kind")
    return getattr(message, kind)


def _view(message: Value) -> Any:
    fields = message.map_value.fields
    # Only maps have members; the kind is checked for the others only, which are few.
    return _MapView(fields) if fields or message.WhichOneof("kind") == "map_value" else _plain(message)


def _cut(message: Value, fields: Sequence[str]) -> Value:
    """The map of these fields of a map; an empty one for any other value."""
    kept = Value(map_value=MapValue())
    held, into = message.map_value.fields, kept.map_value.fields
    whole, within = split(fields, held)
    for name in whole:
        into[name].CopyFrom(held[name])
    for name, paths in within.items():
        inner = _cut(held[name], paths)
        if inner.map_value.fields:
            into[name].CopyFrom(inner)
    return kept


class _MapView(Mapping[str, Any]):
    """A map that converts its members on access, including nested maps."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        # Looking up an absent name would add it.
        if name not in self._fields:
            raise KeyError(name)
        return self.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        fields = self._fields
        if name not in fields:
            return default
        message = fields[name]
        kind = message.WhichOneof("kind")
        if kind in _AS_THEY_ARE:
            return getattr(message, kind)
        return _MapView(message.map_value.fields) if kind == "map_value" else _plain(message)

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


# Checking


# For each value that is stored: looking these up in the class takes an eighth of the check.
_VALUE, _parse = Value.DESCRIPTOR, Value.FromString


def check_value(data: bytes) -> None:
    """Check a value from a client before it is stored.

    Raises InvalidValueError, with the `path` of the part, if the bytes are not a value, a kind is missing or unknown,
    lists and maps nest over 32 deep, a key is not canonical, or a timestamp is not in whole microseconds of the years 1
    to 9999. Raises LimitExceededError for more than MESSAGE_PARTS parts.
    """
    check_parts(data, _VALUE)
    try:
        message = _parse(data)
    except DecodeError:
        raise InvalidValueError(
            "the value cannot be read, or is nested far too deep", path="value", field="value"
        ) from None
    kind = message.WhichOneof("kind")
    if kind not in _SCALARS:
        _check(message, "value", 0)
    elif kind == "null_value" and data != _NULL:
        raise InvalidValueError("the value has more than one kind", path="value", field="value")


def are_plain_values(datas: Sequence[bytes]) -> bool:
    """Whether `check_value` accepts all values, and none is null; False if they need a closer look."""
    if max(map(len, datas)) > FEW_PARTS_BYTES:
        return False
    try:
        messages = _parsed(datas)
        kinds = [message.WhichOneof("kind") for message in messages]
        if not _AS_THEY_ARE.issuperset(kinds):
            for message in messages:
                _check(message, "value", 0)
    except (DecodeError, InvalidValueError):
        return False
    return "null_value" not in kinds


def _check(message: Value, path: str, depth: int) -> None:
    kind = message.WhichOneof("kind")
    if kind == "map_value":
        _check_depth(depth, path)
        for name, held in message.map_value.fields.items():
            if held.WhichOneof("kind") not in _SCALARS:
                _check(held, _member_path(path, name), depth + 1)
    elif kind == "list_value":
        _check_depth(depth, path)
        for index, held in enumerate(message.list_value.values):
            if held.WhichOneof("kind") not in _SCALARS:
                _check(held, f"{path}[{index}]", depth + 1)
    elif kind == "timestamp_value":
        _check_timestamp(message.timestamp_value, path)
    elif kind == "key_value":
        _check_key(message.key_value.text, path)
    elif kind is None:
        raise InvalidValueError(f"{path} has no kind, or one that this server does not know", path=path, field="value")


#: Kinds whose content is the plain value.
_AS_THEY_ARE = frozenset({"bool_value", "int64_value", "double_value", "string_value", "bytes_value"})

#: Kinds whose content is always valid.
_SCALARS = frozenset({"null_value", "bool_value", "int64_value", "double_value", "string_value", "bytes_value"})


def _check_timestamp(stamp: Any, path: str) -> None:
    if stamp.seconds not in _SECONDS or not 0 <= stamp.nanos < 1_000_000_000:
        raise InvalidValueError(f"{path} is a timestamp outside the years 1 to 9999", path=path, field="value")
    if stamp.nanos % 1000:
        raise InvalidValueError(f"{path} is a timestamp finer than microseconds", path=path, field="value")


def _check_key(text: str, path: str) -> None:
    try:
        canonical = str(Key(text))
    except InvalidKeyError as error:
        raise InvalidValueError(f"{path} is not a valid key: {error}", path=path, field="value") from None
    if canonical != text:
        raise InvalidValueError(
            f"{path} is a key in other words than its own: write {canonical!r}", path=path, field="value"
        )


# As serializers


class _Codec:
    """A serializer of plain values to bytes, with which a store of bytes can hold every wire value."""

    #: As descriptions of stores show it.
    __name__ = "wire"
    keeps_mappings = False
    never_loads_none = True

    @staticmethod
    def dumps(value: Any) -> bytes:
        """The bytes of a plain value, or of a WireValue."""
        return encode_value(value).data

    @staticmethod
    def loads(data: bytes) -> Any:
        """The plain value."""
        return decode_value(data)


class _Lazy(_Codec):
    """Like the codec, but loads WireValues, which stay bytes until something looks inside."""

    loads = staticmethod(WireValue)


codec = _Codec()
lazy = _Lazy()
