"""The transport on gRPC's completion queue: one thread polls it, and answers at once what needs no event loop.

Everything else is handed to the event loop, whose tasks answer by themselves. `grpc._cython.cygrpc`, on which gRPC's
own servers for Python are written, is a private interface: only this module uses it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from google.rpc import code_pb2, status_pb2
from grpc._cython import cygrpc  # private
from grpc_status import rpc_status

from datastore_client.tls import TlsFiles
from datastore_server.call import Answer, Call, ClientGoneError, ServedMethod
from datastore_server.limits import Limits
from datastore_server.transport.arrivals import Arrivals
from datastore_server.transport.certificates import names_of, server_credentials
from datastore_server.transport.clients import client_of
from datastore_server.transport.refusals import DROPPED, NO_REQUEST, UNKNOWN_METHOD
from datastore_server.transport.watched import Unwatched
from datastore_server.unread import UNCOUNTED_BYTES, UnreadAnswers

__all__ = ["QueueServer"]

_log = logging.getLogger("datastore.server")

#: How many calls gRPC may hand over before the thread asks for more.
REQUESTED_CALLS = 32
#: While more work than this waits for the event loop, no more calls are asked for: they wait in gRPC, where those that
#: expire cost nothing, and the event loop gets the time to answer.
MOST_WAITING = 64
#: A deadline further away than this, in seconds, is none: gRPC says so by a time in the far future.
NO_DEADLINE_S = 1e9
#: Operations without content keep no state, and are shared by all calls.
_INITIAL = cygrpc.SendInitialMetadataOperation((), 0)
_OK = cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", 0)
_CLOSE = cygrpc.ReceiveCloseOnServerOperation(0)
_RECEIVE = cygrpc.ReceiveMessageOperation

_CANCELLED = status_pb2.Status(code=code_pb2.CANCELLED)

_Tag = Callable[[Any], object]


class QueueServer:
    """See `Transport`."""

    def __init__(self, methods: Iterable[ServedMethod], options: Sequence[tuple[str, int]], limits: Limits) -> None:
        self._methods = {method.path.encode(): method for method in methods}
        self._loop = asyncio.get_running_loop()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)
        self._server.register_completion_queue(self._queue)
        self._thread = threading.Thread(target=self._poll, name="grpc-queue", daemon=True)
        #: Whether no more calls are taken, and whether all connections have been closed. The polling thread notes that,
        #: and begins nothing more.
        self._is_stopping = self._is_closed = False
        #: What the event loop has to do.
        self._handed: deque[Callable[[], object]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals = Arrivals(limits.request_time_ms / 1000)
        self._unwatched = Unwatched()
        self.unread = UnreadAnswers(limits.unread_bytes)
        #: Of the calls that can be refused: those handed to the event loop, counted by the polling thread, and those
        #: that have ended there, counted by the event loop.
        self._handed_calls = self._ended_calls = 0

    def add_insecure_port(self, address: str) -> int:
        """See `Transport`."""
        return self._listen(address)

    def add_secure_port(self, address: str, files: TlsFiles) -> int:
        """See `Transport`."""
        credentials: Any = server_credentials(files)
        return self._listen(address, credentials._credentials)

    def _listen(self, address: str, *credentials: Any) -> int:
        port: int = self._server.add_http2_port(address.encode(), *credentials)
        if not port:
            raise RuntimeError(f"gRPC cannot listen at {address}")
        return port

    async def start(self) -> None:
        """See `Transport`."""
        self._server.start()
        for _ in range(REQUESTED_CALLS):
            self._request_call()
        self._arrivals.start()
        self._thread.start()

    async def stop(self, grace: float | None) -> None:
        """See `Transport`."""
        ended = self._loop.create_future()
        self._is_stopping = True
        self._server.shutdown(self._queue, lambda _: self._close(ended))
        await asyncio.wait([ended], timeout=grace)
        if not ended.done():
            self._server.cancel_all_calls()
            await ended
        # Their clients are gone, but they still end their calls: with a queue that is shut down, gRPC would abort the
        # process.
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._arrivals.stop()
        self._unwatched.stop()
        self._queue.shutdown()
        await self._loop.run_in_executor(None, self._thread.join)

    # In the polling thread

    def _poll(self) -> None:
        poll, shutdown = self._queue.poll, cygrpc.CompletionType.queue_shutdown
        while True:
            event = poll()
            if event.tag is not None:
                _attempt(event.tag, event)
            elif event.completion_type == shutdown:
                break
            # It may hold the last reference to its call, which must not survive into the next poll.
            del event
        self._server.destroy()

    def _close(self, ended: asyncio.Future[None]) -> None:
        self._is_closed = True
        self.hand_over(partial(ended.set_result, None))

    def _request_call(self) -> None:
        if self._is_stopping:
            return
        try:
            self._server.request_call(self._queue, self._queue, self._take)
        except ValueError:
            # `stop` has come in between.
            if not self._is_stopping:
                raise

    def _take(self, event: Any) -> None:
        if not event.success or self._is_closed:
            return
        if len(self._handed) < MOST_WAITING:
            self._request_call()
        else:
            self.hand_over(self._request_call)
        rpc = _Rpc(self, event)
        method = self._methods.get(event.call_details.method)
        if method is None:
            rpc.finish(UNKNOWN_METHOD)
        elif method.takes_stream:
            self.hand_over(partial(self._begin, method, rpc, b""))
        elif not (self.unread.may_be_full and self._has_to_read(rpc, self._receive, method, rpc)):
            self._receive(method, rpc)

    def _has_to_read(self, rpc: _Rpc, go_on: Callable[..., object], *arguments: Any) -> bool:
        """Whether a client has to read answers first; then the call goes on when it has."""
        return self.unread.when_read(rpc.peer(), partial(go_on, *arguments))

    def _receive(self, method: ServedMethod, rpc: _Rpc) -> None:
        if self._is_closed:
            return
        if method.answer_now is not None or not self._refuses(method, rpc):
            self._arrivals.begin(rpc, rpc.finish)
            rpc.start((_RECEIVE(0),), partial(self._received, method, rpc))

    def _refuses(self, method: ServedMethod, rpc: _Rpc) -> bool:
        """Whether a call that needs the event loop is refused; then it has ended."""
        if method.refuse is None:
            return False
        refusal = method.refuse(self._handed_calls - self._ended_calls, rpc.time_left_s())
        if refusal is not None:
            rpc.finish(refusal)
        return refusal is not None

    def _received(self, method: ServedMethod, rpc: _Rpc, event: Any) -> None:
        if self._is_closed or not self._arrivals.has_come(rpc):
            return
        request = _message_of(event)
        if request is None:
            rpc.finish(NO_REQUEST)
        # Many calls may have begun before the first was answered.
        elif not (self.unread.may_be_full and self._has_to_read(rpc, self._answer, method, rpc, request)):
            self._answer(method, rpc, request)

    def _answer(self, method: ServedMethod, rpc: _Rpc, request: bytes) -> None:
        if self._is_closed:
            return
        if method.answer_now is not None:
            answer = method.answer_now(request, rpc.call())
            if answer is not None:
                rpc.finish(answer)
                return
            if self._refuses(method, rpc):
                return
        if method.refuse is not None:
            self._handed_calls += 1
        self.hand_over(partial(self._begin, method, rpc, request))

    # In either thread

    def hand_over(self, work: Callable[[], object]) -> None:
        """Have the event loop do something. All that comes before it does is one wake-up."""
        self._handed.append(work)
        if len(self._handed) == 1:
            try:
                self._loop.call_soon_threadsafe(self._work_off)
            except RuntimeError:
                _log.debug("a call outlives its event loop")

    # In the event loop

    def _work_off(self) -> None:
        for _ in range(len(self._handed)):
            _attempt(self._handed.popleft())
        if self._handed:
            self._loop.call_soon(self._work_off)

    def _begin(self, method: ServedMethod, rpc: _Rpc, request: bytes) -> None:
        task = self._loop.create_task(self._serve(method, rpc, request))
        self._tasks.add(task)
        # Not at the end of `_serve`: a task that is cancelled before it runs never begins it.
        task.add_done_callback(self._tasks.discard if method.refuse is None else self._ended)
        if method.is_stream:
            rpc.watch(task)
        elif not method.is_write:
            self._unwatched.begin(rpc, partial(rpc.watch, task))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended_calls += 1

    async def _serve(self, method: ServedMethod, rpc: _Rpc, request: bytes) -> None:
        try:
            rpc.finish(await method.serve(request, rpc.call()))
        except asyncio.CancelledError:
            # Not raised again: the task would keep the error, whose frames hold the task, until cycles are collected.
            rpc.finish(_CANCELLED)
        finally:
            self._unwatched.end(rpc)


class _Rpc:
    """One call of gRPC. `send`, `receive` and `watch` are for the event loop; `finish` ends it, in either thread."""

    __slots__ = ("_call", "_deadline", "_has_begun", "_has_ended", "_is_watched", "_metadata", "_server")

    def __init__(self, server: QueueServer, event: Any) -> None:
        self._server = server
        self._call = event.call
        self._deadline = event.call_details.deadline
        self._metadata = event.invocation_metadata
        self._has_begun = self._has_ended = self._is_watched = False

    def time_left_s(self) -> float | None:
        """The time until the deadline, in seconds; None if there is none."""
        left_s: float = self._deadline - time.time()
        return left_s if left_s < NO_DEADLINE_S else None

    def call(self) -> Call:
        """The call as its handler sees it."""
        return Call(self.time_left_s(), self._metadata, self.peer, self.identities, self.send, self.receive)

    def peer(self) -> str:
        """The client's address."""
        peer = self._call.peer()
        return client_of(peer.decode() if isinstance(peer, bytes) else str(peer), self._metadata)

    def identities(self) -> tuple[str, ...]:
        """The names in the client's certificate."""
        return names_of(cygrpc.peer_identities(self._call))

    def start(self, operations: Sequence[Any], tag: _Tag) -> None:
        """Begin a batch of operations; the polling thread calls `tag` with its completion."""
        if error := self._call.start_server_batch(operations, tag):
            raise RuntimeError(f"gRPC refused a batch of operations: error {error}")

    def watch(self, task: asyncio.Task[None]) -> None:
        """Cancel the task when the client leaves or its deadline passes."""
        self._is_watched = True
        self.start((_CLOSE,), partial(self._closed, task))

    def _closed(self, task: asyncio.Task[None], event: Any) -> None:
        if event.batch_operations[0].cancelled() and not self._has_ended:
            self._server.hand_over(task.cancel)

    async def send(self, message: bytes) -> None:
        """Send one of several messages. Returns when the transport has taken it."""
        operations: tuple[Any, ...] = (cygrpc.SendMessageOperation(message, 0),)
        if not self._has_begun:
            self._has_begun = True
            operations = (_INITIAL, *operations)
        if not await self._completed(operations, _has_succeeded):
            raise ClientGoneError

    async def receive(self) -> bytes | None:
        """The client's next message; None if there is none left, or the client has disconnected."""
        message: bytes | None = await self._completed((_RECEIVE(0),), _message_of)
        return message

    async def _completed(self, operations: Sequence[Any], result_of: _Tag) -> Any:
        """What `result_of` reads in the event with which these operations complete."""
        completed = asyncio.get_running_loop().create_future()

        def complete(result: object) -> None:
            if not completed.done():
                completed.set_result(result)

        # Not with the event as the result, which holds this function: that would be a cycle.
        self.start(operations, lambda event: self._server.hand_over(partial(complete, result_of(event))))
        return await completed

    def finish(self, answer: Answer) -> None:
        """End the call with its last message, if there is one, and its status."""
        self._has_ended = True
        unread, held = self._server.unread, None
        if isinstance(answer, bytes) and len(answer) > UNCOUNTED_BYTES:
            held = unread.hold(self.peer(), len(answer), self._drop)
            if held is None:
                answer = DROPPED
        operations: list[Any] = [] if self._has_begun else [_INITIAL]
        if isinstance(answer, status_pb2.Status):
            status = rpc_status.to_status(answer)
            details = (status.details or "").encode()
            operations.append(
                cygrpc.SendStatusFromServerOperation(status.trailing_metadata or (), status.code.value[0], details, 0)
            )
        else:
            if answer is not None:
                operations.append(cygrpc.SendMessageOperation(answer, 0))
            operations.append(_OK)
        if not self._is_watched:
            operations.append(_CLOSE)
        self.start(operations, _ignore if held is None else lambda _: unread.give_back(held))

    def _drop(self) -> None:
        self._call.cancel(cygrpc.StatusCode.unavailable, DROPPED.message)


def _attempt(work: Callable[..., object], *arguments: Any) -> None:
    """Do something for one call, and log its failure: that must not end what serves all the others."""
    try:
        work(*arguments)
    except Exception:  # noqa: BLE001
        _log.exception("a completion of gRPC could not be handled")


def _has_succeeded(event: Any) -> bool:
    return bool(event.success)


def _message_of(event: Any) -> bytes | None:
    message: bytes | None = event.batch_operations[0].message()
    return message


def _ignore(_: Any) -> None:
    """The end of a call needs nothing more."""
