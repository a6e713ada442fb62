"""When to call again after a call failed, and whether its server is expected back. Decides; waits for nothing.

Pure, and the same for both colours. Knows clocks and errors; knows no call and no message.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from datastore.core.errors import DatastoreError, UnavailableError

__all__ = ["BACKOFFS_S", "RESUME_TIMEOUT_S", "RETRY_AFTER_S", "Link", "RetryPolicy", "may_repeat"]

#: How long a server that answered before is expected back after it was lost: to finish what it has in hand and to
#: start again takes less. Streams and calls wait for it within their time; later ones fail at once.
RESUME_TIMEOUT_S = 30.0
#: The backoffs between tries, from the first to the longest; each is drawn from the upper half.
BACKOFFS_S = (0.05, 1.0)
#: What an error asks to wait that the client itself finds safe to repeat: as long as a channel takes to connect anew.
RETRY_AFTER_S = 0.1


def may_repeat(error: BaseException | None) -> bool:
    """Whether what ended with `error` may be done again as it is: nothing was done, or it was a read."""
    return isinstance(error, UnavailableError) and error.retry_after_s is not None


class RetryPolicy:
    """The time that one call or query has, over all its tries, and the backoffs between them."""

    def __init__(self, timeout_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._deadline = clock() + timeout_s
        #: Since when the server is waited for; None while messages come. Not when the last message came: a reader
        #: may take its time over that.
        self._cut_at: float | None = None
        self._backoff_s = BACKOFFS_S[0]

    def left_s(self) -> float:
        """The time that is left, never quite none: gRPC then says that the deadline is exceeded."""
        return max(self._deadline - self._clock(), 0.001)

    def saw_message(self) -> None:
        """Note that the server sends."""
        self._cut_at = None
        self._backoff_s = BACKOFFS_S[0]

    def backoff_s(self, error: DatastoreError) -> float | None:
        """How long to wait before the next try, after one ended with `error`. None: give up.

        What the server asks for, and a time drawn at random on top, so that many clients do not come back at once.
        """
        now = self._clock()
        if self._cut_at is None:
            self._cut_at = now
        if now >= self._cut_at + RESUME_TIMEOUT_S:
            return None
        backoff_s = self._backoff_s * random.uniform(0.5, 1.0)
        self._backoff_s = min(self._backoff_s * 2, BACKOFFS_S[1])
        if isinstance(error, UnavailableError):
            backoff_s += error.retry_after_s or 0.0
        return backoff_s if now + backoff_s < self._deadline else None


class Link:
    """Whether the server answers, as its calls tell.

    A server that never answered is not waited for: its address may be wrong. One that did is expected back, until it
    has been away for RESUME_TIMEOUT_S.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.is_up = False
        self._was_up = False
        self._down_since: float | None = None

    @property
    def is_expected_back(self) -> bool:
        """Whether calls that could not reach the server are to be made again."""
        return self._was_up and (self._down_since is None or self._clock() < self._down_since + RESUME_TIMEOUT_S)

    def up(self) -> None:
        """Note that the server answered."""
        self.is_up = self._was_up = True
        self._down_since = None

    def down(self, *, connected: bool) -> None:
        """Note that a call failed on its way, and whether a connection had been made."""
        self.is_up = False
        self._was_up = self._was_up or connected
        if self._down_since is None:
            self._down_since = self._clock()
