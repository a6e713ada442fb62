"""What processes hold in memory, as Linux counts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["Growth", "anonymous_bytes", "growth"]

#: How often memory is looked at, in seconds.
INTERVAL_S = 0.02


def anonymous_bytes(pid: int) -> int:
    """The memory of a process without mapped files, which LMDB reads through."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


class Growth:
    """By how much processes have grown at most since this was created, in bytes, by name."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = self._now()
        self.most_bytes = dict.fromkeys(pids, 0)

    def look(self) -> None:
        """Count what they hold now."""
        for name, held in self._now().items():
            self.most_bytes[name] = max(self.most_bytes[name], held - self._before[name])

    def _now(self) -> dict[str, int]:
        return {name: anonymous_bytes(pid) for name, pid in self._pids.items()}


@asynccontextmanager
async def growth(pids: Mapping[str, int]) -> AsyncGenerator[Growth]:
    """Watches processes while the block runs."""
    seen = Growth(pids)

    async def look() -> None:
        while True:
            seen.look()
            await asyncio.sleep(INTERVAL_S)

    looking = asyncio.create_task(look())
    try:
        yield seen
        seen.look()
    finally:
        looking.cancel()
