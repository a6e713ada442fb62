"""A server of grpc.aio that no call can shut down.

grpc.aio decodes the name of the method of each call where nothing catches an error, and shuts down if it is not UTF-8:
any client could end a server with one call. Here gRPC's core compares the names as bytes, and each method has a task
that accepts its calls. It uses a private interface: with a grpcio that has another one, this module fails to load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio._server
from grpc._cython import cygrpc

__all__ = ["CarefulServer"]

_AioServer: Any = cygrpc.AioServer
_accepts = _AioServer._make_request_call_future, _AioServer._request_call, _AioServer._request_registered_call
_handle, _schedule, _Resolver = cygrpc._handle_rpc, cygrpc._schedule_rpc_coro, cygrpc._MethodResolver

#: The name of every unknown method.
_UNKNOWN = ""


class CarefulServer(grpc.aio._server.Server):
    """A server of methods, by their paths."""

    def __init__(self, handlers: Mapping[str, Any], options: Sequence[tuple[str, int]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(handlers, self._loop, None, (), (), tuple(options), None)


class _Core(_AioServer):  # type: ignore[misc]  # has no types
    """The main loop waits for the next call of each method. The tasks that it waits for handle these calls."""

    def __init__(self, handlers: Mapping[str, Any], *settings: Any) -> None:
        super().__init__(*settings)
        self.add_registered_method_handlers(dict(handlers))
        self._handler_of = _Resolver([], dict(handlers))
        # A task must be referenced until it ends.
        self._calls: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(self._accept(method))

    async def _accept(self, method: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        name = _UNKNOWN if method is None else method.decode()
        while True:
            state = await (self._request_call() if method is None else self._request_registered_call(method))
            rpc = _handle(name, self._handler_of, (), state, loop, False)
            call = loop.create_task(_schedule(rpc, state, loop, name))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
