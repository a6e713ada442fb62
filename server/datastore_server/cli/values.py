"""Values as JSON, as commands read and print them, also in JSON Lines.

The types of JSON map to themselves; integers and floats are distinct (`1`, `1.0`). Other types are objects with one
member:

    {"$bytes": "aGVsbG8="}                     bytes, base64
    {"$datetime": "2026-11-24T10:00:00Z"}      an instant, RFC 3339, to the microsecond
    {"$key": "/a/b"}                           a Key
    {"$float": "NaN"}                          also "Infinity", "-Infinity"
    {"$map": {"$bytes": 1}}                    a map whose only member begins with "$"

Knows plain values and JSON, but no commands or stores.
"""

from __future__ import annotations

import json
from typing import Any

from datastore.model.errors import InvalidValueError
from datastore.model.key import Key
from datastore_server.cli.notations import (
    Convert,
    FaultError,
    Parts,
    parts,
    parts_of_tree,
    plain_value,
    tree_of,
    value_of,
)

__all__ = [
    "from_json",
    "from_tree",
    "json_line",
    "plain_from_tree",
    "to_json",
    "to_tree",
]


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The JSON text of a value, on one line unless `indent` is given. `from_json` is the inverse.

    Maps are unordered, and their order may differ between reads; `sort_keys` makes texts comparable. Raises
    UnsupportedTypeError or InvalidValueError, with `path`, for unsupported values.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        to_tree(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators, sort_keys=sort_keys
    )


def json_line(key: Key, value: Any) -> str:
    """One entry as a line of JSON Lines, with its line end."""
    return f'{{"key":{to_json(str(key))},"value":{to_json(value, sort_keys=True)}}}\n'


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises InvalidValueError, with the `path` of the part, for invalid JSON, duplicate members, numbers out of range and
    unknown notations.
    """
    return from_tree(parse(text))


def to_tree(value: Any) -> Any:
    """A value as a tree that `json.dumps` can write, to be part of a larger one."""
    return _converted(value, tree_of, parts)


def from_tree(tree: Any) -> Any:
    """The value of parsed JSON; the tree must come from `parse`, which refuses duplicate members."""
    return _converted(tree, value_of, parts_of_tree)


def plain_from_tree(tree: Any) -> Any:
    """The value of parsed JSON without notations: `{"$ref": 1}` is a map."""
    return _converted(tree, plain_value, parts)


def parse(text: str | bytes) -> Any:
    """Parse JSON text, without interpreting notations. Raises InvalidValueError."""
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
        # Python does not parse integers with thousands of digits.
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


# Faults: the conversions do not track their position, for speed; the path is found if it is needed.


def _converted(value: Any, convert: Convert, parts: Parts) -> Any:
    try:
        return convert(value)
    except FaultError as fault:
        path = "value" + _path_of_fault(value, convert, parts)
        raise fault.kind(f"{path}: {fault}", path=path) from fault.__cause__
    except RecursionError:
        raise InvalidValueError("this is nested too deeply", path="value") from None


def _path_of_fault(value: Any, convert: Convert, parts: Parts) -> str:
    for step, part in parts(value):
        try:
            convert(part)
        except FaultError:
            return step + _path_of_fault(part, convert, parts)
    return ""
