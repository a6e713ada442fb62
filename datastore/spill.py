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
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SpillFile:
    """A file without a name, which disappears with this process, however that ends. For one thread at a time.

    It is in the directory that TMPDIR names, by default in /var/tmp or, if that cannot be written to, where Python puts
    temporary files. Raises StoreFullError if there is no space left, and StoreError if the file fails in another way.
    """

    def __init__(self) -> None:
        # Loaded when it is needed: loading takes noticeable time.
        from tempfile import TemporaryFile

        self._directory = None if os.environ.get("TMPDIR") or not os.access(_LARGE, os.W_OK) else _LARGE
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
            raise StoreError(f"{self._description} lost their end")
        return data

    def truncate(self, size: int) -> None:
        """Keep only the first bytes."""
        with self._translated():
            self._file.truncate(size)

    def close(self) -> None:
        """Release the file. May be repeated."""
        self._file.close()

    @property
    def _description(self) -> str:
        place = self._directory or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - only named
        return f"the temporary files of sorted queries, in {place},"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _OUT_OF_SPACE:
                raise StoreFullError(
                    f"{self._description} have no space left; give the query a limit, or filters"
                ) from error
            raise StoreError(f"{self._description} failed: {error.strerror or error}") from error
