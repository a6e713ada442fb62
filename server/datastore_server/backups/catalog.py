"""The directory of backups and its manifest. What the manifest does not name is not part of a backup.

The manifest is replaced as a whole, once all files that it names are on disk: an interrupted backup never looks
complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

import msgspec

from datastore.filesystem.disk import sync_directory
from datastore.lmdb.directory import DirectoryLock
from datastore.model.errors import ConfigError, CorruptDataError, InvalidError
from datastore.model.expiry import MAX_EXPIRES_US
from datastore_server.backups.parts import Part

__all__ = ["MANIFEST", "Backup", "Catalog", "NodeBackup"]

MANIFEST = "manifest.json"
#: The format of the manifest and of the parts.
FORMAT = 1

#: The name of a part, which is in the directory itself.
_PartName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.-]+\.part\Z")]
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class NodeBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The backup of one node."""

    #: The node's shard; empty without a placement.
    shard: str
    node_id: str
    #: The latest version that the node had given, and the time of the snapshot in microseconds since 1970.
    version: Annotated[int, msgspec.Meta(ge=0, le=MAX_EXPIRES_US)]
    time_us: int
    entries: _Natural
    #: The sum of the checksums of keys and metadata, see SnapshotSummary.
    checksum: int
    #: The files with the entries: of all keys the last one, of unchanged values the ones before.
    parts: Annotated[tuple[_PartName, ...], msgspec.Meta(min_length=1)]
    #: The sizes of these files.
    part_bytes: tuple[_Natural, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.part_bytes):
            raise ValueError("parts and part_bytes differ in length")


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup: a snapshot of each node of a cluster, or of one node without a cluster."""

    number: _Natural
    backup_id: str
    #: What was backed up, as it was named.
    source: str
    begun: str
    ended: str
    #: The cluster and the epoch of its placement; empty and 0 without a placement.
    cluster: str
    epoch: int
    #: Whether only values that had changed since the backup before were read, of any node.
    incremental: bool
    nodes: Annotated[tuple[NodeBackup, ...], msgspec.Meta(min_length=1)]

    @property
    def entries(self) -> int:
        """The number of entries."""
        return sum(node.entries for node in self.nodes)

    @property
    def version(self) -> int:
        """The latest version that any of the nodes had given."""
        return max((node.version for node in self.nodes), default=0)

    def node(self, shard: str) -> NodeBackup | None:
        """The backup of the node of a shard; None if there is none."""
        return next((node for node in self.nodes if node.shard == shard), None)


class _Manifest(msgspec.Struct, frozen=True):
    format: int
    backups: tuple[Backup, ...]


class Catalog:
    """The backups in a directory, oldest first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.backups: tuple[Backup, ...] = self._loaded()

    @classmethod
    @contextmanager
    def locked(cls, directory: Path) -> Iterator[Self]:
        """The catalog of a directory, which is created if needed, for one process at a time: StoreLockedError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [path.name for path in directory.iterdir()]
        if others and not {MANIFEST, "datastore.lock"}.intersection(others):
            raise ConfigError(
                f"{directory} has other files ({', '.join(sorted(others)[:3])}): name an empty or a new directory"
            )
        lock = DirectoryLock(directory)
        try:
            yield cls(directory)
        finally:
            lock.release()

    def _loaded(self) -> tuple[Backup, ...]:
        path = self.directory / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            return ()
        except msgspec.DecodeError as error:
            raise CorruptDataError(f"{path} cannot be read: {error}") from error
        if manifest.format != FORMAT:
            raise ConfigError(f"{path} has format {manifest.format}, and this version reads format {FORMAT}")
        return manifest.backups

    @property
    def latest(self) -> Backup | None:
        """The latest backup."""
        return self.backups[-1] if self.backups else None

    def backup(self, number: int | None) -> Backup:
        """The backup of a number, the latest without one. Raises InvalidError if there is none."""
        found = [backup for backup in self.backups if number in (None, backup.number)]
        if not found:
            numbers = ", ".join(str(backup.number) for backup in self.backups) or "none"
            what = "complete backup" if number is None else f"backup {number}"
            raise InvalidError(f"{self.directory} has no {what}; complete ones: {numbers}")
        return found[-1]

    def paths(self, node: NodeBackup) -> list[Path]:
        """The files of a node's backup."""
        return [self.directory / name for name in node.parts]

    def unfinished(self, number: int, shard: str) -> list[Part]:
        """The parts that an interrupted backup left of a node."""
        parts: list[Part] = []
        while (part := Part.found(self.part_path(number, shard, len(parts)))) is not None:
            parts.append(part)
        return parts

    def discard(self, number: int, shard: str) -> None:
        """Remove the parts that an interrupted backup left of a node."""
        place = 0
        while (path := self.part_path(number, shard, place)).exists():
            path.unlink()
            place += 1

    def part_path(self, number: int, shard: str, place: int) -> Path:
        """The file of a part of a backup that is being made."""
        return self.directory / f"{number:06}-{shard or 'node'}-{place}.part"

    def discard_unfinished(self) -> None:
        """Remove parts that no backup has."""
        kept = {name for backup in self.backups for node in backup.nodes for name in node.parts}
        for path in self.directory.glob("*.part"):
            if path.name not in kept:
                path.unlink()

    def add(self, backup: Backup) -> None:
        """Make a backup complete: all of its files are on disk."""
        sync_directory(self.directory)
        backups = (*self.backups, backup)
        path = self.directory / f"{MANIFEST}.new"
        with path.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(_Manifest(FORMAT, backups)), indent=1))
            file.flush()
            os.fsync(file.fileno())
        path.replace(self.directory / MANIFEST)
        sync_directory(self.directory)
        self.backups = backups
