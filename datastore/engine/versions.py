"""The versions that a store gives its entries. Pure, apart from the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datastore.model.metadata import Stamp

__all__ = ["Versions"]


class Versions:
    """Gives each write of one store its version: the time in microseconds, or more if that is not above the last one.

    So versions grow even if the clock is set back. `last` is the latest version given, and `latest_us` what the method
    has returned before. `clock` returns seconds since 1970. Not safe for threads: the store's lock protects it.
    """

    __slots__ = ("_clock", "_latest_us", "last")

    def __init__(self, last: int = 0, latest_us: int = 0, *, clock: Callable[[], float] = time.time) -> None:
        self.last = last
        self._clock = clock
        self._latest_us = latest_us

    def now_us(self) -> int:
        """The time, in microseconds since 1970."""
        return int(self._clock() * 1_000_000)

    def latest_us(self) -> int:
        """The time by which entries expire: never before an earlier one.

        So an expired entry does not come back if the clock is set back; until the clock has caught up, nothing expires.
        Versions that others gave by their clocks do not count, or a move with a node whose clock is ahead would expire
        the entries of all.
        """
        self._latest_us = max(self.now_us(), self._latest_us)
        return self._latest_us

    def take(self, count: int, now_us: int) -> range:
        """The versions of so many entries that are written together, at the time `now_us`."""
        first = max(self.last + 1, now_us)
        self.last = first + count - 1
        return range(first, first + count)

    def raise_to(self, version: int) -> None:
        """Give only versions above this one from now on."""
        self.last = max(self.last, version)

    def stamp(self, old: Stamp | None, expires_us: int = 0, now_us: int | None = None) -> Stamp:
        """The metadata of an entry that is written now, or at `now_us`, in place of `old`, if any: all fields.

        A bare tuple, because a Metadata takes several times as long to make.
        """
        if now_us is None:
            now_us = int(self._clock() * 1_000_000)
        # Not by `max`, which takes a third of the time of all this.
        version = now_us if now_us > self.last else self.last + 1
        self.last = version
        return (version, now_us if old is None else old[1], now_us, expires_us)
