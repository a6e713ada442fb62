"""A second transport: calls the services in this process, with queues for connections. It does not use gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from google.protobuf.message import Message
from google.rpc import status_pb2

from datastore import wire
from datastore.model.errors import DeadlineExceededError
from datastore_server.call import Answer, Call, ClientGoneError, ServedMethod

__all__ = ["InProcess", "Rpc"]


class InProcess:
    """A connection to servers in this process, by the name of the method alone."""

    def __init__(self, methods: Iterable[ServedMethod], *, peer: str = "in process") -> None:
        self.methods = {method.path.rpartition("/")[2]: method for method in methods}
        self._peer = peer

    def start(
        self, name: str, request: Message, *, timeout_s: float | None = None, metadata: dict[str, str] | None = None
    ) -> Rpc:
        """Begin an RPC."""
        call = Call(timeout_s, (metadata or {}).items(), lambda: self._peer)
        return Rpc(self.methods[name], request, call)

    async def answer(self, name: str, request: Message, **settings: Any) -> bytes:
        """The response of a unary RPC. Raises the error of its status."""
        return await self.start(name, request, **settings).answer()


class Rpc:
    """One RPC. The client has one message of a stream; the next waits until this one was read."""

    def __init__(self, method: ServedMethod, request: Message, call: Call) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._is_gone = self._is_late = False
        call.send = self._send
        serving: Any = method.serve(request.SerializeToString(), call)
        self.task: asyncio.Task[Answer] = asyncio.create_task(serving)
        if call.time_left_s is not None:
            asyncio.get_running_loop().call_later(call.time_left_s, self._expire)

    def cancel(self) -> None:
        """Disconnect."""
        self._is_gone = True
        self.task.cancel()

    async def answer(self) -> bytes:
        """The response, b"" after a stream. Raises the error of the status."""
        try:
            answer = await self.task
        except asyncio.CancelledError:
            if self._is_late:
                raise DeadlineExceededError("the deadline has passed") from None
            raise
        if isinstance(answer, status_pb2.Status):
            raise wire.status_to_error(answer)
        return answer or b""

    async def messages(self) -> AsyncGenerator[bytes]:
        """The messages of a stream, to its end. Raises the error of the status."""
        while True:
            reading = asyncio.ensure_future(self._messages.get())
            await asyncio.wait([reading, self.task], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                await self.answer()
                return
            yield reading.result()

    async def _send(self, message: bytes) -> None:
        if self._is_gone:
            raise ClientGoneError
        await self._messages.put(message)

    def _expire(self) -> None:
        self._is_late = True
        self.task.cancel()
