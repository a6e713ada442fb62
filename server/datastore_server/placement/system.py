"""A node's system space: named records that clients cannot see. Knows where they are stored, not what is in them."""

from __future__ import annotations

import asyncio
from typing import Protocol

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.directory import new_node_id

__all__ = ["LMDBSystemSpace", "MemorySystemSpace", "SystemSpace"]


class SystemSpace(Protocol):
    """Named records beside a store's entries. Calls raise the same errors as the store's."""

    #: Whether the records, and the entries, end with the process.
    in_memory: bool

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


class MemorySystemSpace(SystemSpace):
    """The records of a store in memory."""

    in_memory = True

    def __init__(self) -> None:
        self._node_id = new_node_id()
        self._records: dict[str, bytes] = {}

    async def node_id(self) -> str:
        """A different one in each process."""
        return self._node_id

    async def read(self, name: str) -> bytes | None:
        """The record, or None."""
        return self._records.get(name)

    async def write(self, name: str, content: bytes) -> None:
        """Keep the record for the lifetime of the process."""
        self._records[name] = content


class LMDBSystemSpace(SystemSpace):
    """The records in the directory of an LMDBDatastore, beside its entries."""

    in_memory = False

    def __init__(self, store: LMDBDatastore) -> None:
        self._store = store

    async def node_id(self) -> str:
        """The directory's."""
        return await asyncio.to_thread(self._store.node_id)

    async def read(self, name: str) -> bytes | None:
        """The record, or None."""
        return self._store.read_system(name)

    async def write(self, name: str, content: bytes) -> None:
        """Store the record after all writes submitted before it. It is on disk, whatever the durability."""
        await asyncio.wrap_future(self._store.submit_system(name, content))

    async def flush(self) -> None:
        """Flush everything submitted so far, whatever the durability."""
        await asyncio.to_thread(self._store.flush)
