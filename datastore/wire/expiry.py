"""Expiries as messages of `datastore.v1`, and back. Pure."""

from __future__ import annotations

from typing import Any

from datastore.model.errors import InvalidError
from datastore.model.expiry import MAX_EXPIRES_US, Expiry, too_late
from datastore.wire.times import NANOS_PER_MICRO, set_time, time_us

__all__ = ["decode_expiry", "set_expiry"]

_NANOS = range(1_000_000_000)


def set_expiry(request: Any, expiry: Expiry | None) -> None:
    """Make a request, of `datastore.v1` or of `raw`, state an expiry; none for an entry that never expires."""
    if expiry is None:
        return
    if expiry.in_us is not None:
        set_time(request.expiry.expires_in, expiry.in_us)
    elif expiry.at_us is not None:
        set_time(request.expiry.expire_time, expiry.at_us)


def decode_expiry(message: Any, field: str = "expiry") -> Expiry:
    """The expiry of a message. Raises InvalidError, with `field`, if it states none, or one that cannot be."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidError(f"{field} is empty: set expires_in or expire_time, or leave {field} out", field=field)
    field = f"{field}.{kind}"
    time = getattr(message, kind)
    if time.nanos not in _NANOS:
        raise InvalidError(f"{field}.nanos must be from 0 to 999,999,999, got {time.nanos}", field=f"{field}.nanos")
    if kind == "expire_time":
        at_us = time_us(time)
        if at_us > MAX_EXPIRES_US:
            raise too_late(field)
        return Expiry(at_us=max(1, at_us))
    # Rounded up: a duration above 0 is at least one microsecond.
    in_us = time_us(time) + (time.nanos % NANOS_PER_MICRO > 0)
    if in_us <= 0:
        raise InvalidError(f"{field} must be above 0, got {time.seconds} s and {time.nanos} ns", field=field)
    if in_us > MAX_EXPIRES_US:
        raise too_late(field)
    return Expiry(in_us=in_us)
