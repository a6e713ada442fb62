"""Concurrency of the suite for threads, under the names that both colours share.

`datastore.aio.testing._parallel` has the same names for tasks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Event", "pause", "together"]

T = TypeVar("T")

Event = threading.Event
pause = time.sleep


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at once, each in a thread; results in their order. The first error is raised at the end."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
    return [call.result() for call in running]
