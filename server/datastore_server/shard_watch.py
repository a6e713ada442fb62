"""Watches the shards behind a proxy, and logs when one goes away and when it is back.

It asks each node's health service for every change, over its own connection: what happens is noticed without any
call, and a node that stopped without a word by the connection's keepalive. Knows health; decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from datastore_client.channel import CHANNEL_OPTIONS, parse_target
from datastore_server.describe import ShardInfo

__all__ = ["ShardState", "watching"]

_log = logging.getLogger("datastore.server")

_WATCH = "/grpc.health.v1.Health/Watch"
#: How long to wait before asking again a node that is down.
RETRY_S = 1.0


class ShardState:
    """What is known of one shard, and a line in the log for every change of it."""

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


@asynccontextmanager
async def watching(shards: Iterable[ShardInfo]) -> AsyncIterator[None]:
    """Watch shards while the block runs."""
    tasks = [asyncio.create_task(_watch(shard)) for shard in shards]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(shard: ShardInfo) -> None:
    state = ShardState(shard)
    request = health_pb2.HealthCheckRequest().SerializeToString()
    async with grpc.aio.insecure_channel(parse_target(shard.url), options=CHANNEL_OPTIONS) as channel:
        changes: Any = channel.unary_stream(_WATCH)
        while True:
            try:
                async for answer in changes(request):
                    if (
                        health_pb2.HealthCheckResponse.FromString(answer).status
                        == health_pb2.HealthCheckResponse.SERVING
                    ):
                        state.up()
                    else:
                        state.down("it does not serve: it is shutting down, or its store does not answer")
                state.down("it ended the connection")
            except grpc.aio.AioRpcError as error:
                state.down(error.details() or error.code().name)
            await asyncio.sleep(RETRY_S)
