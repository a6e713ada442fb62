"""Sorting the entries that a query selects. Sans I/O.

Two ways to one order. `RunSorter` takes serialized values: it holds bytes, which can be counted exactly and are
compared without reading them again, in sorted runs of bounded length, so that every step is short, and moves what
exceeds its share of memory to files. `ColumnSorter` takes
plain objects, which are held elsewhere anyway, and compares their fields as they are. Knows queries and batches, but no
stores.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import accumulate, compress, islice, repeat
from operator import add, countOf, ge, le, ne, not_
from struct import Struct
from sys import maxsize
from typing import Any, TypeAlias

from datastore.engine.columns import Columns
from datastore.engine.packed import PackedBytes
from datastore.engine.room import sort_room
from datastore.engine.spilled import RunFile, SpilledRun
from datastore.model.encoded import Encoded, encoded_bytes
from datastore.model.entries import Batch, Position, value_bytes
from datastore.model.errors import DatastoreError, StoreError, StoreFullError
from datastore.model.key import Key
from datastore.model.limits import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    FIRST_BATCH_BYTES,
    LONG_SORT_KEY_BYTES,
    SORT_BYTES,
    SORT_ENTRY_BYTES,
)
from datastore.model.metadata import Metadata, Stamp
from datastore.model.operators import all_of
from datastore.model.ordering import order_key
from datastore.model.query import Query

__all__ = ["ColumnSorter", "NewFile", "RunSorter", "sorter_for"]

#: Makes the file of a run that does not stay in memory.
NewFile: TypeAlias = Callable[[], RunFile]

#: The maximum number of entries that are sorted at once, which takes a few milliseconds.
RUN_ENTRIES = 2048
#: How many of the first results are returned before the others are sorted.
LEAD_ENTRIES = BATCH_ENTRIES
#: One entry in so many of each run is sampled, to find a cut-off for entries that come too late.
STRIDE = 256
#: How many runs are searched for such entries while others are added: each of these steps takes a fraction of them.
RUNS_A_STEP = 4


def sorter_for(query: Query, batch: Batch, new_file: NewFile | None = None) -> RunSorter | ColumnSorter:
    """The sorter for an ordered query whose first entries are these."""
    kind = _kind_of(batch)
    return ColumnSorter(query) if kind is None or query.has_custom_code else RunSorter(query, kind, new_file)


def _kind_of(batch: Batch) -> type[Encoded] | None:
    """The form in which all values are serialized, apart from those that are None; None if there are others."""
    if (serialized := batch.serialized()) is not None:
        return serialized[0]
    kinds = set(map(type, batch.values)) - {type(None)} or {Encoded}
    return kinds.pop() if len(kinds) == 1 and all(issubclass(kind, Encoded) for kind in kinds) else None


# Serialized values

_pack_length = Struct(">I").pack
_LENGTH_BYTES = 4


def _places(sort_keys: list[bytes], texts: list[bytes]) -> list[bytes]:
    """Each entry's place in the order as one string of bytes: its sort key, its key, and the length of the former.

    No sort key is a prefix of another, and no key contains a byte as low as the first of that length, so these compare
    as pairs of sort key and key do.
    """
    return [
        b"".join((sort_key, text, _pack_length(len(sort_key)))) for sort_key, text in zip(sort_keys, texts, strict=True)
    ]


#: The fields of a Metadata, and whether a value follows.
_METADATA = Struct(">4q?")


def _stamped(held: Any, stamp: Stamp) -> Any:
    """A value as it is held, with its metadata: bare bytes, too, unless it is in a tuple."""
    packed = _METADATA.pack(*Metadata(*stamp), held is not None)
    if type(held) is tuple:
        return (*held, packed)
    return packed if held is None else packed + held


def _unstamped(held: Any) -> tuple[Any, Stamp]:
    """The value as it was held without its metadata, and the metadata."""
    if type(held) is tuple:
        return held[:1], _METADATA.unpack(held[1])[:-1]
    *stamp, has_value = _METADATA.unpack_from(held)
    return held[_METADATA.size :] if has_value else None, tuple(stamp)


def _sort_key_of(place: bytes) -> bytes:
    return place[: int.from_bytes(place[-_LENGTH_BYTES:], "big")]


def _text_of(place: bytes) -> bytes:
    return place[int.from_bytes(place[-_LENGTH_BYTES:], "big") : -_LENGTH_BYTES]


class _Run:
    """Places, each with its value; in ascending order once it was sorted.

    Packed in blocks of STRIDE entries, which are released one by one as the run is read.
    """

    __slots__ = ("_blocks", "_is_sorted")

    def __init__(self, places: Sequence[bytes], values: Sequence[Any]) -> None:
        self._blocks = _packed(places, values)
        self._is_sorted = False

    def __len__(self) -> int:
        return sum(len(places) for places, _ in self._blocks)

    def places(self) -> list[bytes]:
        """All places."""
        return [place for places, _ in self._blocks for place in places]

    def values(self) -> list[Any]:
        """The value of each place."""
        return [value for _, values in self._blocks for value in values]

    def sort(self) -> None:
        """Sort by place, unless it is sorted; equal places keep their order."""
        if self._is_sorted:
            return
        self._is_sorted = True
        places, values = self.places(), self.values()
        order = sorted(range(len(places)), key=places.__getitem__)
        self._blocks = _packed([places[i] for i in order], [values[i] for i in order])

    def held_bytes(self) -> int:
        """What the entries count for."""
        return sum(_size(places) + _size(values) + len(places) * SORT_ENTRY_BYTES for places, values in self._blocks)

    def samples(self) -> list[bytes]:
        """Every STRIDE-th place."""
        return [places.last for places, _ in self._blocks if len(places) == STRIDE]

    def drop_after(self, place: bytes) -> None:
        """Remove the entries after `place`. The run must be sorted."""
        whole = bisect_right([places.last for places, _ in self._blocks], place)
        kept = self._blocks[:whole]
        for block in self._blocks[whole : whole + 1]:
            places, values = map(list, block)
            stop = bisect_right(places, place)
            kept += _packed(places[:stop], values[:stop])
        self._blocks = kept

    def take_before(self, place: bytes) -> tuple[list[bytes], list[Any]]:
        """Remove the entries before `place`, and return their places and values."""
        taken: tuple[list[bytes], list[Any]] = [], []
        for number, block in enumerate(self._blocks):
            early = [each < place for each in block[0]]
            if any(early):
                late = list(map(not_, early))
                for some, part in zip(taken, block, strict=True):
                    some += compress(part, early)
                self._blocks[number] = _block(*(list(compress(part, late)) for part in block))
        return taken

    def taken(self, number: int) -> Iterator[tuple[bytes, int, Any]]:
        """The places with `number` and their values, released as they are consumed."""
        self._blocks.reverse()
        while self._blocks:
            places, values = self._blocks.pop()
            yield from zip(places, repeat(number), values, strict=False)

    def close(self) -> None:
        """Release the entries."""
        self._blocks = []


_Block: TypeAlias = tuple[PackedBytes, PackedBytes | tuple[Any, ...]]


def _packed(places: Sequence[bytes], values: Sequence[Any]) -> list[_Block]:
    starts = range(0, len(places), STRIDE)
    return [_block(places[start : start + STRIDE], values[start : start + STRIDE]) for start in starts]


def _block(places: Sequence[bytes], values: Sequence[Any]) -> _Block:
    """Places and their values; other values than bytes cannot be packed."""
    is_packable = countOf(map(type, values), bytes) == len(values)
    return PackedBytes(places), PackedBytes(values) if is_packable else tuple(values)


def _size(items: PackedBytes | tuple[Any, ...]) -> int:
    return items.total_bytes if isinstance(items, PackedBytes) else sum(map(len, filter(None, items)))


class _Lead:
    """Selects the first `most` of all places added, and holds at most about twice as many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: list[bytes] = []
        self._last: bytes | None = None

    def add(self, places: list[bytes]) -> None:
        last = self._last
        self._places += places if last is None else [place for place in places if place < last]
        if len(self._places) > 2 * self._most:
            self.select()

    def select(self) -> bytes | None:
        """The place that fewer than `most` places precede, but nearly as many; None if there are too few places."""
        self._places.sort()
        del self._places[self._most :]
        if len(self._places) == self._most:
            self._last = self._places[-1]
        return self._last


