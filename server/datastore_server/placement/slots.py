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
from datastore.model.metadata import Metadata
from datastore.model.operations import Operation
from datastore_server.framing import value_data
from datastore_server.placement.listing import Listing

__all__ = ["SlotSummary", "clear", "expiries_of", "summarize", "write"]

_CHECKSUM_MASK = 2**64 - 1
#: Where the metadata of an entry has its expiry, if it expires.
_EXPIRES_AT = Metadata._fields.index("expires_us")


@dataclass
class SlotSummary:
    """The contents of a slot: entries, bytes of keys and values, and the sum of the entries' checksums.

    The checksum of an entry that expires includes when.
    """

    entries: int = 0
    size_bytes: int = 0
    checksum: int = 0

    def add(self, text: bytes, data: bytes, expires_us: int = 0) -> None:
        """Count one entry: its key's text, its serialized value, and when it expires, 0 for never."""
        self.entries += 1
        self.size_bytes += len(text) + len(data)
        checksum = xxh3_64_intdigest(text + b"\0" + data, expires_us)
        self.checksum = (self.checksum + checksum) & _CHECKSUM_MASK


async def summarize(batches: AsyncIterator[Batch], shard_by: ShardBy) -> dict[int, SlotSummary]:
    """A summary of each non-empty slot, in ascending order."""
    found: dict[int, SlotSummary] = {}
    async for batch in batches:
        for key, text, value, expires_us in zip(batch.keys, batch.texts, batch.values, expiries_of(batch), strict=True):
            found.setdefault(slot_of(key, shard_by), SlotSummary()).add(text, value_data(value), expires_us)
    return dict(sorted(found.items()))


def expiries_of(batch: Batch) -> list[int]:
    """When each entry of a batch expires, in microseconds since 1970; 0 for never."""
    if batch.metadata is None:
        return [0] * len(batch)
    return [stamp[_EXPIRES_AT] if len(stamp) > _EXPIRES_AT else 0 for stamp in batch.metadata]


async def write(store: Datastore, entries: Sequence[Write | Operation]) -> None:
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
