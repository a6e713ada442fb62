"""The exact merge of sorted shards, block by block and in bounded memory. Sans I/O.

A block is the longest prefix of the merge that is final: the bound is the least of the shards' last known entries, and
each shard contributes its entries up to the bound. Knows queries and batches, but no stores.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from datastore.engine.pipeline import Cutter
from datastore.model.entries import Batch, Position, places
from datastore.model.metadata import Stamp
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
        waiting = [stream for stream in self._streams if stream.waiting is not None]
        if self._by_sort_keys is None:
            self._by_sort_keys = bool(self._query.orders) and all(
                stream.waiting is None or stream.waiting.sort_keys is not None for stream in self._streams
            )
        for stream in waiting:
            stream.unpack(self._comparables)

    def _comparables(self, batch: Batch, before: Any) -> list[Any]:
        """What the entries of a batch are compared by, with their keys; `before` is that of the previous entry."""
        if not self._query.orders:
            return places(batch.keys, before or "")
        texts = ["" if key is None else str(key) for key in batch.keys]
        if self._by_sort_keys and batch.sort_keys is not None:
            return list(zip(batch.sort_keys, texts, strict=True))
        columns = self._query.order_columns(batch.keys, batch.values, batch.metadata)
        if self._by_sort_keys:
            return list(zip(self._query.sort_keys_of(columns), texts, strict=True))
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
        runs = [run for run in runs if run.comparables]
        merged = runs[0] if len(runs) == 1 else _merged(runs)
        block = Batch(merged.keys, merged.values, metadata=merged.metadata)
        if self._by_sort_keys:
            block.sort_keys = [comparable[0] for comparable in merged.comparables]
        if merged.keys and merged.keys[-1] is not None:
            block.position = self._position(merged.comparables[-1], merged.keys[-1])
        return block

    def _position(self, comparable: Any, key: Any) -> Position | None:
        if not self._query.orders:
            return Position(b"", key)
        return Position(comparable[0], key) if self._by_sort_keys else None


class _Run:
    """Sorted entries in columns."""

    __slots__ = ("comparables", "keys", "metadata", "values")

    def __init__(
        self, comparables: list[Any], keys: list[Any], values: list[Any], metadata: list[Stamp] | None
    ) -> None:
        self.comparables = comparables
        self.keys = keys
        self.values = values
        self.metadata = metadata


def _merged(runs: list[_Run]) -> _Run:
    """The runs as one. Sorting is stable and merges sorted runs, so ties stay in the order of the streams."""
    comparables = [comparable for run in runs for comparable in run.comparables]
    keys = [key for run in runs for key in run.keys]
    values = [value for run in runs for value in run.values]
    places = sorted(range(len(keys)), key=comparables.__getitem__)
    metadata = [stamp for run in runs for stamp in run.metadata or ()]
    return _Run(
        [comparables[i] for i in places],
        [keys[i] for i in places],
        [values[i] for i in places],
        # All streams have it, or none.
        [metadata[i] for i in places] if len(metadata) == len(keys) else None,
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
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._metadata: list[Stamp] | None = None

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
            self.comparables = comparables_of(batch, self._last)
            self._last = self.comparables[-1]
            self._keys, self._values, self._metadata = batch.keys, batch.values, batch.metadata
            batch.clear()

    def take(self, bound: tuple[Any, int] | None) -> _Run:
        """The entries up to the bound, a comparable and its stream; all of them if there is no bound."""
        stop = len(self.comparables)
        if bound is not None and bound[1] != self.number:
            comparable, number = bound
            bisect = bisect_right if self.number < number else bisect_left
            stop = bisect(self.comparables, comparable)
        metadata = None if self._metadata is None else self._metadata[:stop]
        run = _Run(self.comparables[:stop], self._keys[:stop], self._values[:stop], metadata)
        # Returned entries are not held while the reader pauses.
        del self.comparables[:stop], self._keys[:stop], self._values[:stop]
        if self._metadata is not None:
            del self._metadata[:stop]
        return run
