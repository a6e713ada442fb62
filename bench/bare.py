"""The references: bare grpc.aio servers that answer prepared bytes and know nothing of datastores.

`python -m bench.bare` serves until its standard input ends; its first line of output is the port.
Methods: `/bare/Echo` answers `--reply-bytes` bytes; `/bare/Stream` streams the messages that the request,
a pickle-free list of lengths as text, asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, reply: bytes) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "/bare/Echo": grpc.unary_unary_rpc_method_handler(self._echo),
            "/bare/Stream": grpc.unary_stream_rpc_method_handler(self._stream),
        }
        self._reply = reply

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)

    async def _echo(self, request: bytes, context: object) -> bytes:
        return self._reply

    async def _stream(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        sizes = [int(size) for size in request.split()]
        prepared = {size: bytes(size) for size in set(sizes)}
        for size in sizes:
            yield prepared[size]


async def _serve(reply_bytes: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handlers(bytes(reply_bytes)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reply-bytes", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().reply_bytes))
