"""Values as JSON, for people and for JSON Lines: what the commands read and print.

JSON's own types map to themselves, integers and floats kept apart (`1`, `1.0`). What JSON lacks is an object with
one member:

    {"$bytes": "aGVsbG8="}                     bytes, base64
    {"$datetime": "2026-11-24T10:00:00Z"}      an instant, RFC 3339, to the microsecond
    {"$key": "/a/b"}                           a Key
    {"$float": "NaN"}                          also "Infinity", "-Infinity"
    {"$map": {"$bytes": 1}}                    a map whose only member begins with "$", itself

Knows plain values and JSON; knows no command and no store.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from datastore.core.encoded import Encoded
from datastore.core.errors import DatastoreError, InvalidValueError, UnsupportedTypeError
from datastore.core.key import Key

__all__ = ["INT_MAX", "INT_MIN", "NOTATIONS", "from_json", "from_tree", "to_json", "to_tree"]

#: Integers are of 64 bits, in every language that reads them.
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
#: The objects with a meaning, for messages and help texts.
NOTATIONS = ("$bytes", "$datetime", "$float", "$key", "$map")

_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.(?P<fraction>\d+))?([Zz]|[+-]\d\d:\d\d)")
_MICROSECOND_DIGITS = 6


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The JSON text of a value, on one line unless `indent` says otherwise. `from_json` gives the value back.

    The order of a map means nothing and may differ from read to read; `sort_keys` makes texts comparable.

    Raises UnsupportedTypeError or InvalidValueError, with `path`, for what is no plain value.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        to_tree(value),
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def from_json(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Raises InvalidValueError for text that is no JSON, objects that name a member twice, numbers out of range and
    unknown notations; its `path` names the part.
    """
    return from_tree(parse(text))


def to_tree(value: Any) -> Any:
    """A value in terms of what `json.dumps` knows, for composing it into something larger."""
    return _converted(value, _to_tree, _parts)


def from_tree(tree: Any) -> Any:
    """The value that parsed JSON stands for; the tree must come from `parse`, which refuses doubled members."""
    return _converted(tree, _from_tree, _parts_of_tree)


