"""The store: reads, writes and finds entries. `paths` defines the file paths, `content` the file contents."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import compress
from typing import Any, ClassVar

from datastore.engine.plan import narrowed
from datastore.engine.room import read_room
from datastore.filesystem import content, disk, paths
from datastore.model.arguments import check_key
from datastore.model.capability import Capability, Durability, Support
from datastore.model.description import Description
from datastore.model.entries import Batch, Position, value_bytes
from datastore.model.errors import CorruptDataError, InvalidError, InvalidKeyError, UnsupportedTypeError
from datastore.model.fields import KEY_FIELD
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, FIRST_SCAN_ENTRIES
from datastore.model.operations import Operation, Put, ReadOptions, ReadResult, WriteResult
from datastore.model.operators import column_predicate
from datastore.model.query import Query
from datastore.model.spellings import is_overridden
from datastore.model.trees import Condition
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan
from datastore.sync.transforms import LowercaseKeyDatastore
from datastore.sync.verbs import read_attempt, write_attempt

__all__ = ["FileSystemDatastore"]

_PATH_METHODS = ("path", "relative_path", "object_path", "relative_object_path")


def _checked_root(root: Any) -> str:
    if not isinstance(root, (str, os.PathLike)) or not isinstance(os.fspath(root), str):
        raise UnsupportedTypeError(f"root must be a str or a path, got {type(root).__name__}", path="root")
    text: str = os.fspath(root)
    if not text or "\0" in text:
        raise InvalidError(f"root must name a directory, not {text!r}", field="root")
    return os.path.abspath(text)


class FileSystemDatastore(Datastore):
    """Stores each entry in a separate file below `root`, which it creates if needed: `/a:b` in `a/b.obj`.

    Values are str and bytes (bytearray is read back as bytes); others raise UnsupportedTypeError: wrap the store in
    a serializer. Text is stored as it is, so other programs can read and write the files; `docs/storage.md` says
    how keys become paths.
    With `case_sensitive=False` keys that differ only in case are the same key, the one in lower case.
    A put writes a temporary file and renames it: readers see the old value or the new one, even after a crash. With
    `fsync` it is on disk before the call returns; otherwise it survives the process, but may not survive a power
    failure. A crash may leave files named `.tmp-...`, which are never read and may be deleted.
    A query reads the names in its directory and sorts them, then reads values lazily, except those that its limit or
    its filters on keys exclude; a recursive query also reads the directories below. Other files are skipped,
    and links to directories are not followed.
    Any number of threads and processes may use one root. Raises UnsupportedTypeError or InvalidError for a root that
    cannot be a directory, StoreError (also a RuntimeError) if it is a file, StoreFullError if the disk is full, and
    StoreError for other file system faults. A failed put leaves the old value, unless only the fsync of the directory
    failed: then readers see the new one.
    Subclasses, and instances before their first use, may set an `object_extension` and an `ignore_list` of names that
    queries skip. A subclass that overrides a path method has a custom layout: a file whose path does not determine its
    key begins with a header that names it, and a query looks at all files below the root.
    """

    object_extension = paths.EXTENSION
    #: Names of files that queries skip.
    ignore_list: ClassVar[list[str]] = []

    def __init__(self, root: str | os.PathLike[str], case_sensitive: bool = True, *, fsync: bool = False) -> None:
        self.root = _checked_root(root)
        self.case_sensitive = case_sensitive
        self._fsync = fsync
        missing = disk.missing_directories(self.root)
        disk.ensure_directory_exists(self.root)
        if fsync:
            with disk.faults(self.root):
                for directory in missing:
                    disk.sync_directory(os.path.dirname(directory))
        self._folding = disk.folds_case(self.root)

    # Paths

    def _own_key(self, key: Key) -> Key:
        key = check_key(key)
        return key if self.case_sensitive else LowercaseKeyDatastore.lowercase_key(key)

    @property
    def _extension(self) -> str:
        return paths.checked_extension(self.object_extension)

    @property
    def _has_own_layout(self) -> bool:
        """Whether a subclass overrides the layout of files."""
        return any(is_overridden(self, FileSystemDatastore, name) for name in _PATH_METHODS)

    def relative_path(self, key: Key) -> str:
        """The directory of the collection `key`, below the root."""
        return paths.relative_directory(self._own_key(key), folding=self._folding, extension=self._extension)

    def path(self, key: Key) -> str:
        """The directory of the collection `key`."""
        return os.path.join(self.root, self.relative_path(key))

    def relative_object_path(self, key: Key) -> str:
        """The file of the entry at `key`, below the root."""
        key = self._own_key(key)
        if is_overridden(self, FileSystemDatastore, "relative_path"):
            return f"{self.relative_path(key) or '%'}{paths.tag(key)}{self._extension}"
        return paths.relative_file(key, folding=self._folding, extension=self._extension)

    def object_path(self, key: Key) -> str:
        """The file of the entry at `key`."""
        return f"{self.root}/{self.relative_object_path(key)}"

    def _file_of(self, key: Key) -> str:
        path = self.object_path(key)
        return os.path.abspath(path) if self._has_own_layout else path

    def _path_says_key(self, path: str, key: Key) -> bool:
        """Whether the path of its file determines the key."""
        relative = path[len(self.root) + 1 :]
        if not self._has_own_layout:
            return not paths.is_shortened(relative)
        return self._is_below_root(path) and paths.key_of_file(relative, self._extension) == key

    def _is_below_root(self, path: str) -> bool:
        return path.startswith(f"{self.root}/")

    def _check_is_found(self, key: Key, path: str) -> None:
        """Refuse a file that no query would find."""
        if self._has_own_layout and not self._is_below_root(path):
            directory = os.path.abspath(self.path(key.path))
            if os.path.dirname(path) != directory:
                raise InvalidError(
                    f"no query would find {key}: object_path gives it a file that is neither below the root nor in the"
                    " directory that path gives its collection",
                    field="key",
                )

    # Operations

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read file by file; without values, only whether each exists."""
        if not options.values:
            return [read_attempt(self._is_there, key) for key in keys]
        room = read_room()
        return [
            room.left_out() if room.is_full else room.take(read_attempt(self._get, key, self._file_of(key)))
            for key in keys
        ]

    def get(self, key: Key) -> str | bytes | None:
        """The value of `key`. Like `read`, but without its lists."""
        return self._get(key, self._file_of(key))

    def _is_there(self, key: Key) -> bool | None:
        with disk.faults(str(key)):
            return disk.is_file(self._file_of(key)) or None

    def _get(self, key: Key, path: str) -> str | bytes | None:
        try:
            data = disk.read(path)
        except disk.NO_FILE:
            return None
        except OSError as error:
            raise disk.translated(error, str(key)) from error
        return self._value_of(self._own_key(key), path, data)

    def _value_of(self, key: Key, path: str, data: bytes) -> str | bytes:
        if not self._path_says_key(path, key):
            named = content.header_key(data)
            # In an overridden layout, another program's file may have no header.
            if named != str(key) and not (named is None and self._has_own_layout):
                raise CorruptDataError(f"the file's header does not name the key {key}", where=path)
        try:
            return content.unpack(data)
        except CorruptDataError as error:
            raise CorruptDataError(error.message, where=path) from None

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write file by file, each atomically."""
        return [write_attempt(self._do, operation) for operation in operations]

    def _do(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            self._put(operation.key, operation.value)
        else:
            self._delete(operation.key)

    def _put(self, key: Key, value: object) -> None:
        path = self._file_of(key)
        key = self._own_key(key)
        self._check_is_found(key, path)
        data = content.pack(value, None if self._path_says_key(path, key) else str(key))
        try:
            self._replace(path, data)
        except OSError as error:
            raise disk.translated(error, str(key)) from error

    def _replace(self, path: str, data: bytes) -> None:
        directory = os.path.dirname(path)
        temporary = f"{directory}/{disk.TEMPORARY}{os.urandom(8).hex()}"
        try:
            try:
                disk.write(temporary, data, fsync=self._fsync)
            except FileNotFoundError:
                os.makedirs(directory, exist_ok=True)
                disk.write(temporary, data, fsync=self._fsync)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        if self._fsync:
            # The parent directories too: the process that created them may not have synced them yet.
            for _ in range(1 + path.count("/", len(self.root) + 1)):
                disk.sync_directory(directory)
                directory = os.path.dirname(directory)

    def _delete(self, key: Key) -> None:
        """Remove the file of `key`, if there is one; directories stay."""
        path = self._file_of(key)
        try:
            os.unlink(path)
            if self._fsync:
                disk.sync_directory(os.path.dirname(path))
        except disk.NO_FILE:
            return
        except OSError as error:
            raise disk.translated(error, str(key)) from error

    # Queries

    def scan(self, query: Query) -> Scan:
        """The entries of the scope, bounded by the query's conditions on keys."""
        return Scan(self._batches(query), narrowed(query, _is_by_key, _wanted(query)))

    def _batches(self, query: Query) -> Generator[Batch]:
        with disk.faults(str(query.key)):
            found = dict(self._keys(query))
        wanted, reads = _wanted(query), query.reads_values
        keys: list[Key] = []
        values: list[object] = []
        scanned = held_bytes = 0
        for key in _within_bounds(query, sorted(found)):
            value = self._get(key, found[key]) if reads else ""
            scanned += 1
            if value is not None:
                keys.append(key)
                values.append(value)
                held_bytes += value_bytes(value)
                wanted -= 1
            if held_bytes >= BATCH_BYTES or scanned >= FIRST_SCAN_ENTRIES or wanted <= 0:
                yield Batch(keys, values, scanned=scanned, position=Position(b"", key))
                keys, values, scanned, held_bytes = [], [], 0, 0
            if wanted <= 0:
                return
        if scanned:
            yield Batch(keys, values, scanned=scanned, position=Position(b"", key))

    def _keys(self, query: Query) -> Iterator[tuple[Key, str]]:
        """The keys in the scope that have files now, each with its file, in no order; some twice."""
        scope = Query(self._own_key(query.key), recursive=query.recursive)
        if self._has_own_layout:
            found = self._files_of_own_layout(query.key, recursive=query.recursive)
        else:
            found = (f"{self.root}/{relative}" for relative in self._files(scope.key, recursive=scope.recursive))
        for path in found:
            key = self._key_of(path)
            if key is not None and scope.covers(key):
                yield key, path

    def _files_of_own_layout(self, scope: Key, *, recursive: bool) -> Iterator[str]:
        """All files that may be in the scope: those below the root, and those of a `path` outside the root."""
        directory = os.path.abspath(self.path(scope))
        elsewhere = directory != self.root and not self._is_below_root(directory)
        waiting = [self.root, *([directory] if elsewhere else [])]
        while waiting:
            above = waiting.pop()
            names = (name for name in disk.files(above) if not name.startswith(disk.TEMPORARY))
            yield from (f"{above}/{name}" for name in names if name not in self.ignore_list)
            if recursive or above != directory or not elsewhere:
                waiting += [f"{above}/{name}" for name in disk.directories(above) if name != disk.SYSTEM]

    def _files(self, scope: Key, *, recursive: bool) -> Iterator[str]:
        directory = paths.relative_directory(scope, folding=self._folding, extension=self._extension)
        if not recursive:
            yield from self._listed(directory)
            return
        yield from self._walked(directory)
        if directory:
            # Instances of an instance are beside it, and very deep entries are at the top, shortened.
            beside = paths.relative_directory(scope.path, folding=self._folding, extension=self._extension)
            yield from self._listed(beside)
            for name in self._directories(beside):
                if paths.holds_instances(name, scope, folding=self._folding):
                    yield from self._walked(f"{beside}/{name}" if beside else name)
            for name in self._directories(""):
                if paths.is_shortened(name):
                    yield from self._walked(name)

    def _walked(self, directory: str) -> Iterator[str]:
        waiting = [directory]
        while waiting:
            directory = waiting.pop()
            yield from self._listed(directory)
            waiting += [f"{directory}/{name}" if directory else name for name in self._directories(directory)]

    def _listed(self, directory: str) -> list[str]:
        """Our files in a directory, relative to the root."""
        extension = self._extension
        names = [
            name
            for name in disk.files(f"{self.root}/{directory}")
            if name.endswith(extension) and name not in self.ignore_list
        ]
        return [f"{directory}/{name}" if directory else name for name in names]

    def _directories(self, directory: str) -> list[str]:
        return [name for name in disk.directories(f"{self.root}/{directory}") if name != disk.SYSTEM]

    def _key_of(self, path: str) -> Key | None:
        """The key whose file this is; None if it is not one of ours."""
        relative = path[len(self.root) + 1 :]
        key = paths.key_of_file(relative, self._extension)
        if self._has_own_layout or paths.is_shortened(relative):
            with suppress(FileNotFoundError, InvalidKeyError):
                text = content.header_key(disk.read(path, content.HEADER_BYTES))
                key = key if text is None else Key(text)
        return key if self._is_file_of(key, path) else None

    def _is_file_of(self, key: Key | None, path: str) -> bool:
        return key is not None and key == self._own_key(key) and self._file_of(key) == path

    # System records, in a directory that no key has

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None. StoreError if the root itself is gone, e.g. not mounted."""
        return disk.read_record(self.root, name)

    def write_system(self, name: str, content: bytes) -> None:
        """Atomically replace a system record. It is on disk when this returns."""
        disk.write_record(self.root, name, content)

    def flush(self) -> None:
        """Flush all entries written so far to disk, even without `fsync`."""
        os.sync()

    def listed_key(self, key: Key) -> Key:
        """The key in lower case if case does not matter."""
        return self._own_key(key)

    @property
    def capability(self) -> Capability:
        """Files are read only for keys that pass the filters on keys, and no more of them than a limit needs."""
        durability = Durability.SYNC if self._fsync else Durability.ASYNC
        return Capability(scope=True, key_filters=Support.INEXACT, limit=Support.INEXACT, durability=durability)

    def describe(self) -> Description:
        return Description("file", self.root, self.capability)


def _wanted(query: Query) -> int:
    """How many entries of the scope, from its first on, can matter to the query."""
    # The filters on keys, and `start_after`, are applied before values are read.
    left = [part for part in query.filters if not _is_by_key(part)]
    return query.entries_needed(left, started=True)


def _within_bounds(query: Query, keys: list[Key]) -> list[Key]:
    """The sorted keys without those that the query excludes by their key alone."""
    if query.start_after is not None and not query.orders:
        keys = keys[bisect_right(keys, query.start_after.key) :]
    for part in query.filters:
        if _is_by_key(part):
            passes = part.judged(lambda each: column_predicate(each.op, each.value))
            keys = list(compress(keys, passes(keys)))
    return keys


def _is_by_key(part: Condition) -> bool:
    """Whether the key alone decides whether an entry passes."""
    return part.is_plain and all(each.field == KEY_FIELD for each in part.comparisons())
