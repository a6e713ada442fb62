"""The way between a client and a server, with the faults of a network: delay, throttle, cut, black hole, half-open.

A Link is a TCP relay. It knows connections and bytes, but not what they mean, nor when a fault is due.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, suppress

from tests.support.relays import relayed

__all__ = ["ANSWERS", "BOTH", "REQUESTS", "Link", "link"]

#: The ways on which a fault holds bytes: from the client, to the client.
REQUESTS, ANSWERS = frozenset({"requests"}), frozenset({"answers"})
BOTH = REQUESTS | ANSWERS
#: A throttled link passes a part at a time, so that it holds little of what it has read.
_PART_BYTES = 16 * 1024


class Link:
    """A relay to the server on `port`. Healthy until a method says otherwise; `heal` ends all faults."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: set[_Connection] = set()
        #: Held here, because the loop does not hold a task that waits for a connection that is gone.
        self._serving: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self._held: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    # Faults

    def delay(self, seconds: float) -> None:
        """Pass every part so much later."""
        self.delay_s = seconds

    def throttle(self, bytes_per_s: int) -> None:
        """Pass at most so many bytes a second on each way of each connection."""
        self.bytes_per_s = bytes_per_s

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._is_cut = True
        self._reset()

    def black_hole(self, ways: frozenset[str] = BOTH) -> None:
        """Pass nothing on these ways, as if packets were lost. Connections stay; held bytes pass when it is healed."""
        self._held = ways

    def half_open(self) -> None:
        """End the server's side of all connections; the client does not notice until the link is healed."""
        for connection in self._connections:
            connection.lose_server()

    def heal(self) -> None:
        """End all faults. Half-open connections are reset, as by a server that has forgotten them."""
        self._is_cut, self.delay_s, self.bytes_per_s, self._held = False, 0.0, 0, frozenset()
        for connection in list(self._connections):
            if connection.is_half_open:
                connection.reset()
        self._change()

    # Its connections

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        task = asyncio.create_task(self._relay(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: _Connection | None = None
        try:
            if self._is_cut:
                return
            await self.passage("requests")
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
            connection = _Connection(writer, server_writer)
            self._connections.add(connection)
            ways = [
                asyncio.create_task(self._copy(reader, server_writer, "requests")),
                asyncio.create_task(self._copy(server_reader, writer, "answers")),
            ]
            await connection.relayed(ways)
        except OSError:
            pass  # The server is not there.
        finally:
            writer.transport.abort()
            if connection is not None:
                connection.reset()
                self._connections.discard(connection)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with suppress(OSError):
            while data := await reader.read(_PART_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                await self.passage(way)
                writer.write(data)
                await writer.drain()

    async def passage(self, way: str) -> None:
        """Wait while bytes are held on this way."""
        while way in self._held:
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _reset(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    async def end(self) -> None:
        """End all connections."""
        for task in (ending := tuple(self._serving)):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


class _Connection:
    """One connection: its two sides, and whether the server's is gone without the client's knowing."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._client = client
        self._server = server
        self._is_over = asyncio.Event()
        self.is_half_open = False

    def lose_server(self) -> None:
        self.is_half_open = True
        self._server.transport.abort()

    def reset(self) -> None:
        self._is_over.set()
        self._client.transport.abort()
        self._server.transport.abort()

    async def relayed(self, ways: list[asyncio.Task[None]]) -> None:
        """Return once one side has left, which a half-open connection does not notice of its server."""
        over = asyncio.create_task(self._is_over.wait())
        try:
            await asyncio.wait([over, *ways], return_when=asyncio.FIRST_COMPLETED)
            if self.is_half_open:
                await over
        finally:
            for task in (over, *ways):
                task.cancel()
            await asyncio.gather(over, *ways, return_exceptions=True)


def link(port: int) -> AbstractAsyncContextManager[tuple[str, Link]]:
    """A URL that leads to the server on `port` through a Link."""
    return relayed(Link(port))
