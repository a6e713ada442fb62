"""Passes calls on to the writer: writes of entries, which are gathered, and whole calls as the bytes that they are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from types import SimpleNamespace

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from datastore.aio import ShimDatastore
from datastore.aio.base import Datastore
from datastore.model.capability import Capability
from datastore.model.deadline import time_left
from datastore.model.description import Description
from datastore.model.errors import DatastoreError
from datastore.model.operations import Operation, WriteResult
from datastore_client._retry import RetryPolicy
from datastore_client.aio._connection import Connection
from datastore_client.aio.remote import RemoteDatastore
from datastore_client.tls import Credentials
from datastore_server.call import Call, Handler
from datastore_server.rpc import method_name

__all__ = ["PassedStream", "PassingDatastore", "WriterLink"]

#: How long a write waits for the writer, in seconds, if its caller waits longer or has no deadline.
WRITE_TIMEOUT_S = 600.0


class WriterLink:
    """The connection of a reader to its writer at `url`. For the running event loop. The caller must close it."""

    def __init__(self, url: str) -> None:
        # Clients retry. If the reader did too, calls would multiply while the writer is busy.
        self.store = RemoteDatastore(url, lazy=True, retry=False, coalesce=True, timeout_s=WRITE_TIMEOUT_S)
        self._connection = Connection(url, name=None, timeout_s=math.inf, retry=False, credentials=Credentials())

    async def answer(self, path: str, request: bytes) -> bytes:
        """The answer of a method that has one."""
        return await self._connection.unary(path, lambda: request, is_read=False)

    def stream(self, path: str, request: bytes, send: Callable[[bytes], Awaitable[None]]) -> PassedStream:
        """The answers of another method, which are passed to `send`."""
        return PassedStream(self._connection, path, request, send)

    def service(self, descriptor: ServiceDescriptor) -> SimpleNamespace:
        """A service whose methods are the writer's."""
        return SimpleNamespace(**{method_name(method): self._handler(method) for method in descriptor.methods})

    def _handler(self, method: MethodDescriptor) -> Handler:
        path = f"/{method.containing_service.full_name}/{method.name}"

        async def handle(request: bytes, call: Call) -> bytes | None:
            if not method.server_streaming:
                return await self.answer(path, request)
            await self.stream(path, request, call.send).run()
            return None

        return handle

    async def aclose(self) -> None:
        """Close the connection. Calls in progress raise DatastoreClosedError."""
        await self.store.aclose()
        await self._connection.aclose()


class PassedStream:
    """A stream of the writer on its way to a client, at the client's pace."""

    def __init__(
        self, connection: Connection, path: str, request: bytes, send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._path = path
        self._request = request
        self._send = send
        self._error: DatastoreError | None = None
        self._waiting: asyncio.Timeout | None = None

    def interrupt(self, error: DatastoreError) -> None:
        """End the stream with this error, as soon as its last message has been sent."""
        self._error = self._error or error
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Pass everything on."""
        policy = RetryPolicy(time_left(math.inf))
        received = await self._connection.stream(self._path, self._request, policy, is_read=False)
        async with aclosing(received):
            while (message := await self._next(received.read)) is not None:
                await self._send(message)

    async def _next(self, read: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        try:
            if self._error is None:
                async with asyncio.timeout(None) as self._waiting:
                    return await read()
        except TimeoutError:
            if self._error is None:
                raise
        finally:
            self._waiting = None
        raise self._error


class PassingDatastore(ShimDatastore):
    """Reads from `datastore`, and lets the writer write."""

    def __init__(self, datastore: Datastore, writer: WriterLink) -> None:
        super().__init__(datastore)
        self._writer = writer

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Write by the writer, which decides by the placement, the conditions and the rest."""
        return await self._writer.store.write(operations)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """The same, all or nothing."""
        return await self._writer.store.write_atomic(operations)

    @property
    def capability(self) -> Capability:
        """That of reading, and of the writer."""
        return self.child_datastore.capability._replace(changes=True, atomic=True, retries=True)

    def describe(self) -> Description:
        return self.child_datastore.describe()

    async def aclose(self) -> None:
        await self._writer.aclose()
        await super().aclose()
