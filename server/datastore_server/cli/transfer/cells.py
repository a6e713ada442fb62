"""Conversion between the text of a cell and its value: the types of `--type MEMBER=TYPE`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from datastore.model.errors import DatastoreError, InvalidValueError
from datastore_server.cli.instants import instant, instant_text
from datastore_server.cli.notations import FLOATS, INT_MAX, INT_MIN
from datastore_server.cli.values import from_json, to_json, to_tree

__all__ = ["DECIMAL", "INTEGER", "TYPES", "cell_of", "read_cell"]

# Numerals are ASCII: int() and float() also take the digits of other scripts, and `_` between digits.
INTEGER = re.compile(r"[+-]?[0-9]+")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text):
        raise InvalidValueError("expected an integer, e.g. 42")
    # Check the length first: Python refuses to parse integers with thousands of digits.
    if len(text.lstrip("+-0")) > len(str(INT_MAX)) or not INT_MIN <= int(text) <= INT_MAX:
        raise InvalidValueError("the integer has more than 64 bits")
    return int(text)


def _float(text: str) -> float:
    if text in FLOATS:
        return FLOATS[text]
    if not DECIMAL.fullmatch(text):
        raise InvalidValueError(f"expected a number, e.g. 1.5 or 1e3, or {', '.join(FLOATS)}")
    number = float(text)
    if math.isinf(number):
        raise InvalidValueError("the number is too large for a float")
    return number


def _number(text: str) -> int | float:
    return _integer(text) if INTEGER.fullmatch(text) else _float(text)


def _truth(text: str) -> bool:
    truth = _TRUTH.get(text.lower())
    if truth is None:
        raise InvalidValueError(f"expected one of {', '.join(_TRUTH)}")
    return truth


#: The types that `--type MEMBER=TYPE` may name, and how to parse their text.
TYPES: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": _integer,
    "float": _float,
    "number": _number,
    "bool": _truth,
    "datetime": instant,
    "json": from_json,
}


def read_cell(text: str, kind: str) -> Any:
    """The value of a cell of this type; spaces around it are ignored, except for `str`.

    Raises InvalidValueError with the text, the type and what was expected.
    """
    try:
        return TYPES[kind](text if kind == "str" else text.strip(" \t"))
    except DatastoreError as error:
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise InvalidValueError(f"{shown!r} is not of type {kind}: {error}") from error


def cell_of(value: Any) -> str:
    """A value as the text of a cell, which `read_cell` with the value's type reads back.

    Text is written unchanged, instants in RFC 3339, NaN and infinities by name; everything else in JSON.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(to_tree(value)["$float"])
    return to_json(value, sort_keys=True)
