"""When to retry a failed call, and whether its server is expected back. Decides, but does not wait.

Pure, and shared by the sync and async clients. Knows clocks and errors, but not calls or messages.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from datastore.model.errors import UnavailableError

__all__ = ["BACKOFFS_S", "RESUME_TIMEOUT_S", "RETRY_AFTER_S", "Link", "RetryPolicy", "may_repeat"]

#: How long a lost server that answered before is expected back: finishing its calls and restarting takes less.
#: Streams and calls wait for it within their deadlines; later ones fail immediately.
RESUME_TIMEOUT_S = 30.0
#: The first and the longest backoff between attempts; each is randomized within its upper half.
BACKOFFS_S = (0.05, 1.0)
#: The retry delay of an error that the client itself finds safe to retry: as long as a channel takes to reconnect.
RETRY_AFTER_S = 0.1


def may_repeat(error: BaseException | None) -> bool:
    """Whether a call that ended with `error` may be repeated unchanged: nothing was done, or it was a read."""
    return isinstance(error, UnavailableError) and error.retry_after_s is not None


class RetryPolicy:
    """The deadline of one call or query over all its attempts, and the backoffs between them."""

    def __init__(self, timeout_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._deadline = clock() + timeout_s
        #: When the wait for the server began; None while messages arrive. Not the time of the last message, because a
        #: reader may be slow to consume it.
        self._cut_at: float | None = None
        self._backoff_s = BACKOFFS_S[0]

    @property
    def ends_at(self) -> float:
        """When the time is up, by the clock."""
        return self._deadline

    def left_s(self) -> float:
        """The time left, always above zero, so that gRPC reports an exceeded deadline."""
        return max(self._deadline - self._clock(), 0.001)

    def saw_message(self) -> None:
        """Note that the server has sent a message."""
        self._cut_at = None
        self._backoff_s = BACKOFFS_S[0]

    def backoff_s(self, error: Exception) -> float | None:
        """How long to wait before the next attempt, after one ended with `error`. None: give up.

        The delay that the server asks for plus a random time, so that many clients do not return simultaneously.
        """
        now = self._clock()
        if self._cut_at is None:
            self._cut_at = now
        if now >= self._cut_at + RESUME_TIMEOUT_S:
            return None
        backoff_s = self._backoff_s * random.uniform(0.5, 1.0)
        self._backoff_s = min(self._backoff_s * 2, BACKOFFS_S[1])
        if isinstance(error, UnavailableError):
            asked_s = error.retry_after_s or 0.0
            # What has no deadline, a watch, does not wait for longer than for a server that is lost.
            backoff_s += min(asked_s, RESUME_TIMEOUT_S) if math.isinf(self._deadline) else asked_s
        return backoff_s if now + backoff_s < self._deadline else None


class Link:
    """Whether the server is up, judged by the outcomes of calls.

    If a server never answered, do not wait for it: its address may be wrong. If it did, it is expected back until it
    has been away for RESUME_TIMEOUT_S.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.is_up = False
        self._was_up = False
        self._down_since: float | None = None

    @property
    def is_expected_back(self) -> bool:
        """Whether to retry calls that could not reach the server."""
        return self._was_up and (self._down_since is None or self._clock() < self._down_since + RESUME_TIMEOUT_S)

    def up(self) -> None:
        """Note that the server answered."""
        self.is_up = self._was_up = True
        self._down_since = None

    def down(self, *, connected: bool) -> None:
        """Note that a call failed in transit, and whether a connection had been made."""
        self.is_up = False
        self._was_up = self._was_up or connected
        if self._down_since is None:
            self._down_since = self._clock()
