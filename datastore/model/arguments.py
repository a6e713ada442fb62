"""Checks of what callers pass to a store. Pure."""

from __future__ import annotations

from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["check_key", "check_query", "check_seconds"]


def check_key(key: object) -> Key:
    """`key` as a Key, if it is one or has a Key's interface. Otherwise UnsupportedTypeError (a TypeError)."""
    if isinstance(key, Key):
        return key
    if not (hasattr(key, "path") and hasattr(key, "child")):
        raise UnsupportedTypeError(f"a key must be a Key, e.g. Key('/a/b'), got {type(key).__name__}", path="key")
    return Key(str(key))


def check_query(query: object) -> None:
    """Raise UnsupportedTypeError (a TypeError) unless `query` is a Query."""
    if not isinstance(query, Query):
        raise UnsupportedTypeError(f"a query must be a Query, got {type(query).__name__}", path="query")


def check_seconds(name: str, seconds: object) -> None:
    """Raise UnsupportedTypeError (a TypeError) or InvalidError (a ValueError) unless it is a number above 0."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise UnsupportedTypeError(f"{name} must be a number of seconds, got {type(seconds).__name__}", path=name)
    if not 0 < seconds < float("inf"):
        raise InvalidError(f"{name} must be a number of seconds above 0, got {seconds}", field=name)
