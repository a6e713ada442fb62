"""The error for a file of any format that cannot be read any further."""

from __future__ import annotations

__all__ = ["MalformedError"]


class MalformedError(Exception):
    """What is wrong, and on which line; the rest cannot be split into rows. `reading` adds the file's name."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
