"""The deadline of an incoming call: set where the call arrives, respected by calls made on its behalf.

A server sets it from its caller's deadline; a store that calls other servers gives them less time, so that a failure
can still be reported with the name of the server that failed. It follows tasks and threads as context variables do.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar

from datastore.model.errors import InvalidError

__all__ = ["LONGEST_TIMEOUT_S", "check_timeout", "has_deadline", "set_time_left", "time_left"]

#: The longest timeout, in seconds: a year. A longer one is a mistake, e.g. in milliseconds, or means none: `inf`.
LONGEST_TIMEOUT_S = 366 * 86_400.0

#: The part of the time left that is reserved for answering: so much, but at most a tenth.
MARGIN_S = 0.2

_deadline: ContextVar[float | None] = ContextVar("datastore.deadline", default=None)


def set_time_left(seconds: float | None) -> None:
    """Set the deadline, in seconds from now, of everything called from here; None for no deadline."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def has_deadline() -> bool:
    """Whether there is a deadline."""
    return _deadline.get() is not None


def time_left(most_s: float) -> float:
    """How long a call made now may take, in seconds: `most_s`, or less if the deadline is earlier.

    Never quite 0, so that the call itself fails with an exceeded deadline.
    """
    deadline = _deadline.get()
    if deadline is None:
        return most_s
    left_s = deadline - time.monotonic()
    return min(most_s, max(left_s - min(MARGIN_S, left_s / 10), 0.001))


def check_timeout(timeout_s: float, name: str) -> float:
    """A timeout in seconds that the caller gave as `name`: above 0 and at most LONGEST_TIMEOUT_S, or inf for none.

    Raises InvalidError, which names the argument and what is valid, for anything else.
    """
    is_number = isinstance(timeout_s, (int, float)) and not isinstance(timeout_s, bool)
    if is_number and (0 < timeout_s <= LONGEST_TIMEOUT_S or timeout_s == math.inf):
        return float(timeout_s)
    raise InvalidError(
        f"{name} must be a number of seconds above 0 and at most {LONGEST_TIMEOUT_S:,.0f} (a year), or inf for no"
        f" limit, not {timeout_s!r}",
        field=name,
    )
