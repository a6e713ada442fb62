"""The standard services for tools: grpc.health.v1, and reflection as v1 and v1alpha.

Knows no stores. Everything is registered with `Routes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from datastore.model.errors import InvalidError, LimitExceededError
from datastore_server import checks
from datastore_server.interceptors import abort, status_of

__all__ = ["Health", "Routes", "add_reflection"]

_HEALTH = "grpc.health.v1.Health"
_REFLECTION = "grpc.reflection.v1.ServerReflection"
_REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"


class Routes(grpc.GenericRpcHandler):
    """All methods of a server in one dict.

    grpc.aio keeps a pending future for each registered method, and every accepted call waits on all of them: with
    twelve methods that doubles the cost of a call. One generic handler needs only one. Pass this to `add_*_to_server`
    as the server.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Ignored: the same methods are also registered by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Add the methods of a service. Called by generated code."""
        self._handlers.update({f"/{service}/{name}": _bounded(name, handler) for name, handler in handlers.items()})

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call. Called by grpc."""
        return self._handlers.get(handler_call_details.method)

    def services(self) -> list[str]:
        """The names of all services, sorted."""
        return sorted({method.split("/")[1] for method in self._handlers})


def _bounded(name: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler, refusing large requests before they are parsed; unchanged if it takes bytes."""
    parse = handler.request_deserializer
    if parse is None:
        return handler  # type: ignore[no-any-return]

    async def read(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            checks.check_request(len(request), "key_request_bytes", checks.KEY_REQUEST_BYTES)
            return parse(request)
        except DecodeError:
            await abort(context, status_of(InvalidError("the request cannot be read"), name))
        except LimitExceededError as error:
            await abort(context, status_of(error, name))

    if handler.request_streaming:

        async def read_each(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async for request in requests:
                yield await read(request, context)

        async def stream(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async for answer in handler.stream_stream(read_each(requests, context), context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)

    async def call(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        method = handler.unary_stream or handler.unary_unary
        return await method(await read(request, context), context)

    make = grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
    return make(call, None, handler.response_serializer)


class Health(health_aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """grpc.health.v1, with watches that end when the server drains; otherwise they would delay it."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    def register(self, routes: Routes) -> None:
        """Serve Check and Watch."""
        health_pb2_grpc.add_HealthServicer_to_server(self, routes)

    async def report(self, serves: bool, *services: str) -> None:
        """Set SERVING or NOT_SERVING for the server and each service."""
        answer = health_pb2.HealthCheckResponse
        for service in ("", *services):
            await self.set(service, answer.SERVING if serves else answer.NOT_SERVING)

    async def Watch(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Stream each change of a service's health until the client disconnects or the server drains."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        self._watches.add(watch)
        try:
            await asyncio.wait([watch])
        finally:
            self._watches.discard(watch)
            watch.cancel()
        if self._ended:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        await watch

    def end_watches(self) -> None:
        """End all active watches."""
        self._ended = True
        for watch in self._watches:
            watch.cancel()


def add_reflection(routes: Routes) -> None:
    """Serve reflection of all services in `routes`, and of itself, under both of its names.

    The package supports only v1alpha; v1 has the same messages under another package name.
    """
    _describe_reflection_v1()
    names = [*routes.services(), _REFLECTION, _REFLECTION_ALPHA]
    servicer = ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, routes)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    routes.add_registered_method_handlers(_REFLECTION, {"ServerReflectionInfo": handler})


def _describe_reflection_v1() -> None:
    """Add reflection's own v1 file to the descriptor pool, so that tools can request it too."""
    pool = descriptor_pool.Default()
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    try:
        pool.FindFileByName(alpha.name.replace("v1alpha", "v1"))
    except KeyError:
        text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
        pool.Add(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()))
