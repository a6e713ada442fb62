"""The entries of a file, row by row, and how to handle rows that cannot be read.

Combines formats, types and key templates. Knows no stores; `sources` handles bytes and encodings.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TextIO, TypeAlias

from datastore.model.errors import DatastoreError, InvalidError, InvalidValueError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore_server.cli.instants import instant
from datastore_server.cli.transfer import csv_rows, json_rows
from datastore_server.cli.transfer.csv_dialect import Record, read_records
from datastore_server.cli.transfer.formats import DELIMITERS
from datastore_server.cli.transfer.inference import Inferred, inferred_types
from datastore_server.cli.transfer.lines import MalformedError, lines_of
from datastore_server.cli.transfer.templates import KeyTemplate
from datastore_server.cli.values import from_tree, parse, plain_from_tree

__all__ = ["AUTO", "Layout", "Reader", "Refusal", "Row", "TextSource"]

#: The name for the type that is inferred from the cells of a column.
AUTO = "auto"

#: The approximate overhead of a member in bytes, besides its name and text.
_CELL_BYTES = 8

#: The characters to which bytes that are invalid in the file's encoding are decoded; see `sources`.
_UNDECODED = re.compile("[\udc80-\udcff]")


#: A row as read by the formats.
Raw: TypeAlias = Record | json_rows.Text


#: Its key, its value, and when it expires.
_Entry: TypeAlias = tuple[Key, Any, Expiry | None]


class Row(NamedTuple):
    """One entry of a file: the line on which it begins, its number from 1 on, its approximate bytes, and its text.

    `expiry` is when it expires, if the file says so.
    """

    line: int
    key: Key
    value: Any
    size: int
    number: int = 0
    text: str = ""
    expiry: Expiry | None = None


class Refusal(NamedTuple):
    """A row that was left out: its line and number, its text, and why."""

    line: int
    number: int
    text: str
    error: DatastoreError


class TextSource(Protocol):
    """A file that can be read as text."""

    name: str
    encoding: str

    def text(self, newline: str) -> TextIO:
        """The text from the beginning, with line ends as for `open(newline=...)`."""


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are written, and how their keys are built."""

    file_format: str
    template: KeyTemplate | None = None
    #: CSV: the type of each column; those not named are text.
    types: Mapping[str, str] = field(default_factory=dict)
    #: CSV: infer the types of the columns that `types` does not name.
    infer: bool = False
    #: CSV: the cell separator, and the cells that count as absent.
    delimiter: str | None = None
    nulls: tuple[str, ...] = ()
    #: JSON: objects have no special meanings.
    plain: bool = False
    #: JSON: rows may have the metadata of entries, as written by `export`.
    metadata: bool = False


