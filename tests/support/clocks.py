"""A clock for stores under test."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Returns `now`, in seconds, which the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
