"""Results on their way between stores: batches, and which parts of the query have been applied to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from datastore.aio._concurrency import close_iterator, iterate
from datastore.aio.cursor import Cursor, close_all, refine
from datastore.engine.pipeline import Cutter
from datastore.engine.plan import COMPLETE, RAW, UNORDERED, Applied, is_in_order, parts_of, remaining
from datastore.model.arguments import check_versions
from datastore.model.entries import Batch, Entry, ShardReport, places
from datastore.model.errors import DatastoreError
from datastore.model.limits import BATCH_ENTRIES, FIRST_SCAN_ENTRIES
from datastore.model.metadata import Stamp
from datastore.model.query import Query

if TYPE_CHECKING:
    from datastore.model.explanation import Explanation

__all__ = ["Scan", "ask", "exact", "exact_batches", "noted"]


class Scan:
    """A store's answer to a query: `batches`, read once, and `applied`, the parts of the query applied to them.

    Nothing is read before the first batch. `shards` is filled by the end. The caller must close it, with `aclose`;
    that also closes `source`, the scan or the cursor that it is made from.
    If the query is to be explained, `explained` says what the stores below did, and `explanation` what the answering
    store itself did, if that was noted (see `ask`).
    """

    __slots__ = ("applied", "batches", "explained", "explanation", "shards", "source")

    #: A cursor over a scan closes it.
    closes_with_cursor = True

    def __init__(
        self,
        batches: AsyncGenerator[Batch],
        applied: Applied = RAW,
        *,
        source: Scan | Cursor | None = None,
        shards: list[ShardReport] | None = None,
        explained: list[Explanation] | None = None,
    ) -> None:
        self.batches = batches
        self.applied = applied
        self.source = source
        self.shards: list[ShardReport] = ([] if source is None else source.shards) if shards is None else shards
        self.explained: list[Explanation] = (
            ([] if source is None else source.explained) if explained is None else explained
        )
        self.explanation: Explanation | None = None

    @classmethod
    def from_entries(cls, entries: AsyncIterable[Entry] | Iterable[Entry], applied: Applied = UNORDERED) -> Scan:
        """A scan of the scope's entries: in any order and with no steps applied, unless `applied` says otherwise."""
        return cls(_batches(entries), applied)

    async def aclose(self) -> None:
        """Stop reading. May be repeated."""
        if self.source is None:
            await close_iterator(self.batches)
        else:
            await close_all([partial(close_iterator, self.batches), self.source.aclose])


async def _batches(entries: AsyncIterable[Entry] | Iterable[Entry]) -> AsyncGenerator[Batch]:
    size = FIRST_SCAN_ENTRIES
    found: list[Entry] = []
    try:
        async for entry in iterate(entries):
            found.append(entry)
            if len(found) == size:
                yield Batch.of_entries(found, scanned=size)
                found, size = [], BATCH_ENTRIES
        if found:
            yield Batch.of_entries(found, scanned=len(found))
    finally:
        await close_iterator(entries)


def exact_batches(query: Query, scan: Scan) -> AsyncGenerator[Batch]:
    """The batches of a scan, with the remaining steps of the query applied."""
    left = remaining(query, scan.applied)
    batches = scan.batches if scan.applied.by_key else _by_key(scan.batches)
    if left is None:
        return batches
    if not left.filters and is_in_order(left, scan.applied):
        batches = _cut(Cutter(left), batches)
    else:
        batches = refine(left, batches)
    return batches if scan.explanation is None else _counted(scan.explanation, batches)


def exact(query: Query, scan: Scan) -> Scan:
    """A scan with the remaining steps of the query applied."""
    return Scan(exact_batches(query, scan), COMPLETE, source=scan)


def ask(store: Any, query: Query) -> Scan:
    """A store's answer to a query, noted if the query is to be explained. Stores query their children with this.

    Raises UnsupportedError if the query needs metadata, which the store does not keep.
    """
    check_versions(store, query)
    scan: Scan = store.scan(query)
    return noted(store, query, scan) if query.explain else scan


def noted(store: Any, query: Query, scan: Scan) -> Scan:
    """A store's answer to a query that is to be explained: reading it fills in the explanation."""
    description = store.describe()
    # Loaded only for queries that are explained: loading takes noticeable time.
    from datastore.model.explanation import Explanation

    explanation = Explanation(
        description.kind, description.text, parts_of(query, scan.applied), children=scan.explained
    )
    batches = _timed(explanation, scan.batches)
    answer = Scan(batches, scan.applied, source=scan, explained=[explanation])
    answer.explanation = explanation
    return answer


async def _timed(explanation: Explanation, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """The batches, counted and timed as what a store returns."""
    async with aclosing(batches):
        while True:
            begun_at = perf_counter()
            try:
                batch = await anext(batches, None)
            except DatastoreError as error:
                explanation.note = str(error)
                raise
            finally:
                explanation.time_s += perf_counter() - begun_at
            if batch is None:
                return
            explanation.scanned += batch.scanned
            explanation.returned += len(batch)
            yield batch


async def _counted(explanation: Explanation, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """The batches, counted as what remains of a store's results."""
    explanation.remaining = 0
    async with aclosing(batches):
        while (batch := await anext(batches, None)) is not None:
            explanation.remaining += len(batch)
            yield batch


async def _cut(cutter: Cutter, batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    async with aclosing(batches):
        while not cutter.done and (batch := await anext(batches, None)) is not None:
            yield cutter.cut(batch)


async def _by_key(batches: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    """All entries in key order; one without a key stays after its predecessor."""
    keys: list[Any] = []
    values: list[Any] = []
    metadata: list[Stamp] = []
    async with aclosing(batches):
        async for batch in batches:
            keys += batch.keys
            values += batch.values
            metadata += batch.metadata or ()
    texts = places(keys)
    order = sorted(range(len(keys)), key=texts.__getitem__)
    for start in range(0, len(order), BATCH_ENTRIES):
        part = order[start : start + BATCH_ENTRIES]
        yield Batch(
            [keys[place] for place in part],
            [values[place] for place in part],
            # All have it, or none.
            metadata=[metadata[place] for place in part] if len(metadata) == len(keys) else None,
            scanned=len(part),
        )
