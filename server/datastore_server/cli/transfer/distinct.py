"""Counts different keys in bounded memory. Pure."""

from __future__ import annotations

import math
from array import array

from datastore.model.key import Key

__all__ = ["EXACT_KEYS", "DistinctKeys"]

#: The count of up to so many different keys is exact, using a hash of 8 bytes each: at most 32 MB.
EXACT_KEYS = 4_000_000
#: Beyond that, it is estimated from a bitmap of so many bits, 16 MB: to within 0.1 % up to a billion keys.
BITMAP_BITS = 2**27

_PARTS = 256


class DistinctKeys:
    """Counts different keys: exactly up to EXACT_KEYS, beyond that by linear counting.

    Source: Whang, Vander-Zanden and Taylor 1990, A linear-time probabilistic counting algorithm. Two keys with the same
    hash count as one; with 4 million keys the probability of that is below one in a hundred thousand.
    """

    def __init__(self, exact_keys: int = EXACT_KEYS) -> None:
        self._exact_keys = exact_keys
        self._room = exact_keys
        #: The hashes seen, with duplicates, in parts, so that the largest set made from them is small.
        self._parts = [array("Q") for _ in range(_PARTS)]
        self._bitmap: bytearray | None = None

    def add(self, key: Key) -> None:
        """Count a key."""
        number = hash(key)
        if self._bitmap is not None:
            _mark(self._bitmap, number)
            return
        self._parts[number % _PARTS].append(number)
        self._room -= 1
        if not self._room:
            self._compact()

    @property
    def is_exact(self) -> bool:
        """Whether `count` is exact."""
        return self._bitmap is None

    def count(self) -> int:
        """The number of different keys added, or an estimate."""
        if self._bitmap is None:
            return sum(len(set(part)) for part in self._parts)
        unset = BITMAP_BITS - sum(byte.bit_count() for byte in self._bitmap)
        return round(-BITMAP_BITS * math.log(max(unset, 1) / BITMAP_BITS))

    def _compact(self) -> None:
        """Drop duplicates; if hardly any were found, estimate from now on."""
        self._parts = [array("Q", set(part)) for part in self._parts]
        self._room = self._exact_keys - sum(map(len, self._parts))
        if self._room > self._exact_keys // 4:
            return
        self._bitmap = bytearray(BITMAP_BITS // 8)
        for part in self._parts:
            for number in part:
                _mark(self._bitmap, number)
        self._parts = []


def _mark(bitmap: bytearray, number: int) -> None:
    # Any bits of the hash will do; the low ones selected the part above.
    bit = number % BITMAP_BITS
    bitmap[bit >> 3] |= 1 << (bit & 7)
