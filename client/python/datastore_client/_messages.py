"""Building requests and reading responses: decisions shared by the sync and async clients. Makes no calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from datastore import wire
from datastore.model.entries import ShardReport
from datastore.model.errors import CorruptDataError, DatastoreError, LimitExceededError
from datastore.model.explanation import Explanation
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES
from datastore.model.metadata import Metadata
from datastore.model.operations import Delete, Operation, Patch, Put, WriteResult
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore_client._retry import may_repeat

__all__ = [
    "BATCH_ITEMS",
    "BATCH_MESSAGE_BYTES",
    "SERVING",
    "WriteBatch",
    "content_of",
    "delete_request",
    "encoded",
    "explanation",
    "fewer_items",
    "metadata_of",
    "parsed",
    "patch_request",
    "put_request",
    "shard_report",
    "touch_request",
]

#: The maximum items of a batch in one message, and their bytes; larger batches are sent in parts.
BATCH_ITEMS = 1000
BATCH_MESSAGE_BYTES = ENTRY_BYTES + 64 * 1024
#: The maximum overhead of an item of a batch, besides its key and value, in bytes: lengths, a condition, an expiry.
_FRAME_BYTES = 64

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


def content_of(operation: Operation) -> bytes | None:
    """What `WriteBatch.add` needs of an operation; None for a delete or a touch. Raises the errors of `encoded`."""
    if isinstance(operation, Put):
        return encoded(operation.key, operation.value)
    if isinstance(operation, Patch) and operation.changes:
        return wire.encode_patch(operation).SerializeToString()
    return None


def put_request(put: Put) -> Any:
    """The PutRequest of an operation. Raises the errors of `encoded`."""
    request = raw.PutRequest()
    request.entry.value = encoded(put.key, put.value)
    request.entry.key.text = str(put.key)
    _set_terms(request, put)
    return request


def delete_request(delete: Delete) -> service_pb2.DeleteRequest:
    """The DeleteRequest of an operation."""
    request = service_pb2.DeleteRequest(key=wire.encode_key(delete.key))
    _set_terms(request, delete)
    return request


def patch_request(patch: Patch) -> service_pb2.PatchRequest:
    """The PatchRequest of an operation, which asks for the new value. Raises the errors of `wire.encode_patch`."""
    request = service_pb2.PatchRequest(patch=wire.encode_patch(patch), include_value=True)
    _set_terms(request, patch)
    return request


def touch_request(patch: Patch) -> service_pb2.TouchRequest:
    """The TouchRequest of a patch without changes."""
    request = service_pb2.TouchRequest(key=wire.encode_key(patch.key))
    _set_terms(request, patch)
    return request


def _set_terms(request: Any, operation: Operation) -> None:
    """Make a request state the condition and the expiry of an operation, if it has them."""
    if operation.condition is not None:
        wire.set_precondition(request.condition, operation.condition)
    wire.set_expiry(request, operation.expiry)


class WriteBatch:
    """The writes of one message, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.request = raw.BatchWriteRequest()
        #: The positions of these writes in the caller's batch.
        self.indexes: list[int] = []
        self._keys: list[Key] = []
        self._size = 0

    def fits(self, key: Key, value: bytes | None) -> bool:
        """Whether one more write leaves the message within its limits; the first always does."""
        if not self.indexes:
            return True
        return len(self.indexes) < self._most and self._size + _write_bytes(key, value) <= BATCH_MESSAGE_BYTES

    def add(self, index: int, operation: Operation, content: bytes | None) -> None:
        """Add a write with its content: the serialized value of a put, or a serialized patch."""
        write = self.request.writes.add()
        key = operation.key
        if isinstance(operation, Put):
            write.put.key.text = str(key)
            write.put.value = content
        elif isinstance(operation, Delete):
            write.delete.text = str(key)
        elif content is None:
            write.touch.text = str(key)
        else:
            write.patch.MergeFromString(content)
        _set_terms(write, operation)
        self.indexes.append(index)
        self._keys.append(key)
        self._size += _write_bytes(key, content)

    def part(self, places: Sequence[int]) -> Any:
        """The request for the writes at these positions."""
        return raw.BatchWriteRequest(writes=[self.request.writes[place] for place in places])

    def split(self, most: int) -> Iterator[WriteBatch]:
        """The same writes as messages of at most `most`, in order."""
        for start in range(0, len(self.indexes), most):
            places = range(len(self.indexes))[start : start + most]
            part = WriteBatch(most)
            part.request = self.part(places)
            part.indexes = [self.indexes[place] for place in places]
            part._keys = [self._keys[place] for place in places]
            yield part

    def repeatable(self, results: Sequence[WriteResult]) -> list[int]:
        """The positions of the writes that were refused before they began, and that can be retried in order.

        A write to a key that a later one has written since, or may have, is not repeated.
        """
        places, written = [], set()
        for place in reversed(range(len(results))):
            key, error = self._keys[place], results[place].error
            if not may_repeat(error):
                written.add(key)
            elif key not in written:
                places.append(place)
        return places[::-1]


def _write_bytes(key: Key, value: bytes | None) -> int:
    return len(str(key).encode()) + len(value or b"") + _FRAME_BYTES


def fewer_items(error: DatastoreError, items: int) -> int:
    """The number of items that the server accepts in a message, if it refused a larger one for that; otherwise 0."""
    if isinstance(error, LimitExceededError) and error.limit == "batch_items" and 0 < error.maximum < items:
        return error.maximum
    return 0


def parsed(kind: Any, data: bytes) -> Any:
    """Parse a response as a message. Raises CorruptDataError if it is malformed."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise CorruptDataError(f"the server's answer cannot be read as a {kind.DESCRIPTOR.name}") from error


def explanation(summary: Any, *, is_continued: bool) -> Explanation:
    """A server's report on how it evaluated a query; `is_continued` if its last call continued another."""
    if not summary.HasField("explanation"):
        return Explanation("server", note="this server does not explain queries: its version is too old")
    found = wire.decode_explanation(summary.explanation)
    if is_continued:
        found.note = "; ".join(filter(None, ["only since the query was last resumed", found.note]))
    return found


def metadata_of(message: Any) -> Metadata | None:
    """The metadata in a message, if it has some."""
    return wire.decode_metadata(message.metadata) if message.HasField("metadata") else None


def shard_report(message: service_pb2.ShardSummary) -> ShardReport:
    """A summary's report on one shard."""
    error = wire.status_to_error(message.status) if message.HasField("status") else None
    return ShardReport(message.shard, message.entries, message.scanned, error)
