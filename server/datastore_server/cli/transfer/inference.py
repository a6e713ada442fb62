"""`--type auto`: the type of each column that holds all of its cells without loss. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from datastore.core.errors import DatastoreError
from datastore_server.cli.transfer.cells import read_cell

__all__ = ["inferred_types"]

# Stricter than the types themselves: `007` and `+41` are codes and phone numbers, whose text would be lost.
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _reads(text: str, kind: str) -> bool:
    try:
        read_cell(text, kind)
    except DatastoreError:
        return False
    return True


#: From the narrowest type to the widest; a column has the first whose test all of its cells pass, else it is text.
_TESTS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("int", lambda text: bool(_PLAIN_INTEGER.fullmatch(text)) and _reads(text, "int")),
    ("float", lambda text: bool(_PLAIN_DECIMAL.fullmatch(text)) and _reads(text, "float")),
    ("bool", lambda text: text.lower() in ("true", "false")),
    ("datetime", lambda text: _reads(text, "datetime")),
)


class _Column:
    """Which types are still possible after the cells seen so far."""

    def __init__(self) -> None:
        self._possible = list(_TESTS)
        self._is_empty = True

    def see(self, cell: str | None) -> None:
        if cell is None or not self._possible:
            return
        self._is_empty = False
        self._possible = [(kind, test) for kind, test in self._possible if test(cell)]

    @property
    def kind(self) -> str:
        return "str" if self._is_empty or not self._possible else self._possible[0][0]


def inferred_types(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> dict[str, str]:
    """The type of each column of `header`, from all rows; absent cells, None, say nothing.

    int, float, bool (true, false) and datetime (RFC 3339) where every cell is written as one; everything else is
    str: numerals with a leading zero or plus sign, and integers of more than 64 bits.
    """
    columns = [_Column() for _ in header]
    for cells in rows:
        for column, cell in zip(columns, cells, strict=True):
            column.see(cell)
    return {name: column.kind for name, column in zip(header, columns, strict=True)}
