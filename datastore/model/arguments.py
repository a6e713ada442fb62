"""Checks of what callers pass to a store. Pure."""

from __future__ import annotations

from datastore.model.errors import UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["check_key", "check_query"]


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
