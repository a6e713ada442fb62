"""The standard services for tools: grpc.health.v1, and reflection as v1 and v1alpha.

Both are gRPC's own implementations for grpc.aio, registered with `Routes`. Knows no stores.
"""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from datastore_server.transport import Context, Routes

__all__ = ["Health", "add_reflection"]

_HEALTH = "grpc.health.v1.Health"
_REFLECTION = "grpc.reflection.v1.ServerReflection"
_REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"


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
        self, request: health_pb2.HealthCheckRequest, context: Context
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