def parse(text: str | bytes) -> Any:
    """JSON text as lists, dicts and atoms, their notations unread. Raises InvalidValueError."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except json.JSONDecodeError as error:
        begins = text[:1] if isinstance(text, str) else text[:1].decode(errors="replace")
        hint = "" if begins in ('"', "{", "[") else "; a text needs double quotes"
        raise InvalidValueError(f"this is not valid JSON: {error}{hint}", path="value") from error
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"this is not UTF-8: {error}", path="value") from error
    except InvalidValueError:
        raise
    except ValueError as error:
        # Python reads no integers of thousands of digits.
        raise InvalidValueError(f"this is not valid JSON: {error}", path="value") from error
    except RecursionError:
        raise InvalidValueError("this is nested too deeply", path="value") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise InvalidValueError(f"an object names its member {doubled!r} twice", path="value")
    return members


def _no_constant(name: str) -> Any:
    notation = json.dumps({"$float": name})
    raise InvalidValueError(f"{name} is not valid JSON: write {notation}", path="value")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant)


# Faults: the conversions stay fast by not knowing where they are; the path is found when it is needed.


_Convert = Callable[[Any], Any]
_Parts = Callable[[Any], Iterator[tuple[str, Any]]]


class _FaultError(Exception):
    def __init__(self, kind: type[InvalidValueError | UnsupportedTypeError], text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _converted(value: Any, convert: _Convert, parts: _Parts) -> Any:
    try:
        return convert(value)
    except _FaultError as fault:
        path = "value" + _path_of_fault(value, convert, parts)
        raise fault.kind(f"{path}: {fault}", path=path) from fault.__cause__
    except RecursionError:
        raise InvalidValueError("this is nested too deeply", path="value") from None


def _path_of_fault(value: Any, convert: _Convert, parts: _Parts) -> str:
    for step, part in parts(value):
        try:
            convert(part)
        except _FaultError:
            return step + _path_of_fault(part, convert, parts)
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield f"[{name!r}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part


def _parts_of_tree(tree: Any) -> Iterator[tuple[str, Any]]:
    escaped = isinstance(tree, dict) and len(tree) == 1 and isinstance(tree.get("$map"), dict)
    return _parts(tree["$map"] if escaped else tree)


# Out


def _to_tree(value: Any) -> Any:
    convert = _TO_TREE.get(type(value))
    if convert is not None:
        return convert(value)
    for kind, convert in _TO_TREE.items():
        if isinstance(value, kind):
            return convert(value)
    if isinstance(value, Mapping):
        return _map_to_tree(value)
    if isinstance(value, Encoded):
        return _to_tree(value.decode())
    raise _FaultError(UnsupportedTypeError, f"{type(value).__name__} is no type of a value")


def _int_to_tree(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise _FaultError(InvalidValueError, f"the integer {value} has more than 64 bits")


def _float_to_tree(value: float) -> Any:
    if math.isfinite(value):
        return value
    return {"$float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _datetime_to_tree(value: datetime) -> Any:
    if value.utcoffset() is None:
        raise _FaultError(InvalidValueError, "a datetime without a time zone is no instant")
    try:
        text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    except OverflowError:
        raise _FaultError(InvalidValueError, f"the instant {value} lies outside the years 1 to 9999") from None
    return {"$datetime": text + "Z"}


def _list_to_tree(value: list[Any]) -> list[Any]:
    return [_to_tree(part) for part in value]


def _map_to_tree(value: Mapping[Any, Any]) -> Any:
    tree = {}
    for name, part in value.items():
        if not isinstance(name, str):
            raise _FaultError(UnsupportedTypeError, f"a map's keys are text, not {type(name).__name__}")
        tree[name] = part if type(part) is str else _to_tree(part)
    if len(tree) == 1 and next(iter(tree)).startswith("$"):
        return {"$map": tree}
    return tree


# Tried in this order for subclasses: bool before int.
_TO_TREE: dict[type, _Convert] = {
    str: str,
    bool: bool,
    int: _int_to_tree,
    float: _float_to_tree,
    type(None): lambda value: value,
    dict: _map_to_tree,
    list: _list_to_tree,
    tuple: _list_to_tree,
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    datetime: _datetime_to_tree,
    Key: lambda value: {"$key": str(value)},
}


# In


def _from_tree(tree: Any) -> Any:
    kind = type(tree)
    if kind is dict:
        if len(tree) == 1:
            ((name, content),) = tree.items()
            if name.startswith("$"):
                return _from_notation(name, content)
        return {name: part if type(part) is str else _from_tree(part) for name, part in tree.items()}
    if kind is list:
        return [_from_tree(part) for part in tree]
    if kind is int and not INT_MIN <= tree <= INT_MAX:
        raise _FaultError(InvalidValueError, f"the integer {tree} has more than 64 bits")
    if kind is float and math.isinf(tree):
        raise _FaultError(InvalidValueError, "the number is too large for a float")
    return tree


def _from_notation(name: str, content: Any) -> Any:
    read = _FROM_NOTATION.get(name)
    if read is None:
        known = ", ".join(NOTATIONS)
        raise _FaultError(
            InvalidValueError,
            f"an object whose only member is {name!r} has no meaning (known: {known});"
            f' if it is meant as it stands, write {{"$map": {{"{name}": ...}}}}',
        )
    return read(content)


def _text(name: str, content: Any) -> str:
    if type(content) is not str:
        raise _FaultError(InvalidValueError, f"the content of {name!r} must be text, not {type(content).__name__}")
    return content


def _bytes_from(content: Any) -> bytes:
    try:
        return base64.b64decode(_text("$bytes", content), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _FaultError(InvalidValueError, f"the content of '$bytes' is no base64: {error}") from error


def _datetime_from(content: Any) -> datetime:
    text = _text("$datetime", content)
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise _FaultError(
            InvalidValueError,
            f"{text!r} is no RFC 3339 instant, as 2026-11-24T10:00:00Z or 2026-11-24T10:00:00.123456+01:00",
        )
    if len(found["fraction"] or "") > _MICROSECOND_DIGITS:
        raise _FaultError(InvalidValueError, f"{text!r} has parts of a microsecond, which are not kept")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _FaultError(InvalidValueError, f"{text!r} is no instant: {error}") from error


def _key_from(content: Any) -> Key:
    try:
        return Key(_text("$key", content))
    except DatastoreError as error:
        raise _FaultError(InvalidValueError, str(error)) from error


def _float_from(content: Any) -> float:
    number = _FLOATS.get(_text("$float", content))
    if number is None:
        raise _FaultError(InvalidValueError, f"the content of '$float' must be one of {', '.join(_FLOATS)}")
    return number


def _map_from(content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise _FaultError(InvalidValueError, f"the content of '$map' must be an object, not {type(content).__name__}")
    return {name: _from_tree(part) for name, part in content.items()}


_FROM_NOTATION: dict[str, _Convert] = {
    "$bytes": _bytes_from,
    "$datetime": _datetime_from,
    "$float": _float_from,
    "$key": _key_from,
    "$map": _map_from,
}
