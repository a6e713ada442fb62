"""JSON Lines and JSON arrays as rows, and entries as both. Knows values, but no files or key templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from datastore.model.entries import StoredEntry
from datastore.model.key import Key
from datastore_server.cli.preconditions import metadata_members
from datastore_server.cli.transfer.lines import MalformedError
from datastore_server.cli.values import json_line, to_json

__all__ = ["ROW_CHARACTERS", "Text", "json_array", "json_lines", "read_array", "read_lines"]

#: The longest row, in characters: several times the length of the longest entry, including notations.
ROW_CHARACTERS = 16 * 1024 * 1024
#: How many characters of an array are read at once.
_CHUNK_CHARACTERS = 64 * 1024

_WHITESPACE = re.compile(r"[ \t\n\r]*")


class Text(NamedTuple):
    """The JSON text of one row, and the line on which it begins."""

    line: int
    text: str


def read_lines(lines: Iterable[str]) -> Iterator[Text]:
    """The rows of JSON Lines; blank lines are skipped."""
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield Text(number, line)


def read_array(source: TextIO) -> Iterator[Text]:
    """The elements of a JSON array, read piece by piece: memory holds one element, not the array.

    Raises MalformedError, with the line, for text that is not an array, and for an element of more than ROW_CHARACTERS.
    """
    array = _Array(source)
    if array.next_character() == "":
        return
    array.expect("[", "expected an array, e.g. [{...}, {...}]; for an object on each line say --format jsonl")
    if array.next_character() != "]":
        while True:
            yield array.element()
            if array.next_character() != ",":
                break
            array.expect(",", "")
            array.next_character()
    array.expect("]", "expected ',' or ']'")
    if array.next_character() != "":
        raise array.error("expected nothing after the end of the array")


class _Array:
    """A text of which only the part being read is in memory."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._held = ""
        self._at = 0
        self._line = 1
        self._is_whole = False
        self._decoder = json.JSONDecoder()

    def error(self, text: str) -> MalformedError:
        """The error for the next character."""
        found = self._held[self._at : self._at + 20]
        shown = f"{text}, found {found!r}" if found else "the file ends in the middle of the array"
        return MalformedError(self._line, f"not valid JSON: {shown}")

    def next_character(self) -> str:
        """The next character that is not white space, without consuming it; '' at the end."""
        while True:
            self._pass(_WHITESPACE.match(self._held, self._at).end())  # type: ignore[union-attr]
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._read_on():
                return ""

    def expect(self, character: str, otherwise: str) -> None:
        """Consume this character; raise the error `otherwise` if another comes next."""
        if self.next_character() != character:
            raise self.error(otherwise)
        self._at += 1

    def element(self) -> Text:
        """The next element."""
        if self.next_character() == "":
            raise self.error("")
        while isinstance(end := self._end_of_element(), MalformedError):
            if self._is_whole:
                raise end
            if len(self._held) - self._at > ROW_CHARACTERS:
                raise MalformedError(self._line, f"an element has more than {ROW_CHARACTERS:,} characters") from end
            self._read_on()
        element = Text(self._line, self._held[self._at : end])
        self._pass(end)
        return element

    def _end_of_element(self) -> int | MalformedError:
        """Where the element ends, or why it does not end in the part in memory."""
        try:
            _, end = self._decoder.raw_decode(self._held, self._at)
        except json.JSONDecodeError as error:
            line = self._line + self._held.count("\n", self._at, error.pos)
            return MalformedError(line, f"not valid JSON: {error.msg}")
        except (ValueError, RecursionError) as error:
            return MalformedError(self._line, f"not valid JSON: {error}")
        # A number may continue in the part not yet read.
        return end if end < len(self._held) or self._is_whole else self.error("an element that goes on")

    def _pass(self, end: int) -> None:
        self._line += self._held.count("\n", self._at, end)
        self._at = end

    def _read_on(self) -> bool:
        """Read more of the text, twice as much as before. Returns whether there was more."""
        more = self._source.read(max(_CHUNK_CHARACTERS, len(self._held) - self._at))
        self._held = self._held[self._at :] + more
        self._at = 0
        self._is_whole = not more
        return bool(more)


def json_lines(batches: Iterable[Iterable[tuple[Key, Any]]]) -> Iterator[str]:
    """Entries as lines `{"key": ..., "value": ...}`, batch by batch, which `import` reads back to equal entries.

    Those that were read with their metadata have it as further members.
    """
    for entries in batches:
        yield "".join(map(_line, entries))


def json_array(batches: Iterable[Iterable[tuple[Key, Any]]]) -> Iterator[str]:
    """The same entries as one JSON array, one element per line."""
    yield "["
    separator = "\n"
    for entries in batches:
        elements = [_line(entry).rstrip("\n") for entry in entries]
        if elements:
            yield separator + ",\n".join(elements)
            separator = ",\n"
    yield "\n]\n"


def _line(entry: tuple[Key, Any]) -> str:
    line = json_line(*entry)
    if isinstance(entry, StoredEntry):
        return f"{line[:-2]},{to_json(metadata_members(entry.metadata))[1:]}\n"
    return line
