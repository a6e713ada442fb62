"""A node whose queries cost nothing: it answers each by the messages with which another node answered it before.

`python -m bench.replaying URL` serves in front of that node until its standard input ends; its first line of output is
its URL. All other calls go to the node.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from bench.calls import SERVICE
from datastore_client.channel import CHANNEL_OPTIONS, parse_target

#: The metadata of calls that gRPC itself sets.
_OWN_METADATA = ("user-agent", "grpc-")


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, node: grpc.aio.Channel) -> None:
        self._node = node
        self._answers: dict[bytes, list[bytes]] = {}

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method."""
        method = handler_call_details.method
        if method == f"{SERVICE}Query":
            return grpc.unary_stream_rpc_method_handler(self._query)

        async def forward(request: bytes, context: Any) -> bytes:
            call: Any = self._node.unary_unary(method)
            answer: bytes = await call(request, metadata=_passed_on(context))
            return answer

        return grpc.unary_unary_rpc_method_handler(forward)

    async def _query(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        if request not in self._answers:
            call: Any = self._node.unary_stream(f"{SERVICE}Query")
            self._answers[request] = [message async for message in call(request, metadata=_passed_on(context))]
        for message in self._answers[request]:
            yield message


def _passed_on(context: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in context.invocation_metadata() if not name.startswith(_OWN_METADATA))


async def _serve(url: str) -> None:
    async with grpc.aio.insecure_channel(parse_target(url).address, options=CHANNEL_OPTIONS) as node:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers((_Handlers(node),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(json.dumps({"url": f"grpc://127.0.0.1:{port}"}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
