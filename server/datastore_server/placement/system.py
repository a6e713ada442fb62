"""A node's system space: named records that clients cannot see. Knows where they are stored, not what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from datastore.aio import DictDatastore
from datastore.filesystem import FileSystemDatastore
from datastore.filesystem.disk import SYSTEM, ensure_directory_exists
from datastore.lmdb.directory import DirectoryLock, new_node_id
from datastore.model.errors import PlacementError, StoreError
from datastore.model.metadata import Metadata

__all__ = ["EngineSystemSpace", "MemorySystemSpace", "NoSystemSpace", "SystemSpace", "in_directory"]

_NODE_ID = "node_id"


class SystemSpace(Protocol):
    """Named records beside a store's entries. Calls raise the same errors as the store's."""

    #: Whether the records, and the entries, end with the process.
    in_memory: bool
    #: Whether `forget_requests` does that; otherwise the node refuses such repetitions by itself.
    forgets_requests: bool = False
    #: Whether `restore` stores entries with the versions and times of a backup.
    restores: bool = False

    async def node_id(self) -> str:
        """The identity of the storage, created with it."""

    async def read(self, name: str) -> bytes | None:
        """The record of this name, or None."""

    async def write(self, name: str, content: bytes) -> None:
        """Replace a record atomically. It is on disk when this returns."""

    async def flush(self) -> None:
        """Flush all entries written so far to disk, even if writes are acknowledged earlier.

        Does nothing if there is no disk, or if every write is flushed anyway.
        """
        return

    async def latest_version(self) -> int:
        """The latest version that the store has given to an entry; 0 if none is known. No write may be under way."""
        return 0

    async def raise_versions(self, version: int) -> None:
        """Make the store give only versions above this one, durably, if it keeps versions and can."""
        return

    async def forget_requests(self) -> None:
        """If `forgets_requests`: make the store refuse repetitions of writes from before now, durably.

        Except those of writes that were made here.
        """
        return

    async def restore(self, entries: Sequence[tuple[bytes, bytes, Metadata]]) -> None:
        """If `restores`: store entries, each the text of its key, its value in wire form, and its metadata."""
        return

    def release(self) -> None:
        """Release what the space holds. The store itself is closed by its owner."""
        return

    async def aclose(self) -> None:
        """The same, when the node ends."""
        self.release()


class MemorySystemSpace(SystemSpace):
    """The records of a store in memory."""

    in_memory = True

    def __init__(self, store: DictDatastore | None = None) -> None:
        self._store = store
        self.forgets_requests = store is not None
        self._node_id = new_node_id()
        self._records: dict[str, bytes] = {}

    async def node_id(self) -> str:
        """A different one in each process."""
        return self._node_id

    async def read(self, name: str) -> bytes | None:
        return self._records.get(name)

    async def write(self, name: str, content: bytes) -> None:
        """Keep the record for the lifetime of the process."""
        self._records[name] = content

    async def latest_version(self) -> int:
        return 0 if self._store is None else self._store.latest_version

    async def raise_versions(self, version: int) -> None:
        if self._store is not None:
            self._store.raise_versions(version)

    async def forget_requests(self) -> None:
        if self._store is not None:
            self._store.forget_requests()


class KeepsRecords(Protocol):
    """A blocking store that keeps system records beside its entries."""

    def read_system(self, name: str) -> bytes | None:
        """The record of a name, or None."""

    def write_system(self, name: str, content: bytes) -> None:
        """Store a record in place of the one before."""


class EngineSystemSpace(SystemSpace):
    """The records in an engine's own system space, as durable as the engine makes them."""

    in_memory = False

    def __init__(self, engine: KeepsRecords, lock: DirectoryLock | None = None) -> None:
        self._engine = engine
        self._lock = lock
        self.forgets_requests = hasattr(type(engine), "forget_requests")
        self.restores = hasattr(type(engine), "restore")

    async def node_id(self) -> str:
        """The identity of the engine's storage: its own, or a record that is created on first use."""
        if hasattr(type(self._engine), "node_id"):
            return str(await asyncio.to_thread(self._engine.node_id))  # type: ignore[attr-defined]
        found = await self.read(_NODE_ID)
        if found is None:
            await self.write(_NODE_ID, new_node_id().encode())
            found = await self.read(_NODE_ID)
        return (found or b"").decode()

    async def read(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._engine.read_system, name)

    async def write(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._engine.write_system, name, content)

    async def flush(self) -> None:
        """Flush all entries to disk, if the engine supports that."""
        if hasattr(self._engine, "flush"):
            await asyncio.to_thread(self._engine.flush)

    async def latest_version(self) -> int:
        """The engine's; 0 if it keeps no versions or does not tell."""
        if not hasattr(type(self._engine), "raise_versions"):
            return 0
        return int(await asyncio.to_thread(getattr, self._engine, "latest_version"))

    async def raise_versions(self, version: int) -> None:
        """Raise those of the engine, if it can."""
        if hasattr(type(self._engine), "raise_versions"):
            await asyncio.to_thread(self._engine.raise_versions, version)  # type: ignore[attr-defined]

    async def forget_requests(self) -> None:
        """By the engine, if it remembers requests."""
        if self.forgets_requests:
            await asyncio.to_thread(self._engine.forget_requests)  # type: ignore[attr-defined]

    async def restore(self, entries: Sequence[tuple[bytes, bytes, Metadata]]) -> None:
        """By the engine, if it can."""
        if self.restores:
            await asyncio.to_thread(self._engine.restore, entries)  # type: ignore[attr-defined]

    def release(self) -> None:
        """Release the directory for other processes."""
        if self._lock is not None:
            self._lock.release()


class NoSystemSpace(MemorySystemSpace):
    """For an engine that cannot keep records: the node can be served, but not placed."""

    in_memory = False

    def __init__(self, store: str) -> None:
        super().__init__()
        self._store_name = store

    async def write(self, name: str, content: bytes) -> None:
        raise PlacementError(
            f"{self._store_name} cannot keep the record of this node's placement: start the node with"
            " --state-dir DIRECTORY, or state_dir in its configuration"
        )


def in_directory(directory: Path) -> EngineSystemSpace:
    """The records in `DIRECTORY/.datastore`, for one process: StoreLockedError if another one has it."""
    inner = directory / SYSTEM
    try:
        ensure_directory_exists(inner)
        lock = DirectoryLock(inner)
    except OSError as error:
        if isinstance(error, StoreError) and error.__cause__ is None:
            raise
        raise StoreError(
            f"{directory} cannot keep the record of a node's placement, name another one with --state-dir: {error}"
        ) from error
    return EngineSystemSpace(FileSystemDatastore(directory), lock)
