"""`--type auto`: the type of each column that holds all of its cells without loss. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from datastore.model.errors import InvalidValueError
from datastore_server.cli.instants import instant
from datastore_server.cli.notations import INT_MAX, INT_MIN

__all__ = ["inferred_types"]

# Stricter than the types themselves: `007` and `+41` are codes and phone numbers, whose text would be lost.
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
#: Integers of fewer characters have at most 64 bits.
_SAFE_DIGITS = 19


def _is_integer(text: str) -> bool:
    # Short ones, by far the most, fit 64 bits; very long ones Python refuses to read.
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


#: The types that are inferred, the narrower before the wider: every integer is a decimal, else none is another.
_TESTS: dict[str, Callable[[str], bool]] = {
    "int": _is_integer,
    "float": _is_decimal,
    "bool": _is_truth,
    "datetime": _is_datetime,
}


class _Column:
    """The narrowest type of all cells seen so far; None before the first, str if they have no other in common."""

    def __init__(self) -> None:
        self.kind: str | None = None
        self._test: Callable[[str], bool] = lambda _: False

    def see(self, cell: str) -> None:
        if self.kind == "str" or self._test(cell):
            return
        candidates = _TESTS if self.kind is None else ["float"] if self.kind == "int" else []
        self.kind = next((kind for kind in candidates if _TESTS[kind](cell)), "str")
        self._test = _TESTS.get(self.kind, self._test)


def inferred_types(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> dict[str, str]:
    """The type of each column of `header`, from all rows; absent cells, None, say nothing.

    int, float, bool (true, false) and datetime (RFC 3339) where every cell is written as one; everything else is
    str: numerals with a leading zero or plus sign, and integers of more than 64 bits.
    """
    columns = [_Column() for _ in header]
    for cells in rows:
        for column, cell in zip(columns, cells, strict=True):
            if cell is not None:
                column.see(cell)
    return {name: column.kind or "str" for name, column in zip(header, columns, strict=True)}
