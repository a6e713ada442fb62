"""The data directory: locked by one process, created atomically, refused if it belongs to something else."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from datastore.lmdb.changelog import begin_log
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.records import OLDEST
from datastore.lmdb.requests import RequestClock, begin_requests, opened_requests
from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    StoreError,
    StoreFormatError,
    StoreLockedError,
)

__all__ = [
    "CHANGES",
    "DATA_FILE",
    "ENTRIES",
    "EXPIRIES",
    "FORMAT",
    "LAST_VERSION",
    "LATEST_TIME",
    "MAX_READERS",
    "META",
    "NODE_ID",
    "STORE_FORMAT",
    "SYSTEM",
    "Databases",
    "DirectoryLock",
    "Identity",
    "compact_directory",
    "if_created",
    "latest_in",
    "new_node_id",
    "open_directory",
    "open_environment",
    "open_to_read",
]

#: Maximum number of threads that read at once. Each costs 64 bytes of LMDB's lock file.
MAX_READERS = 1024
# The directory.
DATA_FILE = "data.mdb"
_READERS_FILE = "lock.mdb"
_LOCK_FILE = "datastore.lock"
_BIRTH_DIRECTORY = ".datastore-new"
_OWN_NAMES = {DATA_FILE, _READERS_FILE, _LOCK_FILE, _BIRTH_DIRECTORY}
# A new file system has one; a volume mounted as the data directory still counts as empty.
_HARMLESS_NAMES = {"lost+found"}
# The databases within the LMDB environment.
ENTRIES = b"entries"
META = b"meta"
SYSTEM = b"system"
EXPIRIES = b"expiries"
CHANGES = b"changes"
_REQUESTS = b"requests"
_MAX_DATABASES = 8
#: How much the file may grow, beyond twice its size, between a look at it and the beginning of a read transaction.
_READ_AHEAD_BYTES = 1024 * 1024 * 1024
# In `meta`: the format of the store, the identity of the node, the latest version given to an entry, and the time by
# which entries had expired then.
FORMAT = b"format"
NODE_ID = b"node_id"
LAST_VERSION = b"last_version"
LATEST_TIME = b"latest_time"
#: Written with the first record of an entry that has metadata, which earlier releases cannot read.
STORE_FORMAT = b"3"
#: The formats of earlier releases: without system records, and with them. They are kept until an entry is written.
_FORMATS = ("1", "2", STORE_FORMAT.decode())
_NODE_ID_BYTES = 16
_LMDB_MAJOR_VERSION = 1


class Identity(NamedTuple):
    """The owner of a directory's data. None: no cluster, or any."""

    cluster: str | None
    shard: str | None


class Databases(NamedTuple):
    """The named databases of the environment, the latest version given to an entry, and the time of the last write.

    The database for system records is created with the first record, the index of entries that expire with the first
    of these; the log of changes if it is to be kept.
    """

    entries: lmdb._Database
    meta: lmdb._Database
    system: lmdb._Database | None
    expiries: lmdb._Database | None
    changes: lmdb._Database | None
    requests: lmdb._Database
    request_clock: RequestClock
    last_version: int
    #: By which entries expire, in microseconds since 1970.
    latest_us: int


def new_node_id() -> str:
    """An identity that no other node has: 32 hexadecimal digits."""
    return secrets.token_hex(_NODE_ID_BYTES)


