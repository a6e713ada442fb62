"""The delay of the event loop, measured once a second: the first sign of an overloaded server.

Knows no calls: it only sleeps, and measures how long that takes.
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
    """Measures the event loop of one server, and its uptime from when this object is made."""

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
        """The maximum delay of the event loop in the last 10 seconds, in seconds."""
        return max(self._late_s, default=0.0)

    async def beat(self, each: Callable[[int], object]) -> None:
        """Measure until cancelled. Calls `each` after every measurement, with its number from 0."""
        number = 0
        while True:
            due = self._clock() + INTERVAL_S
            await asyncio.sleep(INTERVAL_S)
            self._late_s.append(max(0.0, self._clock() - due))
            each(number)
            number += 1
