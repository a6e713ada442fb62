"""What calls made on behalf of an incoming call carry on of it: its request id and its trace.

A server says where to find it; a store that calls other servers asks. It follows tasks and threads as context variables
do.
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
    """Set what provides the metadata for everything called from here. It is asked only if there is a call to make."""
    _source.set(source)


def forwarded() -> Forwarded:
    """The metadata that a call made now carries on."""
    source = _source.get()
    return () if source is None else source()
