"""The conversions between values and JSON, and the `$` notations for types that JSON lacks. Pure.

For speed they do not track their position in a value: a FaultError has no path, and `values` finds it afterwards.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from datastore.model.encoded import Encoded
from datastore.model.errors import DatastoreError, InvalidValueError, UnsupportedTypeError
from datastore.model.key import Key
from datastore_server.cli.instants import instant, instant_text

__all__ = [
    "FLOATS",
    "INT_MAX",
    "INT_MIN",
    "NOTATIONS",
    "Convert",
    "FaultError",
    "Parts",
    "parts",
    "parts_of_tree",
    "plain_value",
    "tree_of",
    "value_of",
]

#: Integers have 64 bits, for clients in every language.
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
#: The names of the notations, for messages and help texts.
NOTATIONS = ("$bytes", "$datetime", "$float", "$key", "$map")

#: The floats that JSON cannot represent, by name.
FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Convert = Callable[[Any], Any]
Parts = Callable[[Any], Iterator[tuple[str, Any]]]


class FaultError(Exception):
    """A part that cannot be converted: the class of the error to raise, and its text without the path."""

    def __init__(self, kind: type[InvalidValueError | UnsupportedTypeError], text: str) -> None:
        super().__init__(text)
        self.kind = kind


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a map or list, each with the step that leads to it."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield f"[{name!r}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part


def parts_of_tree(tree: Any) -> Iterator[tuple[str, Any]]:
    """The same for parsed JSON: an escaped map has the parts of its content."""
    escaped = isinstance(tree, dict) and len(tree) == 1 and isinstance(tree.get("$map"), dict)
    return parts(tree["$map"] if escaped else tree)


# Out


def tree_of(value: Any) -> Any:
    """A value as a tree that `json.dumps` can write."""
    convert = _TO_TREE.get(type(value))
    if convert is not None:
        return convert(value)
    for kind, convert in _TO_TREE.items():
        if isinstance(value, kind):
            return convert(value)
    if isinstance(value, Mapping):
        return _map_to_tree(value)
    if isinstance(value, Encoded):
        return tree_of(value.decode())
    raise FaultError(UnsupportedTypeError, f"{type(value).__name__} cannot be stored as a value")


def _int_to_tree(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise FaultError(InvalidValueError, f"the integer {value} has more than 64 bits")


def _float_to_tree(value: float) -> Any:
    if math.isfinite(value):
        return value
    return {"$float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _datetime_to_tree(value: datetime) -> Any:
    try:
        return {"$datetime": instant_text(value)}
    except InvalidValueError as error:
        raise FaultError(InvalidValueError, str(error)) from error


def _list_to_tree(value: list[Any]) -> list[Any]:
    return [tree_of(part) for part in value]


def _map_to_tree(value: Mapping[Any, Any]) -> Any:
    tree = {}
    for name, part in value.items():
        if not isinstance(name, str):
            raise FaultError(UnsupportedTypeError, f"a map's keys are text, not {type(name).__name__}")
        tree[name] = part if type(part) is str else tree_of(part)
    if len(tree) == 1 and next(iter(tree)).startswith("$"):
        return {"$map": tree}
    return tree


# Tried in this order for subclasses: bool before int.
_TO_TREE: dict[type, Convert] = {
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


def value_of(tree: Any) -> Any:
    """The value of parsed JSON."""
    kind = type(tree)
    if kind is dict:
        if len(tree) == 1:
            ((name, content),) = tree.items()
            if name.startswith("$"):
                return _from_notation(name, content)
        return {name: part if type(part) is str else value_of(part) for name, part in tree.items()}
    if kind is list:
        return [value_of(part) for part in tree]
    return _number_from(tree)


def plain_value(tree: Any) -> Any:
    """The same without notations: objects are always maps."""
    if type(tree) is dict:
        return {name: plain_value(part) for name, part in tree.items()}
    if type(tree) is list:
        return [plain_value(part) for part in tree]
    return _number_from(tree)


def _number_from(tree: Any) -> Any:
    kind = type(tree)
    if kind is int and not INT_MIN <= tree <= INT_MAX:
        raise FaultError(InvalidValueError, f"the integer {tree} has more than 64 bits")
    if kind is float and math.isinf(tree):
        raise FaultError(InvalidValueError, "the number is too large for a float")
    return tree


def _from_notation(name: str, content: Any) -> Any:
    read = _FROM_NOTATION.get(name)
    if read is None:
        known = ", ".join(NOTATIONS)
        raise FaultError(
            InvalidValueError,
            f"an object whose only member is {name!r} has no meaning (known: {known});"
            f' to store the object itself, write {{"$map": {{"{name}": ...}}}},'
            " or import with --plain, which imports all objects unchanged",
        )
    return read(content)


def _text(name: str, content: Any) -> str:
    if type(content) is not str:
        raise FaultError(InvalidValueError, f"the content of {name!r} must be text, not {type(content).__name__}")
    return content


def _bytes_from(content: Any) -> bytes:
    try:
        return base64.b64decode(_text("$bytes", content), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError(InvalidValueError, f"the content of '$bytes' is not base64: {error}") from error


def _datetime_from(content: Any) -> datetime:
    try:
        return instant(_text("$datetime", content))
    except InvalidValueError as error:
        raise FaultError(InvalidValueError, str(error)) from error


def _key_from(content: Any) -> Key:
    try:
        return Key(_text("$key", content))
    except DatastoreError as error:
        raise FaultError(InvalidValueError, str(error)) from error


def _float_from(content: Any) -> float:
    number = FLOATS.get(_text("$float", content))
    if number is None:
        raise FaultError(InvalidValueError, f"the content of '$float' must be one of {', '.join(FLOATS)}")
    return number


def _map_from(content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise FaultError(InvalidValueError, f"the content of '$map' must be an object, not {type(content).__name__}")
    return {name: value_of(part) for name, part in content.items()}


_FROM_NOTATION: dict[str, Convert] = {
    "$bytes": _bytes_from,
    "$datetime": _datetime_from,
    "$float": _float_from,
    "$key": _key_from,
    "$map": _map_from,
}
