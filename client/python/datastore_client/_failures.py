"""Converts failed calls to errors of the library, in plain words. Makes no calls."""

from __future__ import annotations

from typing import Any

import grpc

from datastore import wire
from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InternalError,
    UnavailableError,
)

__all__ = ["call_error", "is_answer", "is_unsent", "item_error", "may_have_been_made"]

#: gRPC's connection errors, by a part of their text, in words that do not require knowledge of gRPC.
_PLAIN_WORDS = {
    "Connection refused": "connection refused",
    "Domain name not found": "no such host",
    "No route to host": "no route to that host",
    "Network is unreachable": "network unreachable",
    "http1.x": "it speaks HTTP/1, not gRPC",
    "Connection reset": "connection reset",
    "Broken pipe": "connection lost",
    "Socket closed": "connection lost",
    "ping timeout": "connection lost",
    "timed out before receiving SETTINGS": "it accepts connections but does not respond",
    "Cancelling all calls": "it was stopped",
    "RST_STREAM": "it ended the call",
    "CANCELLED": "it ended the call",
}
#: The beginnings of the details of calls that were never sent, because there was no connection.
_UNSENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")


def call_error(error: Any, url: str, timeout_s: float) -> DatastoreError:
    """The error for a failed call to `url`, given as a `grpc.RpcError` of either stack.

    The text of an error that the server answered with is the server's; that of any other names the server. A call that
    was reset in transit is UnavailableError, whatever gRPC calls it.
    """
    failure = wire.rpc_error_to_error(error)
    if is_answer(error):
        return _of_server(failure)
    details = error.details() or error.code().name
    if isinstance(failure, InternalError) and "RST_STREAM" in details:
        failure = UnavailableError()
    if isinstance(failure, UnavailableError):
        what = f"nothing answers at {url}" if is_unsent(error) else f"a call to {url} was cut short"
        failure.args = (f"{what} ({_plainly(details)})",)
    elif isinstance(failure, DeadlineExceededError):
        failure.args = (f"the call to {url} did not finish within {timeout_s:.3g} s",)
    else:
        failure.args = (f"{url}: {failure}",)
    return failure


def item_error(status: Any) -> DatastoreError:
    """The error for the status of one batch item."""
    return _of_server(wire.status_to_error(status))


def _of_server(error: DatastoreError) -> DatastoreError:
    """A server's error, as its client should see it. A store closed by the server was not closed by the caller."""
    if isinstance(error, DatastoreClosedError):
        return UnavailableError(str(error), shard=error.shard)
    return error


def _plainly(details: str) -> str:
    """A failed connection as gRPC describes it, in plain words if there are some."""
    return next((words for part, words in _PLAIN_WORDS.items() if part in details), details)


def is_answer(error: Any) -> bool:
    """Whether a failed call ended with a status from our server, not from gRPC itself."""
    return any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ())


def may_have_been_made(error: BaseException) -> bool:
    """Whether a write that ended with `error`, because the way to its store failed, may have been made."""
    if not isinstance(error, (UnavailableError, DeadlineExceededError)):
        return False
    return getattr(error, "retry_after_s", None) is None and not _was_unsent(error.__cause__)


def _was_unsent(cause: Any) -> bool:
    return isinstance(cause, grpc.RpcError) and is_unsent(cause)


def is_unsent(error: Any) -> bool:
    """Whether a failed call was never sent because there was no connection: nothing was done."""
    return str(error.details() or "").startswith(_UNSENT)
