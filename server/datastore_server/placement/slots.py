"""Summarizes, reads, writes and clears entries by slot.

Works on any store, below the layer that enforces ownership. Knows slots and entries, but no placements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import compress

from xxhash import xxh3_64_intdigest

from datastore.aio.base import Datastore, exact_query
from datastore.engine.placement import ShardBy, slot_of
from datastore.model.entries import Batch, Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_server.framing import value_data

__all__ = ["SlotSummary", "clear", "scan", "scan_keys", "summarize", "write"]

_CHECKSUM_MASK = 2**64 - 1


@dataclass
class SlotSummary:
    """The contents of a slot: entries, bytes of keys and values, and the sum of the entries' checksums."""

    entries: int = 0
    size_bytes: int = 0
    checksum: int = 0

    def add(self, text: bytes, data: bytes) -> None:
        """Count one entry: its key's text and its serialized value."""
        self.entries += 1
        self.size_bytes += len(text) + len(data)
        self.checksum = (self.checksum + xxh3_64_intdigest(text + b"\0" + data)) & _CHECKSUM_MASK


async def scan(store: Datastore, wanted: Callable[[Key], bool], *, keys_only: bool = False) -> AsyncGenerator[Batch]:
    """The entries whose keys are wanted, in key order, batch by batch."""
    cursor = exact_query(store, Query(Key("/"), recursive=True, keys_only=keys_only))
    try:
        async for batch in cursor.batches():
            held = list(map(wanted, batch.keys))
            yield Batch(list(compress(batch.keys, held)), list(compress(batch.values, held)))
            # A store in memory never waits, so let other calls run between batches.
            await asyncio.sleep(0)
    finally:
        await cursor.aclose()


def scan_keys(store: Datastore, wanted: Callable[[Key], bool]) -> AsyncGenerator[Batch]:
    """Like `scan`, without values."""
    return scan(store, wanted, keys_only=True)


async def summarize(batches: AsyncIterator[Batch], shard_by: ShardBy) -> dict[int, SlotSummary]:
    """A summary of each non-empty slot, in ascending order."""
    found: dict[int, SlotSummary] = {}
    async for batch in batches:
        for key, text, value in zip(batch.keys, batch.texts, batch.values, strict=True):
            found.setdefault(slot_of(key, shard_by), SlotSummary()).add(text, value_data(value))
    return dict(sorted(found.items()))


async def write(store: Datastore, entries: Sequence[Write]) -> None:
    """Store entries. Raises the first failure; other entries may have been stored."""
    for outcome in await store.batch_write(entries):
        if outcome.error is not None:
            raise outcome.error


async def clear(store: Datastore, kept: Callable[[Key], bool]) -> int:
    """Delete all entries except those to keep. Returns the number deleted."""
    cleared = 0
    async for batch in scan_keys(store, lambda key: not kept(key)):
        await write(store, [Write(key, None) for key in batch.keys])
        cleared += len(batch)
    return cleared
