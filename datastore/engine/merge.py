"""The exact merge of sorted shards, block by block and in bounded memory. Sans I/O.

A block is the longest prefix of the merge that is final: the bound is the least of the shards' last known entries, and
each shard contributes its entries up to the bound. Knows queries and batches, but no stores.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import add
from typing import Any

from datastore.engine.pipeline import Cutter
from datastore.model.entries import Batch, Position
from datastore.model.ordering import order_key
from datastore.model.query import Query

__all__ = ["BlockMerge"]


class BlockMerge:
    """Merges sorted streams of batches into the results of one query, with its offset and limit applied.

    Loop until `done`: for each stream that is `wanted`, feed its next batch or report its end; then `take` the results
    that are final, which may be an empty batch. Each stream answers the same query with offset 0 and limit offset +
    limit. At most one batch per stream is held, plus its entries that are not final yet. Ties go by key. An entry whose
    key is None follows its predecessor in its stream, or comes first if it has none; such ties go by stream. Sort keys
    are compared if all streams have them, otherwise the values' order fields.
    """

    def __init__(self, query: Query, streams: int) -> None:
        self._query = query
        self._streams = [_Stream(number) for number in range(streams)]
        self._cutter = Cutter(query)
        self._by_sort_keys: bool | None = None
        self._scanned = 0

    @property
    def done(self) -> bool:
        """Whether there are no more results."""
        return self._cutter.done or all(stream.ended and stream.empty for stream in self._streams)

    def wanted(self) -> list[int]:
        """The streams whose next batch is needed before more results are final."""
        return [stream.number for stream in self._streams if stream.silent]

    def feed(self, number: int, batch: Batch) -> None:
        """Add the next batch of a stream; an empty one is a heartbeat."""
        self._scanned += batch.scanned
        if len(batch) or len(self._streams) == 1:
            self._streams[number].waiting = batch

    def end(self, number: int) -> None:
        """Note that a stream has ended."""
        self._streams[number].ended = True

    def take(self) -> Batch:
        """The results that are final now, in order; empty while a stream's batch is missing."""
        if len(self._streams) == 1:
            # A single stream needs no comparison: its batches pass unchanged, and heartbeats keep their position.
            block = self._streams[0].hand_on()
        elif any(stream.silent for stream in self._streams):
            block = Batch([], [])
        else:
            self._unpack()
            block = self._block()
        block.scanned, self._scanned = self._scanned, 0
        return self._cutter.cut(block)

    def _unpack(self) -> None:
        if self._by_sort_keys is None:
            self._by_sort_keys = bool(self._query.orders) and all(
                stream.waiting is None or stream.waiting.sort_keys is not None for stream in self._streams
            )
        for stream in self._streams:
            if stream.waiting is not None:
                stream.unpack(self._comparables)

    def _comparables(self, batch: Batch, before: Any) -> list[Any]:
        """What the entries of a batch are compared by, with their keys; `before` is that of the previous entry.

        Bytes, if possible: comparing these is fastest, and serialized entries need not be read.
        """
        texts = batch.texts
        if not self._query.orders:
            return _carried(texts, before or b"") if b"" in texts else texts
        if self._by_sort_keys and batch.sort_keys is not None:
            return _places(batch.sort_keys, texts)
        columns = self._query.order_columns(batch.keys, batch.values, batch.metadata)
        if self._by_sort_keys:
            batch.sort_keys = self._query.sort_keys_of(columns)
            return _places(batch.sort_keys, texts)
        batch.sort_keys = None
        order_keys = [
            [order_key(value, descending=descends) for value in column]
            for descends, column in zip([order.descends for order in self._query.orders], columns, strict=True)
        ]
        return list(zip(*order_keys, texts, strict=True))

    def _block(self) -> Batch:
        bound = min(
            ((stream.comparables[-1], stream.number) for stream in self._streams if not stream.ended), default=None
        )
        runs = [stream.take(bound) for stream in self._streams if not stream.empty]
        block = _merged([run for run in runs if run[0]])
        if not self._query.orders:
            block.sort_keys = None
        if len(block):
            block.position = self._position(block)
        return block

    def _position(self, block: Batch) -> Position | None:
        key = block.key_at(-1)
        if key is None:
            return None
        if not self._query.orders:
            return Position(b"", key)
        return None if block.sort_keys is None else Position(block.sort_keys[-1], key)


def _places(sort_keys: Sequence[bytes], texts: Sequence[bytes]) -> list[bytes]:
    """Sort keys and keys as one string each: no sort key is a prefix of another, so these compare as the pairs do."""
    return list(map(add, sort_keys, texts))


def _carried(texts: Sequence[bytes], before: bytes) -> list[bytes]:
    """The places of entries in key order: the text of the key or, without a key, the place of the previous entry."""
    found = []
    for text in texts:
        before = text or before
        found.append(before)
    return found


def _merged(runs: Sequence[tuple[list[Any], Batch]]) -> Batch:
    """The entries of sorted runs, each with what they are compared by.

    Sorting is stable and merges sorted runs, so ties stay in the order of the streams.
    """
    if len(runs) < 2:
        return runs[0][1] if runs else Batch([], [])
    comparables = [comparable for run, _ in runs for comparable in run]
    return Batch.joined([batch for _, batch in runs]).ordered(
        sorted(range(len(comparables)), key=comparables.__getitem__)
    )


class _Stream:
    """One stream: its latest batch, and its entries that are not final yet."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        self.waiting: Batch | None = None
        self.comparables: list[Any] = []
        #: The last comparable received.
        self._last: Any = None
        self._held = Batch([], [])

    @property
    def empty(self) -> bool:
        return self.waiting is None and not self.comparables

    @property
    def silent(self) -> bool:
        """Whether its next entry is not known."""
        return self.empty and not self.ended

    def hand_on(self) -> Batch:
        """The latest batch, unchanged; an empty one if there is none."""
        batch, self.waiting = self.waiting, None
        return Batch([], []) if batch is None else batch

    def unpack(self, comparables_of: Any) -> None:
        batch = self.waiting
        if batch is not None:
            self.waiting = None
            # The stores through which it came still hold the batch itself.
            self._held = batch.split(len(batch))
            self.comparables = comparables_of(self._held, self._last)
            self._last = self.comparables[-1]

    def take(self, bound: tuple[Any, int] | None) -> tuple[list[Any], Batch]:
        """The entries up to the bound, a comparable and its stream; all of them if there is no bound.

        With what they are compared by.
        """
        stop = len(self.comparables)
        if bound is not None and bound[1] != self.number:
            comparable, number = bound
            bisect = bisect_right if self.number < number else bisect_left
            stop = bisect(self.comparables, comparable)
        comparables, self.comparables = self.comparables[:stop], self.comparables[stop:]
        return comparables, self._held.split(stop)
