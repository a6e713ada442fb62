"""What calls of the asyncio stack need: the twin of `datastore_client._calls`."""

from __future__ import annotations

import asyncio

import grpc

__all__ = ["CALL_ERRORS", "pause"]

#: What a call raises when it fails, or when its channel is closed under it.
CALL_ERRORS = (grpc.RpcError, asyncio.CancelledError, grpc.aio.UsageError)


async def pause(seconds: float) -> None:
    """Wait before another try."""
    await asyncio.sleep(seconds)
