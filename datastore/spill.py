"""Temporary files for what should not be held in memory, e.g. by a query that sorts millions of entries."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from datastore.model.errors import StoreError, StoreFullError

__all__ = ["SpillFile"]

#: Where temporary files may be large: on many machines /tmp is in memory.
_LARGE = "/var/tmp"  # noqa: S108 - the file has no name there
#: What fails, for errors.
_FILES = "the temporary files of sorted queries"
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SpillFile:
    """A file without a name, which disappears with this process, however that ends. For one thread at a time.

    It is in the directory that TMPDIR names, by default in /var/tmp or, if that cannot be written to, where Python puts
    temporary files. Raises StoreFullError if there is no space left, and StoreError if the file fails in another way.
    """

    def __init__(self) -> None:
        # Loaded when it is needed: loading takes noticeable time.
        from tempfile import TemporaryFile

        self._directory = _directory()
        with self._translated():
            # Without a buffer, an error is raised where it occurs.
            self._file = TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - its caller closes it

    def append(self, data: bytes) -> None:
        """Write bytes at the end."""
        left = memoryview(data)
        with self._translated():
            self._file.seek(0, os.SEEK_END)
            while left:
                left = left[self._file.write(left) :]

    def read(self, start: int, size: int) -> bytes:
        """The bytes from `start` on, all of them."""
        with self._translated():
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) < size:
            raise StoreError(f"{_FILES}, in {self._directory}, lost their end")
        return data

    def truncate(self, size: int) -> None:
        """Keep only the first bytes."""
        with self._translated():
            self._file.truncate(size)

    def close(self) -> None:
        """Release the file. May be repeated."""
        self._file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _OUT_OF_SPACE:
                raise StoreFullError(
                    f"{_FILES}, in {self._directory}, have no space left; give the query a limit, or filters, or make"
                    " space there"
                ) from error
            raise StoreError(f"{_FILES}, in {self._directory}, failed: {error.strerror or error}") from error


def _directory() -> str:
    """Where temporary files are made."""
    from tempfile import gettempdir

    if not os.environ.get("TMPDIR") and os.access(_LARGE, os.W_OK):
        return _LARGE
    try:
        return gettempdir()
    except OSError as error:
        raise StoreError(f"{_FILES} have no place: {error.strerror or error}") from error
