"""Building requests and reading responses: decisions shared by the sync and async clients. Makes no calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from datastore import wire
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.entries import Entry, ShardReport
from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    InvalidError,
    InvalidTokenError,
    LimitExceededError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.explanation import Explanation
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES
from datastore.model.metadata import Metadata
from datastore.model.operations import Delete, Operation, Patch, Put, WriteResult
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore_client._failures import may_have_been_made
from datastore_client._retry import may_repeat

__all__ = [
    "BATCH_ITEMS",
    "BATCH_MESSAGE_BYTES",
    "SERVING",
    "Page",
    "WriteBatch",
    "WriteMessage",
    "content_of",
    "delete_request",
    "encoded",
    "explanation",
    "fewer_items",
    "list_request",
    "metadata_of",
    "next_page_token",
    "outcome_of",
    "parsed",
    "patch_request",
    "put_request",
    "shard_report",
    "touch_request",
]

#: The maximum items of a batch in one message, and their bytes; larger batches are sent in parts.
BATCH_ITEMS = 1000
BATCH_MESSAGE_BYTES = ENTRY_BYTES + 64 * 1024
#: The maximum overhead of an item of a batch, besides its key and value, in bytes: lengths, a condition, an expiry,
#: an attempt.
_FRAME_BYTES = 96

_MOST_INT32 = 2**31 - 1

#: A HealthCheckResponse whose status is SERVING. The request for the whole server is empty.
SERVING = b"\x08\x01"


def encoded(key: Key, value: Any) -> bytes:
    """The bytes of a value, checked against the limit of an entry."""
    data = wire.encode_value(value).data
    size = len(str(key).encode()) + len(data)
    if size > ENTRY_BYTES:
        raise LimitExceededError(
            f"the entry {key} has {size:,} bytes; the limit is {ENTRY_BYTES:,}",
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


class Page(NamedTuple):
    """A page of the results of a query: its entries, and the token of the next page, b"" at the end.

    Only the empty token marks the end: a page may have few entries, or none, without being the last. `unreachable` are
    the shards that are missing from the page, if the query allows that.
    """

    entries: list[Entry]
    next_page_token: bytes
    unreachable: tuple[ShardReport, ...] = ()


def list_request(query: Query, page_size: int, page_token: bytes) -> service_pb2.ListEntriesRequest:
    """The request for a page. Raises InvalidTokenError for a token that `next_page_token` has not made."""
    if not 0 <= page_size <= _MOST_INT32:
        raise InvalidError(f"page_size must be 0 (for 100) or more, got {page_size}", field="page_size")
    try:
        token = service_pb2.ListEntriesRequest.FromString(page_token)
    except DecodeError as error:
        raise InvalidTokenError("the page token was truncated or altered", field="page_token") from error
    return service_pb2.ListEntriesRequest(
        query=wire.encode_query(query),
        page_size=page_size,
        page_token=token.page_token,
        allow_partial=query.allow_partial,
        last_entry=token.last_entry if token.HasField("last_entry") else None,
    )


def next_page_token(response: Any) -> bytes:
    """What the next page needs: the server's token, and the last entry if that has to be sent back with it."""
    if not response.next_page_token:
        return b""
    token = service_pb2.ListEntriesRequest(page_token=response.next_page_token)
    if response.needs_last_entry and response.entries:
        token.last_entry.ParseFromString(response.entries[-1].SerializeToString())
    return token.SerializeToString()


def _set_terms(request: Any, operation: Operation) -> None:
    """Make a request state the condition and the expiry of an operation, if it has them."""
    if operation.condition is not None:
        wire.set_precondition(request.condition, operation.condition)
    wire.set_expiry(request, operation.expiry)


