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
    QueryNotSupportedError,
    UnavailableError,
)
from datastore_client.channel import parse_target

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
#: How gRPC refuses a call, as UNAUTHENTICATED, on a connection that it should not have made: it takes `*.nodes` for a
#: name of the host in the handshake, and not for the call.
_OTHER_HOST = "call host does not match SSL server name"
#: gRPC's errors of TLS handshakes that the client ended, by a part of their text, the general ones last.
_REFUSED = {
    "WRONG_VERSION_NUMBER": "it does not use TLS; without TLS its URL begins with grpc:",
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet; do the clocks agree?",
    "unsupported certificate purpose": "its certificate is not for a server",
    "Hostname Verification Check failed": "its certificate is for another host",
    _OTHER_HOST: "its certificate is for another host",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of an authority that is trusted here; name its file with ca",
}
#: How gRPC says that the server closed a connection before the first call. A server does not say why it ends TLS.
_ENDED = ("Socket closed", "Connection reset", "Broken pipe")
_ENDED_TLS = "it ended the TLS handshake; it may demand a certificate, cert and key, of an authority that it trusts"
_ENDED_PLAIN = "it closed the connection; with TLS its URL begins with grpcs:"
#: The beginnings of the details of calls that were never sent, because there was no connection.
_UNSENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed", _OTHER_HOST)


def call_error(error: Any, url: str, timeout_s: float) -> DatastoreError:
    """The error for a failed call to `url`, given as a `grpc.RpcError` of either stack.

    The text of an error that the server answered with is the server's; that of any other names the server. A call that
    was reset in transit is UnavailableError, whatever gRPC calls it.
    """
    failure = wire.rpc_error_to_error(error)
    if is_answer(error):
        return _of_server(failure)
    details = error.details() or error.code().name
    if (isinstance(failure, InternalError) and "RST_STREAM" in details) or details == _OTHER_HOST:
        failure = UnavailableError()
    if isinstance(failure, UnavailableError):
        cut = f"a call to {url} was cut short ({_plainly(details)})"
        failure.args = (_unconnected(details, url) if is_unsent(error) else cut,)
    elif isinstance(failure, DeadlineExceededError):
        failure.args = (f"the call to {url} did not finish within {timeout_s:.3g} s",)
    elif isinstance(failure, QueryNotSupportedError):
        failure.args = (f"{url} does not know this call: it serves another version of the protocol ({details})",)
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


def _unconnected(details: str, url: str) -> str:
    """Why there is no connection to `url`, and what may help."""
    refused = next((words for part, words in _REFUSED.items() if part in details), None)
    if refused is None and any(part in details for part in _ENDED):
        refused = _ENDED_TLS if parse_target(url).is_secure else _ENDED_PLAIN
    if refused is not None:
        return f"cannot connect to {url} ({refused})"
    return f"nothing answers at {url} ({_plainly(details)})"


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
