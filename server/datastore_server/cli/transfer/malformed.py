"""The error for a file that cannot be read any further, whatever its format."""

from __future__ import annotations

__all__ = ["MalformedError"]


class MalformedError(Exception):
    """What is wrong, and on which line; where nothing after it can be told apart. `reading` adds the file's name."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
