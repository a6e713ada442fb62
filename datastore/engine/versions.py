"""The versions that a store gives its entries. Pure, apart from the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from datastore.model.metadata import Metadata

__all__ = ["Versions"]


class Versions:
    """Gives each write of one store its version: the time in microseconds, or more if that is not above the last one.

    So versions grow even if the clock is set back. `last` is the latest version given. `clock` returns seconds since
    1970. Not safe for threads: the store's lock protects it.
    """

    __slots__ = ("_clock", "last")

    def __init__(self, last: int = 0, *, clock: Callable[[], float] = time.time) -> None:
        self.last = last
        self._clock = clock

    def now_us(self) -> int:
        """The time, in microseconds since 1970."""
        return int(self._clock() * 1_000_000)

    def stamp(self, old: Metadata | None) -> Metadata:
        """The metadata of an entry that is written now, in place of one with the metadata `old`, if there is one."""
        now_us = self.now_us()
        self.last = version = max(self.last + 1, now_us)
        return Metadata(version, now_us if old is None else old.created_us, now_us)
