"""Which calls a server takes up: as many as it can answer in time. The rest it refuses at once.

gRPC's own queue refuses with a bare CANCELLED, health checks too, and only after it is far too long; so it is made
long enough never to, and the decision is made here, before each call. Knows numbers and errors; knows no call.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from datastore.model.errors import OverloadedError, UnavailableError

__all__ = ["CALLS_UNQUESTIONED", "Admission"]

#: So many calls are taken up whatever their deadlines: with few in hand, one slow call says little about the next.
CALLS_UNQUESTIONED = 64
#: How much each call counts in the average time between the ends of two calls: that of about the last fifty.
_WEIGHT = 0.04
#: What a refused client is asked to wait: about as long as the calls in hand take, within these bounds.
_RETRY_AFTER_S = (0.1, 1.0)


class Admission:
    """Counts the unary calls in hand, and refuses those that would end too late."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.in_hand = 0
        self._most = most
        self._clock = clock
        #: The average time between the ends of two calls, while there were calls.
        self._interval_s = 0.0
        self._busy_since = 0.0
        self._refusal: Callable[[], UnavailableError] | None = None

    def close(self, refusal: Callable[[], UnavailableError]) -> None:
        """Refuse all calls from now on, each with another error: one for all would hold the frames of each call."""
        self._refusal = refusal

    def enter(self, time_left_s: float | None) -> None:
        """Admit a call with `time_left_s` until its deadline (None: no deadline); `leave` must follow.

        Raises OverloadedError if it would miss its deadline, or too many calls are in progress; nothing was done.
        """
        if self._refusal is not None:
            raise self._refusal()
        if self.in_hand >= self._most:
            raise self._overloaded(f"{self.in_hand:,} calls are in progress, which is its limit (calls_in_hand)")
        expected_s = self.in_hand * self._interval_s
        if self.in_hand >= CALLS_UNQUESTIONED and time_left_s is not None and time_left_s < expected_s:
            raise self._overloaded(
                f"a call takes about {expected_s:.2g} s now, and its deadline is in {time_left_s:.2g} s"
            )
        if not self.in_hand:
            self._busy_since = self._clock()
        self.in_hand += 1

    def leave(self) -> None:
        """Note that a call has ended."""
        now = self._clock()
        self._interval_s += (now - self._busy_since - self._interval_s) * _WEIGHT
        self._busy_since = now
        self.in_hand -= 1

    def _overloaded(self, why: str) -> OverloadedError:
        shortest, longest = _RETRY_AFTER_S
        wait_s = min(max(self.in_hand * self._interval_s, shortest), longest)
        return OverloadedError(f"the server is overloaded: {why}", retry_after_s=wait_s)
