"""Results on their way between stores: batches, and which parts of the query have been applied to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from datastore.aio._concurrency import close_iterator
from datastore.aio.cursor import Cursor, close_all, refine
from datastore.engine.pipeline import Cutter
from datastore.engine.plan import COMPLETE, RAW, Applied, Support, remaining
from datastore.model.entries import Batch, ShardReport, places
from datastore.model.limits import BATCH_ENTRIES
from datastore.model.query import Query

__all__ = ["Scan", "exact", "exact_batches"]


class Scan:
    """What a store answers to a query: `batches`, read once, and `applied`, the parts of the query applied to them.

    Nothing is read before the first batch. `shards` is filled by the end. Whoever asked must close it, with `aclose`;
    that also closes `source`, the scan or the cursor that it is made from.
    """

    __slots__ = ("applied", "batches", "shards", "source")

    #: A cursor over a scan closes it.
    closes_with_cursor = True

    def __init__(
        self,
        batches: AsyncGenerator[Batch],
        applied: Applied = RAW,
        *,
        source: Scan | Cursor | None = None,
        shards: list[ShardReport] | None = None,
    ) -> None:
        self.batches = batches
        self.applied = applied
        self.source = source
        self.shards: list[ShardReport] = ([] if source is None else source.shards) if shards is None else shards

    async def aclose(self) -> None:
        """Stop reading. May be repeated."""
        source = [] if self.source is None else [self.source.aclose]
        await close_all([partial(close_iterator, self.batches), *source])


def exact_batches(query: Query, scan: Scan) -> AsyncGenerator[Batch]:
    """The batches of a scan with what remains of the query applied."""
    left = remaining(query, scan.applied)
    if left is None:
        return scan.batches
    if scan.applied.orders is Support.EXACT:
        return _cut(Cutter(left), scan.batches)
    return refine(left, scan.batches if scan.applied.by_key else _by_key(scan.batches))


def exact(query: Query, scan: Scan) -> Scan:
    """A scan with what remains of the query applied."""
    return scan if scan.applied.is_complete else Scan(exact_batches(query, scan), COMPLETE, source=scan)


async def _cut(cutter: Cutter, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    try:
        while not cutter.done and (batch := await anext(batches, None)) is not None:
            yield cutter.cut(batch)
    finally:
        await batches.aclose()


async def _by_key(batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """All entries in key order; one without a key stays after its predecessor."""
    keys, values = [], []
    try:
        async for batch in batches:
            keys += batch.keys
            values += batch.values
    finally:
        await batches.aclose()
    texts = places(keys)
    order = sorted(range(len(keys)), key=texts.__getitem__)
    for start in range(0, len(order), BATCH_ENTRIES):
        part = order[start : start + BATCH_ENTRIES]
        yield Batch([keys[place] for place in part], [values[place] for place in part], scanned=len(part))
