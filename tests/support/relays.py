"""Serves a relay between a client and a server on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Relay(Protocol):
    """Passes on what comes over a connection, or does not."""

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None] | None:
        """Serve a connection until it ends, or begin to."""

    async def end(self) -> None:
        """End all connections."""


R = TypeVar("R", bound=Relay)


@asynccontextmanager
async def relayed(relay: R) -> AsyncIterator[tuple[str, R]]:
    """A URL that leads through a relay, and the relay."""
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    async with server:
        try:
            yield f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
        finally:
            await relay.end()
