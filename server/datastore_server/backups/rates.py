"""Limits the bytes per second of a job."""

from __future__ import annotations

import asyncio
import time

__all__ = ["Rate"]


class Rate:
    """A limit in bytes per second; None for no limit. Unused capacity is not saved up."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def spend(self, count: int) -> None:
        """Wait until this many bytes may be moved."""
        if self._bytes_per_s is None:
            return
        now = time.monotonic()
        waits_s = self._free_at - now
        self._free_at = max(now, self._free_at) + count / self._bytes_per_s
        if waits_s > 0:
            await asyncio.sleep(waits_s)