class Reader:
    """Reads the rows of a source.

    `refuse` gets the rows that cannot be read; without it, the first one raises InvalidError, which names source, line
    and reason. `note` gets messages for people, each kind once.
    """

    def __init__(
        self,
        source: TextSource,
        layout: Layout,
        *,
        refuse: Callable[[Refusal], None] | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._layout = layout
        self._refuse = refuse
        self._note = note
        self._has_noted_colon = False

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """The entries without the first `skip` rows, which may be anything.

        CSV: each record is a map with the header's names and typed values. JSON: with a template each row is a value,
        otherwise an object with `key` and `value`, as written by `export`.
        """
        try:
            yield from self._csv(skip) if self._layout.file_format in DELIMITERS else self._json(skip)
        except MalformedError as error:
            raise InvalidError(f"{self._source.name}, {error}") from error
        except UnicodeError as error:
            raise InvalidError(f"{self._source.name}: not in {self._source.encoding}: {error}") from error

    def _json(self, skip: int) -> Iterator[Row]:
        text = self._source.text("\n")
        raws = (
            json_rows.read_array(text) if self._layout.file_format == "json" else json_rows.read_lines(lines_of(text))
        )
        return self._entries(raws, skip, self._entry_of_json)

    def _entry_of_json(self, raw: json_rows.Text, number: int) -> _Entry:
        value_of = plain_from_tree if self._layout.plain else from_tree
        template = self._layout.template
        try:
            tree = parse(raw.text)
            if template is None:
                return _entry_of_export(tree, value_of, with_metadata=self._layout.metadata)
            if not isinstance(tree, dict):
                raise InvalidValueError("with --key each row must be an object, from whose members the key is built")
        except InvalidValueError as error:
            if number == 1 and raw.text.lstrip().startswith("["):
                raise InvalidValueError(f"{error}; for one array of objects say --format json") from error
            raise
        value = value_of(tree)
        return self._key(template, value, raw, number), value, None

    def _csv(self, skip: int) -> Iterator[Row]:
        table, records = self._table()
        if table is None:
            return
        if hint := table.hint():
            self._note(f"{self._source.name}: the header has one column{hint}")
        types = dict(self._layout.types)
        if self._layout.infer:
            types = self._inferred(table, records) | types
            table, records = self._table()
            if table is None:
                return
        overhead = sum(len(name) + _CELL_BYTES for name in table.columns)

        conversions = {name: kind for name, kind in types.items() if kind != "str"}

        def entry(record: Record, number: int) -> _Entry:
            members = table.members(record)
            template = self._layout.template
            key = _key_cell(members) if template is None else self._key(template, members, record, number)
            csv_rows.convert(members, conversions)
            return key, members, None

        yield from self._entries(records, skip, entry, overhead)

    def _table(self) -> tuple[csv_rows.Table | None, Iterator[Record]]:
        """The file's header (None in an empty file), and the records after it."""
        layout = self._layout
        delimiter = layout.delimiter or DELIMITERS[layout.file_format]
        records = read_records(lines_of(self._source.text("")), delimiter)
        header = next(records, None)
        if header is None:
            return None, records
        if undecoded := self._undecoded(header):
            raise MalformedError(header.line, undecoded)
        table = csv_rows.Table(header, layout.nulls)
        table.require(layout.types, "for --type")
        if layout.template is None:
            table.require([csv_rows.KEY_COLUMN], "and there is no --key to build keys with, e.g. '/Thing:{id}'")
        else:
            table.require(layout.template.names, "for --key")
        return table, records

    def _inferred(self, table: csv_rows.Table, records: Iterator[Record]) -> dict[str, str]:
        found = inferred_types(table.columns, _well_formed(table, records))
        if self._layout.template is None:
            found[csv_rows.KEY_COLUMN] = Inferred("str")
        types = {name: column.kind for name, column in found.items()}
        options = [f"--type {shlex.quote(f'{name}={kind}')}" for name, kind in types.items() if kind != "str"]
        self._note(f"Inferred: {' '.join(options)}; the rest is text" if options else "Inferred: all columns are text")
        for name, column in found.items():
            if column.stray is not None and name not in self._layout.types:
                self._note(
                    f"Hint: the column {name} would be {column.otherwise} without the cells {column.stray!r}; to leave"
                    f" those out of all columns, add --null {shlex.quote(column.stray)}"
                )
        return types

    def _key(self, template: KeyTemplate, members: Mapping[str, Any], raw: Raw, number: int) -> Key:
        key = template.key(members, number)
        if not self._has_noted_colon and (name := template.colon_in(members)) is not None:
            self._has_noted_colon = True
            self._note(
                f"Warning: {self._source.name}, line {raw.line}: the colon in {name} = {members[name]!r} makes a type: "
                f"{key} belongs to the collection {key.path}; there may be more. --key-escape writes the colon as %3A."
            )
        return key

    def _entries(
        self, raws: Iterator[Raw], skip: int, entry: Callable[[Any, int], _Entry], overhead: int = 0
    ) -> Iterator[Row]:
        for number, raw in enumerate(raws, 1):
            if number <= skip:
                continue
            text = raw.text
            try:
                if undecoded := self._undecoded(raw):
                    raise InvalidValueError(undecoded)
                key, value, expiry = entry(raw, number)
            except DatastoreError as error:
                self._refused(Refusal(raw.line, number, text, error))
                continue
            size = len(text) if text.isascii() else len(text.encode())
            yield Row(raw.line, key, value, size + overhead, number, text, expiry)

    def _refused(self, refusal: Refusal) -> None:
        if self._refuse is None:
            raise InvalidError(f"{self._source.name}, line {refusal.line}: {refusal.error}") from refusal.error
        self._refuse(refusal)

    def _undecoded(self, raw: Raw) -> str | None:
        """What is wrong with the encoding of a row; None if it is valid."""
        found = None if raw.text.isascii() else _UNDECODED.search(raw.text)
        if found is None:
            return None
        at = found.start()
        line = raw.line + raw.text.count("\n", 0, at)
        encoding = self._source.encoding.removesuffix("-sig")
        before = raw.text[raw.text.rfind("\n", 0, at) + 1 : at].encode(encoding, "surrogateescape")
        return (
            f"not in {encoding.upper()}: byte 0x{ord(found.group()) - 0xDC00:02X} at byte {len(before) + 1:,} of line "
            f"{line}; if the file is in another encoding, say so, e.g. --encoding latin-1 or cp1252"
        )


def _well_formed(table: csv_rows.Table, records: Iterator[Record]) -> Iterator[list[str | None]]:
    for record in records:
        try:
            cells = table.cells(record)
        except InvalidError:
            continue
        yield cells


#: The members of a row that `export --metadata` writes beside the key and the value.
_METADATA = frozenset({"version", "create_time", "update_time", "expire_time"})


def _entry_of_export(tree: Any, value_of: Callable[[Any], Any], *, with_metadata: bool) -> _Entry:
    names = set(tree) if isinstance(tree, dict) else set()
    if not with_metadata and {"key", "value", "version"} <= names <= {"key", "value", *_METADATA}:
        raise InvalidValueError("the row has metadata; with --metadata its expire_time is kept, and the rest left out")
    if (names - _METADATA if with_metadata else names) != {"key", "value"} or not isinstance(tree["key"], str):
        raise InvalidValueError(
            'expected {"key": "/...", "value": ...}; if rows are plain values, use --key to build their keys'
        )
    value = value_of(tree["value"])
    if value is None:
        raise InvalidValueError("an entry cannot be null: storing null would delete it")
    return Key(tree["key"]), value, _expiry_in(tree)


def _expiry_in(tree: dict[str, Any]) -> Expiry | None:
    """The only part of the metadata that can be kept: stores assign versions and the other times themselves."""
    text = tree.get("expire_time")
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidValueError(f"expire_time must be an RFC 3339 instant, got {text!r}")
    return Expiry.at(instant(text))


def _key_cell(members: dict[str, Any]) -> Key:
    key = members.pop(csv_rows.KEY_COLUMN, "")
    if not key:
        raise InvalidError(f"the column {csv_rows.KEY_COLUMN!r} is empty")
    return Key(key)
