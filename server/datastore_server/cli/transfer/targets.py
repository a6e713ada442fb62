"""The target of an export: a file that appears once complete, or a stream that is written directly.

Knows no formats or stores. A regular file is written as `FILE.partial`, and renamed once it is complete and on disk.
`FILE.partial.json` describes the export, so that `--resume` cannot mix two exports.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from datastore.model.errors import ConfigError, InvalidError
from datastore_server.cli.transfer.formats import compression_of
from datastore_server.cli.transfer.sources import zstd

__all__ = ["Partial", "is_stream", "stream", "written"]

#: Names of open files, which may be regular ones: only the shell knows how they should be written.
_DESCRIPTORS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")

Write = Callable[[str], None]


def is_stream(file: str) -> bool:
    """Whether a file is a device, FIFO or socket, or the name of an open file: written to directly, never replaced."""
    if _DESCRIPTORS.fullmatch(file):
        return True
    with suppress(FileNotFoundError):
        return not stat.S_ISREG(Path(file).stat().st_mode)
    return False


@contextmanager
def stream(file: str) -> Iterator[Write]:
    """Write text to a device, FIFO or open file, compressed if its name says so."""
    # Append, because opening /dev/stdout for writing would truncate the file that it refers to.
    with written(file), Path(file).open("ab") as out, _compressed(out, file) as compressed:
        yield lambda text: _write(compressed, text)


class Partial:
    """The file of an export until it is complete. `content` describes the export; only an equal one may resume it."""

    def __init__(self, file: str, content: Mapping[str, Any]) -> None:
        # Follow links: the file that they refer to is replaced, not the links.
        self.target = Path(os.path.realpath(file))
        self.path = self.target.with_name(self.target.name + ".partial")
        self._description = self.target.with_name(self.target.name + ".partial.json")
        self._content = dict(content)
        #: Whether `begun` has replaced an existing partial file.
        self.has_begun = False

    @contextmanager
    def begun(self) -> Iterator[Write]:
        """Write the file from the beginning."""
        if self.target.exists() and not os.access(self.target, os.W_OK):
            raise PermissionError(13, "not writable", str(self.target))
        if not self.target.parent.is_dir():
            raise FileNotFoundError(2, "no such directory", str(self.target.parent))
        with written(str(self.path)):
            # Write the description last: a crash between the two then leaves nothing that seems to belong to this
            # export.
            self._description.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            self.has_begun = True
            self._description.write_text(json.dumps(self._content), encoding="utf-8")
            with self._opened("wb") as write:
                yield write

    @contextmanager
    def resumed(self) -> Iterator[Write]:
        """Continue at the end of the existing partial file, which `last_line` has checked."""
        with written(str(self.path)), self._opened("ab") as write:
            yield write

    @contextmanager
    def _opened(self, mode: str) -> Iterator[Write]:
        with cast("BinaryIO", self.path.open(mode)) as out:
            with _compressed(out, str(self.target)) as compressed:
                yield lambda text: _write(compressed, text)
            out.flush()
            os.fsync(out.fileno())

    def last_line(self) -> bytes:
        """The last complete line of the existing partial file, which is truncated after it; b"" if there is none.

        Raises ConfigError if there is nothing to continue, InvalidError, with what it is, if it belongs to another
        export.
        """
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            raise ConfigError(f"there is no {self.path} to continue; run the command without --resume") from None
        with file:
            self._check_description()
            last, end = b"", 0
            for line in file:
                if line.endswith(b"\n"):
                    last, end = line, end + len(line)
            file.truncate(end)
        return last

    def _check_description(self) -> None:
        try:
            found = json.loads(self._description.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            found = None
        if found != self._content:
            of = f"an export of {_shown(found)}" if isinstance(found, dict) and found else "an unknown export"
            raise InvalidError(
                f"{self.path} is part of {of}; this is an export of {_shown(self._content)}. Start again without "
                "--resume, which overwrites it, or export to another file"
            )

    def complete(self) -> None:
        """Give the complete file its name, with the mode and owner of the file that it replaces."""
        with written(str(self.target)):
            if self.target.exists():
                before = self.target.stat()
                with suppress(PermissionError):
                    os.chown(self.path, before.st_uid, before.st_gid)
                self.path.chmod(stat.S_IMODE(before.st_mode))
            self.path.replace(self.target)
            self._description.unlink(missing_ok=True)

    def is_worth_resuming(self) -> bool:
        """Whether at least one line of the export exists."""
        return self.path.exists() and self.path.stat().st_size > 0

    def discard(self) -> None:
        """Remove the partial file."""
        self.path.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)


def _shown(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in content.items())


@contextmanager
def written(name: str) -> Iterator[None]:
    """Add the file's name to errors of writing it: those of a full disk lack it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, name) from error


@contextmanager
def _compressed(out: BinaryIO, name: str) -> Iterator[BinaryIO]:
    compression = compression_of(name)
    if compression == "gzip":
        # Without name and time, so that equal exports are equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
            yield cast("BinaryIO", file)
    elif compression == "zstd":
        with zstd(name).ZstdFile(out, "w") as file:
            yield file
    else:
        yield out


def _write(out: BinaryIO, text: str) -> None:
    out.write(text.encode())
