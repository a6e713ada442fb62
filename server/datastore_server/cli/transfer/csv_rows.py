"""Records of CSV as maps, and entries as records. Knows headers and types, but no files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from datastore.model.errors import InvalidError, InvalidValueError
from datastore.model.key import Key
from datastore_server.cli.transfer.cells import cell_of, read_cell
from datastore_server.cli.transfer.csv_dialect import Record, record_text
from datastore_server.cli.transfer.lines import MalformedError

__all__ = ["KEY_COLUMN", "Table", "convert", "csv_lines", "member_names"]

#: The column of an entry's key, without a key template.
KEY_COLUMN = "key"
#: A header most likely has another delimiter if it has only one column, and that contains one of these.
_LIKELY_DELIMITERS = {";": "';'", "\t": "tab", "|": "'|'", ",": "','"}


class Table:
    """The columns of a CSV file: converts each record to a map.

    `nulls` are the texts of cells that count as absent. Raises MalformedError for a header that names a column twice.
    """

    def __init__(self, header: Record, nulls: Collection[str] = ()) -> None:
        if header.fault is not None:
            raise MalformedError(header.line, header.fault)
        self.columns = [cell or "" for cell in header.cells]
        self._line = header.line
        self._nulls = frozenset(nulls)
        self._refuse_doubled()

    def _refuse_doubled(self) -> None:
        places: dict[str, int] = {}
        for place, name in enumerate(self.columns, 1):
            if name in places:
                raise MalformedError(
                    self._line, f"the header names {name!r} twice, in columns {places[name]} and {place}"
                )
            places[name] = place

    def require(self, names: Iterable[str], purpose: str) -> None:
        """Raise MalformedError, listing the columns, for the first name that is not a column."""
        for name in names:
            if name not in self.columns:
                shown = ", ".join(self.columns)
                raise MalformedError(self._line, f"no column {name!r} {purpose}; the header has {shown}{self.hint()}")

    def hint(self) -> str:
        """A hint if the header looks as if it had another delimiter, otherwise ''."""
        if len(self.columns) != 1:
            return ""
        found = max(_LIKELY_DELIMITERS, key=self.columns[0].count)
        if found not in self.columns[0]:
            return ""
        return f"; the file looks separated by {_LIKELY_DELIMITERS[found]}: try --delimiter {_LIKELY_DELIMITERS[found]}"

    def cells(self, record: Record) -> list[str | None]:
        """The cells of a record, None for absent ones. InvalidError if it is malformed or of another width."""
        if record.fault is not None:
            raise InvalidError(record.fault)
        if len(record.cells) != len(self.columns):
            raise InvalidError(f"{len(record.cells)} cells, but the header has {len(self.columns)}")
        return [None if cell in self._nulls else cell for cell in record.cells] if self._nulls else record.cells

    def members(self, record: Record) -> dict[str, Any]:
        """The texts of a record by column, without absent cells. Raises like `cells`."""
        cells = self.cells(record)
        members = dict(zip(self.columns, cells, strict=True))
        return {name: cell for name, cell in members.items() if cell is not None} if None in cells else members


def convert(members: dict[str, Any], types: Mapping[str, str]) -> None:
    """Replace texts by the values of their types; empty texts of types other than str are left out.

    Raises InvalidValueError, which names the column.
    """
    for column, kind in types.items():
        text = members.get(column)
        if text is None:
            continue
        if not text.strip(" \t"):
            del members[column]
            continue
        try:
            members[column] = read_cell(text, kind)
        except InvalidValueError as error:
            raise InvalidValueError(f"column {column!r}: {error}") from error


def csv_lines(
    batches: Iterable[Iterable[tuple[Key, Any]]],
    columns: Sequence[str],
    delimiter: str = ",",
    *,
    drop_others: bool = False,
) -> Iterator[str]:
    """Entries as CSV: a header, and the lines of each batch. The column `key` comes first, then `columns`, by member.

    CSV does not keep types: `cells.cell_of` defines how members are written. With `drop_others`, members without a
    column are left out; otherwise they raise InvalidValueError, as do values that are not maps.
    """

    def record(key: Key, value: Any) -> str:
        members = value if drop_others and isinstance(value, Mapping) else _writable(key, value)
        if not drop_others and not members.keys() <= names:
            extra = next(name for name in members if name not in names)
            raise InvalidValueError(
                f"{key}: its member {extra!r} was stored after the export began and has no column; export again"
            )
        cells = (cell_of(members[name]) if name in members else None for name in columns)
        return record_text([str(key), *cells], delimiter)

    names = frozenset(columns)
    yield record_text([KEY_COLUMN, *columns], delimiter)
    for entries in batches:
        yield "".join(record(key, value) for key, value in entries)


def member_names(entries: Iterable[tuple[Key, Any]]) -> set[str]:
    """The names of all members of these entries. InvalidValueError for values that CSV cannot hold."""
    names: set[str] = set()
    for key, value in entries:
        names |= _writable(key, value).keys()
    return names


def _writable(key: Key, value: Any) -> Mapping[str, Any]:
    instead = "export to a .jsonl file instead"
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{key}: CSV can hold only maps, and this is of type {type(value).__name__}; {instead}")
    if KEY_COLUMN in value:
        raise InvalidValueError(f"{key}: its member {KEY_COLUMN!r} has the name of the key's column; {instead}")
    return value
