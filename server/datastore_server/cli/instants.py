"""Instants as text in RFC 3339, as in `{"$datetime": ...}` and cells of CSV. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from datastore.model.errors import InvalidValueError

__all__ = ["instant", "instant_text"]

_RFC_3339 = re.compile(
    r"(?P<seconds>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(\.(?P<fraction>\d+))?(?P<zone>[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_MICROSECOND_DIGITS = 6


def instant(text: str) -> datetime:
    """Parse an instant in RFC 3339; returns it in UTC. Trailing zeros do not count as fractions of a microsecond.

    Raises InvalidValueError for other text, fractions of a microsecond, and instants outside the years 1 to 9999.
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise InvalidValueError(
            f"{text!r} is not an RFC 3339 instant, e.g. 2026-11-24T10:00:00Z or 2026-11-24T10:00:00.123456+01:00"
        )
    fraction = (found["fraction"] or "").rstrip("0")
    if len(fraction) > _MICROSECOND_DIGITS:
        raise InvalidValueError(f"{text!r} has fractions of a microsecond, which cannot be stored")
    try:
        moment = datetime.fromisoformat((found["seconds"] + found["zone"]).upper())
        return moment.replace(microsecond=int(fraction.ljust(_MICROSECOND_DIGITS, "0"))).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidValueError(f"{text!r} is not an instant: {error}") from error


def instant_text(value: datetime) -> str:
    """The text of an instant, as parsed by `instant`. Raises InvalidValueError for a datetime without a time zone."""
    if value.utcoffset() is None:
        raise InvalidValueError("a datetime without a time zone is not an instant")
    try:
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:
        raise InvalidValueError(f"the instant {value} is outside the years 1 to 9999") from None