class DirectoryLock:
    """The exclusive use of one directory: a lock on a file that names the process holding it.

    The system releases it when the process ends, however it ends.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor: int | None = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            self.abandon()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise StoreLockedError(_locked_text(directory, holder)) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the directory for other processes."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close the file without unlocking it: after a fork, the lock is the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _locked_text(directory: Path, holder: str) -> str:
    if holder == str(os.getpid()):
        return f"{directory} is already open in this process (pid {holder}): use that store, or close it first"
    who = f"process {holder}" if holder else "another process"
    return f"{directory} is in use by {who}: stop it, or name another directory"


def open_directory(
    directory: Path, identity: Identity, *, sync: bool, map_bytes: int, max_map_bytes: int, keep_changes: bool
) -> tuple[DirectoryLock, lmdb.Environment, Databases]:
    """Lock the directory, and open or create the environment in it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(directory)
        lock = DirectoryLock(directory)
        try:
            _prepare(directory, identity)
            return lock, *open_environment(
                directory, sync=sync, map_bytes=map_bytes, max_map_bytes=max_map_bytes, keep_changes=keep_changes
            )
        except BaseException:
            lock.release()
            raise
    except DatastoreError:
        raise
    except lmdb.Error as error:
        raise_translated(error, directory)
    except OSError as error:
        raise StoreError(f"{directory} cannot be used as a data directory: {error}") from error


def open_environment(
    directory: Path, *, sync: bool, map_bytes: int, max_map_bytes: int, keep_changes: bool
) -> tuple[lmdb.Environment, Databases]:
    """Open the environment in a directory that is locked. Raises the driver's errors, and leaves nothing open then."""
    file_bytes = (directory / DATA_FILE).stat().st_size
    environment = lmdb.open(
        str(directory),
        map_size=min(max(map_bytes, 2 * file_bytes), max_map_bytes),
        max_dbs=_MAX_DATABASES,
        max_readers=MAX_READERS,
        max_spare_txns=1,
        sync=sync,
        lib_version=_LMDB_MAJOR_VERSION,
    )
    try:
        # A reader that was killed must not keep old pages from being reused.
        environment.reader_check()
        return environment, _open_databases(environment, directory, keep_changes=keep_changes)
    except BaseException:
        environment.close()
        raise


def compact_directory(directory: Path) -> tuple[int, int]:
    """Rewrite the data file without free pages. Returns its size before and after.

    The new file replaces the old one when it is complete and on disk. Raises StoreLockedError if a process has the
    directory open, and StoreError, when nothing was changed, if the file system has no room for the new file.
    """
    _require_data_file(directory)
    lock = DirectoryLock(directory)
    try:
        _prepare(directory, Identity(None, None))
        before = (directory / DATA_FILE).stat().st_size
        birth = directory / _BIRTH_DIRECTORY
        birth.mkdir()
        environment = _opened_to_read(directory, lock=False)
        try:
            environment.copy(str(birth), compact=True)
        finally:
            environment.close()
        with (birth / DATA_FILE).open("rb") as file:
            os.fsync(file.fileno())
        (birth / DATA_FILE).rename(directory / DATA_FILE)
        shutil.rmtree(birth)
        _sync_directory(directory)
        return before, (directory / DATA_FILE).stat().st_size
    except DatastoreError:
        raise
    except lmdb.Error as error:
        raise_translated(error, directory)
    except OSError as error:
        raise StoreError(f"{directory} cannot be compacted: {error}") from error
    finally:
        lock.release()


def open_to_read(
    directory: Path, *, map_bytes: int | None = None
) -> tuple[lmdb.Environment, dict[bytes, lmdb._Database]]:
    """Open the environment for reading only, also if another process uses it; and its databases that exist, by name.

    `map_bytes` is the largest file that can be read, by default with room for some time.
    """
    _require_data_file(directory)
    if map_bytes is None:
        # The writer may make the file larger before a read begins.
        map_bytes = 2 * (directory / DATA_FILE).stat().st_size + _READ_AHEAD_BYTES
    environment = _opened_to_read(directory, lock=True, map_size=map_bytes)
    try:
        _check_format(directory, _meta_of(directory, environment))
        names = (ENTRIES, META, SYSTEM, EXPIRIES, CHANGES, _REQUESTS)
        return environment, {name: found for name in names if (found := if_created(environment, name)) is not None}
    except BaseException:
        environment.close()
        raise


def _require_data_file(directory: Path) -> None:
    if not (directory / DATA_FILE).exists():
        raise StoreFormatError(f"{directory} is not a data directory: it has no {DATA_FILE}")