class WriteMessage:
    """A request to write, which may be sent several times, and the attempts of its writes.

    `holders` are the messages that state them, in the same order.
    """

    def __init__(self, request: Any, holders: Sequence[Any], attempts: Sequence[Attempt | None]) -> None:
        self._request = request
        self._holders = holders
        self._sent_us = 0
        self.attempts = list(attempts)
        #: The error of the first attempt that may have been made.
        self.unknown: DatastoreError | None = None

    def encoded(self) -> bytes:
        """The bytes to send now."""
        self._sent_us = elapsed_us()
        for holder, attempt in zip(self._holders, self.attempts, strict=True):
            wire.set_attempt(holder, attempt)
        data: bytes = self._request.SerializeToString()
        return data

    def may_follow(self, error: Exception) -> bool:
        """Whether the writes may be sent again after this error. If they may have been made, they become repeats."""
        if may_repeat(error):
            return True
        if not may_have_been_made(error):
            return False
        if self.unknown is None and isinstance(error, DatastoreError):
            self.unknown = error
        for place in range(len(self.attempts)):
            self.follow(place)
        return True

    def follow(self, place: int) -> None:
        """Note that this attempt of the write at this place may have been made."""
        attempt = self.attempts[place]
        self.attempts[place] = None if attempt is None else attempt.followed(self._sent_us)


def outcome_of(error: DatastoreError, unknown: DatastoreError | None) -> DatastoreError:
    """The error of a write whose last attempt ended with `error`; `unknown` is that of an earlier attempt, if any.

    If the last attempt did not reach the store, the outcome is still unknown.
    """
    return unknown if unknown is not None and isinstance(error, (UnavailableError, WrongShardError)) else error


class WriteBatch:
    """The writes of one message, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.request = raw.BatchWriteRequest()
        #: The positions of these writes in the caller's batch.
        self.indexes: list[int] = []
        #: The attempts of these writes.
        self._attempts: list[Attempt | None] = []
        #: The errors of the first attempts that may have been made, by position.
        self._unknown: dict[int, DatastoreError] = {}
        self._keys: list[Key] = []
        self._size = 0

    def fits(self, key: Key, value: bytes | None) -> bool:
        """Whether one more write leaves the message within its limits; the first always does."""
        if not self.indexes:
            return True
        return len(self.indexes) < self._most and self._size + _write_bytes(key, value) <= BATCH_MESSAGE_BYTES

    def add(self, index: int, operation: Operation, content: bytes | None, attempt: Attempt | None) -> None:
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
        self._attempts.append(attempt)
        self._keys.append(key)
        self._size += _write_bytes(key, content)

    def part(self, places: Sequence[int]) -> Any:
        """The request for the writes at these positions."""
        return raw.BatchWriteRequest(writes=[self.request.writes[place] for place in places])

    def message(self, places: Sequence[int], *, atomic: bool = False) -> WriteMessage:
        """The same, to be sent."""
        request = self.part(places)
        request.atomic = atomic
        return WriteMessage(request, request.writes, [self._attempts[place] for place in places])

    def split(self, most: int) -> Iterator[WriteBatch]:
        """The same writes as messages of at most `most`, in order."""
        for start in range(0, len(self.indexes), most):
            places = range(len(self.indexes))[start : start + most]
            part = WriteBatch(most)
            part.request = self.part(places)
            part.indexes = [self.indexes[place] for place in places]
            part._attempts = [self._attempts[place] for place in places]
            part._unknown = {at: self._unknown[place] for at, place in enumerate(places) if place in self._unknown}
            part._keys = [self._keys[place] for place in places]
            yield part

    def note(self, places: Sequence[int], message: WriteMessage, results: Sequence[WriteResult]) -> None:
        """Note how the writes at these positions ended, which `message` contained.

        The result of one that did not reach its store, but may have been made before, becomes that of the earlier
        attempt.
        """
        for at, place in enumerate(places):
            result = results[place]
            unknown = self._unknown.get(place) or message.unknown
            if isinstance(result.error, DatastoreError):
                if may_have_been_made(result.error):
                    message.follow(at)
                    unknown = unknown or result.error
                result.error = outcome_of(result.error, unknown)
            if unknown is not None:
                self._unknown[place] = unknown
            self._attempts[place] = message.attempts[at]

    def repeatable(self, results: Sequence[WriteResult], may_follow: Callable[[Exception], bool]) -> list[int]:
        """The positions of the writes that may be sent again after their errors, and in their order.

        A write to a key that a later one has written since, or may have, is not repeated.
        """
        places, written = [], set()
        for place in reversed(range(len(results))):
            key, error = self._keys[place], results[place].error
            if error is None or not may_follow(error):
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


def parsed(kind: Any, data: bytes | None) -> Any:
    """Parse a response as a message. Raises CorruptDataError if it is malformed, or missing."""
    try:
        # gRPC gives None for a call that succeeded without an answer.
        return kind.FromString(data)
    except (DecodeError, TypeError) as error:
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
