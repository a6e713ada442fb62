"""Many byte strings in one buffer. Knows nothing of what they mean."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

__all__ = ["PackedBytes"]


class PackedBytes:
    """An immutable sequence of byte strings in one buffer. Iterating makes an object of each.

    Each takes 8 bytes besides its own, instead of some 50. The buffer is freed as a whole, while Python keeps the
    memory of small objects for as long as any other lives among them.
    """

    __slots__ = ("_data", "_ends")

    def __init__(self, items: Sequence[bytes]) -> None:
        self._data = b"".join(items)
        self._ends = array("Q", accumulate(map(len, items), initial=0))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def total_bytes(self) -> int:
        """The bytes of all items together."""
        return len(self._data)

    @property
    def last(self) -> bytes:
        """The last item. There must be one."""
        return self._data[self._ends[-2] :]

    def dump(self) -> bytes:
        """All of it as bytes, for `load` in this process or in another on the same machine."""
        return b"".join((array("Q", [len(self._ends)]).tobytes(), self._ends.tobytes(), self._data))

    @classmethod
    def load(cls, data: bytes) -> PackedBytes:
        """What was dumped."""
        loaded = cls.__new__(cls)
        header, loaded._ends = array("Q"), array("Q")
        header.frombytes(data[: header.itemsize])
        start = (header[0] + 1) * header.itemsize
        loaded._ends.frombytes(data[header.itemsize : start])
        loaded._data = data[start:]
        return loaded

    def __iter__(self) -> Iterator[bytes]:
        """Each item, made when it is asked for: hundreds of sequences are merged at a time."""
        data = self._data
        return (data[start:end] for start, end in pairwise(self._ends))
