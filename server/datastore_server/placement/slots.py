"""Summarizes, reads, writes and clears entries by slot.

Works on any store, below the layer that enforces ownership. Knows slots and entries, but no placements.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

from datastore.aio.base import Datastore
from datastore.engine.placement import ShardBy, slot_of
from datastore.model.entries import Batch, Write
from datastore.model.key import Key
from datastore_server.framing import value_data
from datastore_server.placement.listing import Listing

__all__ = ["SlotSummary", "clear", "summarize", "write"]

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


async def clear(store: Datastore, listing: Listing, kept: Callable[[Key], bool]) -> int:
    """Delete all entries except those to be kept. Returns the number deleted."""
    cleared = 0
    async with aclosing(listing.scan(lambda key: not kept(key), keys_only=True)) as batches:
        async for batch in batches:
            await write(store, [Write(key, None) for key in batch.keys])
            cleared += len(batch)
    return cleared
