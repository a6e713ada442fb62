"""Watches the shards behind a proxy, and logs when one goes down and when it comes back.

It watches the health service of each node over a separate connection, so it notices changes without any calls, and by
keepalive a node that stopped silently. Knows health, and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from datastore_client._messages import SERVING
from datastore_client.aio._calls import open_channel
from datastore_client.channel import parse_target
from datastore_server.describe import ShardInfo

__all__ = ["ShardState", "watching"]

_log = logging.getLogger("datastore.server")

_WATCH = "/grpc.health.v1.Health/Watch"
#: How long to wait before a node that is down is watched again, in seconds.
RETRY_S = 1.0


class ShardState:
    """The known state of one shard. Logs every change."""

    def __init__(self, shard: ShardInfo) -> None:
        self._named = f"shard {shard.name} at {shard.url}"
        self._is_up: bool | None = None
        self._since = 0.0

    def up(self) -> None:
        """The shard serves."""
        if self._is_up is False:
            _log.info("%s is back after %.0f s", self._named, time.monotonic() - self._since)
        elif self._is_up is None:
            _log.info("%s is up", self._named)
        self._is_up = True

    def down(self, why: str) -> None:
        """The shard does not serve, or cannot be reached."""
        if self._is_up is not False:
            self._since = time.monotonic()
            _log.warning("%s is down: %s", self._named, why)
        self._is_up = False


async def _not_noted(name: str, is_up: bool) -> None:
    """Only the log says what changes."""


@asynccontextmanager
async def watching(
    shards: Iterable[ShardInfo], changed: Callable[[str, bool], Awaitable[None]] = _not_noted
) -> AsyncIterator[None]:
    """Watch shards while the block runs. `changed` is called with the name of one, and whether it is up."""
    tasks = [asyncio.create_task(_watch(shard, changed)) for shard in shards]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(shard: ShardInfo, changed: Callable[[str, bool], Awaitable[None]]) -> None:
    state = ShardState(shard)
    target = parse_target(shard.url)
    while True:
        # Certificates may have changed since the last attempt.
        async with open_channel(target, shard.credentials) as channel:
            changes: Any = channel.unary_stream(_WATCH)
            try:
                async for answer in changes(b""):
                    if answer == SERVING:
                        state.up()
                    else:
                        state.down("it is not serving: it is shutting down, or its store does not answer")
                    await changed(shard.name, answer == SERVING)
                state.down("it ended the connection")
            except grpc.aio.AioRpcError as error:
                state.down(error.details() or error.code().name)
        await changed(shard.name, False)
        await asyncio.sleep(RETRY_S)
