"""When entries expire: as callers say it, and as a store decides it. Pure.

A duration is counted by the clock of the store, from the write on, so that the clocks of clients do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from datastore.model.durations import check_seconds
from datastore.model.errors import InvalidError, UnsupportedTypeError

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MAX_EXPIRES_US", "NEVER", "Expiry", "check_expiry", "expiry_of", "too_late"]

#: The latest instant at which an entry can expire, in microseconds since 1970: the end of the year 9999, which is the
#: last one in a Timestamp and a datetime.
MAX_EXPIRES_US = 253_402_300_799_999_999


class Expiry(NamedTuple):
    """When an entry expires: `in_us` microseconds after the write, or `at_us` microseconds after the beginning of 1970.

    With neither, it never does. Not both. An instant that has passed deletes the entry.
    """

    in_us: int | None = None
    at_us: int | None = None

    @classmethod
    def after(cls, seconds: float) -> Expiry:
        """So many seconds after the write; at least a microsecond.

        Raises UnsupportedTypeError (a TypeError) unless it is a number, InvalidError (a ValueError) unless it is above
        0 and ends before the year 10000.
        """
        check_seconds("expires_in_s", seconds)
        if seconds * 1_000_000 > MAX_EXPIRES_US:
            raise too_late("expires_in_s")
        return cls(in_us=max(1, round(seconds * 1_000_000)))

    @classmethod
    def at(cls, time: datetime) -> Expiry:
        """At an instant.

        Raises UnsupportedTypeError (a TypeError) unless it is a datetime, InvalidError (a ValueError) unless it has a
        time zone.
        """
        # Loaded only where times are given: loading takes noticeable time.
        from datetime import UTC, datetime, timedelta

        if not isinstance(time, datetime):
            raise UnsupportedTypeError(
                f"expire_time must be a datetime with a time zone, got {type(time).__name__}", path="expire_time"
            )
        if time.utcoffset() is None:
            raise InvalidError("expire_time must have a time zone, e.g. datetime.now(UTC) + ...", field="expire_time")
        at_us = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        if at_us > MAX_EXPIRES_US:
            # By its own zone still in the year 9999.
            raise too_late("expire_time")
        # Every instant before the first microsecond has passed for every store, and 0 means never.
        return cls(at_us=max(1, at_us))

    def instant_us(self, now_us: int) -> int:
        """When an entry that is written now expires, in microseconds since 1970; 0 for never.

        Raises InvalidError (a ValueError) if that is after the year 9999.
        """
        if self.in_us is None:
            return self.at_us or 0
        if now_us + self.in_us > MAX_EXPIRES_US:
            raise too_late("expires_in_s")
        return now_us + self.in_us


#: The entry never expires.
NEVER = Expiry()


def expiry_of(*, expires_in_s: float | None = None, expire_time: datetime | None = None) -> Expiry | None:
    """The expiry that the keyword arguments of a write state, or None. Raises InvalidError (a ValueError) for both."""
    if expires_in_s is None:
        return None if expire_time is None else Expiry.at(expire_time)
    if expire_time is not None:
        raise InvalidError("a write has expires_in_s or expire_time, not both", field="expire_time")
    return Expiry.after(expires_in_s)


def check_expiry(expiry: object) -> None:
    """Raise UnsupportedTypeError or InvalidError unless `expiry` is an Expiry that states one time at most."""
    if not isinstance(expiry, Expiry):
        raise UnsupportedTypeError(
            f"an expiry must be an Expiry, e.g. Expiry.after(seconds=60), got {type(expiry).__name__}", path="expiry"
        )
    if expiry.in_us is not None and expiry.at_us is not None:
        raise InvalidError("an Expiry has in_us or at_us, not both", field="expiry")


def too_late(field: str) -> InvalidError:
    """The error for an entry that would expire after the last year."""
    return InvalidError(f"{field} is after the year 9999; an entry without an expiry never expires", field=field)
