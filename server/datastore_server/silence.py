"""Whether a node has stopped answering although calls wait for it, e.g. because its process or its disk is suspended.

Then only a few calls may wait for it: clients make a limited number at once, and all of theirs would soon wait here,
with those for other shards behind them. Pure: knows times and numbers, but no calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["CALLS_UNANSWERED", "SILENCE_S", "Silence"]

#: How many calls may wait for a node that answers none. The first answer ends the silence.
CALLS_UNANSWERED = 16
#: How long a node may answer nothing before further calls are refused, in seconds: a busy one answers some.
SILENCE_S = 1.0


class Silence:
    """The calls that wait for one node, and since when it has answered none of them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = 0
        #: When the first of these calls was made, or the last answer arrived; None if nothing waited since.
        self._since: float | None = None

    def lasted_s(self) -> float | None:
        """For how long the node has been silent, if another call must not wait for it too; None if it may."""
        if self._since is None or self._waiting < CALLS_UNANSWERED:
            return None
        lasted_s = self._clock() - self._since
        return lasted_s if lasted_s >= SILENCE_S else None

    def enter(self) -> None:
        """Note that a call waits for the node; `leave` must follow."""
        if self._since is None:
            self._since = self._clock()
        self._waiting += 1

    def heard(self) -> None:
        """Note that the node has answered a call, which is still counted."""
        self._since = self._clock() if self._waiting > 1 else None

    def leave(self) -> None:
        """Note that a call no longer waits."""
        self._waiting -= 1
