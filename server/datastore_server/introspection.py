"""The standard services for tools: grpc.health.v1, and reflection as v1 and v1alpha.

Both are gRPC's own implementations for grpc.aio, adapted to any transport. Knows no stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from datastore.model.errors import InvalidError, LimitExceededError
from datastore_server.call import Answer, Call, ServedMethod, at_once
from datastore_server.checks import check_request
from datastore_server.interceptors import status_of
from datastore_server.limits import KEY_REQUEST

__all__ = ["Health", "reflection_of"]

_HEALTH = "grpc.health.v1.Health"
_REFLECTION = "grpc.reflection.v1.ServerReflection"
_REFLECTION_ALPHA = "grpc.reflection.v1alpha.ServerReflection"


class Health(health_aio.HealthServicer):  # type: ignore[misc]  # the package has no types
    """grpc.health.v1, with watches that end when the server drains; otherwise they would delay it."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[None]] = set()
        self._ended = False

    def methods(self) -> list[ServedMethod]:
        """Check and Watch, for a transport. Check answers even while the event loop is busy."""
        check = _serving("Check", health_pb2.HealthCheckRequest, self.Check)
        watch = _serving("Watch", health_pb2.HealthCheckRequest, self.Watch)
        return [
            ServedMethod(f"/{_HEALTH}/Check", False, check, at_once(check)),
            ServedMethod(f"/{_HEALTH}/Watch", True, watch),
        ]

    async def report(self, serves: bool, *services: str) -> None:
        """Set SERVING or NOT_SERVING for the server and each service."""
        for service in ("", *services):
            await self.note(service, serves=serves)

    async def note(self, name: str, *, serves: bool) -> None:
        """Set SERVING or NOT_SERVING for one name: a service, a store, a shard."""
        answer = health_pb2.HealthCheckResponse
        await self.set(name, answer.SERVING if serves else answer.NOT_SERVING)

    async def Watch(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: _Context
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


def reflection_of(methods: Iterable[ServedMethod]) -> list[ServedMethod]:
    """Reflection of the services with these methods, and of itself, under both of its names.

    The package supports only v1alpha; v1 has the same messages under another package name.
    """
    _describe_reflection_v1()
    services = sorted({method.path.split("/")[1] for method in methods})
    servicer = ReflectionServicer([*services, _REFLECTION, _REFLECTION_ALPHA])

    async def serve(_: bytes, call: Call) -> Answer:
        try:
            async for answer in servicer.ServerReflectionInfo(_questions(call), None):
                await call.send(answer.SerializeToString())
        except (InvalidError, LimitExceededError) as error:
            return status_of(error, "ServerReflectionInfo")
        return None

    return [
        ServedMethod(f"/{service}/ServerReflectionInfo", True, serve, takes_stream=True)
        for service in (_REFLECTION, _REFLECTION_ALPHA)
    ]


async def _questions(call: Call) -> AsyncIterator[Any]:
    while (request := await call.receive()) is not None:
        yield _parsed(reflection_pb2.ServerReflectionRequest, request)


def _parsed(kind: type[Message], request: bytes) -> Message:
    """A small request, parsed. Raises InvalidError or LimitExceededError."""
    check_request(len(request), KEY_REQUEST)
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise InvalidError("the request cannot be read") from error


class _AbortedError(Exception):
    """One of gRPC's own methods ends its call with a status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status)
        self.status = status


class _Context:
    """The part of a call's context that gRPC's own services use."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def write(self, message: Message) -> None:
        """Send one message of a stream."""
        await self._call.send(message.SerializeToString())

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with this status."""
        raise _AbortedError(status_pb2.Status(code=code.value[0], message=details))


def _serving(
    name: str, kind: type[Message], handler: Callable[[Any, _Context], Awaitable[Message | None]]
) -> Callable[[bytes, Call], Awaitable[Answer]]:
    """`ServedMethod.serve` for one of gRPC's own methods. Large requests are refused before they are parsed."""

    async def serve(request: bytes, call: Call) -> Answer:
        try:
            answer = await handler(_parsed(kind, request), _Context(call))
        except _AbortedError as aborted:
            return aborted.status
        except (InvalidError, LimitExceededError) as error:
            return status_of(error, name)
        return None if answer is None else answer.SerializeToString()

    return serve


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