def _open_databases(environment: lmdb.Environment, directory: Path, *, keep_changes: bool) -> Databases:
    entries, meta = (environment.open_db(name, create=False) for name in (ENTRIES, META))
    system, expiries = (if_created(environment, name) for name in (SYSTEM, EXPIRIES))
    with environment.begin(meta) as transaction:
        last_version, latest_us = latest_in(transaction, meta, directory)
    if not keep_changes:
        _drop_log(environment)
    changes = _begun_log(environment, meta, last_version) if keep_changes else None
    requests, request_clock = opened_requests(environment, _REQUESTS)
    return Databases(entries, meta, system, expiries, changes, requests, request_clock, last_version, latest_us)


def _begun_log(environment: lmdb.Environment, meta: lmdb._Database, last_version: int) -> lmdb._Database:
    changes = environment.open_db(CHANGES)
    with environment.begin(write=True) as transaction:
        # Releases that keep no log must not write without it.
        transaction.put(FORMAT, STORE_FORMAT, db=meta)
        begin_log(transaction, changes, last_version)
    return changes


def _drop_log(environment: lmdb.Environment) -> None:
    """Drop the log: changes that are made now would be missing in it."""
    changes = if_created(environment, CHANGES)
    if changes is not None:
        with environment.begin(write=True) as transaction:
            transaction.drop(changes)


def if_created(environment: lmdb.Environment, name: bytes) -> lmdb._Database | None:
    """A database that is created when it is needed; None if it was not."""
    try:
        return environment.open_db(name, create=False)
    except (lmdb.NotFoundError, lmdb.ReadonlyError):
        return None


def latest_in(transaction: lmdb.Transaction[bytes], meta: lmdb._Database, directory: Path) -> tuple[int, int]:
    """The latest version that was given to an entry, and the time by which entries had expired then."""
    last_version = _number(transaction, meta, LAST_VERSION, OLDEST.version, directory)
    return last_version, _number(transaction, meta, LATEST_TIME, last_version, directory)


def _number(
    transaction: lmdb.Transaction[bytes], meta: lmdb._Database, name: bytes, default: int, directory: Path
) -> int:
    kept = transaction.get(name, db=meta)
    try:
        return default if kept is None else int(kept)
    except ValueError:
        raise CorruptDataError(f"the {name.decode()} that {directory} records is damaged: {kept!r}") from None


def _prepare(directory: Path, identity: Identity) -> None:
    shutil.rmtree(directory / _BIRTH_DIRECTORY, ignore_errors=True)
    if not (directory / DATA_FILE).exists():
        _create(directory, identity)
    _check_identity(directory, identity)


def _refuse_foreign(directory: Path) -> None:
    """Raise StoreFormatError, before anything is written, if the directory contains other files."""
    names = {path.name for path in directory.iterdir()} - _HARMLESS_NAMES
    if _LOCK_FILE in names:
        return
    if DATA_FILE in names:
        _read_meta(directory)
    elif names - _OWN_NAMES:
        some = ", ".join(sorted(names - _OWN_NAMES)[:3])
        raise StoreFormatError(
            f"{directory} is not a data directory: it contains other files ({some}); use an empty or a new one"
        )


