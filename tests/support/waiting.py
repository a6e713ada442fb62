"""How long a test waits for something that must happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["PATIENCE_S", "until"]

#: Long enough for a busy machine ten times slower than any of ours: only a test that hangs waits so long.
PATIENCE_S = 300.0
ASK_AGAIN_S = 0.02


async def until(ask: Callable[[], Awaitable[Any]], answer: Any) -> None:
    """Repeat a call until it returns this answer."""
    async with asyncio.timeout(PATIENCE_S):
        while await ask() != answer:
            await asyncio.sleep(ASK_AGAIN_S)
