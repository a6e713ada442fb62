"""A clock for stores under test."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Returns `now`, which the test sets, in the unit of the clock it stands in for."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
