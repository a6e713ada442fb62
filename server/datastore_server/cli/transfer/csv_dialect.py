"""CSV as records of cells, and records as CSV. Pure text: knows no headers, types or entries.

The dialect is RFC 4180 with any delimiter. Two things go beyond Python's `csv`: an empty cell is None without quotes
and an empty text with quotes, so that absent members and empty texts can be distinguished; and a malformed record is
reported with its place, and reading continues with the next line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from datastore_server.cli.transfer.lines import MalformedError

__all__ = ["CELL_CHARACTERS", "Record", "read_records", "record_text"]

#: The longest quoted cell, in characters: the size of the largest entry. Limits the text after an unclosed quote.
CELL_CHARACTERS = 4 * 1024 * 1024


class Record(NamedTuple):
    """One record: the line on which it begins, its text, and its cells or, instead of these, what is wrong with it."""

    line: int
    text: str
    cells: list[str | None]
    fault: str | None = None


def read_records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """The records of lines that include their line ends. Blank lines between records are skipped.

    Raises MalformedError for a quoted cell of more than CELL_CHARACTERS, because its end is unknown.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        body = line.rstrip("\r\n") if line[-1:] in ("\n", "\r") else line
        if not body:
            continue
        if '"' not in line:
            yield Record(number, line, [cell or None for cell in body.split(delimiter)])
            continue
        cells = _simply_quoted(line, delimiter)
        yield Record(number, line, cells) if cells else _quoted_record(number, line, numbered, delimiter)


def _simply_quoted(line: str, delimiter: str) -> list[str | None] | None:
    """The cells of a well-formed line without empty cells, read by Python's faster reader; None for any other line."""
    try:
        cells = next(csv.reader((line,), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return None if "" in cells else [*cells]


def _quoted_record(number: int, line: str, following: Iterator[tuple[int, str]], delimiter: str) -> Record:
    scan = _Scan(delimiter)
    lines = [line]
    while not scan.take(lines[-1]):
        if scan.characters > CELL_CHARACTERS:
            raise MalformedError(
                number, f"a quoted cell has more than {CELL_CHARACTERS:,} characters; is a quote not closed?"
            )
        lines.append(next(following, (0, ""))[1])
        if not lines[-1]:
            return Record(number, "".join(lines), [], f"the quote that opens cell {len(scan.cells) + 1} is not closed")
    return Record(number, "".join(lines), scan.cells, scan.fault)


class _Scan:
    """Collects the lines of one record until it is complete."""

    def __init__(self, delimiter: str) -> None:
        self.cells: list[str | None] = []
        self.fault: str | None = None
        #: The length of the text in the open quoted cell.
        self.characters = 0
        self._delimiter = delimiter
        self._open: list[str] | None = None

    def take(self, line: str) -> bool:
        """Add a line. Returns whether it completes the record; a malformed record is complete immediately."""
        end = len(line.rstrip("\r\n"))
        at = self._cell(line, 0, end) if self._open is None else self._quoted(line, 0)
        while at is not None:
            if at >= end:
                return True
            if not line.startswith(self._delimiter, at):
                self.fault = f"cell {len(self.cells)} has {line[at]!r} after its closing quote"
                return True
            at = self._cell(line, at + 1, end)
        return False

    def _cell(self, line: str, at: int, end: int) -> int | None:
        if line.startswith('"', at):
            self._open = []
            return self._quoted(line, at + 1)
        found = line.find(self._delimiter, at, end)
        stop = end if found < 0 else found
        self.cells.append(line[at:stop] or None)
        return stop

    def _quoted(self, line: str, at: int) -> int | None:
        """Continue the open quoted cell. Returns where it ends, or None if that is on a later line."""
        parts = self._open if self._open is not None else []
        while (quote := line.find('"', at)) >= 0:
            if not line.startswith('""', quote):
                parts.append(line[at:quote])
                self.cells.append("".join(parts))
                self._open, self.characters = None, 0
                return quote + 1
            parts.append(line[at : quote + 1])
            at = quote + 2
        parts.append(line[at:])
        self.characters += len(line) - at
        return None


def record_text(cells: Sequence[str | None], delimiter: str) -> str:
    """A record as a line of CSV, from which `read_records` returns the same cells; None is an empty cell."""
    text = delimiter.join("" if cell is None else _cell_text(cell, delimiter) for cell in cells)
    # A record with one absent cell would be a blank line, which readers skip.
    return (text or '""') + "\n"


def _cell_text(cell: str, delimiter: str) -> str:
    # Leading and trailing spaces need no quotes here, but other readers drop them.
    if cell and not (cell[0].isspace() or cell[-1].isspace()) and not _needs_quotes(cell, delimiter):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _needs_quotes(cell: str, delimiter: str) -> bool:
    return '"' in cell or delimiter in cell or "\n" in cell or "\r" in cell
