"""What calls send and what their answers say, as decisions that both colours share. Makes no call."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from datastore import wire
from datastore.core.batch import ShardReport
from datastore.core.errors import (
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InternalError,
    LimitExceededError,
    UnavailableError,
)
from datastore.core.key import Key
from datastore.core.limits import ENTRY_BYTES
from datastore.v1 import service_pb2
from datastore.wire import raw

__all__ = [
    "BATCH_ITEMS",
    "BATCH_MESSAGE_BYTES",
    "SERVING",
    "WriteBatch",
    "call_error",
    "encoded",
    "item_error",
    "parsed",
    "shard_report",
]

#: The most items of a batch that travel in one message, and their bytes; larger batches are sent in parts.
BATCH_ITEMS = 1000
BATCH_MESSAGE_BYTES = ENTRY_BYTES + 64 * 1024
#: What an item of a batch adds to its key and value, at most, in bytes.
_FRAME_BYTES = 32

#: What gRPC says of connections, by a part of it, in words for those who do not know gRPC.
_PLAIN_WORDS = {
    "Connection refused": "connection refused",
    "Domain name not found": "no such host",
    "No route to host": "no route to that host",
    "Network is unreachable": "network unreachable",
    "http1.x": "it speaks HTTP/1 and not gRPC",
    "Connection reset": "connection reset",
    "Broken pipe": "connection lost",
    "Socket closed": "connection lost",
    "ping timeout": "connection lost",
    "Cancelling all calls": "it was stopped",
}

#: A HealthCheckResponse whose status is SERVING. The request for the whole server is empty.
SERVING = b"\x08\x01"


def encoded(key: Key, value: Any) -> bytes:
    """The bytes of a value, checked against the limit of an entry."""
    data = wire.encode_value(value).data
    size = len(str(key).encode()) + len(data)
    if size > ENTRY_BYTES:
        raise LimitExceededError(
            f"an entry has at most {ENTRY_BYTES:,} bytes, and that of {key} has {size:,}",
            limit="entry_bytes",
            maximum=ENTRY_BYTES,
        )
    return data


class WriteBatch:
    """The writes of one message."""

    def __init__(self) -> None:
        self.request = raw.BatchWriteRequest()
        #: Which writes of the caller's these are.
        self.indexes: list[int] = []
        self._size = 0

    def fits(self, key: Key, value: bytes | None) -> bool:
        """Whether one more write leaves the message within its limits; the first always does."""
        if not self.indexes:
            return True
        return len(self.indexes) < BATCH_ITEMS and self._size + _write_bytes(key, value) <= BATCH_MESSAGE_BYTES

    def add(self, index: int, key: Key, value: bytes | None) -> None:
        """Add a write; None deletes."""
        write = self.request.writes.add()
        if value is None:
            write.delete.text = str(key)
        else:
            write.put.key.text = str(key)
            write.put.value = value
        self.indexes.append(index)
        self._size += _write_bytes(key, value)


def _write_bytes(key: Key, value: bytes | None) -> int:
    return len(str(key).encode()) + len(value or b"") + _FRAME_BYTES


def parsed(kind: Any, data: bytes) -> Any:
    """A message of a kind, read from an answer. Raises CorruptDataError for what no server sends."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise CorruptDataError(f"the server's answer cannot be read as a {kind.DESCRIPTOR.name}") from error


def shard_report(message: service_pb2.ShardSummary) -> ShardReport:
    """What a summary tells of one shard."""
    error = wire.status_to_error(message.status) if message.HasField("status") else None
    return ShardReport(message.shard, message.entries, message.scanned, error)


def call_error(error: Any, url: str, timeout_s: float) -> DatastoreError:
    """What the failure of a call to `url`, a `grpc.RpcError` of either stack, means.

    The text of an error that the server answered with is the server's; that of any other names the server. A
    stream that something on the way reset is UnavailableError, whatever gRPC calls it.
    """
    failure = wire.rpc_error_to_error(error)
    if _is_answer(error):
        return _of_server(failure)
    details = error.details() or error.code().name
    if isinstance(failure, InternalError) and "RST_STREAM" in details:
        failure = UnavailableError()
    if isinstance(failure, UnavailableError):
        failure.args = (f"nothing answers at {url} ({_plainly(details)})",)
    elif isinstance(failure, DeadlineExceededError):
        failure.args = (f"{url} was not done within {timeout_s:.3g} s",)
    else:
        failure.args = (f"{url}: {failure}",)
    return failure


def item_error(status: Any) -> DatastoreError:
    """What the status of one item of a batch means."""
    return _of_server(wire.status_to_error(status))


def _of_server(error: DatastoreError) -> DatastoreError:
    """A server's error as its client's. A store that the server has closed is not one that the caller closed."""
    if isinstance(error, DatastoreClosedError):
        return UnavailableError(str(error), shard=error.shard)
    return error


def _plainly(details: str) -> str:
    """What gRPC says of a failed connection, in plain words where there are some."""
    return next((words for part, words in _PLAIN_WORDS.items() if part in details), details)


def _is_answer(error: Any) -> bool:
    """Whether a failed call was answered with a status of ours, and not failed by gRPC on the way."""
    return any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ())
