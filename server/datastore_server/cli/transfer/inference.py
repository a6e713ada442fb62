"""`--type auto`: the type of each column that represents all of its cells without loss. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from datastore.model.errors import InvalidValueError
from datastore_server.cli.instants import instant
from datastore_server.cli.notations import INT_MAX, INT_MIN

__all__ = ["Inferred", "inferred_types"]

#: The longest text that may represent a missing value.
STRAY_CHARACTERS = 20

# Stricter than the types themselves: `007` and `+41` are codes and phone numbers, whose text would be lost.
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
#: Integers of fewer characters have at most 64 bits.
_SAFE_DIGITS = 19


def _is_integer(text: str) -> bool:
    # Short ones, by far the most common, fit in 64 bits; Python refuses to parse very long ones.
    return bool(_PLAIN_INTEGER.fullmatch(text)) and (
        len(text) < _SAFE_DIGITS or (len(text) < 2 * _SAFE_DIGITS and INT_MIN <= int(text) <= INT_MAX)
    )


def _is_decimal(text: str) -> bool:
    return bool(_PLAIN_DECIMAL.fullmatch(text)) and math.isfinite(float(text))


def _is_truth(text: str) -> bool:
    return text.lower() in ("true", "false")


def _is_datetime(text: str) -> bool:
    try:
        instant(text)
    except InvalidValueError:
        return False
    return True


#: The types that are inferred, narrower before wider: every integer is also a decimal; otherwise they exclude each
#: other.
_TESTS: dict[str, Callable[[str], bool]] = {
    "int": _is_integer,
    "float": _is_decimal,
    "bool": _is_truth,
    "datetime": _is_datetime,
}


class Inferred(NamedTuple):
    """The type of a column. If it is str only because of one text, `stray`, also the type it would have without it."""

    kind: str
    stray: str | None = None
    otherwise: str = "str"


class _Column:
    """The narrowest type of all cells so far, except for one text that may represent a missing value.

    None before the first cell, str if they have no other type in common.
    """

    def __init__(self) -> None:
        self._kind: str | None = None
        self._stray: str | None = None
        self._test: Callable[[str], bool] = lambda _: False

    def see(self, cell: str) -> None:
        if self._kind == "str" or self._test(cell) or cell == self._stray:
            return
        candidates = _TESTS if self._kind is None else ["float"] if self._kind == "int" else []
        kind = next((kind for kind in candidates if _TESTS[kind](cell)), "str")
        if kind == "str" and self._stray is None and _may_mean_nothing(cell):
            self._stray = cell
            return
        self._kind = kind
        self._test = _TESTS.get(kind, self._test)

    @property
    def inferred(self) -> Inferred:
        kind = self._kind or "str"
        if self._stray is None or kind == "str":
            return Inferred(kind)
        return Inferred("str", self._stray, kind)


def _may_mean_nothing(cell: str) -> bool:
    """Whether a text may represent a missing value, e.g. `NA`, `unknown`, `-`; text with a digit is a value."""
    return len(cell) <= STRAY_CHARACTERS and not any(character.isdigit() for character in cell)


def inferred_types(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> dict[str, Inferred]:
    """The type of each column of `header`, from all rows; absent cells, None, do not matter.

    int, float, bool (true, false) or datetime (RFC 3339) if every cell is written as one; everything else is str,
    including numerals with a leading zero or plus sign, and integers of more than 64 bits.
    """
    columns = [_Column() for _ in header]
    for cells in rows:
        for column, cell in zip(columns, cells, strict=True):
            if cell is not None:
                column.see(cell)
    return {name: column.inferred for name, column in zip(header, columns, strict=True)}
