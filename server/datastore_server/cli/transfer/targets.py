"""Where an export goes: a file that appears whole, or a stream that is written as it is.

Knows no format and no store. A regular file is written under another name, `FILE.partial`, and takes its name once it
is whole and on disk. `FILE.partial.json` says what it is a part of, so that `--resume` cannot mix two exports.
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

#: Names of open files, which may be regular ones: only the shell knows how they are to be written.
_DESCRIPTORS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/[^/]+/fd/\d+")

Write = Callable[[str], None]


def is_stream(file: str) -> bool:
    """Whether a file is a device, FIFO or socket, or an open file's name: written to as it is, never replaced."""
    if _DESCRIPTORS.fullmatch(file):
        return True
    with suppress(FileNotFoundError):
        return not stat.S_ISREG(Path(file).stat().st_mode)
    return False


@contextmanager
def stream(file: str) -> Iterator[Write]:
    """Write text to a device, FIFO or open file, compressed if the name asks for it."""
    # Appending, since to open /dev/stdout for writing would cut the file that it leads to.
    with written(file), Path(file).open("ab") as out, _compressed(out, file) as compressed:
        yield lambda text: _write(compressed, text)


class Partial:
    """The file of an export until it is whole. `content` describes the export: what may be resumed as what."""

    def __init__(self, file: str, content: Mapping[str, Any]) -> None:
        # Through links: the file that they lead to is replaced, not they.
        self.target = Path(os.path.realpath(file))
        self.path = self.target.with_name(self.target.name + ".partial")
        self._description = self.target.with_name(self.target.name + ".partial.json")
        self._content = dict(content)
        #: Whether `begun` has replaced what was there.
        self.has_begun = False

    @contextmanager
    def begun(self) -> Iterator[Write]:
        """Write the file from its beginning."""
        if self.target.exists() and not os.access(self.target, os.W_OK):
            raise PermissionError(13, "not writable", str(self.target))
        if not self.target.parent.is_dir():
            raise FileNotFoundError(2, "no such directory", str(self.target.parent))
        with written(str(self.path)):
            # The description last: a crash between the two leaves nothing that seems to be of this export.
            self._description.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            self.has_begun = True
            self._description.write_text(json.dumps(self._content), encoding="utf-8")
            with self._opened("wb") as write:
                yield write

    @contextmanager
    def resumed(self) -> Iterator[Write]:
        """Write on at the end of what is there, which `last_line` has looked at."""
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
        """The last whole line of what is there, behind which the file is cut; b"" if there is none.

        ConfigError if there is nothing to go on with; InvalidError, with what it is, if it is of another export.
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
        """Give the whole file its name, with the mode and owner of the file that had it before."""
        with written(str(self.target)):
            if self.target.exists():
                before = self.target.stat()
                with suppress(PermissionError):
                    os.chown(self.path, before.st_uid, before.st_gid)
                self.path.chmod(stat.S_IMODE(before.st_mode))
            self.path.replace(self.target)
            self._description.unlink(missing_ok=True)

    def is_worth_resuming(self) -> bool:
        """Whether a line of the export is there."""
        return self.path.exists() and self.path.stat().st_size > 0

    def discard(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)


def _shown(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in content.items())


@contextmanager
def written(name: str) -> Iterator[None]:
    """Name the file in errors of writing it: those of a full disk name none."""
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
        # Without name and time: equal exports are equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
            yield cast("BinaryIO", file)
    elif compression == "zstd":
        with zstd(name).ZstdFile(out, "w") as file:
            yield file
    else:
        yield out


def _write(out: BinaryIO, text: str) -> None:
    out.write(text.encode())
