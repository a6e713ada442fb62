"""Sorted runs outside of memory: blocks of entries as bytes. Knows a file only by what it asks of it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import countOf
from typing import Any, NamedTuple, Protocol

from datastore.engine.packed import PackedBytes

__all__ = ["BLOCK_BYTES", "RunFile", "SpilledRun"]

#: About how many bytes are written and read at once, unless a single entry has more: while runs are merged, one block
#: of each is in memory.
BLOCK_BYTES = 64 * 1024


class RunFile(Protocol):
    """Where a run is kept."""

    def append(self, data: bytes) -> None:
        """Write bytes at the end."""

    def read(self, start: int, size: int) -> bytes:
        """The bytes from `start` on, all of them."""

    def truncate(self, size: int) -> None:
        """Keep only the first bytes."""

    def close(self) -> None:
        """Release the file. May be repeated."""


class _Block(NamedTuple):
    start: int
    size: int
    entries: int
    first: bytes


class SpilledRun:
    """Places with their values, in ascending order, in a file.

    Written when this is created, and read once, in order. One place in `stride` is kept in memory as a sample.
    """

    def __init__(self, file: RunFile, entries: Iterable[tuple[bytes, int, Any]], *, stride: int) -> None:
        self._file = file
        self._blocks: list[_Block] = []
        self._samples: list[bytes] = []
        #: What was read and is not taken yet, and the number of the first block that was not read.
        self._head: tuple[list[bytes], list[Any]] = ([], [])
        self._next = 0
        self._write(entries, stride)

    def _write(self, entries: Iterable[tuple[bytes, int, Any]], stride: int) -> None:
        places: list[bytes] = []
        values: list[Any] = []
        size = 0
        for count, (place, _, value) in enumerate(entries, start=1):
            places.append(place)
            values.append(value)
            if count % stride == 0:
                self._samples.append(place)
            size += len(place) + (len(value) if type(value) is bytes else 0)
            if size >= BLOCK_BYTES:
                self._append(places, values)
                places, values, size = [], [], 0
        if places:
            self._append(places, values)

    def _append(self, places: list[bytes], values: list[Any]) -> None:
        data = _dumped(places, values)
        self._file.append(data)
        self._blocks.append(_Block(self.file_bytes, len(data), len(places), places[0]))

    @property
    def file_bytes(self) -> int:
        """The size of the file."""
        return self._blocks[-1].start + self._blocks[-1].size if self._blocks else 0

    def __len__(self) -> int:
        return len(self._head[0]) + sum(block.entries for block in self._blocks[self._next :])

    def held_bytes(self) -> int:
        """What the entries count for in memory: nothing."""
        return 0

    def sort(self) -> None:
        """Do nothing: the run is sorted."""

    def samples(self) -> list[bytes]:
        """One in `stride` of the places."""
        return self._samples

    def drop_after(self, place: bytes) -> None:
        """Remove most entries after `place`: all blocks that begin after it. The file keeps them until `shrink`."""
        del self._blocks[bisect_right([block.first for block in self._blocks], place) :]
        del self._samples[bisect_right(self._samples, place) :]

    def shrink(self) -> None:
        """Release what the file has of removed entries. Freeing space on a disk takes long."""
        if self._blocks:
            self._file.truncate(self.file_bytes)
        else:
            self.close()

    def take_before(self, place: bytes) -> tuple[list[bytes], list[Any]]:
        """Remove the entries before `place`, and return their places and values."""
        taken: tuple[list[bytes], list[Any]] = [], []
        while self._fill():
            places, values = self._head
            stop = bisect_left(places, place)
            taken[0].extend(places[:stop])
            taken[1].extend(values[:stop])
            self._head = places[stop:], values[stop:]
            if self._head[0]:
                break
        return taken

    def taken(self, number: int) -> Iterator[tuple[bytes, int, Any]]:
        """The places with `number` and their values, read as they are consumed."""
        while self._fill():
            (places, values), self._head = self._head, ([], [])
            for place, value in zip(places, values, strict=True):
                yield place, number, value
        self.close()

    def close(self) -> None:
        """Release the file. May be repeated."""
        self._file.close()

    def _fill(self) -> bool:
        """Read the next block if the last one was taken. False at the end."""
        if not self._head[0] and self._next < len(self._blocks):
            block = self._blocks[self._next]
            self._head = _loaded(self._file.read(block.start, block.size))
            self._next += 1
        return bool(self._head[0])


# Blocks. They are read by the process that wrote them.


def _dumped(places: list[bytes], values: list[Any]) -> bytes:
    """The places, and the values: bytes one after another, anything else pickled."""
    is_packable = countOf(map(type, values), bytes) == len(values)
    parts = [PackedBytes(places).dump(), PackedBytes(values).dump() if is_packable else _pickled(values)]
    header = array("Q", [is_packable, len(parts[0])])
    return b"".join((header.tobytes(), *parts))


def _loaded(data: bytes) -> tuple[list[bytes], list[Any]]:
    header = array("Q")
    start = 2 * header.itemsize
    header.frombytes(data[:start])
    is_packable, size = header
    places = list(PackedBytes.load(data[start : start + size]))
    rest = data[start + size :]
    return places, list(PackedBytes.load(rest)) if is_packable else _unpickled(rest)


def _pickled(values: list[Any]) -> bytes:
    # Loaded when it is needed, which is rare.
    import pickle

    return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)


def _unpickled(data: bytes) -> list[Any]:
    import pickle

    values: list[Any] = pickle.loads(data)  # noqa: S301 - this process wrote it
    return values
