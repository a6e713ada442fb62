"""What calls of the threaded stack need: the twin of `datastore_client.aio._calls`."""

from __future__ import annotations

import time

import grpc

__all__ = ["CALL_ERRORS", "pause"]

#: What a call raises when it fails, or when its channel is closed under it.
CALL_ERRORS = (grpc.RpcError, ValueError)


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)
