"""A text as lines of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from datastore_server.cli.transfer.malformed import MalformedError

__all__ = ["LINE_CHARACTERS", "lines_of"]

#: The longest line, in characters: several times as long as the longest entry, notations included. Without a limit, a
#: file that has no lines would be read into memory whole.
LINE_CHARACTERS = 16 * 1024 * 1024


def lines_of(text: TextIO) -> Iterator[str]:
    """The lines with their ends. Raises MalformedError for one of more than LINE_CHARACTERS, its end included."""
    number = 0
    while line := text.readline(LINE_CHARACTERS + 1):
        number += 1
        if len(line) > LINE_CHARACTERS:
            raise MalformedError(number, f"a line has more than {LINE_CHARACTERS:,} characters")
        yield line
