"""The one service, of both nodes and proxies: every RPC is check, call, convert.

Serves one `aio.Datastore` whose values are WireValues: the bytes of a value pass between requests, store and responses
without being decoded here. Knows no transport, and not whether the store is local or remote.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.rpc import status_pb2

from datastore import wire
from datastore.aio.aggregating import tally_of
from datastore.aio.atomic import all_made, atomic_of
from datastore.aio.base import Datastore, exact_query
from datastore.aio.matching import MatchingRun
from datastore.aio.verbs import on_made
from datastore.aio.watching import Watcher
from datastore.engine.placement import NodePlacement
from datastore.engine.room import SortBudget, set_batch_bytes, set_read_room, set_sort_budget
from datastore.model.encoded import encoded_bytes
from datastore.model.errors import DatastoreError, OverloadedError, UnavailableError
from datastore.model.matching import MatchingWrite
from datastore.model.operations import VALUES, Operation, ReadResult, WriteResult, raise_error, value_of
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore_server import aggregating, checks, describe, matching, pages, streaming, watching
from datastore_server.admission import Admission
from datastore_server.auth.authorized import AuthorizedDatastore
from datastore_server.auth.callers import caller
from datastore_server.auth.gate import Gate
from datastore_server.auth.rights import ROOT, Right
from datastore_server.budget import AnswerBudget, OpenStreams
from datastore_server.call import Answer, Call, Handler, Serve, ServedMethod, at_once
from datastore_server.calls import CallLog
from datastore_server.describe import ClusterInfo
from datastore_server.framing import batch_get_answer, batch_write_answer, get_answer, patch_answer, put_answer
from datastore_server.interceptors import check_expected, expecting, guard, item_status, status_of
from datastore_server.limits import KEY_REQUEST, QUERY_REQUEST, Limits, RequestLimit
from datastore_server.observation import Observation, load_of, space_warnings
from datastore_server.protection import Protection
from datastore_server.pulse import Pulse
from datastore_server.requests import Requests
from datastore_server.rpc import checked, handlers_of, parse_request
from datastore_server.tokens import End
from datastore_server.trimming import MemoryTrimmer
from datastore_server.underway import RETRY_AFTER_S, CallsUnderWay

__all__ = ["SERVICE", "DatastoreService"]

_DESCRIPTOR = service_pb2.DESCRIPTOR.services_by_name["DatastoreService"]
SERVICE: str = _DESCRIPTOR.full_name

_log = logging.getLogger("datastore.server")

_T = TypeVar("_T")

#: If no call arrives for this long, in seconds, none is on its way; and how long to wait for that.
QUIET_S = 0.02
HOLD_S = 0.5
#: How long refusals repeat one message, with the same numbers, in seconds.
SAME_REFUSAL_S = 0.05
#: The calls that are refused under overload. DescribeStore is always answered, and streams are limited separately.
_WRITES_AT_ONCE = frozenset({"Put", "Delete", "Patch", "Touch", "BatchWrite"})
#: The methods that may have done something when they fail.
_WRITES = _WRITES_AT_ONCE | {"DeleteMatching", "PatchMatching"}
_ADMITTED = _WRITES_AT_ONCE | {"Get", "Contains", "BatchGet", "ListEntries"}
#: The methods that an embedded store may answer without waiting.
_READS_OF_ONE = frozenset({"Get", "Contains"})
#: The methods whose requests name one key or none, see `KEY_REQUEST_BYTES`.
_KEY_REQUESTS = frozenset({"Get", "Delete", "Touch", "Contains", "DescribeStore"})
#: The methods of queries, see `QUERY_REQUEST`.
_LONG_REQUESTS = frozenset({"Query", "ListEntries", "Aggregate", "Watch", "DeleteMatching", "PatchMatching"})


class _Stream(Protocol):
    def interrupt(self, error: DatastoreError) -> None:
        """End with this error."""


class DatastoreService:
    """Serves one Datastore. A method takes the bytes of a request, and returns those of the response.

    With `check_values` every value is checked before it reaches the datastore; a proxy leaves that to its nodes and
    forwards values unread. `require_expected` raises for callers that expect a different server, see `expecting`.
    With a `gate` only the callers that it knows are served, each within its rights.
    `placement` returns the node's placement, and `store_failure` why its store does not answer, or None. Calls are
    recorded in `calls`, and `pulse` is that of the server. `combined` adds what other processes of the server have
    observed to what is observed here.
    """

    def __init__(
        self,
        datastore: Datastore,
        *,
        limits: Limits | None = None,
        check_values: bool = True,
        cluster: ClusterInfo | None = None,
        require_expected: Callable[[str], None] | None = None,
        placement: Callable[[], NodePlacement] | None = None,
        store_failure: Callable[[], DatastoreError | None] | None = None,
        calls: CallLog | None = None,
        pulse: Pulse | None = None,
        gate: Gate | None = None,
        combined: Callable[[Observation], Observation] | None = None,
    ) -> None:
        self._combined = combined
        self._datastore = datastore if gate is None else AuthorizedDatastore(datastore)
        self._gate = gate
        self._pulse = pulse or Pulse()
        self._calls = calls or CallLog()
        self._require_expected = require_expected
        self._limits = limits or Limits()
        self._cluster = cluster or ClusterInfo()
        self._requests = Requests(
            self._limits,
            lambda: self._cluster.placement_epoch,
            check_values=check_values,
            keeps_versions=datastore.capability.versions,
            can_expire=datastore.capability.expiry,
            can_be_atomic=datastore.capability.atomic,
            remembers=datastore.capability.retries,
        )
        self._placement = placement
        self._store_failure = store_failure
        #: How the connections of clients are protected, once that is known.
        self.protection = Protection()
        self._probes = describe.ShardProbes(self._cluster.shards)
        self._streams: set[_Stream] = set()
        self._watches = watching.Watches(self._limits)
        self._is_draining = False
        self._under_way = CallsUnderWay()
        self._admission = Admission(self._limits.calls_in_hand)
        #: The status of the last call that was refused, and when it was made.
        self._refusal: status_pb2.Status | None = None
        self._refused_s = 0.0
        self._open_streams = OpenStreams(self._limits)
        self._reads = AnswerBudget(self._limits, len(self._cluster.shards))
        self._sorts = SortBudget(
            self._limits.all_sort_bytes,
            memory_bytes=self._limits.sort_memory_bytes,
            disk_bytes=self._limits.sort_disk_bytes,
        )
        self._checks = ThreadPoolExecutor(1, "checks")
        self._trimmer = MemoryTrimmer()

    def methods(self) -> list[ServedMethod]:
        """Every RPC of the service, for a transport."""
        return [
            ServedMethod(
                f"/{SERVICE}/{method.name}",
                method.server_streaming,
                self._guarded(method.name, self._admitted(method.name, handler)),
                self._answer_now(method.name, handler),
                is_write=method.name in _WRITES_AT_ONCE,
                refuse=self._refuse(method.name),
            )
            for method, handler in self._handlers()
        ]

    def _handlers(self) -> Iterator[tuple[MethodDescriptor, Handler]]:
        """Each RPC with its handler, which identifies the caller before anything else."""
        for method, handler in handlers_of(_DESCRIPTOR, self):
            # The token of a resumed watch has what it expects.
            if self._require_expected is not None and method.name != "Watch":
                handler = expecting(handler, self._require_expected)
            if self._gate is not None:
                handler = self._gate.admitting(handler, is_stream=method.server_streaming)
            yield method, handler

    def _guarded(self, name: str, handler: Handler) -> Serve:
        return guard(name, handler, self._request_limit(name), self._calls)

    def _admitted(self, name: str, handler: Handler) -> Handler:
        admission = self._admission if name in _ADMITTED else None
        return self._under_way.admitted(handler, admission, is_write=name in _WRITES)

    def _answer_now(self, name: str, handler: Handler) -> Callable[[bytes, Call], Answer] | None:
        """`ServedMethod.answer_now` for reads of one key, if the store does not have to wait."""
        if name not in _READS_OF_ONE or not self._datastore.capability.reads_at_once:
            return None

        async def unless_draining(request: bytes, call: Call) -> bytes | None:
            if self._is_draining:
                raise _shutting_down()
            return await handler(request, call)

        answer_now = at_once(self._guarded(name, unless_draining))
        # Calls that are held wait in the event loop.
        return lambda request, call: None if self._under_way.is_held else answer_now(request, call)

    def _refuse(self, name: str) -> Callable[[int, float | None], status_pb2.Status | None] | None:
        """`ServedMethod.refuse` for calls that are admitted, see `_admitted`."""
        if name not in _ADMITTED:
            return None
        record = self._calls.recorder(name)

        def refuse(in_hand: int, time_left_s: float | None) -> status_pb2.Status | None:
            try:
                self._admission.check(in_hand, time_left_s)
            except OverloadedError as error:
                record.refused(wire.reason_of(OverloadedError))
                return self._refusal_of(error, name)
            except UnavailableError:
                # The server drains: `admitted` answers, once calls are not held any more.
                pass
            return None

        return refuse

    def _refusal_of(self, error: OverloadedError, name: str) -> status_pb2.Status:
        """The status of a refused call, reused for a while: making one takes as long as answering a call."""
        now_s = time.monotonic()
        if self._refusal is None or now_s - self._refused_s > SAME_REFUSAL_S:
            self._refusal, self._refused_s = status_of(error, name), now_s
        return self._refusal

    def _request_limit(self, name: str) -> RequestLimit:
        if name in _KEY_REQUESTS:
            return KEY_REQUEST
        if name in _LONG_REQUESTS:
            return QUERY_REQUEST
        return RequestLimit("message_bytes", self._limits.message_bytes)

    # One entry

    async def get(self, request: bytes, call: Call) -> bytes:
        """Get: the value, with the metadata if requested, or a response without either if the key is absent."""
        key, options = self._requests.get(request)
        metadata = None
        if options is VALUES:
            value = await self._datastore.get(key)
        else:
            (result,) = await self._datastore.read((key,), options)
            value, metadata = value_of(result), result.metadata
        if value is None:
            return b""
        response = get_answer(value, metadata)
        checks.check_fits(len(response), self._limits, f"the value of {key}")
        return response

    async def put(self, request: bytes, call: Call) -> bytes:
        """Put: answered once the entry is stored; runs to completion even if the client disconnects."""
        return put_answer(await self._made(await checked(self._requests.put, request, self._checks)))

    async def delete(self, request: bytes, call: Call) -> bytes:
        """Delete: runs to completion even if the client disconnects."""
        await self._made(self._requests.delete(request))
        return b""

    async def _made(self, operation: Operation) -> WriteResult:
        """Make a write, and raise its error."""
        (result,) = await self._datastore.write((operation,))
        raise_error(result)
        return result

    async def patch(self, request: bytes, call: Call) -> bytes:
        """Patch: answered once the changes are stored; runs to completion even if the client disconnects."""
        patch, include_value = await checked(self._requests.patch, request, self._checks)
        written = await self._made(patch)
        return patch_answer(written, include_value=include_value)

    async def touch(self, request: bytes, call: Call) -> bytes:
        """Touch: answered once the expiry is stored; runs to completion even if the client disconnects."""
        return put_answer(await self._made(self._requests.touch(request)))

    async def contains(self, request: bytes, call: Call) -> bytes:
        """Contains: whether the key has a value."""
        held = await self._datastore.contains(self._requests.contains(request))
        return service_pb2.ContainsResponse(contains=held).SerializeToString()

    # Batches

    async def batch_get(self, request: bytes, call: Call) -> bytes:
        """BatchGet: a result for each key, in order. Values that do not fit fail, and can be requested again."""
        set_read_room(self._limits.message_bytes)
        async with self._reads.hold_answer():
            # Not before its turn: checking a thousand keys blocks other calls for some milliseconds.
            items, options = await checked(self._requests.keys, request, self._checks)
            results = await on_made(
                _required, items, lambda keys: self._datastore.read(keys, options), ReadResult.failed
            )
            call.count(len(results))
            self._reads.note(encoded_bytes(result.value for result in results))
            return batch_get_answer(results, self._limits)

    async def batch_write(self, request: bytes, call: Call) -> bytes:
        """BatchWrite: a result for each write, in order; runs to completion even if the client disconnects."""
        items, is_atomic = await checked(self._requests.writes, request, self._checks)
        if is_atomic:
            results = await all_made(_required, items, atomic_of(self._datastore))
        else:
            results = await on_made(_required, items, self._datastore.write, WriteResult)
        call.count(len(results))
        return batch_write_answer(results)

    # Queries

    async def query(self, request: bytes, call: Call) -> None:
        """Query: a stream of batches and a summary, at the client's pace."""
        query, token, sort_keys = await checked(self._requests.query, request, self._checks)
        builder = streaming.ResponseBuilder(
            query,
            token,
            self._limits,
            sort_keys=sort_keys,
            share_bytes=self._open_streams.share_bytes,
            count=call.count,
        )
        if token.end is not End.OPEN:
            self._require_readable(query)
            await call.send(builder.finish_again())
            return
        self._check_continues()
        set_batch_bytes(builder.read_bytes)
        set_sort_budget(self._sorts)
        with self._open_streams.one_more(call.peer()):
            stream = streaming.QueryStream(exact_query(self._datastore, query), builder, call.send)
            self._trimmer.note()
            try:
                with self._interruptible(stream):
                    await stream.run(self._limits.query_time_ms / 1000)
            finally:
                self._trimmer.note()

    def _require_readable(self, query: Query) -> None:
        """Require the rights for a finished query, which is answered without the store that checks them otherwise."""
        if self._gate is not None:
            caller().require_scope(Right.READ, query.key)

    def _check_continues(self) -> None:
        """Raise UnavailableError if streams are ending."""
        if self._is_draining:
            raise _shutting_down("; continue by the last token")

    @contextmanager
    def _interruptible(self, stream: _Stream) -> Iterator[None]:
        """Interrupt the stream if the server drains while the block runs."""
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)

    async def list_entries(self, request: bytes, call: Call) -> bytes:
        """ListEntries: one page of a query, and the token of the next."""
        query, token, page_items = await checked(self._requests.page, request, self._checks)
        if token.end is not End.OPEN:
            self._require_readable(query)
            return b""
        async with self._reads.hold_answer():
            return await self._filled(pages.Page(query, token, page_items, self._limits), query, call)

    async def _filled(self, page: pages.Page, query: Query, call: Call) -> bytes:
        set_sort_budget(self._sorts)
        cursor = exact_query(self._datastore, query)
        async with aclosing(cursor), self._query_time():
            await page.fill(cursor)
        call.count(page.entries)
        response = page.response(cursor)
        self._reads.note(len(response))
        return response

    @asynccontextmanager
    async def _query_time(self, advice: str = streaming.CONTINUE) -> AsyncIterator[None]:
        """Raise DeadlineExceededError, with this advice, at the time limit of queries."""
        time_limit_s = self._limits.query_time_ms / 1000
        try:
            async with asyncio.timeout(time_limit_s) as timeout:
                yield
        except TimeoutError:
            if timeout.expired():
                raise streaming.expired(time_limit_s, advice) from None
            raise

    async def aggregate(self, request: bytes, call: Call) -> None:
        """Aggregate: the groups in batches, once all entries have been read, and a summary."""
        asked, partial_state = await checked(self._requests.aggregate, request, self._checks)
        if self._is_draining:
            raise _shutting_down()
        set_sort_budget(self._sorts)
        with self._open_streams.one_more(call.peer()):
            async with self._query_time("give it filters"):
                tally = await tally_of(self._datastore, asked)
            for message in aggregating.responses(asked, tally, self._limits, partial_state=partial_state):
                await call.send(message)

    async def watch(self, request: bytes, call: Call) -> None:
        """Watch: a stream of changes and heartbeats, at the client's pace."""
        query, asked = await checked(self._requests.watch, request, self._checks)
        self._check_continues()
        if not asked.resume_token and self._require_expected is not None:
            check_expected(call, self._require_expected)
        changes = query.replaced(keys_only=False)

        def open_watcher(token: bytes | None) -> Watcher:
            return self._datastore.watch(
                changes,
                values=not query.keys_only,
                initial=asked.initial,
                resume_token=token or asked.resume_token or None,
            )

        identity = asked.query.SerializeToString(deterministic=True)
        with self._open_streams.one_more(call.peer()):
            stream = watching.WatchStream(self._watches, identity, open_watcher, call.send, call.count)
            with self._interruptible(stream):
                await stream.run()

    # Changes of many entries

    async def delete_matching(self, request: bytes, call: Call) -> None:
        """DeleteMatching: a stream of progress and a summary. If the client leaves, it ends after the batch in hand."""
        asked, token = await checked(self._requests.delete_matching, request, self._checks)
        await self._run_matching(asked, token, service_pb2.DeleteMatchingResponse, call)

    async def patch_matching(self, request: bytes, call: Call) -> None:
        """PatchMatching: like DeleteMatching."""
        asked, token = await checked(self._requests.patch_matching, request, self._checks)
        await self._run_matching(asked, token, service_pb2.PatchMatchingResponse, call)

    async def _run_matching(self, asked: MatchingWrite, token: bytes, response: Any, call: Call) -> None:
        self._check_continues()
        set_sort_budget(self._sorts)
        with self._open_streams.one_more(call.peer()):
            run = MatchingRun(self._datastore, asked, token or None)
            stream = matching.MatchingStream(run, response, call.send, call.count)
            with self._interruptible(stream):
                await stream.run(self._limits.query_time_ms / 1000)

    # The server itself

    async def describe_store(self, request: bytes, call: Call) -> bytes:
        """DescribeStore: the composition, the limits, and the current state of the shards.

        Callers that may not read everything get only what clients need: limits and features.
        """
        parse_request(service_pb2.DescribeStoreRequest, request)
        response = await self._described()
        if self._gate is not None and not caller().may(Right.READ, ROOT):
            response = describe.without_contents(response)
        return response.SerializeToString()

    async def _described(self) -> service_pb2.DescribeStoreResponse:
        seen = await self.observe()
        response = describe.describe_store(seen.description, self._limits, seen.cluster, seen.answers)
        response.load.CopyFrom(load_of(seen))
        response.warnings.extend(seen.warnings)
        response.transport_security = self.protection.security
        if seen.failure is not None:
            response.status.CopyFrom(item_status(seen.failure, "DescribeStore"))
        return response

    async def observe(self) -> Observation:
        """The state of the server. A proxy asks its shards, which takes at most a second."""
        answers = await self._probes.answers()
        placement = None if self._placement is None else self._placement()
        description = self._datastore.describe()
        seen = Observation(
            description=description,
            cluster=self._cluster if placement is None else self._cluster.named_by(placement),
            answers=answers,
            placement=placement,
            failure=None if self._store_failure is None else self._store_failure(),
            totals=self._calls.totals(),
            calls_in_hand=self._admission.in_hand,
            uptime_s=self._pulse.uptime_s,
            lag_s=self._pulse.lag_s,
            warnings=[*space_warnings(description), *self.protection.warnings()],
        )
        return seen if self._combined is None else self._combined(seen)

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls, and end active ones: streams at once, others when they are done or after `grace_s`.

        All end with UNAVAILABLE, so that clients continue elsewhere or later.
        """
        self._is_draining = True
        self._admission.close(_shutting_down)
        for stream in self._streams:
            stream.interrupt(_shutting_down("; continue by the last token"))
        await self._under_way.finish(grace_s)
        self._under_way.end()

    async def hold(self) -> None:
        """Leave calls that arrive from now on unanswered until `release`. Returns once no more arrive.

        Otherwise busy clients would always have a call on its way when gRPC stops, which ends it with a bare CANCELLED.
        Clients that wait for a response notice first that their connection is closing.
        """
        self._under_way.hold()
        ends_at = time.monotonic() + HOLD_S
        seen = -1
        while seen != self._under_way.seen and time.monotonic() < ends_at:
            seen = self._under_way.seen
            await asyncio.sleep(QUIET_S)

    def release(self) -> None:
        """Refuse the calls that were held."""
        self._under_way.release()

    def close(self) -> None:
        """Stop the thread that checks requests, and the timer that trims memory."""
        self._checks.shutdown(wait=False)
        self._trimmer.close()


def _shutting_down(advice: str = "") -> UnavailableError:
    return UnavailableError(f"the server is shutting down{advice}", retry_after_s=RETRY_AFTER_S)


def _required(item: _T | DatastoreError) -> _T:
    """An item of a batch that was accepted; raises the error of one that was refused."""
    if isinstance(item, DatastoreError):
        raise item
    return item
