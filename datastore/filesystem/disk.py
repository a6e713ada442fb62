"""Calls to the operating system: reading, writing and listing files, with its errors translated to the library's.

Knows directories and names, but no keys.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from datastore.model.errors import StoreError, StoreFullError

__all__ = [
    "NO_FILE",
    "SYSTEM",
    "TEMPORARY",
    "directories",
    "ensure_directory_exists",
    "faults",
    "files",
    "folds_case",
    "is_file",
    "missing_directories",
    "read",
    "read_record",
    "sync_directory",
    "translated",
    "write",
    "write_record",
]

TEMPORARY = ".tmp-"
#: The directory of system records: no name of a key's file or directory begins with a dot.
SYSTEM = ".datastore"
#: The errors that mean that there is no such file: nothing there, a file on the way to it, a directory in its place.
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
#: Otherwise opening a pipe would block until its other end is opened.
_NEVER_WAITING = getattr(os, "O_NONBLOCK", 0)


class _FileInTheWayError(StoreError, RuntimeError):
    """A file is in the place of a directory. The documentation promises RuntimeError."""


def ensure_directory_exists(directory: str | os.PathLike[str]) -> None:
    """Create `directory` and its parents unless they exist; others may do so concurrently.

    Raises StoreError if that fails; the error is also a RuntimeError if a file is in its place.
    """
    try:
        os.makedirs(directory, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _FileInTheWayError(f"{os.fspath(directory)!r} should be a directory, but is a file") from None
    except OSError as error:
        raise translated(error, os.fspath(directory)) from error


def missing_directories(directory: str) -> list[str]:
    """Those of the directory and its parents that do not exist."""
    missing = []
    while not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    return missing


def files(directory: str) -> list[str]:
    """The names of the files, and links to files, in a directory; none if there is no directory."""
    return [entry.name for entry in _entries(directory) if _is_file(entry)]


def directories(directory: str) -> list[str]:
    """The names of the directories in a directory, without links to directories."""
    return [entry.name for entry in _entries(directory) if entry.is_dir(follow_symlinks=False)]


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    # A circular link is not a directory.
    with suppress(OSError):
        return entry.is_file()
    return False


def is_file(path: str) -> bool:
    """Whether there is a file, or a link to one. Raises OSError if that cannot be determined."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except NO_FILE:
        return False


def read(path: str, most_bytes: int = -1) -> bytes:
    """The bytes of a file. Anything else, e.g. a pipe, counts as absent."""
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no file", path)
        data: bytes = file.read(most_bytes)
        return data


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _NEVER_WAITING)


def write(path: str, data: bytes, *, fsync: bool) -> None:
    """Create a new file, and flush it to disk if asked."""
    with open(path, "xb") as file:
        file.write(data)
        if fsync:
            file.flush()
            os.fsync(file.fileno())


def sync_directory(directory: str | os.PathLike[str]) -> None:
    """Flush a directory to disk, so that changes of the names in it are durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_record(root: str, name: str) -> bytes | None:
    """A record in the directory SYSTEM of a root, or None. Raises StoreError if the root is gone."""
    with faults(root):
        try:
            return read(os.path.join(root, SYSTEM, name))
        except NO_FILE:
            if not os.path.isdir(root):
                raise StoreError(f"the directory {root} is gone, e.g. not mounted") from None
            return None


def write_record(root: str, name: str, content: bytes) -> None:
    """Atomically replace a record in the directory SYSTEM of a root. It is on disk when this returns."""
    directory = os.path.join(root, SYSTEM)
    temporary = os.path.join(directory, f"{TEMPORARY}{os.urandom(8).hex()}")
    with faults(directory):
        is_new = not os.path.isdir(directory)
        os.makedirs(directory, exist_ok=True)
        write(temporary, content, fsync=True)
        os.replace(temporary, os.path.join(directory, name))
        sync_directory(directory)
        if is_new:
            sync_directory(root)


def folds_case(root: str) -> bool:
    """Whether names that differ only in case are one file below `root`, tested with a temporary file.

    If nothing can be written, the root's own name is looked up in the other case.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix=TEMPORARY) as probe:
            return os.path.exists(os.path.join(root, os.path.basename(probe.name).upper()))
    except OSError:
        parent, name = os.path.split(root)
        return name != name.swapcase() and os.path.exists(os.path.join(parent, name.swapcase()))


@contextmanager
def faults(what: str) -> Iterator[None]:
    """Raise file system errors of the block as the library's, about `what`."""
    try:
        yield
    except OSError as error:
        raise translated(error, what) from error


def translated(error: OSError, what: str) -> StoreError:
    """The library's error for a file system error."""
    if isinstance(error, StoreError):
        return error
    kind = StoreFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
    return kind(f"{what}: {error.strerror or error}")
