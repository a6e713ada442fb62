"""Concurrency of the suite for tasks, under the names that both colours share.

The twin of `datastore.testing._parallel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["Event", "pause", "together"]

T = TypeVar("T")

Event = asyncio.Event
pause = asyncio.sleep


async def together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make all calls at once, each in a task; results in their order. The first error is raised at the end."""
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
