"""How both sides of a benchmark call a server: with raw bytes, so that the client costs both the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc

from datastore_client.channel import STREAM_OPTIONS, parse_target

__all__ = ["SERVICE", "channel", "messages_per_second", "read_stream"]

SERVICE = "/datastore.v1.DatastoreService/"


def channel(url: str) -> grpc.aio.Channel:
    """A channel as clients open it for streams."""
    return grpc.aio.insecure_channel(parse_target(url).address, options=STREAM_OPTIONS)


async def messages_per_second(on: grpc.aio.Channel, method: str, requests: Sequence[bytes], *, in_flight: int) -> float:
    """Send all requests, so many concurrently. Returns the answers per second."""
    call: Any = on.unary_unary(method)
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            await call(request)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return len(requests) / (time.perf_counter() - start)


async def read_stream(
    on: grpc.aio.Channel, method: str, request: bytes, *, messages: int | None = None
) -> tuple[list[int], float]:
    """Read a stream to its end, or so many messages. Returns the size of each, and the seconds that it took."""
    start = time.perf_counter()
    method_call: Any = on.unary_stream(method)
    call = method_call(request)
    try:
        if messages is None:
            sizes = [len(message) async for message in call]
        else:
            sizes = [len(await call.read()) for _ in range(messages)]
    finally:
        call.cancel()
    return sizes, time.perf_counter() - start
