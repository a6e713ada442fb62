"""The statuses that a transport gives calls by itself."""

from __future__ import annotations

from google.rpc import code_pb2, status_pb2

from datastore import wire
from datastore.model.errors import InvalidError

__all__ = ["DROPPED", "NO_REQUEST", "UNKNOWN_METHOD"]

UNKNOWN_METHOD = status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message="Method not found!")
#: Of a call whose client has sent everything, or has disconnected, without a request.
NO_REQUEST = wire.error_to_status(InvalidError("the call has no request"))
#: Of a call whose answer is not sent, because too much is unread. Without a reason, like a connection that breaks: a
#: write may have been made.
DROPPED = status_pb2.Status(
    code=code_pb2.UNAVAILABLE,
    message="the answer was not sent, because the client leaves too much unread (unread_bytes)",
)
