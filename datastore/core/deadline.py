"""The time by which an answer is wanted: set where a call comes in, heeded where others are made for it.

A server sets it from its caller's deadline; a store that asks other servers asks them for less, so that their failure
comes back in time to be told with the name of who failed. It follows tasks and threads as context variables do.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

__all__ = ["set_time_left", "time_left"]

#: What is kept back of the time left, to answer in: so much, but at most a tenth.
MARGIN_S = 0.2

_deadline: ContextVar[float | None] = ContextVar("datastore.deadline", default=None)


def set_time_left(seconds: float | None) -> None:
    """Note that an answer is wanted within so many seconds, by all that is called from here; None for any time."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def time_left(most_s: float) -> float:
    """How long a call made now may take, in seconds: `most_s`, or less where an answer is wanted sooner.

    Never quite 0: a call then fails by itself for want of time.
    """
    deadline = _deadline.get()
    if deadline is None:
        return most_s
    left_s = deadline - time.monotonic()
    return min(most_s, max(left_s - min(MARGIN_S, left_s / 10), 0.001))
