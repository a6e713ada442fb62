"""How late the event loop is, measured once a second: the first sign of a server that has too much to do.

Knows no calls: it only sleeps, and sees how long that takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

__all__ = ["INTERVAL_S", "Pulse"]

#: The time between measurements, in seconds, and how many count: the maximum of the last 10 seconds is reported.
INTERVAL_S = 1.0
_BEATS = 10


class Pulse:
    """The event loop of one server, from when it is made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._late_s: deque[float] = deque(maxlen=_BEATS)

    @property
    def uptime_s(self) -> float:
        """How long the server has been running, in seconds."""
        return self._clock() - self._began

    @property
    def lag_s(self) -> float:
        """How late the event loop was at most, lately, in seconds."""
        return max(self._late_s, default=0.0)

    async def beat(self, each: Callable[[int], object]) -> None:
        """Measure until cancelled. `each` is called every time, with the number of the measurement."""
        number = 0
        while True:
            due = self._clock() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self._late_s.append(max(0.0, self._clock() - due))
            each(number)
            number += 1
