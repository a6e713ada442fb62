"""Rows of JSON Lines and CSV as entries, and entries as rows: what `import` reads and `export` writes.

Knows the two formats and values; knows no command and no store.
"""

from __future__ import annotations

import csv
import io
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from datastore.core.errors import DatastoreError, InvalidError, InvalidValueError
from datastore.core.key import Key
from datastore_server.cli.values import from_json, from_tree, parse, to_json

__all__ = [
    "FORMATS",
    "MEMBER_TYPES",
    "CsvWriter",
    "JsonLinesWriter",
    "KeyTemplate",
    "Row",
    "json_line",
    "read_rows",
]

FORMATS = ("jsonl", "csv")

#: A field of CSV may be as long as an entry.
_CSV_FIELD_CHARACTERS = 4 * 1024 * 1024


class Row(NamedTuple):
    """One entry of a file. `line` is where it stands, `size` about how many bytes it is."""

    line: int
    key: Key
    value: Any
    size: int


class _Raw(NamedTuple):
    """One row as it was read: a line of JSON, or the members of a line of CSV."""

    line: int
    content: Any
    size: int


@dataclass(frozen=True)
class KeyTemplate:
    """Makes keys from members of a value: `/Airport:{icao}`."""

    text: str

    def __post_init__(self) -> None:
        if not any(self._members()):
            raise InvalidError(f"the key template {self.text!r} names no member: write as /Airport:{{icao}}")

    def key(self, members: Mapping[str, Any]) -> Key:
        """The key of an entry with these members. InvalidError if one is missing, or is no part of a key."""
        return Key("".join(text + (_key_part(name, members) if name else "") for text, name in self._parts()))

    def _members(self) -> Iterator[str]:
        return (name for _, name in self._parts() if name)

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Each piece of plain text with the name of the member after it, '' at the end."""
        try:
            for text, name, form, conversion in string.Formatter().parse(self.text):
                if name == "" or form or conversion:
                    raise ValueError("braces hold the name of a member and nothing else")
                yield text, name or ""
        except ValueError as error:
            raise InvalidError(f"the key template {self.text!r} cannot be read: {error}") from error


def _key_part(name: str, members: Mapping[str, Any]) -> str:
    if name not in members:
        raise InvalidError(f"there is no member {name!r} to make the key from")
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidError(f"the member {name!r} is part of the key and must be text or an integer")
    part = str(value)
    # An empty part, or one with a slash, would make another key than meant, perhaps that of another row.
    if not part or "/" in part:
        raise InvalidError(
            f"the member {name!r} is part of the key and must be neither empty nor hold a slash: {part!r}"
        )
    return part


# The members of a row of CSV are text; `--type` says what they stand for.


def _integer(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        raise ValueError("no integer")
    return int(text)


def _float(text: str) -> float:
    if "_" in text:
        raise ValueError("no number")
    return float(text)


def _number(text: str) -> int | float:
    try:
        return _integer(text)
    except ValueError:
        return _float(text)


def _truth(text: str) -> bool:
    truth = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
    return truth[text.strip().lower()]


#: What `--type MEMBER=TYPE` may say, and how text becomes that.
MEMBER_TYPES: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": _integer,
    "float": _float,
    "number": _number,
    "bool": _truth,
    "json": from_json,
}


def read_rows(
    lines: TextIO,
    file_format: str,
    *,
    source: str,
    template: KeyTemplate | None = None,
    types: Mapping[str, str] | None = None,
    skip: int = 0,
) -> Iterator[Row]:
    """The entries that a file holds, one by one, without the first `skip`.

    JSON Lines: with a template each line is a value; without, an object with `key` and `value`, as `export`
    writes. CSV: each line is a map of the header's names; without a template the column `key` is the key.
    A cell that is empty and not of type str is left out. Raises InvalidError, naming source, line and reason.
    """
    raw_rows = _read_csv(lines, source, template, types or {}) if file_format == "csv" else _read_lines(lines)
    parse_row = _csv_parser(template, types or {}) if file_format == "csv" else _json_parser(template)
    for raw in raw_rows:
        if skip > 0:
            skip -= 1
            continue
        try:
            key, value = parse_row(raw.content)
            yield Row(raw.line, key, value, raw.size)
        except DatastoreError as error:
            raise InvalidError(f"{source}, line {raw.line}: {error}") from error


def _read_lines(lines: TextIO) -> Iterator[_Raw]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _Raw(number, line, len(line))


def _json_parser(template: KeyTemplate | None) -> Callable[[str], tuple[Key, Any]]:
    def with_template(line: str) -> tuple[Key, Any]:
        value = from_json(line)
        if template is None or not isinstance(value, dict):
            raise InvalidValueError("with --key each line is an object, whose members make the key")
        return template.key(value), value

    def with_key(line: str) -> tuple[Key, Any]:
        tree = parse(line)
        if not isinstance(tree, dict) or set(tree) != {"key", "value"} or not isinstance(tree["key"], str):
            raise InvalidValueError(
                'expected {"key": "/...", "value": ...}; where lines are values, say with --key how their keys are made'
            )
        value = from_tree(tree["value"])
        if value is None:
            raise InvalidValueError("a null is no value: to put it would delete the entry")
        return Key(tree["key"]), value

    return with_key if template is None else with_template


def _read_csv(lines: TextIO, source: str, template: KeyTemplate | None, types: Mapping[str, str]) -> Iterator[_Raw]:
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    reader = csv.reader(lines, strict=True)
    header = _checked(reader, source)
    if header is None:
        return
    _check_header(header, source, template, types)
    while (cells := _checked(reader, source)) is not None:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InvalidError(
                f"{source}, line {reader.line_num}: {len(cells)} cells, where the header has {len(header)}"
            )
        yield _Raw(reader.line_num, dict(zip(header, cells, strict=True)), sum(map(len, cells)) + 8 * len(cells))


def _checked(reader: Any, source: str) -> list[str] | None:
    try:
        cells: list[str] | None = next(reader, None)
        return cells
    except csv.Error as error:
        raise InvalidError(f"{source}, line {reader.line_num}: no CSV: {error}") from error


def _check_header(header: list[str], source: str, template: KeyTemplate | None, types: Mapping[str, str]) -> None:
    doubled = {name for name in header if header.count(name) > 1}
    if doubled:
        raise InvalidError(f"{source}: the header names {min(doubled)!r} twice")
    unknown = [name for name in types if name not in header]
    if unknown:
        raise InvalidError(f"{source}: --type {unknown[0]}: the header has no such name; it has {', '.join(header)}")
    if template is None and "key" not in header:
        raise InvalidError(f"{source}: no column 'key': say with --key how keys are made, as --key '/Thing:{{id}}'")


def _csv_parser(template: KeyTemplate | None, types: Mapping[str, str]) -> Callable[[dict[str, str]], tuple[Key, Any]]:
    converters = {name: (kind, MEMBER_TYPES[kind]) for name, kind in types.items() if kind != "str"}

    def parse_row(cells: dict[str, str]) -> tuple[Key, Any]:
        key = template.key(cells) if template else Key(cells.pop("key"))
        value: dict[str, Any] = cells
        for name, (kind, convert) in converters.items():
            text = cells[name]
            if not text.strip():
                del value[name]
                continue
            try:
                value[name] = convert(text)
            except (ValueError, KeyError) as error:
                raise InvalidValueError(f"{name} = {text!r} is not of type {kind}") from error
        return key, value

    return parse_row


# Writing


class JsonLinesWriter:
    """Entries as lines `{"key": ..., "value": ...}`, which `import` reads back to equal entries."""

    def text(self, entries: Iterable[tuple[Key, Any]]) -> str:
        """The lines of these entries."""
        return "".join(json_line(key, value) for key, value in entries)


def json_line(key: Key, value: Any) -> str:
    """One entry as a line of JSON Lines."""
    return f'{{"key":{to_json(str(key))},"value":{to_json(value, sort_keys=True)}}}\n'


class CsvWriter:
    """Entries as CSV: the column `key`, then one for each member of the first entry's value, sorted.

    CSV keeps no types and no nesting: members other than text are written as JSON. A value that is no map, or
    has other members than the first, raises InvalidValueError, so that nothing is left out in silence.
    """

    def __init__(self) -> None:
        self._columns: list[str] | None = None

    def text(self, entries: Iterable[tuple[Key, Any]]) -> str:
        """The lines of these entries; before the first ones, the header."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        for key, value in entries:
            if not isinstance(value, dict):
                raise InvalidValueError(f"{key}: CSV holds maps only; export to a .jsonl file instead")
            if self._columns is None:
                self._columns = self._header(key, value)
                writer.writerow(["key", *self._columns])
            extra = [name for name in value if name not in self._columns]
            if extra:
                raise InvalidValueError(
                    f"{key}: its member {extra[0]!r} has no column, since the first entry has none; "
                    "export to a .jsonl file instead"
                )
            writer.writerow([str(key), *(_cell(value[name]) if name in value else "" for name in self._columns)])
        return buffer.getvalue()

    def _header(self, key: Key, value: dict[str, Any]) -> list[str]:
        if "key" in value:
            raise InvalidValueError(
                f"{key}: its member 'key' has the name of the key's column; export to a .jsonl file instead"
            )
        return sorted(value)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value, sort_keys=True)
