"""The metadata that an incoming call passes on to the calls made on its behalf: its request id and its trace.

A server sets where it comes from, and a store that calls other servers gets it. It follows tasks and threads as context
variables do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeAlias

__all__ = ["Forwarded", "forwarded", "set_forwarded"]

#: Metadata of a call: names and values.
Forwarded: TypeAlias = tuple[tuple[str, str], ...]

_source: ContextVar[Callable[[], Forwarded] | None] = ContextVar("datastore.forwarded", default=None)


def set_forwarded(source: Callable[[], Forwarded]) -> None:
    """Set the source of the metadata for all calls made in this context. It is called once per call made."""
    _source.set(source)


def forwarded() -> Forwarded:
    """The metadata for a call made now."""
    source = _source.get()
    return () if source is None else source()
