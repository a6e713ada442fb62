"""Times in microseconds as Timestamps and Durations, and back. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["NANOS_PER_MICRO", "set_time", "time_us"]

_MICROS = 1_000_000
NANOS_PER_MICRO = 1000


def set_time(message: Any, microseconds: int) -> None:
    """Set a Timestamp, which counts from 1970, or a Duration."""
    message.seconds, micros = divmod(microseconds, _MICROS)
    message.nanos = micros * NANOS_PER_MICRO


def time_us(message: Any) -> int:
    """The microseconds of a Timestamp or a Duration, rounded down."""
    found: int = message.seconds * _MICROS + message.nanos // NANOS_PER_MICRO
    return found
