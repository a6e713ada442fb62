"""The references: a bare grpc.aio server that returns prepared bytes and knows nothing about datastores.

`python -m bench.bare` serves until its standard input ends; its first line of output is its URL. `/bare/Echo` returns
as many zero bytes as the request says in text; `/bare/Stream` streams messages of the sizes that the request lists.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

__all__ = ["serve"]


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method."""
        return self._handlers.get(handler_call_details.method)


async def serve(handlers: Mapping[str, Any]) -> None:
    """Serve methods until standard input ends."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handlers(handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"url": f"grpc://127.0.0.1:{port}"}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


_prepared: dict[bytes, bytes] = {}


async def _echo(request: bytes, context: object) -> bytes:
    return _answer(request.rstrip(b"\x00"))


async def _stream(request: bytes, context: object) -> AsyncIterator[bytes]:
    for size in request.split():
        yield _answer(size)


def _answer(size: bytes) -> bytes:
    if size not in _prepared:
        _prepared[size] = bytes(int(size))
    return _prepared[size]


if __name__ == "__main__":
    asyncio.run(
        serve(
            {
                "/bare/Echo": grpc.unary_unary_rpc_method_handler(_echo),
                "/bare/Stream": grpc.unary_stream_rpc_method_handler(_stream),
            }
        )
    )
