"""Which call runs next: some run concurrently, the others queue, FIFO, if they can meet their deadlines.

Decides, but does not wait. Pure, and shared by the sync and async clients, which wait in different ways. Not safe for
threads by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Generic, TypeVar

__all__ = ["CALLS_AT_ONCE", "SPARE_TIME", "STREAMS_AT_ONCE", "STUCK_S", "WAITING_CALLS", "Slots", "Turn"]

#: Concurrent unary calls of one client. Enough to keep a server busy and to fill its group commits; more would
#: only queue at the server, which refuses calls that it cannot answer in time.
CALLS_AT_ONCE = 100
#: Concurrent streams of one client: what servers allow on one connection. Unary calls use another connection.
STREAMS_AT_ONCE = 1000
#: Maximum queued calls of one client; the next is refused. Each holds its request, at most 4 MiB.
WAITING_CALLS = 10_000
#: How many times the expected duration a call must have left, to be queued and then to be sent. Durations vary,
#: and a call that is answered too late costs the server as much as any other.
SPARE_TIME = 1.5
#: If no call ends for so long, in seconds, while others wait, these start beside it: the calls may wait for one of
#: several shards, which does not answer, and the others for the rest.
STUCK_S = 1.0
#: The weight of each call in the moving average of call durations: about the last hundred calls count.
_WEIGHT = 0.01

W = TypeVar("W")


class Turn(Enum):
    """The outcome of asking for a slot."""

    TAKEN = "taken"
    #: The queue is full.
    FULL = "full"
    #: The wait timed out.
    LATE = "late"
    #: The call would be answered too late.
    REFUSED = "refused"
    #: The slots were closed.
    CLOSED = "closed"


class Slots(Generic[W]):
    """A number of slots, and a bounded FIFO queue of waiters.

    Released slots report how long calls take; the average is reset once all slots are free, because it is outdated
    then. A free slot can always be taken, so there are always calls to measure. While no call ends, more slots are
    lent, at most STREAMS_AT_ONCE in all; the calls in whose place they are lent end them.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self.free = at_once
        self._at_once = at_once
        self._lent = 0
        #: Changes whenever a call ends, or slots are lent.
        self.turns = 0
        #: The average duration of a call; 0 while unknown.
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
        """The expected time until a call with this many waiters before it is answered."""
        return self._call_s * (1 + before / self._at_once)

    def is_in_time(self, left_s: float, before: int) -> bool:
        """Whether a call with this much time left, and this many waiters before it, should be answered in time."""
        return left_s >= SPARE_TIME * self.expected_s(before)

    def line_up(self, waiter: W) -> bool:
        """Join the end of the queue; False if it is full."""
        if len(self._waiters) >= self._most_waiting:
            return False
        self._waiters[waiter] = None
        return True

    def give_back(self, took_s: float | None = None) -> W | None:
        """Release a slot after a call of this duration. It passes to the longest waiter, which is returned, if any."""
        self.turns += 1
        if self._lent and took_s is not None and took_s >= STUCK_S:
            # Another call has its slot, and it says nothing about the duration of others.
            self._lent -= 1
            return None
        if took_s is not None:
            self._call_s += (took_s - self._call_s) * _WEIGHT
        if self._waiters:
            return self._waiters.popitem(last=False)[0]
        self.free += 1
        if self.free == self._at_once + self._lent:
            self.free, self._lent = self._at_once, 0
            self._call_s = 0.0
        return None

    def lend(self) -> list[W]:
        """Lend as many slots again because no call has ended for STUCK_S. Returns the waiters that have one now."""
        more = min(self._at_once, max(STREAMS_AT_ONCE - self._at_once - self._lent, 0), len(self._waiters))
        self.turns += 1
        self._lent += more
        return [self._waiters.popitem(last=False)[0] for _ in range(more)]

    def give_up(self, waiter: W) -> bool:
        """Leave the queue; False if the waiter already has a slot."""
        if waiter not in self._waiters:
            return False
        del self._waiters[waiter]
        return True

    def dismiss(self) -> list[W]:
        """Empty the queue and return its waiters."""
        waiters = list(self._waiters)
        self._waiters.clear()
        return waiters