class RunSorter:
    """Collects serialized entries in runs, which it sorts and merges once the first results are out.

    The first LEAD_ENTRIES are selected as the entries come, and need no sort of the others. Holds the place of each
    entry in the order, and its value unless the query asks for keys only; raises LimitExceededError beyond SORT_BYTES
    of these and SORT_ENTRY_BYTES for each entry, and OverloadedError beyond what others leave of a server's budget.
    With a limit it sorts the runs as they come, and holds about twice offset + limit entries at most. With a start
    position it holds only the entries after it. With `new_file` it `must_spill` when it holds more than
    `sort_memory_bytes`: then `spill` makes all that it holds a sorted run in a file. Raises StoreFullError beyond
    `sort_disk_bytes` of files. The caller must close it, which releases the files and its part of the budget.
    """

    def __init__(self, query: Query, kind: type[Encoded], new_file: NewFile | None = None) -> None:
        self._query = query
        self._new_file = new_file
        self._kind = kind
        #: Whether the metadata is part of the results; orders by it have been evaluated when entries are held.
        self._with_metadata = query.metadata
        self._keep = query.last_place
        after = query.start_after
        self._after = None if after is None else _places([after.sort_key], [str(after.key).encode()])[0]
        #: Places after this one are not among the first `_keep`.
        self._last: bytes | None = None
        #: Entries not sorted yet.
        self._places: list[bytes] = []
        self._values: list[Any] = []
        #: Those in files first, because their entries came first.
        self._runs: list[_Run | SpilledRun] = []
        #: With a limit few are held, and sorted as they come.
        self._lead = _Lead(LEAD_ENTRIES) if query.limit is None else None
        self._entries = 0
        self._bytes = 0
        #: Drops the entries after `_last` from the runs, in steps; None if that is done.
        self._dropping: Iterator[None] | None = None
        #: The target size of the next batch of results, in bytes.
        self._most = FIRST_BATCH_BYTES
        self._room = sort_room(SORT_BYTES)

    def close(self) -> None:
        """Release everything held. May be repeated."""
        for _ in self.release():
            pass

    def release(self) -> Iterator[None]:
        """Like `close`, in short steps if there are no files: freeing a million entries takes a while."""
        self._places, self._values = [], []
        self._dropping = None
        while self._runs:
            self._runs.pop().close()
            yield
        self._room.close()

    def add(self, columns: Columns) -> None:
        """Add entries that passed the filters."""
        batch = columns.batch
        sort_keys = self._query.sort_keys_of(list(map(columns.of, self._query.orders)))
        if self._last is not None:
            # Most come too late, which their sort keys show.
            held = list(map(_sort_key_of(self._last).__ge__, sort_keys))
            batch, sort_keys = batch.selected(held), list(compress(sort_keys, held))
        places = _places(sort_keys, batch.texts)
        values = self._values_to_hold(batch, sort_keys)
        if self._with_metadata:
            values = list(map(_stamped, values, batch.required_metadata()))
        after, last = self._after, self._last
        if after is not None or last is not None:
            held = [(after is None or place > after) and (last is None or place < last) for place in places]
            places, values = list(compress(places, held)), list(compress(values, held))
        self._places += places
        self._values += values
        if self._lead is not None:
            self._lead.add(places)
        self._entries += len(places)
        self._bytes += _held_bytes(places, values)
        if len(self._places) > min(RUN_ENTRIES, self._keep) or self._bytes > self._most_held:
            self._end_run()
        deque(islice(self._dropping or (), RUNS_A_STEP), maxlen=0)
        self._room.hold(self._bytes)

    @property
    def _most_held(self) -> int:
        """What it holds at most, if it can hold less."""
        return SORT_BYTES if self._new_file is None else self._room.memory_bytes

    @property
    def must_spill(self) -> bool:
        """Whether it holds so much that it must be moved to a file."""
        return self._new_file is not None and self._bytes > self._room.memory_bytes

    @property
    def has_spilled(self) -> bool:
        """Whether runs are in files, so that reading them may take long."""
        return any(isinstance(run, SpilledRun) for run in self._runs)

    def sort(self) -> Iterator[None]:
        """Sort the runs that are held, in short steps, in the thread that collected them.

        Another one would use memory of its own for them: the C library keeps for each thread what it has freed.
        """
        self._end_run()
        yield from self._dropping or ()
        for run in self._runs:
            run.sort()
            yield

    def spill(self) -> None:
        """Move all that is held, once it is sorted, to a file, as one run. Takes long: some 10 ms for each MiB."""
        if self._new_file is None or not self.must_spill:
            return
        spilled = [run for run in self._runs if isinstance(run, SpilledRun)]
        held = self._runs[len(spilled) :]
        for earlier in spilled:
            earlier.shrink()
        try:
            file = self._new_file()
        except StoreError:
            # There is no place for files here: as much as without them is held.
            self._new_file = None
            return
        try:
            entries = merge(*(run.taken(number) for number, run in enumerate(held)))
            self._runs = [*filter(len, spilled), SpilledRun(file, entries, stride=STRIDE)]
        except BaseException:
            file.close()
            raise
        self._count()
        self._room.hold(self._bytes)
        most_bytes = self._room.disk_bytes
        if sum(run.file_bytes for run in self._runs if isinstance(run, SpilledRun)) > most_bytes:
            raise StoreFullError(
                f"sorting these results takes more than {most_bytes:,} bytes of temporary files (sort_disk_bytes); give"
                " the query a limit, or filters, or raise that limit"
            )

    def _values_to_hold(self, batch: Batch, sort_keys: list[bytes]) -> list[Any]:
        if self._query.keys_only and not self._query.sort_keys:
            return [None] * len(batch)
        serialized = batch.serialized()
        is_packed = serialized is not None and serialized[0] is self._kind
        values = serialized[1] if serialized is not None and is_packed else list(map(self._packed, batch.values))
        if not self._query.keys_only:
            return values
        # Between stores, a value replaces its sort key if that is long.
        return [
            value if len(sort_key) > LONG_SORT_KEY_BYTES else None
            for value, sort_key in zip(values, sort_keys, strict=True)
        ]

    def _packed(self, value: Any) -> Any:
        """A value as it is held: the bare bytes, which cost the garbage collector nothing; others in a tuple."""
        if type(value) is self._kind:
            return value.data
        return None if value is None else (value,)

    def _unpacked(self, held: Any) -> Any:
        if type(held) is bytes:
            return self._kind(held)
        return None if held is None else held[0]

    def _end_run(self) -> None:
        """Make a run of the entries not in one yet. With a limit, sort it and drop entries that come too late."""
        places, values = self._places, self._values
        self._places, self._values = [], []
        if self._keep > RUN_ENTRIES:
            # Split if the entries come in thousands.
            for start in range(0, len(places), RUN_ENTRIES):
                stop = start + RUN_ENTRIES
                self._runs.append(_Run(places[start:stop], values[start:stop]))
                if self._lead is None:
                    self._runs[-1].sort()
            is_full = self._bytes > self._most_held and self._entries > self._keep
            if self._dropping is None and (self._entries > 2 * self._keep or is_full):
                self._dropping = self._drop_late()
            if is_full and self._new_file is None:
                deque(self._dropping or (), maxlen=0)
            return
        spilled: list[_Run | SpilledRun] = []
        for run in self._runs:
            if isinstance(run, _Run):
                places, values = [*run.places(), *places], [*run.values(), *values]
            else:
                spilled.append(run)
        order = sorted(range(len(places)), key=places.__getitem__)[: self._keep]
        self._runs = [*spilled, _Run([places[i] for i in order], [values[i] for i in order])]
        self._count()
        if len(order) == self._keep:
            self._last = places[order[-1]]

    def _drop_late(self) -> Iterator[None]:
        """Drop most entries that are not among the first `_keep` of several runs, without merging them; run by run.

        One entry in STRIDE is sampled, so at least n * STRIDE - 1 entries precede the n-th sample.
        """
        samples = sorted(place for run in self._runs for place in run.samples())
        needed = -(-self._keep // STRIDE)
        if needed <= len(samples):
            self._last = last = samples[needed - 1]
            # Those that are added from now on have no such entries.
            for run in list(self._runs):
                run.drop_after(last)
                yield
            self._runs = [run for run in self._runs if len(run) or isinstance(run, SpilledRun)]
            self._count()
        self._dropping = None

    def _count(self) -> None:
        """Recount what is held, all of it in runs."""
        self._entries = sum(map(len, self._runs))
        self._bytes = sum(run.held_bytes() for run in self._runs)

    def batches(self) -> Iterator[Batch]:
        """The entries in order, in batches, the first of them small. Empty ones come between steps of sorting."""
        self._end_run()
        yield from self._first_batches()
        if self._lead is not None:
            for run in self._runs:
                run.sort()
                yield Batch([], [])
        # Equal places, of entries without keys, stay in the order of the runs.
        runs = [run.taken(number) for number, run in enumerate(self._runs)]
        yield from self._filled(islice(merge(*runs), self._keep))

    def _first_batches(self) -> Iterator[Batch]:
        """The entries that were selected as they arrived, taken out of the runs."""
        end = None if self._lead is None else self._lead.select()
        if end is None:
            return
        places: list[bytes] = []
        values: list[Any] = []
        for run in self._runs:
            early, theirs = run.take_before(end)
            places += early
            values += theirs
            yield Batch([], [])
        lead = _Run(places, values)
        lead.sort()
        yield from self._filled(lead.taken(0))

    def _filled(self, entries: Iterator[tuple[bytes, int, Any]]) -> Iterator[Batch]:
        """Entries in order as batches."""
        while batch := self._batch(entries, self._most):
            yield batch
            self._most = BATCH_BYTES

    def _batch(self, entries: Iterator[tuple[bytes, int, Any]], most: int) -> Batch | None:
        """The next entries, up to so many bytes; an entry whose sort key is long is the last of its batch."""
        places: list[bytes] = []
        values: list[Any] = []
        size = 0
        in_files = sum(isinstance(run, SpilledRun) for run in self._runs)
        held_bytes = 0
        for place, run, value in entries:
            places.append(place)
            values.append(value)
            entry_bytes = len(place) if value is None else len(place) + len(value)
            size += entry_bytes
            if run >= in_files:
                held_bytes += entry_bytes + SORT_ENTRY_BYTES
            if size >= most or len(places) == BATCH_ENTRIES or len(place) > LONG_SORT_KEY_BYTES:
                break
        if not places:
            return None
        self._room.give_back(held_bytes)
        texts = list(map(_text_of, places))
        metadata = None
        if self._with_metadata:
            values, metadata = map(list, zip(*map(_unstamped, values), strict=True))
        batch = Batch.of_texts(texts, list(map(self._unpacked, values)), metadata=metadata)
        if self._query.sort_keys:
            batch.sort_keys = list(map(_sort_key_of, places))
        if texts[-1]:
            batch.position = Position(_sort_key_of(places[-1]), Key._trusted(texts[-1].decode()))
        return batch


def _held_bytes(places: Sequence[bytes], values: Sequence[Any]) -> int:
    return sum(map(len, places)) + sum(map(len, filter(None, values))) + len(places) * SORT_ENTRY_BYTES


# Plain objects


class ColumnSorter:
    """Collects entries in columns: keys, values, and one of field values for each order.

    Sorts them at the end, in one step: that is fastest where the fields compare as they are. With a limit no more than
    twice offset + limit entries are held, besides one batch. The objects are held elsewhere, so only serialized values
    among them are counted.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._fields = [query.order_column(order) for order in query.orders]
        self._keep = query.last_place
        #: Whether the first `_keep` entries are sorted: what comes after the last of them is too late.
        self.full = False
        #: Whether most of a few entries were too late at the last check.
        self.sharp = True
        self._keys: list[Any] = []
        self._values: list[Any] = []
        #: Only if the results have metadata.
        self._metadata: list[Stamp] | None = [] if query.metadata else None
        self._columns: list[list[Any]] = [[] for _ in query.orders]
        self._bytes = 0
        self._room = sort_room(SORT_BYTES)

    def close(self) -> None:
        """Release everything held. May be repeated."""
        self._keys, self._values, self._columns = [], [], [[] for _ in self._columns]
        self._metadata = None
        self._room.close()

    def release(self) -> Iterator[None]:
        """Like `close`: the entries are held elsewhere."""
        self.close()
        yield

    def add(self, entries: Columns) -> None:
        """Add entries that passed the filters."""
        batch = entries.batch
        keys, values = batch.keys, batch.values
        metadata = batch.required_metadata() if self._metadata is not None else []
        columns = [field(keys, entries.values, batch.metadata) for field in self._fields]
        after = self._query.start_after
        if after is not None:
            place = (after.sort_key, str(after.key))
            places = zip(self._query.sort_keys_of(columns), _texts(keys), strict=True)
            held = [here > place for here in places]
            keys, values, *columns = [list(compress(column, held)) for column in (keys, values, *columns)]
            metadata = list(compress(metadata, held))
        self._keys += keys
        self._values += values
        if self._metadata is not None:
            self._metadata += metadata
        for column, more in zip(self._columns, columns, strict=True):
            column += more
        self._bytes += encoded_bytes(values)
        if len(self._keys) > 2 * self._keep or (self._bytes > SORT_BYTES and self._keep < maxsize):
            self._sort()
            self._bytes = encoded_bytes(self._values)
        self._room.hold(self._bytes)

    def in_time(self, entries: Columns) -> list[bool]:
        """Whether each entry does not come after the last one kept, by the first order."""
        batch, last = entries.batch, self._columns[0][self._keep - 1]
        column = self._fields[0](batch.keys, entries.values, batch.metadata)
        descending = self._query.orders[0].descends
        if type(last) in _SORTABLE and all_of(type(last), column):
            held = list(map(ge if descending else le, column, repeat(last)))
        else:
            *ours, last = _comparable([*column, last])
            held = [not value < last for value in ours] if descending else [not last < value for value in ours]
        self.sharp = held[:_SAMPLE].count(False) > _SAMPLE // 2
        return held

    def _sort(self) -> list[str]:
        """Sort the columns, and keep the entries that may still be needed. Returns the texts of their keys."""
        # Sorting is stable: ties first, then the last order, each within the one before it.
        texts = _texts(self._keys)
        places = sorted(range(len(texts)), key=texts.__getitem__)
        for order, column in zip(reversed(self._query.orders), reversed(self._columns), strict=True):
            places.sort(key=_comparable(column).__getitem__, reverse=order.descends)
        places = places[: self._keep]
        self._keys = [self._keys[i] for i in places]
        self._values = [self._values[i] for i in places]
        if self._metadata is not None:
            self._metadata = [self._metadata[i] for i in places]
        self._columns = [[column[i] for i in places] for column in self._columns]
        self.full = len(places) == self._keep
        return [texts[i] for i in places]

    def batches(self) -> Iterator[Batch]:
        """The entries in order, in batches, the first of them small."""
        texts = self._sort()
        sort_keys = self._sort_keys() if self._query.sort_keys else None
        start, most = 0, FIRST_BATCH_BYTES
        while start < len(self._keys):
            stop = self._fill(texts, start, most)
            batch = Batch(self._keys[start:stop], self._values[start:stop])
            batch.metadata = None if self._metadata is None else self._metadata[start:stop]
            batch.sort_keys = None if sort_keys is None else sort_keys[start:stop]
            batch.position = self._position_after(stop - 1)
            yield batch
            start, most = stop, BATCH_BYTES

    def _fill(self, texts: list[str], start: int, most: int) -> int:
        """The index after the entries, from `start`, that fill a batch of `most` bytes: at least one."""
        stop = min(start + BATCH_ENTRIES, len(texts))
        sizes = accumulate(map(add, map(len, texts[start:stop]), map(value_bytes, self._values[start:stop])))
        return next((end for end, size in enumerate(sizes, start + 1) if size >= most), stop)

    def _sort_keys(self) -> list[bytes] | None:
        """All sort keys, or none if a value has none on the wire: the merge then compares values."""
        try:
            return self._query.sort_keys_of(self._columns)
        except DatastoreError:
            return None

    def _position_after(self, index: int) -> Position | None:
        """The position after one of the sorted entries; None if a value has no sort key on the wire."""
        if self._keys[index] is None:
            return None
        try:
            (sort_key,) = self._query.sort_keys_of([[column[index]] for column in self._columns])
        except DatastoreError:
            return None
        return Position(sort_key, self._keys[index])


def _comparable(column: list[Any]) -> list[Any]:
    """The values of a column in a form that Python sorts in the total order, without wrapping them if possible."""
    kinds = set(map(type, column))
    if kinds <= _NUMBERS and not any(map(ne, column, column)):
        return column
    if kinds == {Key}:
        return list(map(str, column))
    if kinds == {datetime} and all(value.tzinfo is UTC for value in column):
        return column
    return column if len(kinds) == 1 and kinds <= _SORTABLE else list(map(order_key, column))


#: How many entries are checked to tell whether most come too late.
_SAMPLE = 64
_NUMBERS = {int, float}
#: The types whose values, among themselves, Python sorts as the total order does.
_SORTABLE = {bool, int, str, bytes}


def _texts(keys: list[Any]) -> list[str]:
    return ["" if key is None else str(key) for key in keys]
