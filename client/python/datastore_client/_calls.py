"""What calls of the threaded stack need: the twin of `datastore_client.aio._calls`."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeAlias

import grpc

from datastore_client.channel import CHANNEL_OPTIONS

__all__ = ["CALL_ERRORS", "Messages", "answered", "is_interruption", "messages", "open_channel", "pause"]

#: What a call raises when it fails, or when its channel is closed under it.
CALL_ERRORS = (grpc.RpcError, ValueError)

Messages: TypeAlias = Generator[bytes]


def open_channel(target: str) -> grpc.Channel:
    """A channel to `target`."""
    # Without `dns:` a host of the name of one of gRPC's schemes, as `unix`, would be taken for it.
    return grpc.insecure_channel(f"dns:///{target}", options=CHANNEL_OPTIONS)


def is_interruption(error: BaseException) -> bool:
    """Whether a call raised `error` because its caller was cancelled: threads are not."""
    return False


def answered(answer: Any) -> Any:
    """The answer of a unary call: here it comes by calling."""
    return answer


def messages(call: Any) -> Messages:
    """The messages of a streaming call, which ends with this generator. Close it."""
    try:
        yield from call
    finally:
        call.cancel()


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)
