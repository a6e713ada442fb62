"""The transport over the public server of grpc.aio: a task of the event loop for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from datastore_client.tls import TlsFiles
from datastore_server.call import Answer, Call, ClientGoneError, ServedMethod
from datastore_server.limits import Limits
from datastore_server.transport.arrivals import Arrivals
from datastore_server.transport.certificates import names_of, server_credentials
from datastore_server.transport.clients import client_of
from datastore_server.transport.refusals import DROPPED, NO_REQUEST
from datastore_server.unread import UNCOUNTED_BYTES, UnreadAnswers

__all__ = ["AioServer"]

_log = logging.getLogger("datastore.server")

_Context = grpc.aio.ServicerContext[Any, Any]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class AioServer:
    """See `Transport`."""

    def __init__(self, methods: Iterable[ServedMethod], options: Sequence[tuple[str, int]], limits: Limits) -> None:
        self._server = _new_server({method.path: self._handler_of(method) for method in methods}, options)
        self._arrivals = Arrivals(limits.request_time_ms / 1000)
        self._unread = UnreadAnswers(limits.unread_bytes)
        self._handling: set[asyncio.Task[Any]] = set()

    def add_insecure_port(self, address: str) -> int:
        """See `Transport`."""
        port: int = self._server.add_insecure_port(address)
        return port

    def add_secure_port(self, address: str, files: TlsFiles) -> int:
        """See `Transport`."""
        port: int = self._server.add_secure_port(address, server_credentials(files))
        return port

    async def start(self) -> None:
        """See `Transport`."""
        await self._server.start()
        self._arrivals.start()

    async def stop(self, grace: float | None) -> None:
        """See `Transport`."""
        await self._server.stop(grace)
        self._arrivals.stop()
        # Their clients are gone, but they still use what is closed next.
        while self._handling:
            await asyncio.wait(self._handling)

    def _handler_of(self, method: ServedMethod) -> _Handler:
        """One of our methods as gRPC serves it. Without (de)serializers gRPC passes the bytes themselves.

        All take a stream of requests: gRPC would wait for a single one before it calls the handler, however long that
        takes.
        """

        async def handle(requests: Any, context: _Context) -> Any:
            task: Any = asyncio.current_task()
            self._handling.add(task)
            task.add_done_callback(self._handling.discard)
            answer = await self._answer(method, requests, context)
            if isinstance(answer, status_pb2.Status):
                await _abort(context, answer)
            return answer

        of_stream, of_one = grpc.stream_stream_rpc_method_handler, grpc.stream_unary_rpc_method_handler
        return (of_stream if method.is_stream else of_one)(handle)

    async def _answer(self, method: ServedMethod, requests: AsyncIterator[bytes], context: _Context) -> Answer:
        call = Call(context.time_remaining(), context.invocation_metadata() or (), partial(_client_of, context))
        call.identities = lambda: names_of(context.peer_identities())
        if method.is_write:
            # It may outlive its RPC, and gRPC crashes if it is asked for the client of an RPC that has ended.
            address, names = call.peer(), call.identities()
            call.peer, call.identities = lambda: address, lambda: names
        if method.is_stream:
            call.send = _sender(context)
        if method.takes_stream:
            call.receive = _receiver(requests)
            return await method.serve(b"", call)
        request = await self._request(context)
        if request is None:
            return NO_REQUEST
        answer = await (self._completed(method, request, call) if method.is_write else method.serve(request, call))
        return self._unless_too_much(answer, context) if isinstance(answer, bytes) else answer

    async def _completed(self, method: ServedMethod, request: bytes, call: Call) -> Answer:
        """The answer of a call that continues if gRPC cancels its handler."""
        serving = asyncio.ensure_future(method.serve(request, call))
        self._handling.add(serving)
        serving.add_done_callback(self._handling.discard)
        return await asyncio.shield(serving)

    async def _request(self, context: _Context) -> bytes | None:
        """The request of a call whose client has read enough of its answers; None if there is none."""
        await self._has_read(context)
        self._arrivals.begin(context, lambda status: _end(context, status))
        try:
            request: Any = await context.read()
        finally:
            self._arrivals.has_come(context)
        if request is grpc.aio.EOF:
            return None
        # Many calls may have begun before the first was answered.
        await self._has_read(context)
        return bytes(request)

    async def _has_read(self, context: _Context) -> None:
        """Wait until the client has read enough of its answers."""
        while self._unread.may_be_full:
            has_read = asyncio.Event()
            if not self._unread.when_read(_client_of(context), has_read.set):
                return
            await has_read.wait()

    def _unless_too_much(self, answer: bytes, context: Any) -> Answer:
        """The answer, counted until gRPC has sent it, or why it is not sent."""
        if len(answer) <= UNCOUNTED_BYTES:
            return answer
        held = self._unread.hold(_client_of(context), len(answer), drop=None)
        if held is None:
            return DROPPED
        context.add_done_callback(lambda _: self._unread.give_back(held))
        return answer


def _new_server(handlers: Mapping[str, _Handler], options: Sequence[tuple[str, int]]) -> Any:
    try:
        from datastore_server.transport.careful import CarefulServer
    except (ImportError, AttributeError):
        _log.warning("with grpcio %s, a call of a method that is not UTF-8 ends this server", grpc.__version__)
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_Routes(handlers),))
        return server
    return CarefulServer(handlers, options)


def _client_of(context: _Context) -> str:
    return client_of(context.peer(), context.invocation_metadata() or ())


async def _abort(context: _Context, status: status_pb2.Status) -> None:
    """End a call with a status, or like one that is cancelled, if gRPC has ended it: it would log that."""
    try:
        await context.abort_with_status(rpc_status.to_status(status))
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError:
        raise asyncio.CancelledError from None


def _end(context: _Context, status: status_pb2.Status) -> None:
    """End a call that waits for its request, and so its handler."""
    ending = asyncio.ensure_future(_abort(context, status))
    # `abort` raises, in any case.
    ending.add_done_callback(lambda ending: ending.cancelled() or ending.exception())


class _Routes(grpc.GenericRpcHandler):
    """All methods of a server in one dict.

    grpc.aio keeps a pending future for each registered method, and every accepted call waits on all of them: with
    twelve methods that doubles the cost of a call. One generic handler needs only one.
    """

    def __init__(self, handlers: Mapping[str, _Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """The handler of a call. Called by grpc."""
        return self._handlers.get(handler_call_details.method)


def _sender(context: _Context) -> Callable[[bytes], Awaitable[None]]:
    """`Call.send` of a call."""

    async def send(message: bytes) -> None:
        try:
            await context.write(message)
        except grpc.aio.BaseError as error:
            raise ClientGoneError from error

    return send


def _receiver(requests: AsyncIterator[bytes]) -> Callable[[], Awaitable[bytes | None]]:
    """`Call.receive` of a call."""

    async def receive() -> bytes | None:
        return await anext(requests, None)

    return receive
