"""Whose turn it is to call: a number at once, the others first come, first served, if they can be answered in time.

Decides; waits for nothing. Pure, and the same for both colours, which wait each in their own way. Not safe for threads
by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Generic, TypeVar

__all__ = ["CALLS_AT_ONCE", "SPARE_TIME", "STREAMS_AT_ONCE", "WAITING_CALLS", "Slots", "Turn"]

#: Unary calls of one client under way at once. Enough to keep a server busy and to fill its group commits; more
#: would only wait at the server, which refuses calls past what it can answer in time.
CALLS_AT_ONCE = 100
#: Streams of one client open at once: what servers allow on one connection, and unary calls have another.
STREAMS_AT_ONCE = 1000
#: Calls of one client that wait for others to end; the next is refused. Each holds its request, of 4 MiB at most.
WAITING_CALLS = 10_000
#: How much more time a call must have than calls take just now, to wait for its turn and to be sent at it. Times vary,
#: and a call that is answered too late has cost the server as much as any.
SPARE_TIME = 1.5
#: How much each call counts in the average time of a call: that of about the last hundred.
_WEIGHT = 0.01

W = TypeVar("W")


class Turn(Enum):
    """The outcome of asking for a slot."""

    TAKEN = "taken"
    #: Too many wait already.
    FULL = "full"
    #: The time to wait was over.
    LATE = "late"
    #: The call would be answered too late.
    REFUSED = "refused"
    #: The slots were closed.
    CLOSED = "closed"


class Slots(Generic[W]):
    """A number of slots, and a bounded FIFO queue of waiters.

    Learns from the slots given back how long calls take, and forgets it once all are free: that was then. A free slot
    is taken whatever is known, so that there are always calls to learn from.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.free = at_once
        self._at_once = at_once
        #: The average time of a call; 0 while nothing is known.
        self._call_s = 0.0
        self._most_waiting = waiting
        self._waiters: OrderedDict[W, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._waiters)

    def take(self) -> bool:
        """Take a free slot; False if there is none."""
        if not self.free:
            return False
        self.free -= 1
        return True

    def expected_s(self, before: int) -> float:
        """How long it takes until a call is answered that has so many waiters before it."""
        return self._call_s * (1 + before / self._at_once)

    def is_in_time(self, left_s: float, before: int) -> bool:
        """Whether a call that has so much time left, and so many waiters before it, can be expected to be answered."""
        return left_s >= SPARE_TIME * self.expected_s(before)

    def line_up(self, waiter: W) -> bool:
        """Join the end of the queue; False if it is full."""
        if len(self._waiters) >= self._most_waiting:
            return False
        self._waiters[waiter] = None
        return True

    def give_back(self, took_s: float | None = None) -> W | None:
        """Give a slot back, after a call that took so long. It passes to the longest waiter; None if there is none."""
        if took_s is not None:
            self._call_s += (took_s - self._call_s) * _WEIGHT
        if self._waiters:
            return self._waiters.popitem(last=False)[0]
        self.free += 1
        if self.free == self._at_once:
            self._call_s = 0.0
        return None

    def give_up(self, waiter: W) -> bool:
        """Leave the queue; False if the waiter has been given a slot already."""
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        return True

    def dismiss(self) -> list[W]:
        """Empty the queue and return its waiters."""
        waiters = list(self._waiters)
        self._waiters.clear()
        return waiters
