"""What calls of the asyncio stack need: the twin of `datastore_client._calls`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc

from datastore_client.channel import CHANNEL_OPTIONS

__all__ = ["CALL_ERRORS", "is_interruption", "messages", "open_channel", "pause"]

#: What a call raises when it fails, when its caller is cancelled, or when its channel is closed under it.
CALL_ERRORS = (grpc.RpcError, asyncio.CancelledError, grpc.aio.UsageError)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to `target`. Belongs to the loop that it is made on."""
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)


def is_interruption(error: BaseException) -> bool:
    """Whether a call raised `error` because its caller was cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def messages(call: Any) -> AsyncGenerator[bytes]:
    """The messages of a streaming call, which ends with this generator.

    A read under way is not cancelled with its reader: gRPC would keep what it holds for ever (grpc/grpc#43360,
    about 100 kB a time). The call is cancelled, and the read ends with it.
    """
    read: asyncio.Future[Any] | None = None
    try:
        while True:
            read = asyncio.ensure_future(call.read())
            message = await asyncio.shield(read)
            if message is grpc.aio.EOF:
                return
            yield message
    finally:
        call.cancel()
        if read is not None:
            await asyncio.wait([read])
            if not read.cancelled():
                # Looked at, so that nobody is told of an error that no one was waiting for.
                read.exception()


async def pause(seconds: float) -> None:
    """Wait before another try."""
    await asyncio.sleep(seconds)
