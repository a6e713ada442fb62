"""Splits text into lines of bounded length; the error for text of any format that cannot be read any further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

__all__ = ["LINE_CHARACTERS", "MalformedError", "lines_of"]

#: The longest line, in characters: several times the length of the longest entry, including notations. Without a limit,
#: a file without line ends would be read into memory whole.
LINE_CHARACTERS = 16 * 1024 * 1024


class MalformedError(Exception):
    """What is wrong, and on which line; the rest cannot be split into rows. `reading` adds the file's name."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")


def lines_of(text: TextIO) -> Iterator[str]:
    """The lines with their ends. Raises MalformedError for one of more than LINE_CHARACTERS, including its end."""
    number = 0
    while line := text.readline(LINE_CHARACTERS + 1):
        number += 1
        if len(line) > LINE_CHARACTERS:
            raise MalformedError(number, f"a line has more than {LINE_CHARACTERS:,} characters")
        yield line
