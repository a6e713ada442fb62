"""The bytes of an imported file as text: compression, encoding, and pipes that pause.

Knows no formats. Bytes that are invalid in the encoding are decoded to lone surrogates (`surrogateescape`), so that the
error can name the row once the text is split into rows.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import IO, Any, BinaryIO, Protocol, TextIO, cast

from datastore.model.errors import ConfigError, InvalidError

__all__ = ["DEFAULT_ENCODING", "Source", "Waiting", "opened", "zstd"]

#: UTF-8; a byte order mark, which spreadsheets write, is dropped.
DEFAULT_ENCODING = "utf-8-sig"

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
#: The first bytes of other kinds of files, and what to do with these.
_OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV",
    b"\xfd7zX": "compressed with xz: unpack it first, e.g. xz -dc FILE | datastore import -",
    b"BZh": "compressed with bzip2: unpack it first, e.g. bzip2 -dc FILE | datastore import -",
    b"PAR1": "a Parquet file: convert it to CSV or JSON Lines",
}
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Waiting(Protocol):
    """Holds rows, and must be asked to send them if no more arrive."""

    def due_s(self) -> float | None:
        """How long the rows held may still wait; None if none are held."""

    def send(self) -> None:
        """Send the rows held."""


class _Pipe(io.RawIOBase):
    """A pipe, terminal or socket: sends the rows held before a read blocks for longer than they may wait."""

    def __init__(self, file: io.FileIO) -> None:
        self.waiting: Waiting | None = None
        self._file = file
        self._poll = select.poll()
        self._poll.register(file.fileno(), select.POLLIN)

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self.waiting is not None and (due_s := self.waiting.due_s()) is not None:
            if self._poll.poll(max(due_s, 0) * 1000):
                break
            self.waiting.send()
        return self._file.readinto(buffer)


class Source:
    """An open file. `name` is for messages, `size` is in bytes if known, and `encoding` is that of the text."""

    def __init__(self, name: str, raw: io.BufferedReader, encoding: str) -> None:
        self.name = name
        self.encoding = encoding
        self._raw = raw
        self._text: io.TextIOWrapper | None = None
        self.size = os.fstat(raw.fileno()).st_size if raw.seekable() else None
        #: The position at the start: a shell may have read the first lines of standard input.
        self._begin = raw.tell() if raw.seekable() else 0

    def position(self) -> int | None:
        """The number of bytes read of the file as stored, compressed or not."""
        return self._raw.tell() if self.size is not None else None

    def send_before_waiting(self, waiting: Waiting) -> None:
        """Ask `waiting` to send the rows that it holds before a read blocks."""
        if isinstance(self._raw.raw, _Pipe):
            self._raw.raw.waiting = waiting

    def text(self, newline: str) -> TextIO:
        """The text from the beginning; `newline` is as for `open`. A second call needs a seekable file.

        Raises InvalidError for other kinds of files and, while reading, for damaged compressed data.
        """
        if self._text is not None:
            self._text.detach()
            self._raw.seek(self._begin)
        plain = self._decompressed()
        self._text = io.TextIOWrapper(cast("IO[bytes]", plain), self.encoding, "surrogateescape", newline)
        return self._text

    def _decompressed(self) -> BinaryIO:
        begins = self._raw.peek(4)[:4]
        for mark, advice in _OTHERS.items():
            if begins.startswith(mark):
                raise InvalidError(f"{self.name} is {advice}")
        if begins.startswith(_GZIP):
            return _checked(self.name, gzip.GzipFile(fileobj=self._raw))
        if begins.startswith(_ZSTD):
            return _checked(self.name, zstd(self.name).ZstdFile(self._raw))
        if begins.startswith(_UTF_16_MARKS) and self.encoding == DEFAULT_ENCODING:
            raise InvalidError(f"{self.name} begins with the byte order mark of UTF-16: say --encoding utf-16")
        return cast("BinaryIO", self._raw)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._text is not None:
            self._text.detach()
        self._raw.close()


class _Decompressed(io.RawIOBase):
    """The output of a decompressor, whose errors are raised as InvalidError with the file's name."""

    def __init__(self, name: str, file: Any) -> None:
        self._name = name
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read1(len(buffer))
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise InvalidError(f"{self._name}: the compressed data is damaged or truncated: {error}") from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise InvalidError(f"{self._name}: the compressed data is damaged or truncated: {error}") from error
        buffer[: len(data)] = data
        return len(data)


def _checked(name: str, file: Any) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Decompressed(name, file)))


def zstd(name: str) -> Any:
    """The module that reads and writes Zstandard. ConfigError, with what to install, if there is none."""
    module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{name} is compressed with Zstandard, and {module} is not installed: pip install backports.zstd, "
            "or use gzip (.gz)"
        ) from error


@contextmanager
def opened(file: str, *, encoding: str = DEFAULT_ENCODING, twice: bool = False) -> Iterator[Source]:
    """Open a file, `-` for standard input. To be read `twice`, a pipe is first copied to a temporary file."""
    with ExitStack() as stack:
        raw = _raw(file)
        name = "standard input" if file == "-" else file
        if twice and not raw.seekable():
            copy = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(raw, copy)
            copy.seek(0)
            raw = cast("io.BufferedReader", copy)
        source = Source(name, raw, encoding)
        stack.callback(source.close)
        yield source


def _raw(file: str) -> io.BufferedReader:
    if file != "-":
        return _buffered(io.FileIO(file))
    try:
        number = sys.stdin.fileno()
    except OSError:
        # It is closed; reading it raises an error that says so.
        return cast("io.BufferedReader", sys.stdin.buffer)
    return _buffered(io.FileIO(number, closefd=False))


def _buffered(file: io.FileIO) -> io.BufferedReader:
    can_wait = not file.seekable() and hasattr(select, "poll")
    return io.BufferedReader(_Pipe(file) if can_wait else file)
