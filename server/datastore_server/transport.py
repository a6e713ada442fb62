"""Binds the services to grpc.aio: the only module between RPCs and handlers that knows grpc.

Another transport would do the same with the same `ServedMethod`s. Knows calls and statuses, but no services or stores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from datastore.model.errors import InvalidError, LimitExceededError
from datastore_server import checks
from datastore_server.call import Call, ClientGoneError, ServedMethod
from datastore_server.interceptors import status_of
from datastore_server.limits import KEY_REQUEST, QUERY_REQUEST, Limits

__all__ = ["Context", "GrpcServer", "Routes", "new_server"]

GrpcServer = grpc.aio.Server
Context = grpc.aio.ServicerContext[Any, Any]

#: The room for calls on one connection besides the queries that may be open on it. Further ones wait in the client.
OTHER_CALLS = 1000
#: Pending calls. Above the first limit gRPC refuses some, above the second all, with a bare CANCELLED. So both are
#: higher than the number of calls that can arrive, and `admission` decides instead.
MAX_PENDING_CALLS = (10_000, 20_000)
#: How often clients may ping, with or without calls; see the client's keepalive.
MIN_PING_INTERVAL_MS = 10_000
HANDSHAKE_TIMEOUT_MS = 10_000
#: Connections are renewed, so that clients find new servers. Streams resume by their tokens.
MAX_CONNECTION_AGE_MS = 30 * 60 * 1000
MAX_CONNECTION_AGE_GRACE_MS = 5 * 60 * 1000


def new_server(limits: Limits, routes: Routes) -> GrpcServer:
    """A grpc.aio server of these routes, not started, for the running event loop."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", QUERY_REQUEST.maximum),
            ("grpc.max_send_message_length", limits.message_bytes),
            ("grpc.max_concurrent_streams", OTHER_CALLS + limits.open_streams_per_client),
            # On by default: ended calls count until they are freed, and a client within the limit above is refused
            # with a bare UNAVAILABLE.
            ("grpc.http.overload_protection", 0),
            ("grpc.server.max_pending_requests", MAX_PENDING_CALLS[0]),
            ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS[1]),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
            ("grpc.max_connection_age_grace_ms", MAX_CONNECTION_AGE_GRACE_MS),
            # On by default: a second server could share the port, and calls would reach either.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((routes,))
    return server


class Routes(grpc.GenericRpcHandler):
    """All methods of a server in one dict.

    grpc.aio keeps a pending future for each registered method, and every accepted call waits on all of them: with
    twelve methods that doubles the cost of a call. One generic handler needs only one. Pass this to `add_*_to_server`
    as the server.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add(self, methods: Iterable[ServedMethod]) -> None:
        """Add the methods of one of our services."""
        self._handlers.update({method.path: _handler_of(method) for method in methods})

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignored: the same methods are also registered by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Add the methods of one of gRPC's services. Called by generated code."""
        self._handlers.update({f"/{service}/{name}": _bounded(name, handler) for name, handler in handlers.items()})

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call. Called by grpc."""
        return self._handlers.get(handler_call_details.method)

    def services(self) -> list[str]:
        """The names of all services, sorted."""
        return sorted({method.split("/")[1] for method in self._handlers})


def _handler_of(method: ServedMethod) -> grpc.RpcMethodHandler[Any, Any]:
    """One of our methods as gRPC serves it. Without (de)serializers gRPC passes the bytes themselves."""
    serve = method.serve

    async def unary(request: bytes, context: Context) -> Any:
        call = Call(context.time_remaining(), context.invocation_metadata() or (), context.peer)
        answer = await serve(request, call)
        if isinstance(answer, status_pb2.Status):
            # gRPC holds what `abort` raises, and so this frame, in a cycle that only the garbage collector frees.
            del request
            await _abort(context, answer)
        return answer

    async def stream(request: bytes, context: Context) -> None:
        async def send(message: bytes) -> None:
            try:
                await context.write(message)
            except grpc.aio.BaseError as error:
                raise ClientGoneError from error

        call = Call(context.time_remaining(), context.invocation_metadata() or (), context.peer, send)
        answer = await serve(request, call)
        if isinstance(answer, status_pb2.Status):
            del request
            await _abort(context, answer)

    if method.is_stream:
        return grpc.unary_stream_rpc_method_handler(stream)
    return grpc.unary_unary_rpc_method_handler(unary)


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    """End a call with this status."""
    await context.abort_with_status(rpc_status.to_status(status))


def _bounded(name: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of one of gRPC's services, refusing large requests before they are parsed."""
    parse = handler.request_deserializer

    async def read(request: bytes, context: Context) -> Any:
        try:
            checks.check_request(len(request), KEY_REQUEST)
            return parse(request)
        except DecodeError:
            await _abort(context, status_of(InvalidError("the request cannot be read"), name))
        except LimitExceededError as error:
            await _abort(context, status_of(error, name))

    if handler.request_streaming:

        async def read_each(requests: AsyncIterator[bytes], context: Context) -> Any:
            async for request in requests:
                yield await read(request, context)

        async def stream(requests: AsyncIterator[bytes], context: Context) -> Any:
            async for answer in handler.stream_stream(read_each(requests, context), context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)

    async def call(request: bytes, context: Context) -> Any:
        method = handler.unary_stream or handler.unary_unary
        return await method(await read(request, context), context)

    make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return make(call, None, handler.response_serializer)