def _create(directory: Path, identity: Identity) -> None:
    # Built under another name and renamed: an existing data file is complete, so a short one was truncated.
    birth = directory / _BIRTH_DIRECTORY
    birth.mkdir()
    environment = lmdb.open(str(birth), map_size=1024 * 1024, max_dbs=_MAX_DATABASES, lib_version=_LMDB_MAJOR_VERSION)
    try:
        environment.open_db(ENTRIES)
        meta, requests = environment.open_db(META), environment.open_db(_REQUESTS)
        with environment.begin(meta, write=True) as transaction:
            begin_requests(transaction, requests)
            transaction.put(FORMAT, STORE_FORMAT)
            transaction.put(NODE_ID, new_node_id().encode())
            for name, value in identity._asdict().items():
                if value is not None:
                    transaction.put(name.encode(), value.encode())
    finally:
        environment.close()
    (birth / DATA_FILE).rename(directory / DATA_FILE)
    shutil.rmtree(birth)
    for changed in (directory, directory.parent):
        _sync_directory(changed)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_meta(directory: Path) -> tuple[dict[str, str], bool]:
    """What a data file says about itself, and whether it has system records, read without changing the directory.

    Raises StoreFormatError if it is not one of ours, CorruptDataError if it was truncated.
    """
    environment = _opened_to_read(directory, lock=False)
    try:
        return _meta_of(directory, environment), if_created(environment, SYSTEM) is not None
    except lmdb.Error as error:
        raise_translated(error, directory)
    finally:
        environment.close()


def _opened_to_read(directory: Path, **options: Any) -> lmdb.Environment:
    if (directory / DATA_FILE).stat().st_size == 0:
        raise CorruptDataError(f"the data file in {directory} is empty: it was truncated; restore it from a backup")
    try:
        return lmdb.open(str(directory), readonly=True, create=False, max_dbs=_MAX_DATABASES, **options)
    except lmdb.PageNotFoundError:
        raise CorruptDataError(f"the data file in {directory} was truncated: restore it from a backup") from None
    except lmdb.MemoryError:
        raise StoreError(
            "there is no room in the address space for the largest size of the store: lower its max_size",
            where=str(directory),
        ) from None
    except lmdb.Error as error:
        raise StoreFormatError(
            f"{directory / DATA_FILE} is not a data file of this store, or its beginning is damaged: {error}"
        ) from error


def _meta_of(directory: Path, environment: lmdb.Environment) -> dict[str, str]:
    try:
        _check_length(directory, environment)
        if environment.lib_version()[0] != _LMDB_MAJOR_VERSION:
            raise _foreign(directory)
        try:
            meta = environment.open_db(META, create=False)
        except (lmdb.NotFoundError, lmdb.ReadonlyError, lmdb.IncompatibleError):
            raise _foreign(directory) from None
        with environment.begin(meta) as transaction:
            return {key.decode(): value.decode() for key, value in transaction.cursor()}
    except lmdb.Error as error:
        raise_translated(error, directory)
    except UnicodeDecodeError:
        raise _foreign(directory) from None


def _check_length(directory: Path, environment: lmdb.Environment) -> None:
    """Raise CorruptDataError if pages are missing at the end: reading them would kill the process."""
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found = (directory / DATA_FILE).stat().st_size
    if found < expected:
        raise CorruptDataError(
            f"the data file in {directory} was truncated: it has {found} of {expected} bytes; restore it from a backup"
        )


def _foreign(directory: Path) -> StoreFormatError:
    return StoreFormatError(
        f"{directory} holds an LMDB environment that this store did not write: name an empty or a new directory"
    )


def _check_identity(directory: Path, wanted: Identity) -> None:
    """Raise StoreFormatError if the directory is of another format, cluster or shard."""
    meta, has_records = _read_meta(directory)
    _check_format(directory, meta)
    if has_records:
        # Its placement says which shard it is, and a shard can be renamed: the server compares that.
        return
    for name, value in wanted._asdict().items():
        if value is not None and meta.get(name) != value:
            recorded = f"{name} {meta[name]!r}" if name in meta else f"no {name}"
            raise StoreFormatError(
                f"{directory} belongs to {recorded}, not to {name} {value!r}: name the right directory,"
                " or export its entries and import them through the cluster"
            )


def _check_format(directory: Path, meta: dict[str, str]) -> None:
    found_format = meta.get("format")
    if found_format is None:
        raise _foreign(directory)
    if found_format not in _FORMATS:
        raise StoreFormatError(
            f"{directory} has store format {found_format}; this version reads formats {', '.join(_FORMATS)}:"
            " open it with the version that wrote it, and export and import its entries"
        )
