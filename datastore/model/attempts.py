"""Attempts of a write, which let a store tell a repeated one from a new one. Pure, apart from the clock."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from datastore.model.errors import InvalidError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["REQUEST_ID_BYTES", "Attempt", "check_attempt", "check_request_id", "check_together", "elapsed_us"]

#: The length of a request's id.
REQUEST_ID_BYTES = 16


def elapsed_us() -> int:
    """Microseconds since an arbitrary moment before the process began, including the time that the machine sleeps.

    Unlike the time of day, never set back or forward.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return time.monotonic_ns() // 1000


class Attempt(NamedTuple):
    """One attempt of a write: the id of the write, 16 random bytes, which is the same in all its attempts.

    `first_us` is when the first attempt was sent that may have been made, by `elapsed_us` of this process; None in that
    one and in those before it.
    """

    request_id: bytes
    first_us: int | None = None

    @classmethod
    def new(cls) -> Attempt:
        """The first attempt of a new write."""
        return cls(os.urandom(REQUEST_ID_BYTES))

    def followed(self, sent_us: int) -> Attempt:
        """The next attempt, after this one was sent at that moment, and may have been made."""
        return self if self.is_repeat else self._replace(first_us=sent_us)

    @property
    def is_repeat(self) -> bool:
        """Whether an earlier attempt may have been made."""
        return self.first_us is not None


def check_attempt(attempt: object) -> None:
    """Raise UnsupportedTypeError or InvalidError unless `attempt` is an Attempt with an id of the right length."""
    if not isinstance(attempt, Attempt):
        raise UnsupportedTypeError(f"an attempt must be an Attempt, got {type(attempt).__name__}", path="attempt")
    check_request_id(attempt.request_id)


def check_together(have_attempts: Iterable[bool]) -> None:
    """Raise InvalidError unless all writes of an atomic batch have attempts, or none: it is repeated as a whole."""
    if len(set(have_attempts)) > 1:
        raise InvalidError("of an atomic batch, all writes have an attempt or none", field="attempt")


def check_request_id(request_id: bytes) -> None:
    """Raise InvalidError unless the id has REQUEST_ID_BYTES."""
    if len(request_id) != REQUEST_ID_BYTES:
        raise InvalidError(
            f"attempt.request_id must have {REQUEST_ID_BYTES} bytes, got {len(request_id)}", field="attempt.request_id"
        )
