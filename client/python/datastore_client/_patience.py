"""How long a query goes on, and when to call again after a stream was cut. Decides; waits for nothing.

Pure, and the same for both colours. Knows clocks and errors; knows no call and no message.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from datastore.core.errors import DatastoreError, UnavailableError

__all__ = ["PAUSES_S", "RESUME_TIMEOUT_S", "Patience"]

#: How long a stream that was cut waits for its server to come back and send on.
RESUME_TIMEOUT_S = 30.0
#: The pauses between tries to continue, from the first to the longest; each is drawn from the upper half.
PAUSES_S = (0.05, 1.0)


class Patience:
    """The time that one query has, over all its calls, and the pauses between them."""

    def __init__(self, timeout_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._deadline = clock() + timeout_s
        #: When the stream was found cut; None while messages come. Not when the last message came: a reader may
        #: take its time over that.
        self._cut_at: float | None = None
        self._pause_s = PAUSES_S[0]

    def left_s(self) -> float:
        """The time that is left, never quite none: gRPC then says that the deadline is exceeded."""
        return max(self._deadline - self._clock(), 0.001)

    def saw_message(self) -> None:
        """Note that the server sends."""
        self._cut_at = None
        self._pause_s = PAUSES_S[0]

    def pause_s(self, error: DatastoreError) -> float | None:
        """How long to wait before the next call, after one ended with `error`. None: give up.

        Drawn at random, so that many clients do not come back at once, and at least what the server asks for.
        """
        now = self._clock()
        if self._cut_at is None:
            self._cut_at = now
        if now >= min(self._deadline, self._cut_at + RESUME_TIMEOUT_S):
            return None
        pause_s = self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(self._pause_s * 2, PAUSES_S[1])
        if isinstance(error, UnavailableError) and error.retry_after_s is not None:
            pause_s = max(pause_s, error.retry_after_s)
        return min(pause_s, self.left_s())
