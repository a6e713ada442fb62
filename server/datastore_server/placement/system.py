"""A node's system space: a few named records that no client sees. Knows where they are kept; not what they say."""

from __future__ import annotations

import asyncio
from typing import Protocol

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.directory import new_node_id

__all__ = ["LMDBSystemSpace", "MemorySystemSpace", "SystemSpace"]


class SystemSpace(Protocol):
    """Named records beside a store's entries. Calls may raise what the store's own calls raise."""

    #: Whether the records, and the entries, end with the process.
    in_memory: bool

    async def node_id(self) -> str:
        """The identity of the storage, made once with it."""

    async def read(self, name: str) -> bytes | None:
        """The record of this name, or None."""

    async def write(self, name: str, content: bytes) -> None:
        """Store a record in place of the one before: atomically, and on disk once this returns."""

    async def flush(self) -> None:
        """Have all entries written so far on disk, also where writes are acknowledged before they are.

        Nothing to do where there is no disk, or where every write waits for it.
        """
        return


class MemorySystemSpace(SystemSpace):
    """The records of a store in memory."""

    in_memory = True

    def __init__(self) -> None:
        self._node_id = new_node_id()
        self._records: dict[str, bytes] = {}

    async def node_id(self) -> str:
        """Another one in each process."""
        return self._node_id

    async def read(self, name: str) -> bytes | None:
        """The record, or None."""
        return self._records.get(name)

    async def write(self, name: str, content: bytes) -> None:
        """Keep the record as long as the process lives."""
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
        """Store the record after all writes that were submitted before; on disk, whatever the durability."""
        await asyncio.wrap_future(self._store.submit_system(name, content))

    async def flush(self) -> None:
        """Have all that was submitted so far on disk, whatever the durability."""
        await asyncio.to_thread(self._store.flush)
