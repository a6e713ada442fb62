"""RemoteDatastore: the whole Datastore contract over a channel to a server, node or proxy.

Knows messages, calls and their errors; leaves the meaning of queries and values to the library.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from datastore import wire
from datastore.aio._concurrency import in_thread
from datastore.aio.aggregating import scanned_tally
from datastore.aio.atomic import all_made, not_atomic
from datastore.aio.base import Datastore
from datastore.aio.exchange import exchange
from datastore.aio.feeds import Feed
from datastore.aio.matching import scanned_matching
from datastore.aio.scan import Scan
from datastore.aio.verbs import read_attempt, scope_of, write_attempt
from datastore.engine.plan import COMPLETE, RAW
from datastore.engine.requests import forgotten
from datastore.engine.room import read_room, sort_room
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.arguments import check_query
from datastore.model.attempts import Attempt
from datastore.model.capability import Capability, Support
from datastore.model.changes import Watch
from datastore.model.deadline import check_timeout, time_left
from datastore.model.description import Description
from datastore.model.entries import Batch, ShardReport
from datastore.model.errors import (
    CorruptDataError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    LimitExceededError,
    TruncatedStreamError,
    UnavailableError,
)
from datastore.model.explanation import Explanation
from datastore.model.key import Key
from datastore.model.matching import MatchingStep, MatchingWrite
from datastore.model.operations import (
    REFUSALS,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
    refusal_of,
)
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import WireValue, raw
from datastore_client._failures import item_error, may_have_been_made
from datastore_client._messages import (
    BATCH_ITEMS,
    SERVING,
    Page,
    WriteBatch,
    WriteMessage,
    content_of,
    delete_request,
    explanation,
    fewer_items,
    list_request,
    metadata_of,
    next_page_token,
    outcome_of,
    parsed,
    patch_request,
    put_request,
    shard_report,
    touch_request,
)
from datastore_client._retry import RESUME_TIMEOUT_S, RetryPolicy, may_repeat
from datastore_client.aio._calls import IdleLimit, pause
from datastore_client.aio._connection import Connection, Stream
from datastore_client.aio.coalescing import Coalesced
from datastore_client.aio.feed import RemoteFeed
from datastore_client.tls import Credentials, FilePath, check_use

__all__ = ["QUERY_TIMEOUT_S", "RESUME_TIMEOUT_S", "TIMEOUT_S", "RemoteDatastore", "connect"]

#: The time limit of a call, except for queries.
TIMEOUT_S = 10.0
#: The time limit of a query from its first to its last entry, over all its calls.
QUERY_TIMEOUT_S = 3600.0

_SERVICE = "/datastore.v1.DatastoreService/"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def connect(
    url: str,
    *,
    name: str | None = None,
    timeout_s: float = TIMEOUT_S,
    query_timeout_s: float = QUERY_TIMEOUT_S,
    retry: bool = True,
    retry_writes: bool = False,
    coalesce: bool = False,
    ca: FilePath | None = None,
    cert: FilePath | None = None,
    key: FilePath | None = None,
    token_file: FilePath | None = None,
    insecure: bool = False,
) -> RemoteDatastore:
    """The datastore of the server at `grpc://HOST:PORT` (default port 7420), or over TLS at `grpcs://HOST:PORT`.

    Of several addresses, `grpc://HOST:PORT,HOST:PORT`, the first that can be reached is used, and the next one when it
    cannot be reached any more.
    Nothing is sent before the first call. `ca`, `cert` and `key` are files in PEM, for `grpcs:` only: the authorities
    to trust, by default the system's, and a certificate with its key for a server that demands one. `token_file` has
    the token that identifies the caller, sent with every call; to another machine without TLS only if `insecure`. Calls
    that begin after a change of the files use the new ones; open streams go on.
    `timeout_s` limits a call with all its attempts, `query_timeout_s` a query from its first to its last entry: up to
    a year, or inf for no limit. `retry=False` turns retries off, and errors are raised immediately.
    With `retry_writes`, writes whose outcome is unknown are sent again, too; each is still made only once.
    With `coalesce`, concurrent gets share messages, and so do concurrent writes.
    Raises ConfigError for any other URL, and for files that are not valid, InvalidError for an invalid timeout. The
    caller must close the store.
    """
    check_use(url, ca=ca, cert=cert, key=key, token_file=token_file, insecure=insecure)
    return RemoteDatastore(
        url,
        credentials=Credentials(ca=ca, cert=cert, key=key, token_file=token_file, insecure=insecure),
        name=name,
        timeout_s=timeout_s,
        query_timeout_s=query_timeout_s,
        retry=retry,
        retry_writes=retry_writes,
        coalesce=coalesce,
    )


class RemoteDatastore(Datastore):
    """The datastore that a server serves. Its guarantees as a `Datastore` are those of the server's store.

    Values are plain values; others are refused before anything is sent, with the path of the offending part. With
    `lazy`, values are returned, and accepted, as WireValues, whose bytes are not decoded. `name` is set on errors as
    their `shard`, unless they have one.

    `timeout_s` covers everything a call does: waiting for a slot, sending, and retrying. The client retries calls that
    the server refused before they began (it is busy or shutting down), calls that could not reach a server that has
    answered before, and reads that were cut off; other failures are raised immediately. A write that
    raised UnavailableError without `retry_after_s`, or DeadlineExceededError, may or may not have happened; the client
    never repeats it, so a condition is decided once. With `retry=False` nothing is retried: for a store inside a
    composition whose callers retry. `credentials` are for a server with TLS, at `grpcs://HOST:PORT`, or one
    that wants a token.

    With `retry_writes` each write has a request id, which its store remembers for a while, and the client repeats
    writes that were cut off, too: one that was made already is answered as before, and not made again. So a write
    raises UnavailableError or DeadlineExceededError only if there was no answer within `timeout_s`.
    RequestForgottenError means that an attempt was cut off and the store does not know any more whether it was made,
    e.g. because a store in memory was restarted, or keeps no requests at all: then it was not repeated. A `patch` that
    was repeated returns None if the entry was written again since. Raises InvalidError together with `retry=False`.

    With `coalesce`, gets, small batches of them, single puts and deletes that are made while others are in flight are
    sent together, a few hundred in a message. That takes a fraction of the work of as many calls, on both sides.
    Results, errors and deadlines stay those of each call, and writes of one key are made in their order. The calls in
    one message are answered together, so one that waits for a shard that has stopped holds up the others.

    If the server's store keeps no versions, or its entries cannot expire, calls that need that raise UnsupportedError;
    so does `watch`, when it begins, if the store cannot be watched.

    Query results are streamed. A stream that is cut off resumes where it was, if the server is back within
    RESUME_TIMEOUT_S: every entry that exists throughout, with unchanged order fields, is returned exactly once. One
    whose order fields change meanwhile may be returned again at its new place, or not at all; in results sorted by key
    no entry is returned twice. With `idle_stream_s`, a query's stream that is not read for that long is ended, and uses
    no resources on either side until it is read again and resumes where it was: with orders, after another scan. Each
    time doubles the limit for that query. Queries with custom code request the whole scope, and are evaluated in the
    client.
    An abandoned cursor ends its call.
    Aggregates are computed by the server, within `query_timeout_s`; one that is cut off begins again, like other reads.

    Safe for threads (under asyncio, for the tasks of the event loop of the first call). The caller must close it.
    """

    capability = Capability(
        scope=True,
        key_filters=Support.EXACT,
        field_filters=Support.EXACT,
        orders=Support.EXACT,
        limit=Support.EXACT,
        versions=True,
        expiry=True,
        changes=True,
        atomic=True,
        retries=True,
    )

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        lazy: bool = False,
        retry: bool = True,
        retry_writes: bool = False,
        coalesce: bool = False,
        timeout_s: float = TIMEOUT_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
        idle_stream_s: float | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        if retry_writes and not retry:
            raise InvalidError("retry_writes needs retry", field="retry_writes")
        self.url = url
        self._retry_writes = retry_writes
        self._idle_stream_s = idle_stream_s
        self._lazy = lazy
        self._query_timeout_s = check_timeout(query_timeout_s, "query_timeout_s")
        #: The maximum number of items in a message; lowered if the server refuses that many.
        self._batch_items = BATCH_ITEMS
        self._connection = Connection(
            url,
            name=name,
            timeout_s=check_timeout(timeout_s, "timeout_s"),
            retry=retry,
            credentials=credentials or Credentials(),
        )
        self._coalesced: Coalesced | None = None
        if coalesce:
            self._coalesced = Coalesced(
                self._connection,
                get=self._get,
                batch_get=self._batch_get,
                write_one=self._write_alone,
                write=self.write,
            )

    @property
    def expects(self) -> str | None:
        """The expected identity of the server, `CLUSTER/SHARD/EPOCH`, sent with every call; None for any.

        A server with another identity refuses the call with WrongShardError.
        """
        return self._connection.expects

    @expects.setter
    def expects(self, expectation: str | None) -> None:
        self._connection.expects = expectation

    @property
    def is_expected_back(self) -> bool:
        """Whether the server has answered before and has not been lost for RESUME_TIMEOUT_S or longer.

        While this is true, UnavailableErrors of calls that did not reach it have a `retry_after_s`.
        """
        return self._connection.is_expected_back

    def note_answer(self) -> None:
        """Note that the server answered over another connection: it is expected back if it is lost now."""
        self._connection.note_answer()

    # Reading

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """Read several entries, in as many messages as needed. If a message fails, all of its keys do."""
        if not options.values:
            return [await read_attempt(self._contains, key) for key in keys]
        if len(keys) == 1:
            get = self._get if self._coalesced is None else self._coalesced.get
            return [await get(options, keys[0])]
        batch_get = self._batch_get if self._coalesced is None else self._coalesced.batch_get
        results: list[ReadResult] = []
        most = self._batch_items
        room = read_room()
        while len(results) < len(keys):
            if room.is_full:
                return results + [room.left_out() for _ in keys[len(results) :]]
            answered = await batch_get(keys[len(results) : len(results) + most], options)
            results += room.take_all(answered)
            # Values that do not fit in an answer were read for nothing, so request only about as many as fit.
            most = min(2 * len(answered), self._batch_items)
        return results

    async def _get(self, options: ReadOptions, key: Key) -> ReadResult:
        request = service_pb2.GetRequest(key=wire.encode_key(key), include_metadata=options.metadata)
        try:
            return self._found(parsed(raw.GetResponse, await self._read("Get", request)))
        except REFUSALS as error:
            return ReadResult(error=error)

    async def _contains(self, key: Key) -> bool | None:
        request = service_pb2.ContainsRequest(key=wire.encode_key(key))
        answer = parsed(service_pb2.ContainsResponse, await self._read("Contains", request))
        return True if answer.contains else None

    async def _batch_get(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The results of the first keys, at least one; those that did not fit in the answer must be requested again."""
        policy = self._connection.policy()
        results = await self._ask(keys[: self._batch_items], options)
        while asked := [place for place, result in enumerate(results) if may_repeat(result.error)]:
            backoff_s = self._connection.backoff_s(results[asked[0]].error, policy)
            if backoff_s is None:
                break
            await pause(backoff_s)
            with self._connection.until(policy.ends_at):
                again = await self._ask([keys[place] for place in asked], options)
            for place, result in zip(asked, again, strict=False):
                results[place] = result
        return results

    async def _ask(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The results of the first keys that one message contains."""
        request = wire.batch_get_request(keys, metadata=options.metadata)
        try:
            answer = await self._connection.unary(_SERVICE + "BatchGet", lambda: request, is_read=True)
            framed = parsed(raw.FramedResults, answer)
            self._check_count(len(framed.results), len(keys))
            values = wire.plain_values(framed.results) if self._lazy else None
            if values is not None:
                return [ReadResult() if value is None else ReadResult(WireValue(value)) for value in values]
            response = parsed(raw.BatchGetResponse, answer)
        except DatastoreError as error:
            if most := fewer_items(error, len(keys)):
                self._batch_items = most
                return await self._ask(keys[:most], options)
            return [ReadResult(error=error) for _ in keys]
        results: list[ReadResult] = []
        for result in response.results:
            result = self._result(result)
            # Skip the rest, which may be many: reading the status of each takes longer than reading its value.
            if results and _did_not_fit(result):
                break
            results.append(result)
        return results

    def _result(self, result: Any) -> ReadResult:
        if result.HasField("status"):
            return ReadResult(error=self._connection.named(item_error(result.status)))
        try:
            return self._found(result)
        except DatastoreError as error:
            return ReadResult(error=error)

    # Writing

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes, in as many messages as needed. If a message fails, all of its writes do.

        A value is refused before it is sent if its type is not supported or it is too large. After a message that may
        still be in progress (UnavailableError, DeadlineExceededError) no more are sent, because they could overtake
        it: all later writes have the same error.
        """
        if len(operations) == 1 or any(map(_is_made_here, operations)):
            return [await self._write_single(operation) for operation in operations]
        results: dict[int, WriteResult] = {}
        batch = WriteBatch(self._batch_items)
        stopped: DatastoreError | None = None
        for index, operation in enumerate(operations):
            content = attempt(content_of, operation)
            if content.error is not None:
                results[index] = WriteResult(content.error)
                continue
            if not batch.fits(operation.key, content.value):
                stopped = await self._send(batch, results, stopped)
                batch = WriteBatch(self._batch_items)
            batch.add(index, operation, content.value, self._attempt_of(operation))
        await self._send(batch, results, stopped)
        return [results[index] for index in range(len(operations))]

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make several writes by one message, however large: the server refuses one that exceeds its limits."""
        if any(map(_is_made_here, operations)):
            raise not_atomic(self, "it makes patches above a serializer by reads and conditional writes")
        return await all_made(_with_content, operations, self._send_atomic)

    async def _send_atomic(self, writes: Sequence[tuple[Operation, bytes | None]]) -> list[WriteResult]:
        batch, places = WriteBatch(len(writes)), range(len(writes))
        for place, (operation, content) in zip(places, writes, strict=True):
            batch.add(place, operation, content, self._attempt_of(operation))
        policy = self._connection.policy()
        while True:
            message = batch.message(places, atomic=True)
            with self._connection.until(policy.ends_at):
                answer = await self._write("BatchWrite", message)
            response = parsed(service_pb2.BatchWriteResponse, answer)
            self._check_count(len(response.results), len(writes))
            results = list(map(self._written, response.results))
            batch.note(places, message, results)
            # All together, or not at all.
            may_follow = len(batch.repeatable(results, self._may_follow)) == len(writes)
            backoff_s = self._connection.backoff_s(results[0].error, policy, self._may_follow) if may_follow else None
            if backoff_s is None:
                return results
            await pause(backoff_s)

    def _written(self, result: Any) -> WriteResult:
        if result.HasField("status"):
            return WriteResult(self._connection.named(item_error(result.status)))
        return WriteResult(metadata=metadata_of(result))

    async def _write_single(self, operation: Operation) -> WriteResult:
        # One that is made here makes others of the same key.
        if self._coalesced is None or _is_made_here(operation):
            return await self._write_alone(operation)
        return await write_attempt(self._coalesced.write, operation)

    async def _write_alone(self, operation: Operation) -> WriteResult:
        return await write_attempt(self._do, operation)

    async def _do(self, operation: Operation) -> WriteResult:
        if isinstance(operation, Patch):
            return await self._patch(operation)
        if not isinstance(operation, Put):
            await self._write_one("Delete", delete_request(operation), operation)
            return WriteResult()
        response = parsed(service_pb2.PutResponse, await self._write_one("Put", put_request(operation), operation))
        return WriteResult(metadata=metadata_of(response))

    async def _patch(self, patch: Patch) -> WriteResult:
        if not patch.changes:
            touched = parsed(service_pb2.TouchResponse, await self._write_one("Touch", touch_request(patch), patch))
            return WriteResult(metadata=metadata_of(touched))
        if _is_made_here(patch):
            if patch.attempt is not None and patch.attempt.is_repeat:
                raise forgotten()
            return await exchange(self, patch.key, patch.apply, patch.condition, patch.expiry)
        response = parsed(raw.PatchResponse, await self._write_one("Patch", patch_request(patch), patch))
        return WriteResult(metadata=metadata_of(response), value=self._found(response).value)

    async def _send(
        self, batch: WriteBatch, results: dict[int, WriteResult], stopped: DatastoreError | None
    ) -> DatastoreError | None:
        """Send one message unless `stopped` says why not, and note its results. Returns why to send no more, if so."""
        if not batch.indexes:
            return stopped
        if stopped is not None:
            results.update(dict.fromkeys(batch.indexes, WriteResult(stopped)))
            return stopped
        try:
            done, stopped = await self._batch_write(batch)
        except LimitExceededError as error:
            # The server accepts fewer items in a message, and has done nothing.
            self._batch_items = error.maximum
            for part in batch.split(error.maximum):
                stopped = await self._send(part, results, stopped)
            return stopped
        results.update(zip(batch.indexes, done, strict=True))
        return stopped

    async def _batch_write(self, batch: WriteBatch) -> tuple[list[WriteResult], DatastoreError | None]:
        """The results of the writes of one message, and why to send no more, if so.

        Raises LimitExceededError if the server accepts fewer items in a message.
        """
        policy = self._connection.policy()
        results = [WriteResult() for _ in batch.indexes]
        asked = list(range(len(results)))
        while True:
            message = batch.message(asked)
            try:
                with self._connection.until(policy.ends_at):
                    answer = await self._write("BatchWrite", message)
                response = parsed(service_pb2.BatchWriteResponse, answer)
                self._check_count(len(response.results), len(asked))
            except DatastoreError as error:
                for place in asked:
                    results[place] = WriteResult(refusal_of(error))
                batch.note(asked, message, results)
                if fewer_items(error, len(asked)):
                    raise
                return results, error if isinstance(error, (UnavailableError, DeadlineExceededError)) else None
            for place, result in zip(asked, response.results, strict=True):
                results[place] = self._written(result)
            batch.note(asked, message, results)
            asked = batch.repeatable(results, self._may_follow)
            first = results[asked[0]].error if asked else None
            backoff_s = self._connection.backoff_s(first, policy, self._may_follow)
            if backoff_s is None:
                return results, None
            await pause(backoff_s)

    def _check_count(self, answered: int, asked: int) -> None:
        if answered != asked:
            raise self._connection.named(
                CorruptDataError(f"{self.url} returned {answered:,} results for {asked:,} items")
            )

    async def update(self, key: Key, function: Callable[[Any], Any]) -> Any:
        """As for every store, with one `timeout_s` for all of its calls."""
        with self._connection.until(self._connection.policy().ends_at):
            return await super().update(key, function)

    # Queries

    def scan(self, query: Query) -> Scan:
        """The results, to which the server has applied everything but custom code. Reading them begins the call."""
        asked = scope_of(query) if query.has_custom_code else query
        request = service_pb2.QueryRequest(
            query=wire.encode_query(asked),
            allow_partial=asked.allow_partial,
            include_sort_keys=asked.sort_keys and bool(asked.orders),
            explain=asked.explain,
        )
        shards: list[ShardReport] = []
        explained: list[Explanation] = []
        batches = self._results(asked, request, shards, explained)
        return Scan(batches, COMPLETE if asked is query else RAW, shards=shards, explained=explained)

    async def _results(
        self, query: Query, request: service_pb2.QueryRequest, shards: list[ShardReport], explained: list[Explanation]
    ) -> AsyncGenerator[Batch]:
        """All batches of a query, over as many calls as needed."""
        policy = RetryPolicy(time_left(self._query_timeout_s))
        idle_s = self._idle_stream_s
        while True:
            begun_at, backoff_s = request.resume_token, 0.0
            received = await self._connection.stream(_SERVICE + "Query", request.SerializeToString(), policy)
            try:
                entries = 0
                while (data := await received.read()) is not None:
                    response = parsed(raw.FramedResponse if self._lazy else raw.QueryResponse, data)
                    entries += len(response.entries)
                    # From here on the reader has these entries, so the next call continues after them.
                    request.resume_token = response.resume_token
                    _note_last_entry(request, response)
                    ended = response.HasField("summary")
                    if ended:
                        self._check_whole(response.summary, entries)
                        shards.extend(map(shard_report, response.summary.shards))
                        if query.explain:
                            explained.append(explanation(response.summary, is_continued=bool(begun_at)))
                    batch = await self._batch(response, query)
                    # Hold only the batch while its reader takes its time.
                    del data, response
                    async with IdleLimit(None if ended else idle_s, received.aclose):
                        yield batch
                    if ended:
                        return
                    del batch
                if received.is_open:
                    raise self._connection.named(
                        TruncatedStreamError(f"the results from {self.url} ended without their summary")
                    )
                # Many concurrent readers are slow without being idle, and restarting each time would slow them further.
                idle_s = None if idle_s is None else 2 * idle_s
            except (UnavailableError, DeadlineExceededError) as error:
                again_s = self._backoff_s(error, policy, request.resume_token, begun_at)
                if again_s is None:
                    raise
                backoff_s = again_s
            finally:
                await received.aclose()
            await pause(backoff_s)

    def _backoff_s(self, error: DatastoreError, policy: RetryPolicy, token: bytes, begun_at: bytes) -> float | None:
        """How long to wait before continuing a call whose stream was cut; None if it must not be continued."""
        if not token:
            return self._connection.backoff_s(error, policy)
        # If the server's time limit ended a call that made no progress, it would end every further call too.
        is_stuck = isinstance(error, DeadlineExceededError) and token == begun_at
        return None if is_stuck else policy.backoff_s(error)

    def _check_whole(self, summary: service_pb2.QuerySummary, received: int) -> None:
        if summary.entries != received:
            raise self._connection.named(
                TruncatedStreamError(f"{self.url} sent {summary.entries:,} results, but {received:,} arrived")
            )

    async def _batch(self, response: Any, query: Query) -> Batch:
        with_metadata = query.metadata or query.sorts_by_metadata
        # Before the batch keeps the response, without its other fields.
        has_whole_entry = response.needs_last_entry and not query.sort_keys
        batch_of = wire.framed_batch if isinstance(response, raw.FramedResponse) else raw.entries_batch
        batch = batch_of(response, keys_only=query.keys_only, with_metadata=with_metadata)
        if batch.sort_keys is not None and b"" in batch.sort_keys:
            # They were too long to be sent, and take too long to compute while other tasks wait.
            batch.sort_keys = await in_thread(partial(_sort_keys, batch, query))
        if not query.metadata:
            batch.metadata = None
        if query.fields is not None and has_whole_entry and len(batch):
            # It was sent whole, so that it can be sent back.
            batch.values = [*batch.values[:-1], batch.values[-1].projected(query.fields)]
        if not self._lazy and not query.keys_only:
            batch.values = [value.decode() for value in batch.values]
        return batch

    async def list_entries(self, query: Query, *, page_size: int = 100, page_token: bytes = b"") -> Page:
        """One page of what a query selects: for callers that pass results on page by page, e.g. to a browser.

        A page has at most `page_size` entries (1,000 by the server's limit `page_items`), fewer if they would not fit
        in a message. Its `next_page_token` requests the next page, with the same query, from any client and at any
        time; limit and offset count over all pages. A page may be continued where a stream would be, see `query`.
        Raises InvalidTokenError for a token of another query, InvalidError for a negative `page_size`, and
        QueryNotSupportedError for a query with custom code.
        """
        check_query(query)
        request = list_request(query, page_size, page_token)
        response = parsed(raw.ListEntriesResponse, await self._read("ListEntries", request))
        results = raw.QueryResponse(entries=response.entries, needs_last_entry=response.needs_last_entry)
        batch = await self._batch(results, query)
        return Page(list(batch.entries()), next_page_token(response), tuple(map(shard_report, response.unreachable)))

    # Changes

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The server's feed; a stream that is cut off is continued. Begins with the first `take`."""
        return RemoteFeed(self._connection, watch, wake, lazy=self._lazy)

    # Aggregates

    async def tally(self, asked: Aggregate) -> Tally:
        """The server's tally; a call that is cut off is repeated from the beginning.

        The server limits the number of groups. With custom code, all entries are read and aggregated in the client.
        """
        if asked.query.has_custom_code:
            return await scanned_tally(self, asked)
        request = wire.encode_aggregate(asked).SerializeToString()
        policy = RetryPolicy(time_left(self._query_timeout_s))
        while True:
            received = await self._connection.stream(_SERVICE + "Aggregate", request, policy)
            try:
                return await self._received_tally(asked, received)
            except UnavailableError as error:
                backoff_s = self._connection.backoff_s(error, policy)
                if backoff_s is None:
                    raise
            finally:
                await received.aclose()
            await pause(backoff_s)

    async def _received_tally(self, asked: Aggregate, received: Stream) -> Tally:
        tally, room = Tally(asked._replace(most_groups=sys.maxsize)), sort_room()
        groups = 0
        try:
            while (data := await received.read()) is not None:
                response = parsed(service_pb2.AggregateResponse, data)
                for group in response.groups:
                    tally.take(wire.decode_group(asked, group))
                room.hold(tally.held_bytes)
                groups += len(response.groups)
                if response.HasField("summary"):
                    if response.summary.groups != groups:
                        break
                    return tally
        finally:
            room.close()
        raise self._connection.named(
            TruncatedStreamError(f"the groups from {self.url} ended after {groups:,}, without their summary")
        )

    # Changes of many entries

    async def write_matching(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        """The server's steps. A call that is cut off is continued by its last token; its positions are these tokens.

        Without a token it is repeated only if it did not begin. With custom code, the entries are selected in the
        client.
        """
        steps = scanned_matching(self, asked) if asked.query.has_custom_code else self._matching_steps(asked)
        async with aclosing(steps):
            async for step in steps:
                yield step

    async def _matching_steps(self, asked: MatchingWrite) -> AsyncGenerator[MatchingStep]:
        is_delete = asked.changes is None
        path = _SERVICE + ("DeleteMatching" if is_delete else "PatchMatching")
        response_type = service_pb2.DeleteMatchingResponse if is_delete else service_pb2.PatchMatchingResponse
        request = wire.encode_matching(asked)
        policy = RetryPolicy(time_left(self._query_timeout_s))
        while True:
            begun_at = request.resume_token
            received = await self._connection.stream(path, request.SerializeToString(), policy, is_read=False)
            try:
                while (data := await received.read()) is not None:
                    response = parsed(response_type, data)
                    request.resume_token = response.resume_token
                    if response.HasField("summary"):
                        return
                    yield wire.decode_matching_step(response.progress, response.resume_token)
                raise self._connection.named(
                    TruncatedStreamError(f"the progress from {self.url} ended without its summary")
                )
            except (UnavailableError, DeadlineExceededError) as error:
                backoff_s = self._backoff_s(error, policy, request.resume_token, begun_at)
                if backoff_s is None:
                    raise
            finally:
                await received.aclose()
            await pause(backoff_s)

    # The server

    async def describe_store(self) -> service_pb2.DescribeStoreResponse:
        """The server's description of its store, its limits and its shards."""
        answer = await self._read("DescribeStore", service_pb2.DescribeStoreRequest())
        response: service_pb2.DescribeStoreResponse = parsed(service_pb2.DescribeStoreResponse, answer)
        return response

    async def check_health(self) -> None:
        """Raise UnavailableError unless the server runs, is not shutting down, and reaches its store."""
        if await self._connection.once(_HEALTH_CHECK, b"") != SERVING:
            why = "it is shutting down, or its store does not answer"
            raise self._connection.named(UnavailableError(f"{self.url} is not serving: {why}"))

    def describe(self) -> Description:
        """Kind `remote`, with the URL; `describe_store` describes the store behind it."""
        return Description("remote", self.url, self.capability)

    async def aclose(self) -> None:
        """Close the connection. Calls and cursors in progress raise DatastoreClosedError."""
        await self._connection.aclose()

    # Calls

    async def _read(self, method: str, request: Any) -> bytes:
        return await self._connection.unary(_SERVICE + method, request.SerializeToString, is_read=True)

    async def _write_one(self, method: str, request: Any, operation: Operation) -> bytes:
        return await self._write(method, WriteMessage(request, [request], [self._attempt_of(operation)]))

    async def _write(self, method: str, message: WriteMessage) -> bytes:
        may_follow = message.may_follow if self._retry_writes else may_repeat
        path = _SERVICE + method
        try:
            return await self._connection.unary(path, message.encoded, is_read=False, may_follow=may_follow)
        except DatastoreError as error:
            outcome = outcome_of(error, message.unknown)
            try:
                if outcome is error:
                    raise
                raise outcome from error
            finally:
                # It holds this frame; if the frame kept it too, only the garbage collector could free both.
                del outcome

    def _attempt_of(self, operation: Operation) -> Attempt | None:
        """The attempt that an operation states, or the first one of a new write that may be repeated."""
        if operation.attempt is None and self._retry_writes:
            return Attempt.new()
        return operation.attempt

    def _may_follow(self, error: Exception) -> bool:
        """Whether a write of a batch may be sent again after its error."""
        return may_repeat(error) or (self._retry_writes and may_have_been_made(error))

    def _found(self, message: Any) -> ReadResult:
        """What a message with a value and metadata says of a key."""
        if not message.HasField("value"):
            return ReadResult()
        value = WireValue(message.value) if self._lazy else wire.decode_value(message.value)
        return ReadResult(value, metadata=metadata_of(message))


def _with_content(operation: Operation) -> tuple[Operation, bytes | None]:
    return operation, content_of(operation)


def _is_made_here(operation: Operation) -> bool:
    """Whether it is a patch by changes that the server cannot make: of the values of a serializer above this store."""
    return isinstance(operation, Patch) and bool(operation.forms and operation.changes)


def _note_last_entry(request: service_pb2.QueryRequest, response: Any) -> None:
    """Keep the last entry for the next call, if the token needs it."""
    if not response.needs_last_entry:
        request.ClearField("last_entry")
    elif response.entries:
        last = response.entries[-1]
        data = last if isinstance(last, bytes) else last.SerializeToString()
        request.last_entry.CopyFrom(parsed(type(request.last_entry), data))


def _did_not_fit(result: ReadResult) -> bool:
    return isinstance(result.error, LimitExceededError) and result.error.limit == "message_bytes"


def _sort_keys(batch: Batch, query: Query) -> list[bytes]:
    """The sort keys of a batch; those that were left out are computed from the values."""
    return [
        sort_key or query.sort_key_of(batch.key_at(index), batch.values[index], batch.metadata_at(index))
        for index, sort_key in enumerate(batch.sort_keys or ())
    ]
