"""Translates the driver's errors to the library's."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import lmdb

from datastore.model.errors import CorruptDataError, DatastoreError, StoreError, StoreFullError, UnavailableError

__all__ = ["REOPEN_S", "raise_translated", "reopening", "translated"]

#: How often to retry opening an environment again after a failed write, in seconds.
REOPEN_S = 1.0
# MDB_SHORT_WRITE: only a part was written. The binding has no class for it.
_SHORT_WRITE = -30772
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, _SHORT_WRITE}


def translated(error: lmdb.Error, directory: Path) -> DatastoreError:
    """The library's error for one of LMDB's."""
    translated: DatastoreError
    where = str(directory)
    if isinstance(error, lmdb.PanicError):
        # The writer notices it too, and opens the environment again.
        translated = reopening(directory)
    elif isinstance(error, lmdb.MapFullError | lmdb.DiskError) or error.code in _OUT_OF_SPACE:
        translated = StoreFullError(f"no room for this write: {error}", where=where)
    elif isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        translated = CorruptDataError(f"the data file is damaged: {error}", where=where)
    else:
        translated = StoreError(f"LMDB failed: {error}", where=where)
    translated.__cause__ = error
    return translated


def reopening(directory: Path) -> UnavailableError:
    """The error for a call that was not made, because the environment is being opened again."""
    return UnavailableError(
        f"the store in {directory} is being opened again after a write failed", retry_after_s=REOPEN_S
    )


def raise_translated(error: lmdb.Error, directory: Path) -> NoReturn:
    """Raise the driver's error as ours."""
    raise translated(error, directory) from error
