"""RemoteDatastore: the whole Datastore contract over a channel to a server, node or proxy.

Knows messages, calls and their errors; what a query or a value means is the library's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NoReturn

import grpc

from datastore import wire
from datastore.aio._concurrency import Lock
from datastore.aio.base import Datastore, bad_keys, check_key, check_query, refusal, scope_of
from datastore.aio.cursor import Cursor, refine
from datastore.core.batch import Batch, Outcome, ShardReport, Write
from datastore.core.composition import Description
from datastore.core.deadline import time_left
from datastore.core.errors import (
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    LimitExceededError,
    TruncatedStreamError,
    UnavailableError,
)
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.v1 import service_pb2
from datastore.wire import WireValue, raw
from datastore_client._messages import (
    BATCH_ITEMS,
    SERVING,
    WriteBatch,
    call_error,
    encoded,
    item_error,
    parsed,
    shard_report,
)
from datastore_client._patience import RESUME_TIMEOUT_S, Patience
from datastore_client.aio._calls import (
    CALL_ERRORS,
    Messages,
    answered,
    is_interruption,
    messages,
    open_channel,
    pause,
)
from datastore_client.channel import parse_target

__all__ = ["QUERY_TIMEOUT_S", "RESUME_TIMEOUT_S", "TIMEOUT_S", "RemoteDatastore", "connect"]

#: How long a call may take, but for queries.
TIMEOUT_S = 10.0
#: How long a query may take from its first to its last entry, over all its calls.
QUERY_TIMEOUT_S = 3600.0

_SERVICE = "/datastore.v1.DatastoreService/"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def connect(
    url: str,
    *,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    query_timeout_s: float = QUERY_TIMEOUT_S,
) -> RemoteDatastore:
    """The datastore of the server at `grpc://HOST:PORT`, without a port 7420. Nothing is sent before the first call.

    `timeout_s` is how long a call may take, `query_timeout_s` how long a query may, from its first to its last entry.
    Whoever connects closes it.
    """
    return RemoteDatastore(url, name=name, timeout_s=timeout_s, query_timeout_s=query_timeout_s)


class RemoteDatastore(Datastore):
    """The datastore that a server serves. All promises of `Datastore` are the server's store's.

    Values are plain values; others are refused before anything is sent, with the path of the offending part. With
    `lazy` values come, and may be given, as WireValues, whose bytes are not looked at. A call that cannot reach
    the server raises UnavailableError at once, one that takes longer than `timeout_s` DeadlineExceededError; a write
    that raised either may or may not have happened. `name` is put on errors as their `shard`, unless they name one.

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
        #: What the server is expected to be, `CLUSTER/SHARD/EPOCH`, sent with every call; one that is something else
        #: refuses with WrongShardError. None expects nothing.
        self.expects: str | None = None
        self._lock = Lock()
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    # Entries

    async def get(self, key: Key) -> Any:
        """The value of `key`, or None."""
        key = check_key(key)
        request = service_pb2.GetRequest(key=wire.encode_key(key))
        return self._value(parsed(raw.GetResponse, await self._call("Get", request)))

    async def put(self, key: Key, value: Any) -> None:
        """Store `value` under `key`; refused before it is sent if it cannot travel or is too large."""
        key = check_key(key)
        if value is None:
            await self.delete(key)
            return
        request = raw.PutRequest()
        request.entry.value = encoded(key, value)
        request.entry.key.text = str(key)
        await self._call("Put", request)

    async def delete(self, key: Key) -> None:
        """Remove the entry of `key`."""
        key = check_key(key)
        await self._call("Delete", service_pb2.DeleteRequest(key=wire.encode_key(key)))

    async def contains(self, key: Key) -> bool:
        """Whether the server has `key`."""
        key = check_key(key)
        request = service_pb2.ContainsRequest(key=wire.encode_key(key))
        answer: bool = parsed(service_pb2.ContainsResponse, await self._call("Contains", request)).contains
        return answer

    # Batches

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries, in as many messages as it takes. A message that fails is each of its keys' failure."""
        outcomes = bad_keys(keys)
        good = [index for index in range(len(keys)) if index not in outcomes]
        asked, most = 0, BATCH_ITEMS
        while asked < len(good):
            part = good[asked : asked + most]
            answered = await self._batch_get([check_key(keys[index]) for index in part])
            outcomes.update(zip(part, answered, strict=False))
            asked += len(answered)
            # What does not fit in an answer was read for nothing: large values are asked for as they fit.
            most = min(2 * len(answered), BATCH_ITEMS)
        return [outcomes[index] for index in range(len(keys))]

    async def _batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """The outcomes of the first keys, at least one; those that did not fit in the answer are left to ask again."""
        request = service_pb2.BatchGetRequest(keys=map(wire.encode_key, keys))
        try:
            response = parsed(raw.BatchGetResponse, await self._call("BatchGet", request))
            self._check_count(len(response.results), len(keys))
        except DatastoreError as error:
            return [Outcome(error=error)] * len(keys)
        outcomes = [self._outcome(result) for result in response.results]
        return next((outcomes[:i] for i, outcome in enumerate(outcomes) if i and _did_not_fit(outcome)), outcomes)

    def _outcome(self, result: Any) -> Outcome:
        if result.HasField("status"):
            return Outcome(error=self._named(item_error(result.status)))
        try:
            return Outcome(self._value(result))
        except DatastoreError as error:
            return Outcome(error=error)

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, in as many messages as it takes. A message that fails is each of its writes' failure.

        After a message that may still be under way (UnavailableError, DeadlineExceededError) no more are sent, as
        they could overtake it: all later writes have the same error.
        """
        outcomes: dict[int, Outcome] = {}
        batch = WriteBatch()
        stopped: DatastoreError | None = None
        for index, (key, new) in enumerate(writes):
            try:
                key = check_key(key)
                value = None if new is None else encoded(key, new)
            except (DatastoreError, TypeError, ValueError) as error:
                outcomes[index] = refusal(error)
                continue
            if not batch.fits(key, value):
                stopped = await self._send(batch, outcomes, stopped)
                batch = WriteBatch()
            batch.add(index, key, value)
        await self._send(batch, outcomes, stopped)
        return [outcomes[index] for index in range(len(writes))]

    async def _send(
        self, batch: WriteBatch, outcomes: dict[int, Outcome], stopped: DatastoreError | None
    ) -> DatastoreError | None:
        """Send one message, unless `stopped` says why not, and note its outcomes; why no more are to be sent."""
        if not batch.indexes:
            return stopped
        error = stopped
        if error is None:
            try:
                response = parsed(service_pb2.BatchWriteResponse, await self._call("BatchWrite", batch.request))
                self._check_count(len(response.results), len(batch.indexes))
            except DatastoreError as failure:
                error = failure
        if error is not None:
            outcomes.update(dict.fromkeys(batch.indexes, Outcome(error=error)))
            return error if isinstance(error, (UnavailableError, DeadlineExceededError)) else None
        for index, result in zip(batch.indexes, response.results, strict=True):
            failed = result.HasField("status")
            outcomes[index] = Outcome(error=self._named(item_error(result.status)) if failed else None)
        return None

    def _check_count(self, answered: int, asked: int) -> None:
        if answered != asked:
            raise self._named(CorruptDataError(f"{self.url} answered {answered:,} results for {asked:,} items"))

    # Queries

    def query(self, query: Query) -> Cursor:
        """A cursor over the stream of results; the call begins at the first item."""
        check_query(query)
        asked = scope_of(query) if query.has_custom_code else query
        request = service_pb2.QueryRequest(
            query=wire.encode_query(asked),
            allow_partial=asked.allow_partial,
            include_sort_keys=asked.sort_keys and bool(asked.orders),
        )
        shards: list[ShardReport] = []
        results = self._results(asked, request, shards)
        return Cursor.from_batches(query, results if asked is query else refine(query, results), shards=shards)

    async def _results(
        self, query: Query, request: service_pb2.QueryRequest, shards: list[ShardReport]
    ) -> AsyncGenerator[Batch]:
        """All batches of a query, over as many calls as it takes."""
        patience = Patience(time_left(self._query_timeout_s))
        while True:
            begun_at = request.resume_token
            received = self._open(request, patience.left_s())
            try:
                entries = 0
                while (response := await self._next(received, patience)) is not None:
                    batch = self._batch(response, query)
                    entries += len(batch)
                    # From here on these entries are the reader's: a call after this continues behind them.
                    request.resume_token = response.resume_token
                    if response.HasField("summary"):
                        self._check_whole(response.summary, entries)
                        shards.extend(map(shard_report, response.summary.shards))
                        yield batch
                        return
                    yield batch
                raise self._named(TruncatedStreamError(f"the results from {self.url} ended without their summary"))
            except (UnavailableError, DeadlineExceededError) as error:
                pause_s = patience.pause_s(error) if request.resume_token else None
                # A server's time for a query that ends before it has come any further would always end so.
                stuck = isinstance(error, DeadlineExceededError) and request.resume_token == begun_at
                if pause_s is None or stuck:
                    raise
            finally:
                await received.aclose()
            await pause(pause_s)

    def _open(self, request: service_pb2.QueryRequest, timeout_s: float) -> Messages:
        """Make one call of a query."""
        try:
            return messages(self._start("unary_stream", _SERVICE + "Query", request.SerializeToString(), timeout_s))
        except CALL_ERRORS as error:
            self._fail(error, timeout_s)

    async def _next(self, received: Messages, patience: Patience) -> Any:
        """The next message of a call, or None at its end."""
        try:
            data = await anext(received, None)
        except CALL_ERRORS as error:
            self._fail(error, patience.timeout_s)
        if data is None:
            return None
        patience.saw_message()
        return parsed(raw.QueryResponse, data)

    def _check_whole(self, summary: service_pb2.QuerySummary, received: int) -> None:
        if summary.entries != received:
            raise self._named(
                TruncatedStreamError(f"{self.url} sent {summary.entries:,} results, and {received:,} came")
            )

    def _batch(self, response: Any, query: Query) -> Batch:
        batch = raw.entries_batch(response, keys_only=query.keys_only)
        if not self._lazy and not query.keys_only:
            batch.values = [value.decode() for value in batch.values]
        return batch

    # The server

    async def describe_store(self) -> service_pb2.DescribeStoreResponse:
        """What the server tells of its store, its limits and its shards."""
        answer = await self._call("DescribeStore", service_pb2.DescribeStoreRequest())
        response: service_pb2.DescribeStoreResponse = parsed(service_pb2.DescribeStoreResponse, answer)
        return response

    async def check_health(self) -> None:
        """Raise UnavailableError unless the server runs and is not shutting down."""
        if await self._unary(_HEALTH_CHECK, b"") != SERVING:
            raise self._named(UnavailableError(f"{self.url} is shutting down"))

    def describe(self) -> Description:
        """Kind `remote`, with the URL; what lies behind it is told by `describe_store`."""
        return Description("remote", self.url)

    async def aclose(self) -> None:
        """Close the connection. Calls and cursors under way raise DatastoreClosedError."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    # Calls

    async def _call(self, method: str, request: Any) -> bytes:
        return await self._unary(_SERVICE + method, request.SerializeToString())

    async def _unary(self, path: str, request: bytes) -> bytes:
        timeout_s = time_left(self._timeout_s)
        try:
            answer: bytes = await answered(self._start("unary_unary", path, request, timeout_s))
        except CALL_ERRORS as error:
            self._fail(error, timeout_s)
        return answer

    def _start(self, kind: str, path: str, request: bytes, timeout_s: float) -> Any:
        """Make a call of a method that takes and gives bytes."""
        with self._lock:
            if self._closed:
                raise self._was_closed()
            if self._channel is None:
                # Not before the first call: an asyncio channel belongs to the loop that it is made on.
                self._channel = open_channel(self._target)
            method: Callable[..., Any] = getattr(self._channel, kind)(path)
        expected = None if self.expects is None else ((wire.EXPECTATION, self.expects),)
        return method(request, timeout=timeout_s, metadata=expected)

    def _fail(self, error: BaseException, timeout_s: float) -> NoReturn:
        """Raise what the failure of a call means; `error` itself where the caller was cancelled."""
        if self._closed and not is_interruption(error):
            raise self._was_closed() from error
        if isinstance(error, grpc.RpcError):
            raise self._named(call_error(error, self.url, timeout_s)) from error
        raise error

    def _was_closed(self) -> DatastoreClosedError:
        return DatastoreClosedError(f"the connection to {self.url} was closed")

    def _named(self, error: DatastoreError) -> DatastoreError:
        if error.shard is None and self._name is not None:
            error.shard = self._name
        return error

    def _value(self, message: Any) -> Any:
        if not message.HasField("value"):
            return None
        return WireValue(message.value) if self._lazy else wire.decode_value(message.value)


def _did_not_fit(outcome: Outcome) -> bool:
    return isinstance(outcome.error, LimitExceededError) and outcome.error.limit == "message_bytes"
