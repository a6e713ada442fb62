"""The standard streams of the command: UTF-8 in every locale, with clear errors if one is closed.

Knows nothing about commands and messages.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["drop_output", "finish", "prepare"]

_NAMES = ("standard input", "standard output", "standard error")


class _Closed(io.RawIOBase):
    """A stream that was closed before the process started: reading and writing raise an OSError that names it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, _buffer: object) -> int:
        raise OSError(errno.EBADF, "closed", self._name)

    def write(self, _data: object) -> int:
        raise OSError(errno.EBADF, "closed", self._name)


class _Output(io.FileIO):
    """Standard output, with its name in errors, like the name of a file."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _NAMES[1]) from error


def prepare() -> None:
    """Make the standard streams UTF-8, whatever the locale says, and replace those that are closed.

    A closed standard error swallows what is written to it; the other two raise OSError when they are used.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            _occupy(number)
        elif isinstance(stream, io.TextIOWrapper):
            # File names may contain bytes that are not UTF-8; printing them must not fail.
            stream.reconfigure(encoding="utf-8", errors="strict" if number == 0 else "backslashreplace")
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Closed(_NAMES[0])), encoding="utf-8")
    sys.stdout = _output()
    if sys.stderr is None:
        sys.stderr = _nowhere()


def _output() -> TextIO:
    raw: io.RawIOBase = _Closed(_NAMES[1]) if sys.stdout is None else _Output(1, "wb", closefd=False)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=is_terminal
    )


def finish() -> OSError | None:
    """Flush standard output, and return the error if that fails. Python has nothing left to flush at exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        return error
    return None


def drop_output() -> None:
    """Discard standard output: otherwise Python would try to write the rest at exit, and report an error."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout = _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - a stream for the rest of the process


def _occupy(number: int) -> None:
    """Open the null device as a closed stream's descriptor, or the next file opened would become that stream."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)
