"""Durations that callers pass. Pure."""

from __future__ import annotations

from datastore.model.errors import InvalidError, UnsupportedTypeError

__all__ = ["check_seconds"]


def check_seconds(name: str, seconds: object) -> None:
    """Raise UnsupportedTypeError (a TypeError) or InvalidError (a ValueError) unless it is a number above 0."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise UnsupportedTypeError(f"{name} must be a number of seconds, got {type(seconds).__name__}", path=name)
    if not 0 < seconds < float("inf"):
        raise InvalidError(f"{name} must be a number of seconds above 0, got {seconds}", field=name)
