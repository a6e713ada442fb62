"""RemoteDatastore: the whole Datastore contract over a channel to a server, node or proxy.

Knows messages, calls and their errors; what a query or a value means is the library's.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import grpc

from datastore import wire
from datastore.aio.base import Datastore, check_key, check_query, refusal, scope_of
from datastore.aio.cursor import Cursor, refine
from datastore.core.batch import Batch, Outcome, ShardReport, Write
from datastore.core.composition import Description
from datastore.core.description import QueryDescription
from datastore.core.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    LimitExceededError,
    TruncatedStreamError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.core.key import Key
from datastore.core.limits import ENTRY_BYTES
from datastore.v1 import service_pb2
from datastore.wire import WireValue, raw
from datastore_client.aio._calls import CALL_ERRORS, messages, pause
from datastore_client.channel import CHANNEL_OPTIONS, parse_target

__all__ = ["QUERY_TIMEOUT_S", "RESUME_TIMEOUT_S", "TIMEOUT_S", "RemoteDatastore", "connect"]

#: How long a call may take, but for queries.
TIMEOUT_S = 10.0
#: How long a query may take from its first to its last entry, over all its calls.
QUERY_TIMEOUT_S = 3600.0
#: How long a stream that was cut waits for its server to come back and send on.
RESUME_TIMEOUT_S = 30.0
#: The pauses between tries to continue, from the first to the longest; each is drawn from the upper half.
_PAUSES_S = (0.05, 1.0)

#: The most items of a batch that travel in one message, and their bytes; larger batches are sent in parts.
BATCH_ITEMS = 1000
BATCH_MESSAGE_BYTES = ENTRY_BYTES + 64 * 1024
#: What an item of a batch adds to its key and value, at most, in bytes.
_FRAME_BYTES = 32

_SERVICE = "/datastore.v1.DatastoreService/"


def connect(
    url: str,
    *,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    query_timeout_s: float = QUERY_TIMEOUT_S,
) -> RemoteDatastore:
    """The datastore of the server at `grpc://HOST:PORT`. Nothing is sent before the first call."""
    return RemoteDatastore(url, name=name, timeout_s=timeout_s, query_timeout_s=query_timeout_s)


class RemoteDatastore(Datastore):
    """The datastore that a server serves. All promises of `Datastore` are the server's store's.

    Values are plain values; others are refused before anything is sent, with the path of the offending part. With
    `lazy` values come, and may be given, as WireValues, whose bytes are not looked at. A call that cannot reach
    the server raises UnavailableError at once, one that takes longer than `timeout_s` DeadlineExceededError; a write
    that raised either may or may not have happened. `name` is put on such errors as their `shard`.

    Query results are streamed. A stream that is cut continues where it was, as long as the server is back within
    RESUME_TIMEOUT_S: nothing is lost and nothing repeated. Queries with code of the caller's ask for the bare scope,
    and are worked off here. An abandoned cursor ends its call.

    Safe for threads (tasks, under asyncio). Close it to close its connection.
    """

    ordered_queries = True

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        lazy: bool = False,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self.url = url
        self._target = parse_target(url)
        self._name = name
        self._lazy = lazy
        self._timeout_s = timeout_s
        self._query_timeout_s = query_timeout_s
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    # Entries

    async def get(self, key: Key) -> Any:
        """The value of `key`, or None."""
        check_key(key)
        request = service_pb2.GetRequest(key=wire.encode_key(key))
        return self._value(raw.GetResponse.FromString(await self._call("Get", request)))

    async def put(self, key: Key, value: Any) -> None:
        """Store `value` under `key`; refused before it is sent if it cannot travel or is too large."""
        check_key(key)
        if value is None:
            await self.delete(key)
            return
        request = raw.PutRequest()
        _fill_entry(request.entry, key, value)
        await self._call("Put", request)

    async def delete(self, key: Key) -> None:
        """Remove the entry of `key`."""
        check_key(key)
        await self._call("Delete", service_pb2.DeleteRequest(key=wire.encode_key(key)))

    async def contains(self, key: Key) -> bool:
        """Whether the server has `key`."""
        check_key(key)
        request = service_pb2.ContainsRequest(key=wire.encode_key(key))
        return service_pb2.ContainsResponse.FromString(await self._call("Contains", request)).contains

    # Batches

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, in as many messages as it takes. A message that fails is each of its keys' failure."""
        outcomes: dict[int, Outcome] = {}
        good: list[int] = []
        for index, key in enumerate(keys):
            try:
                check_key(key)
                good.append(index)
            except UnsupportedTypeError as error:
                outcomes[index] = Outcome(error=error)
        asked = 0
        while asked < len(good):
            part = good[asked : asked + BATCH_ITEMS]
            answered = await self._batch_get([keys[index] for index in part])
            outcomes.update(zip(part, answered, strict=False))
            asked += len(answered)
        return [outcomes[index] for index in range(len(keys))]

    async def _batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """The outcomes of the first keys, at least one; those that did not fit in the answer are left to ask again."""
        request = service_pb2.BatchGetRequest(keys=map(wire.encode_key, keys))
        try:
            response = raw.BatchGetResponse.FromString(await self._call("BatchGet", request))
        except DatastoreError as error:
            return [Outcome(error=error)] * len(keys)
        outcomes = [self._outcome(result) for result in response.results]
        return next((outcomes[:i] for i, outcome in enumerate(outcomes) if i and _did_not_fit(outcome)), outcomes)

    def _outcome(self, result: Any) -> Outcome:
        if result.HasField("status"):
            return Outcome(error=self._named(wire.status_to_error(result.status)))
        try:
            return Outcome(self._value(result))
        except DatastoreError as error:
            return Outcome(error=error)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, in as many messages as it takes. A message that fails is each of its writes' failure."""
        outcomes: list[Outcome | None] = [None] * len(writes)
        batch = _WriteBatch()
        for index, write in enumerate(writes):
            try:
                check_key(write.key)
                value = None if write.value is None else _encoded(write.key, write.value)
            except (DatastoreError, TypeError, ValueError) as error:
                outcomes[index] = refusal(error)
                continue
            if not batch.fits(write.key, value):
                await self._send(batch, outcomes)
                batch = _WriteBatch()
            batch.add(index, write.key, value)
        await self._send(batch, outcomes)
        return [outcome or Outcome() for outcome in outcomes]

    async def _send(self, batch: _WriteBatch, outcomes: list[Outcome | None]) -> None:
        if not batch.indexes:
            return
        try:
            response = service_pb2.BatchWriteResponse.FromString(await self._call("BatchWrite", batch.request))
        except DatastoreError as error:
            for index in batch.indexes:
                outcomes[index] = Outcome(error=error)
            return
        for index, result in zip(batch.indexes, response.results, strict=True):
            if result.HasField("status"):
                outcomes[index] = Outcome(error=self._named(wire.status_to_error(result.status)))

    # Queries

    def query(self, query: QueryDescription) -> Cursor:
        """A cursor over the stream of results; the call begins at the first item."""
        check_query(query)
        if query.has_custom_code:
            child = self.query(scope_of(query))
            return Cursor.from_batches(query, refine(query, child.batches()), shards=child.shards)
        request = service_pb2.QueryRequest(
            query=wire.encode_query(query),
            allow_partial=query.allow_partial,
            include_sort_keys=query.sort_keys and bool(query.orders),
        )
        shards: list[ShardReport] = []
        return Cursor.from_batches(query, self._results(query, request, shards), shards=shards)

    async def _results(
        self, query: QueryDescription, request: service_pb2.QueryRequest, shards: list[ShardReport]
    ) -> AsyncGenerator[Batch]:
        """All batches of a query, over as many calls as it takes."""
        patience = _Patience(self._query_timeout_s)
        while True:
            stream = self._stream(request, patience)
            try:
                async for response in stream:
                    # From here on these entries are the reader's: a call after this continues behind them.
                    request.resume_token = response.resume_token
                    yield self._batch(response, query)
                    if response.HasField("summary"):
                        shards.extend(map(_shard_report, response.summary.shards))
                        return
                raise self._named(TruncatedStreamError(f"the results from {self.url} ended without their summary"))
            except (UnavailableError, DeadlineExceededError):
                if not request.resume_token or not patience.lasts():
                    raise
            finally:
                await stream.aclose()
            await pause(patience.next_pause_s())

    async def _stream(self, request: service_pb2.QueryRequest, patience: _Patience) -> AsyncGenerator[Any]:
        """The messages of one call, which ends with this generator however that ends."""
        call = self._method("unary_stream", "Query")(request.SerializeToString(), timeout=patience.left_s())
        received = messages(call)
        try:
            async for data in received:
                patience.saw_progress()
                yield raw.QueryResponse.FromString(data)
        except CALL_ERRORS as error:
            raise self._failure(error) from error
        finally:
            await received.aclose()

    def _batch(self, response: Any, query: QueryDescription) -> Batch:
        batch = raw.entries_batch(response, keys_only=query.keys_only)
        if not self._lazy and not query.keys_only:
            batch.values = [value.decode() for value in batch.values]
        return batch

    # The server

    async def describe_store(self) -> service_pb2.DescribeStoreResponse:
        """What the server tells of its store, its limits and its shards."""
        answer = await self._call("DescribeStore", service_pb2.DescribeStoreRequest())
        return service_pb2.DescribeStoreResponse.FromString(answer)

    def describe(self) -> Description:
        """Kind `remote`, with the URL; what lies behind it is told by `describe_store`."""
        return Description("remote", self.url)

    async def aclose(self) -> None:
        """Close the connection. Calls and cursors under way raise DatastoreClosedError."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    # Calls

    async def _call(self, method: str, request: Any) -> bytes:
        call = self._method("unary_unary", method)
        try:
            answer: bytes = await call(request.SerializeToString(), timeout=self._timeout_s)
        except CALL_ERRORS as error:
            raise self._failure(error) from error
        return answer

    def _method(self, kind: str, method: str) -> Callable[..., Any]:
        """A method of the service that takes and gives bytes."""
        if self._closed:
            raise DatastoreClosedError(f"the connection to {self.url} was closed")
        if self._channel is None:
            # Not before the first call: an asyncio channel belongs to the loop that it is made on.
            self._channel = grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        make: Callable[[str], Callable[..., Any]] = getattr(self._channel, kind)
        return make(_SERVICE + method)

    def _failure(self, error: BaseException) -> BaseException:
        """What a failed call raises: our error, or `error` itself where the caller was cancelled."""
        if self._closed:
            return DatastoreClosedError(f"the connection to {self.url} was closed")
        if not isinstance(error, grpc.RpcError):
            return error
        failure = wire.rpc_error_to_error(error)
        if not _from_server(error):
            failure.args = (f"{self.url}: {failure}",)
        return self._named(failure)

    def _named(self, error: DatastoreError) -> DatastoreError:
        if error.shard is None and self._name is not None:
            error.shard = self._name
        return error

    def _value(self, message: Any) -> Any:
        if not message.HasField("value"):
            return None
        return WireValue(message.value) if self._lazy else wire.decode_value(message.value)


def _from_server(error: Any) -> bool:
    """Whether a failed call was answered with a status of ours, and not failed by gRPC on the way."""
    return any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ())


def _did_not_fit(outcome: Outcome) -> bool:
    return isinstance(outcome.error, LimitExceededError) and outcome.error.limit == "message_bytes"


def _encoded(key: Key, value: Any) -> bytes:
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


def _fill_entry(entry: Any, key: Key, value: Any) -> None:
    entry.value = _encoded(key, value)
    entry.key.text = str(key)


class _WriteBatch:
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


def _shard_report(message: service_pb2.ShardSummary) -> ShardReport:
    error = wire.status_to_error(message.status) if message.HasField("status") else None
    return ShardReport(message.shard, message.entries, message.scanned, error)


class _Patience:
    """How long the calls of one query go on, and when to try again. Decides; waits for nothing."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._seen = time.monotonic()
        self._pause_s = _PAUSES_S[0]

    def left_s(self) -> float:
        """The time that is left, never quite none: gRPC then says that the deadline is exceeded."""
        return max(self._deadline - time.monotonic(), 0.001)

    def saw_progress(self) -> None:
        """Note that the server sent something."""
        self._seen = time.monotonic()
        self._pause_s = _PAUSES_S[0]

    def lasts(self) -> bool:
        """Whether another call is worth a try."""
        return time.monotonic() < min(self._deadline, self._seen + RESUME_TIMEOUT_S)

    def next_pause_s(self) -> float:
        """How long to wait before it, drawn so that many clients do not come back at once."""
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _PAUSES_S[1])
        return min(pause_s * random.uniform(0.5, 1.0), self.left_s())
