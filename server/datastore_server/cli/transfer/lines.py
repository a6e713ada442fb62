"""Splits text into lines of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from datastore_server.cli.transfer.malformed import MalformedError

__all__ = ["LINE_CHARACTERS", "lines_of"]

#: The longest line, in characters: several times the length of the longest entry, including notations. Without a limit,
#: a file without line ends would be read into memory whole.
LINE_CHARACTERS = 16 * 1024 * 1024


def lines_of(text: TextIO) -> Iterator[str]:
    """The lines with their ends. Raises MalformedError for one of more than LINE_CHARACTERS, including its end."""
    number = 0
    while line := text.readline(LINE_CHARACTERS + 1):
        number += 1
        if len(line) > LINE_CHARACTERS:
            raise MalformedError(number, f"a line has more than {LINE_CHARACTERS:,} characters")
        yield line
