"""Which calls a server admits: as many as it can answer in time. It refuses the others immediately.

gRPC's own queue refuses calls, health checks included, with a bare CANCELLED, and only when it is far too long. So it
is configured never to fill up, and each call is decided here. Knows numbers and errors, but no calls.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from datastore.model.errors import OverloadedError, UnavailableError

__all__ = ["CALLS_UNQUESTIONED", "Admission"]

#: This many calls are admitted whatever their deadlines: with few calls, a slow one says little about the next.
CALLS_UNQUESTIONED = 64
#: A call is admitted only if its deadline leaves this many times what a call takes now: a late answer is wasted work.
_MARGIN = 2
#: The weight of each call in the average interval between the ends of calls: about the last fifty count.
_WEIGHT = 0.04
#: The shortest and longest retry delay of a refused client, in seconds: about as long as the active calls take.
_RETRY_AFTER_S = (0.1, 1.0)


class Admission:
    """Counts the active unary calls, at most `most`, and refuses those that would end too late.

    A call is overtaken when a later one ends first: it does not wait for this server but e.g. for a shard that has
    stopped. As it does not delay the next call, it does not count when that one's deadline is checked.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._entered = 0
        #: The calls in hand by their numbers: those that none has overtaken, in order, and the others.
        self._ahead: OrderedDict[int, None] = OrderedDict()
        self._overtaken: set[int] = set()
        self._most = most
        self._clock = clock
        #: The average interval between the ends of calls, without idle time.
        self._interval_s = 0.0
        self._busy_since = 0.0
        self._refusal: Callable[[], UnavailableError] | None = None

    @property
    def in_hand(self) -> int:
        """How many calls are in progress."""
        return len(self._ahead) + len(self._overtaken)

    def close(self, refusal: Callable[[], UnavailableError]) -> None:
        """Refuse all calls from now on, each with a new error: a shared one would keep the frames of every call."""
        self._refusal = refusal

    def enter(self, time_left_s: float | None) -> int:
        """Admit a call with `time_left_s` until its deadline (None: no deadline). Its number, for `leave`.

        Raises OverloadedError if it could miss its deadline, or too many calls are in progress; nothing was done.
        """
        self.check(self.in_hand, time_left_s)
        if not self._ahead:
            self._busy_since = self._clock()
        self._entered += 1
        self._ahead[self._entered] = None
        return self._entered

    def check(self, in_hand: int, time_left_s: float | None) -> None:
        """Raise what `enter` would raise with this many calls in progress. May be called in any thread."""
        if self._refusal is not None:
            raise self._refusal()
        if in_hand >= self._most:
            raise self._overloaded(f"{in_hand:,} calls are in progress, which is its limit (calls_in_hand)", in_hand)
        before = in_hand - len(self._overtaken)
        expected_s = before * self._interval_s
        if before >= CALLS_UNQUESTIONED and time_left_s is not None and time_left_s < expected_s * _MARGIN:
            raise self._overloaded(
                f"a call takes about {expected_s:.2g} s now, and its deadline is in {time_left_s:.2g} s", in_hand
            )

    def leave(self, number: int) -> None:
        """Note that the call of this number has ended."""
        if number in self._overtaken:
            self._overtaken.remove(number)
            return
        while (first := next(iter(self._ahead))) < number:
            del self._ahead[first]
            self._overtaken.add(first)
        del self._ahead[number]
        now = self._clock()
        self._interval_s += (now - self._busy_since - self._interval_s) * _WEIGHT
        self._busy_since = now

    def _overloaded(self, why: str, in_hand: int) -> OverloadedError:
        shortest, longest = _RETRY_AFTER_S
        wait_s = min(max(in_hand * self._interval_s, shortest), longest)
        return OverloadedError(f"the server is overloaded: {why}", retry_after_s=wait_s)
