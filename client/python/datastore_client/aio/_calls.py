"""What calls of the asyncio stack need: the twin of `datastore_client._calls`."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from datastore_client.channel import CHANNEL_OPTIONS

__all__ = ["CALL_ERRORS", "Messages", "answered", "is_interruption", "messages", "open_channel", "pause"]

#: What a call raises when it fails, when its caller is cancelled, or when its channel is closed under it.
CALL_ERRORS = (grpc.RpcError, asyncio.CancelledError, grpc.aio.UsageError)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to `target`. Belongs to the loop that it is made on."""
    # Without `dns:` a host of the name of one of gRPC's schemes, as `unix`, would be taken for it.
    return grpc.aio.insecure_channel(f"dns:///{target}", options=CHANNEL_OPTIONS)


def is_interruption(error: BaseException) -> bool:
    """Whether a call raised `error` because its caller was cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def answered(call: Any) -> Any:
    """The answer of a unary call, which ends with its caller.

    What waits for the answer is not cancelled with the caller: gRPC would keep what it holds for ever (grpc/grpc#43360,
    1 to 2 kB a time). The call alone is cancelled, which `call.cancel()` does not do.
    """
    ended = asyncio.get_running_loop().create_future()
    call.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
    try:
        await ended
    except asyncio.CancelledError:
        call._cancel("the caller was cancelled")
        raise
    return await call


class Messages:
    """The messages of a streaming call, which ends with the last of them, with an error, or by `aclose`.

    A read under way is not cancelled with its reader: gRPC would keep what it holds for ever (grpc/grpc#43360,
    about 100 kB a time). The call is cancelled, and the read ends with it.

    No generator: a loop that shuts down closes all that it has at once, and those that close others fail.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._read: asyncio.Future[Any] | None = None

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> bytes:
        try:
            self._read = asyncio.ensure_future(self._call.read())
            message = await asyncio.shield(self._read)
        except BaseException:
            await self.aclose()
            raise
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return bytes(message)

    async def aclose(self) -> None:
        """End the call. May be repeated."""
        self._call.cancel()
        read, self._read = self._read, None
        if read is not None:
            await asyncio.wait([read])
            if not read.cancelled():
                # Looked at, so that nobody is told of an error that no one was waiting for.
                read.exception()


def messages(call: Any) -> Messages:
    """The messages of a streaming call. Close them."""
    return Messages(call)


async def pause(seconds: float) -> None:
    """Wait before another try."""
    await asyncio.sleep(seconds)
