"""HTTP/2 connections driven by hand, to do what no client of gRPC does. Nothing is read unless it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, StreamEnded, StreamReset

from tests.support.waiting import PATIENCE_S

__all__ = ["GET", "Http2", "dial", "framed"]

E = TypeVar("E")

GET = "/datastore.v1.DatastoreService/Get"
_RECEIVE_BYTES = 1 << 16


def framed(message: Message | bytes) -> bytes:
    """A message as gRPC sends it: whether it is compressed, its length, and its bytes."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


class Http2:
    """One connection. `events` holds what was received and not asked for yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        # Headers are sent as they are given, wrong ones too.
        self.h2: Any = H2Connection(
            H2Configuration(header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.events: list[Any] = []

    def begin(self, path: bytes | str = GET, metadata: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """Begin a call, and return the number of its stream. Nothing is sent before `flush`."""
        stream: int = self.h2.get_next_available_stream_id()
        headers = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": path.encode() if isinstance(path, str) else path,
            b":authority": b"localhost",
            b"content-type": b"application/grpc",
            b"te": b"trailers",
        }
        self.h2.send_headers(stream, [*headers.items(), *metadata])
        return stream

    def call(self, path: bytes | str, request: Message, metadata: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """Begin a call with its request."""
        stream = self.begin(path, metadata)
        self.h2.send_data(stream, framed(request), end_stream=True)
        return stream

    async def flush(self) -> None:
        """Send what has been prepared."""
        await self.send(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def ping(self) -> None:
        """Wait until the server has read everything."""
        self.h2.ping(b"everyone")
        await self.flush()
        await self.received(PingAckReceived)

    async def read(self) -> None:
        """Wait for more events. Raises ConnectionError at the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self._reader.read(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        self.events += self.h2.receive_data(data)
        await self.flush()

    async def received(self, kind: type[E], stream: int | None = None) -> E:
        """The next event of this kind, of a stream if one is given."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                    self.events.remove(event)
                    return event
            await self.read()

    async def ended(self, stream: int) -> dict[bytes, bytes]:
        """Wait until a call has ended; its headers and trailers, none if it was reset."""
        while not any(isinstance(one, StreamEnded | StreamReset) and one.stream_id == stream for one in self.events):
            await self.read()
        return {
            name: value
            for event in self.events
            if getattr(event, "stream_id", None) == stream
            for name, value in getattr(event, "headers", None) or ()
        }

    async def closed(self) -> bytes:
        """Wait until the server has closed the connection; what it sent before."""
        parts = []
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                while data := await self._reader.read(_RECEIVE_BYTES):
                    parts.append(data)
        return b"".join(parts)


@asynccontextmanager
async def dial(port: int | Path) -> AsyncIterator[Http2]:
    """A connection to a port or socket of this machine, closed with the block. Nothing has been sent yet."""
    if isinstance(port, Path):
        reader, writer = await asyncio.open_unix_connection(port)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Http2(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
