"""The transport over the public server of grpc.aio: a task of the event loop for each call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from datastore_client.tls import TlsFiles
from datastore_server.call import Call, ClientGoneError, ServedMethod
from datastore_server.transport.certificates import names_of, server_credentials

__all__ = ["AioServer"]

_Context = grpc.aio.ServicerContext[Any, Any]


class AioServer:
    """See `Transport`."""

    def __init__(self, methods: Iterable[ServedMethod], options: Sequence[tuple[str, int]]) -> None:
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Routes(methods),))

    def add_insecure_port(self, address: str) -> int:
        """See `Transport`."""
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, files: TlsFiles) -> int:
        """See `Transport`."""
        return self._server.add_secure_port(address, server_credentials(files))

    async def start(self) -> None:
        """See `Transport`."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """See `Transport`."""
        await self._server.stop(grace)


class _Routes(grpc.GenericRpcHandler):
    """All methods of a server in one dict.

    grpc.aio keeps a pending future for each registered method, and every accepted call waits on all of them: with
    twelve methods that doubles the cost of a call. One generic handler needs only one.
    """

    def __init__(self, methods: Iterable[ServedMethod]) -> None:
        self._handlers = {method.path: _handler_of(method) for method in methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call. Called by grpc."""
        return self._handlers.get(handler_call_details.method)


def _handler_of(method: ServedMethod) -> grpc.RpcMethodHandler[Any, Any]:
    """One of our methods as gRPC serves it. Without (de)serializers gRPC passes the bytes themselves."""

    async def serve(request: Any, context: _Context) -> Any:
        call = Call(context.time_remaining(), context.invocation_metadata() or (), context.peer)
        call.identities = lambda: names_of(context.peer_identities())
        if method.is_stream:
            call.send = _sender(context)
        if method.takes_stream:
            call.receive, request = _receiver(request), b""
        answer = await method.serve(request, call)
        if isinstance(answer, status_pb2.Status):
            # gRPC holds what `abort` raises, and so this frame, in a cycle that only the garbage collector frees.
            del request
            await context.abort_with_status(rpc_status.to_status(answer))
        return answer

    if method.takes_stream:
        return grpc.stream_stream_rpc_method_handler(serve)
    if method.is_stream:
        return grpc.unary_stream_rpc_method_handler(serve)
    return grpc.unary_unary_rpc_method_handler(serve)


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
