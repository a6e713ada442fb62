"""Whether what a driver answered is what a case expects, and what is different. Pure.

Expectations are compared exactly, except for objects with one of the names in MATCHERS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from datastore.v1 import query_pb2, value_pb2

__all__ = ["Variables", "difference", "filled"]

#: What a case has saved, and what its servers are, by name.
Variables = dict[str, Any]

_MESSAGES = {"Query": query_pb2.Query, "Value": value_pb2.Value}
_NAN = "7ff8000000000000"


def filled(request: Any, variables: Variables) -> Any:
    """A request with the variables that it names: `{"$var": NAME}`, and keys in the space of its case, `~/...`."""
    if isinstance(request, dict):
        if "$var" in request:
            return variables[request["$var"]]
        if "$repeat" in request:
            return request["$repeat"] * request["$times"]
        if "$joined" in request:
            return "".join(filled(request["$joined"], variables))[: request["$bytes"]]
        if "$nested" in request:
            return _nested(filled(request["$nested"], variables), request["$depth"], lambda inner: {"list": [inner]})
        if "$tree" in request:
            return _nested(filled(request["$tree"], variables), request["$depth"], lambda inner: {"not": inner})
        if "$each" in request:
            return [filled(_numbered(request["$each"], number), variables) for number in range(request["$count"])]
        return {name: filled(part, variables) for name, part in request.items()}
    if isinstance(request, list):
        return [filled(part, variables) for part in request]
    if isinstance(request, str) and request[:1] == "~":
        return variables["space"] + request[1:]
    return request


#: The names of what is filled in.
_MADE = {"$repeat", "$joined", "$nested", "$each"}


def _nested(part: Any, depth: int, within: Callable[[Any], Any]) -> Any:
    for _ in range(depth):
        part = within(part)
    return part


def _numbered(part: Any, number: int) -> Any:
    """A part of a request with `#` in its texts replaced by a number."""
    if isinstance(part, dict):
        return {name: _numbered(inner, number) for name, inner in part.items()}
    if isinstance(part, list):
        return [_numbered(inner, number) for inner in part]
    return part.replace("#", str(number)) if isinstance(part, str) else part


def difference(expected: Any, actual: Any, variables: Variables, at: str = "result") -> str | None:
    """The first difference between what was expected and what came, with its place; None if there is none."""
    if isinstance(expected, dict) and not expected.keys().isdisjoint(_MADE):
        expected = filled(expected, variables)
    if isinstance(expected, dict) and (matcher := next((name for name in expected if name in MATCHERS), None)):
        return MATCHERS[matcher](expected, actual, variables, at)
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected.keys() != actual.keys():
            return f"{at} has {sorted(actual)}, expected {sorted(expected)}"
        return _first(difference(expected[name], actual[name], variables, f"{at}.{name}") for name in expected)
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return f"{at} has {len(actual)} elements, expected {len(expected)}: {_cut(actual)}"
        pairs = enumerate(zip(expected, actual, strict=True))
        return _first(difference(one, other, variables, f"{at}[{place}]") for place, (one, other) in pairs)
    if at.endswith(".double"):
        expected, actual = _canonical(expected), _canonical(actual)
    expected = filled(expected, variables)
    if expected == actual and type(expected) is type(actual):
        return None
    return f"{at} is {_cut(actual)}, expected {_cut(expected)}"


def _first(differences: Any) -> str | None:
    return next(filter(None, differences), None)


def _cut(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 500 else f"{shown[:500]}... ({len(shown):,} characters)"


def _canonical(bits: Any) -> Any:
    """The bits of a double; those of all NaNs are equal."""
    is_nan = isinstance(bits, str) and re.fullmatch("[7f]ff[0-9a-f]{13}", bits) and int(bits[3:], 16)
    return _NAN if is_nan else bits


# Matchers


def _any(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    return None


def _save(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    variables[expected["$save"]] = actual
    return None


def _var(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    return difference(variables[expected["$var"]], actual, variables, at)


def _not(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    if difference(expected["$not"], actual, variables, at) is None:
        return f"{at} is {_cut(actual)}, expected something else"
    return None


def _one_of(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    found = [difference(each, actual, variables, at) for each in expected["$one_of"]]
    return None if None in found else f"{at} is {_cut(actual)}, expected one of {_cut(expected['$one_of'])}"


def _text(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    lowered = str(actual).lower()
    missing = [
        part
        for part in expected["$text"]
        if not any(one.lower() in lowered for one in filled(part, variables).split("|"))
    ]
    return f"{at} does not say {missing}: {_cut(actual)}" if missing else None


def _between(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    low, high = (int(filled(bound, variables)) for bound in expected["$between"])
    return None if low <= int(actual) <= high else f"{at} is {actual}, expected {low} to {high}"


def _after(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    low = int(filled(expected["$after"], variables))
    return None if int(actual) > low else f"{at} is {actual}, expected more than {low}"


def _includes(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    """An object with at least these members, or a list with at least these elements."""
    wanted = expected["$includes"]
    if isinstance(wanted, list):
        missing = [one for one in wanted if all(difference(one, other, variables, at) for other in actual)]
        return f"{at} lacks {_cut(missing)}: {_cut(actual)}" if missing else None
    if not isinstance(actual, dict):
        return f"{at} is {_cut(actual)}, expected an object"
    return _first(
        difference(wanted[name], actual[name], variables, f"{at}.{name}") if name in actual else f"{at} has no {name}"
        for name in wanted
    )


def _unordered(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    left = list(actual)
    for one in filled(expected["$unordered"], variables):
        found = next((other for other in left if difference(one, other, variables, at) is None), None)
        if found is None:
            return f"{at} lacks {_cut(one)}: {_cut(actual)}"
        left.remove(found)
    return f"{at} has more than expected: {_cut(left)}" if left else None


def _keys(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    return difference(expected["$keys"], [entry["key"] for entry in actual], variables, at)


def _data(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    """Entries of the data set, by their names, whole."""
    entries = [variables["data"][name] for name in expected["$data"]]
    return _keys({"$keys": [entry["key"] for entry in entries]}, actual, variables, at) or difference(
        entries, actual, variables, at
    )


def _message(expected: Any, actual: Any, variables: Variables, at: str) -> str | None:
    """The bytes of a message, which may be in any order of its fields."""
    kind = _MESSAGES[expected["$message"]]
    try:
        sent = kind.FromString(bytes.fromhex(actual))
    except (DecodeError, ValueError) as error:
        return f"{at} is not a {expected['$message']}: {error}"
    wanted = kind.FromString(bytes.fromhex(expected["hex"]))
    # As text, because a NaN does not equal itself.
    return None if str(sent) == str(wanted) else f"{at} is\n{sent}, expected\n{wanted}"


MATCHERS: dict[str, Callable[[Any, Any, Variables, str], str | None]] = {
    "$any": _any,
    "$save": _save,
    "$var": _var,
    "$not": _not,
    "$one_of": _one_of,
    "$text": _text,
    "$between": _between,
    "$after": _after,
    "$includes": _includes,
    "$unordered": _unordered,
    "$keys": _keys,
    "$data": _data,
    "$message": _message,
}
