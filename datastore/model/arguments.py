"""Checks of what callers pass to a store. Pure."""

from __future__ import annotations

from typing import Any

from datastore.model.errors import InvalidError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.metadata import no_versions
from datastore.model.query import Query

__all__ = ["check_count", "check_key", "check_query", "check_versions"]


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


def check_versions(store: Any, query: Query) -> None:
    """Raise UnsupportedError if `query` needs metadata, which the store does not keep."""
    if query.needs_metadata and not store.capability.versions:
        raise no_versions(store)


def check_count(name: str, count: object) -> None:
    """Raise UnsupportedTypeError (a TypeError) or InvalidError (a ValueError) unless it is an int of at least 1."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise UnsupportedTypeError(f"{name} must be an int, got {type(count).__name__}", path=name)
    if count < 1:
        raise InvalidError(f"{name} must be at least 1, got {count}", field=name)
