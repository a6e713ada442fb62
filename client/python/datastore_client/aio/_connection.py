"""The connection of one client: its channels, its call slots, and retries.

Knows bytes, calls and their failures, but not what messages mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc

from datastore import wire
from datastore.aio._concurrency import Lock
from datastore.model.deadline import time_left
from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    OverloadedError,
    UnavailableError,
)
from datastore.model.forwarding import forwarded
from datastore_client._failures import call_error, is_answer, is_unsent
from datastore_client._retry import BACKOFFS_S, RETRY_AFTER_S, Link, RetryPolicy, may_repeat
from datastore_client._slots import CALLS_AT_ONCE, STREAMS_AT_ONCE, WAITING_CALLS, Turn
from datastore_client.aio._calls import (
    CALL_ERRORS,
    CallSlots,
    Home,
    Messages,
    answered,
    here,
    is_interruption,
    messages,
    pause,
    why_not_here,
)
from datastore_client.aio._channels import Call, Channels
from datastore_client.channel import parse_targets
from datastore_client.tls import Credentials

__all__ = ["Connection", "Stream"]

_ends_at: ContextVar[float] = ContextVar("datastore_client.ends_at", default=math.inf)


class Connection:
    """Calls one server. Connects at the first call; safe for threads (tasks, under asyncio).

    Unary calls and streams have a channel each, so that a call never waits behind unread results. At most CALLS_AT_ONCE
    unary calls and STREAMS_AT_ONCE streams are active; others queue, within their deadlines. Failures raise errors of
    the library; a call that failed with `retry_after_s` may be repeated unchanged.
    """

    def __init__(self, url: str, *, name: str | None, timeout_s: float, retry: bool, credentials: Credentials) -> None:
        self.url = url
        self._name = name
        self._timeout_s = timeout_s
        self._retry = retry
        self._lock = Lock()
        self._targets = parse_targets(url)
        for target in self._targets:
            credentials.check_target(target)
        self._credentials = credentials
        self._channels = Channels(self._targets, credentials)
        self._home: Home | None = None
        self._calls = CallSlots(CALLS_AT_ONCE, WAITING_CALLS)
        self._streams = CallSlots(STREAMS_AT_ONCE, WAITING_CALLS)
        self._link = Link()
        self._closed = False
        #: The expected identity of the server, sent with every call; see `RemoteDatastore.expects`.
        self.expects: str | None = None

    def policy(self) -> RetryPolicy:
        """The deadline of one call, starting now."""
        left_s = max(_ends_at.get() - time.monotonic(), 0.001)
        return RetryPolicy(min(time_left(self._timeout_s), left_s))

    @contextmanager
    def until(self, ends_at: float) -> Iterator[None]:
        """Calls of the block must end by this time (of time.monotonic): their callers have waited before."""
        token = _ends_at.set(ends_at)
        try:
            yield
        finally:
            _ends_at.reset(token)

    async def unary(
        self,
        path: str,
        request: Callable[[], bytes],
        *,
        is_read: bool,
        may_follow: Callable[[Exception], bool] = may_repeat,
    ) -> bytes:
        """The response to a request, which is encoded anew for each attempt.

        Retries, within the deadline, what may be retried; `may_follow` says whether an error allows it.
        """
        policy = self.policy()
        while True:
            await self._take_turn(self._calls, policy)
            began = time.monotonic()
            try:
                return await self._answer(path, request(), policy, is_read=is_read)
            except UnavailableError as error:
                backoff_s = self.backoff_s(error, policy, may_follow)
                if backoff_s is None:
                    raise
            finally:
                self._calls.release(time.monotonic() - began)
            await pause(backoff_s)

    def backoff_s(
        self, error: Exception | None, policy: RetryPolicy, may_follow: Callable[[Exception], bool] = may_repeat
    ) -> float | None:
        """How long to wait before retrying a call that ended with `error`; None if it must not be retried."""
        return policy.backoff_s(error) if error is not None and self._retry and may_follow(error) else None

    async def once(self, path: str, request: bytes) -> bytes:
        """The response to a request that is never retried, and that does not wait for a slot."""
        return await self._answer(path, request, self.policy(), is_read=True)

    async def stream(self, path: str, request: bytes, policy: RetryPolicy, *, is_read: bool = True) -> Stream:
        """Begin a streaming call. The caller must close the stream."""
        await self._take_turn(self._streams, policy)
        call: Call | None = None
        try:
            call = self._begin("unary_stream", path)
            return Stream(self, call, messages(self._make(call, request, policy)), policy, is_read=is_read)
        except BaseException as error:
            await self.end_stream(call)
            if isinstance(error, CALL_ERRORS):
                self.fail(error, policy, call, is_read=is_read)
            raise

    async def aclose(self) -> None:
        """Close the channels. Active and waiting calls and streams raise DatastoreClosedError."""
        self._closed = True
        if self.why_not_here() is not None:
            # The channels belong to another process or event loop, and its locks may never be released here.
            return
        with self._lock:
            channels = self._channels.take_all()
        self._calls.close()
        self._streams.close()
        for channel in channels:
            await channel.close()

    # One attempt

    async def _answer(self, path: str, request: bytes, policy: RetryPolicy, *, is_read: bool) -> bytes:
        call = self._begin("unary_unary", path)
        try:
            answer: bytes = await answered(self._make(call, request, policy))
        except CALL_ERRORS as error:
            self.fail(error, policy, call, is_read=is_read)
        finally:
            await call.end()
        self.note_answer()
        return answer

    async def _take_turn(self, slots: CallSlots, policy: RetryPolicy) -> None:
        """Wait for a slot; the caller releases it."""
        self.check_usable()
        turn = await slots.acquire(min(self._timeout_s, policy.left_s()))
        if turn is Turn.TAKEN:
            return
        if turn is Turn.CLOSED:
            raise self._was_closed()
        raise self.named(self._refusal(slots, turn, policy))

    def _refusal(self, slots: CallSlots, turn: Turn, policy: RetryPolicy) -> DatastoreError:
        if turn is Turn.FULL:
            return self._too_many_waiting()
        if turn is Turn.REFUSED:
            expected_s, left_s = slots.expected_s(), policy.left_s()
            return OverloadedError(
                f"the call was not sent to {self.url}: it would take about {expected_s:.2g} s, and has"
                f" {left_s:.2g} s left; make fewer concurrent calls",
                retry_after_s=min(max(expected_s, RETRY_AFTER_S), BACKOFFS_S[1]),
            )
        if slots is self._streams:
            return OverloadedError(
                f"{STREAMS_AT_ONCE:,} queries to {self.url} are open, the limit of one client;"
                " read their cursors to the end, or close them",
                retry_after_s=RETRY_AFTER_S,
            )
        return DeadlineExceededError(
            f"the call was not sent to {self.url} within {policy.timeout_s:.3g} s: {CALLS_AT_ONCE} other calls of this"
            " client were in progress"
        )

    def check_waiting(self, waiting: int) -> None:
        """Raise OverloadedError if so many calls wait that no other may."""
        if waiting >= WAITING_CALLS:
            raise self.named(self._too_many_waiting())

    def _too_many_waiting(self) -> OverloadedError:
        return OverloadedError(
            f"{WAITING_CALLS:,} calls to {self.url} are already waiting, the limit of one client;"
            " make fewer concurrent calls",
            retry_after_s=RETRY_AFTER_S,
        )

    def _begin(self, kind: str, path: str) -> Call:
        """Prepare the call of a method whose request and response are bytes. The caller must end it."""
        self.check_usable()
        with self._lock:
            if self._closed:
                raise self._was_closed()
            # Not before the first call: an asyncio channel belongs to the loop that it is made on.
            self._home = self._home or here()
            return self._channels.begin(kind, path)

    def _make(self, call: Call, request: bytes, policy: RetryPolicy) -> Any:
        """Make a call. Returns what gRPC returns."""
        timeout_s = policy.left_s()
        metadata = (*self._credentials.metadata(), *forwarded())
        if self.expects is not None:
            metadata = (*metadata, (wire.EXPECTATION, self.expects))
        return call.method(request, timeout=None if timeout_s == math.inf else timeout_s, metadata=metadata or None)

    # Failures

    def fail(self, error: BaseException, policy: RetryPolicy, call: Call | None, *, is_read: bool) -> NoReturn:
        """Raise the library's error for a failed call; `error` itself if the caller was cancelled.

        A call that did not reach a server may be repeated if the server is expected back or there is another one to
        try, and so may a read that was cut.
        """
        try:
            failure = self._failure(error, policy, call, is_read=is_read)
            if failure is error:
                raise error
            raise failure from error
        finally:
            # The error holds this frame; if the frame kept the error too, only the garbage collector could free both.
            del failure, error

    def _failure(self, error: BaseException, policy: RetryPolicy, call: Call | None, *, is_read: bool) -> BaseException:
        if self._closed and not is_interruption(error):
            return self._was_closed()
        if not isinstance(error, grpc.RpcError):
            return error
        is_one_of_several = call is not None and len(self._targets) > 1
        url = call.target.url if call is not None and is_one_of_several else self.url
        failure = self.named(call_error(error, url, policy.timeout_s))
        if is_answer(error):
            self.note_answer()
        elif isinstance(failure, UnavailableError):
            with self._lock:
                self._link.down(connected=not is_unsent(error))
                has_next = call is not None and is_unsent(error) and self._channels.pass_over(call.target)
            if has_next:
                failure.retry_after_s = 0.0
            elif self._link.is_expected_back and (is_read or is_unsent(error)):
                failure.retry_after_s = RETRY_AFTER_S
            if is_one_of_several and is_unsent(error) and not has_next:
                failure.args = (f"{failure}; none of the {len(self._targets)} addresses can be reached",)
        return failure

    def note_answer(self) -> None:
        """Note that the server answered."""
        if not self._link.is_up:
            with self._lock:
                self._link.up()
                self._channels.reached()

    def named(self, error: DatastoreError) -> DatastoreError:
        """The error with this store's name as its shard, unless it already has one."""
        if error.shard is None and self._name is not None:
            error.shard = self._name
        return error

    # Its state

    @property
    def is_expected_back(self) -> bool:
        """Whether the server answered before and has not been away for long."""
        return self._link.is_expected_back

    def check_usable(self) -> None:
        """Raise DatastoreClosedError if the connection was closed, or belongs to another loop or process."""
        why_not = self.why_not_here()
        if why_not is not None:
            raise DatastoreClosedError(f"the connection to {self.url} cannot be used here: {why_not}")
        if self._closed:
            raise self._was_closed()

    def why_not_here(self) -> str | None:
        """Why the connection cannot be used from here; None if it can."""
        return why_not_here(self._home)

    async def end_stream(self, call: Call | None) -> None:
        """Note that a stream was closed; its `call`, if there was one, has ended."""
        self._streams.release()
        if call is not None:
            await call.end()

    def _was_closed(self) -> DatastoreClosedError:
        return DatastoreClosedError(f"the connection to {self.url} was closed")


class Stream:
    """The messages of one call. Occupies one of the client's stream slots until it is closed."""

    def __init__(
        self, connection: Connection, call: Call, received: Messages, policy: RetryPolicy, *, is_read: bool
    ) -> None:
        self._connection = connection
        self._call = call
        #: None once closed, which releases what gRPC holds for the call.
        self._received: Messages | None = received
        self._policy = policy
        self._is_read = is_read

    @property
    def is_open(self) -> bool:
        """Whether it is still open."""
        return self._received is not None

    async def read(self) -> bytes | None:
        """The next message, or None at the end, and once it is closed."""
        self._connection.check_usable()
        if self._received is None:
            return None
        try:
            data: bytes | None = await anext(self._received, None)
        except CALL_ERRORS as error:
            self._connection.fail(error, self._policy, self._call, is_read=self._is_read)
        if data is not None:
            self._connection.note_answer()
            self._policy.saw_message()
        return data

    async def aclose(self) -> None:
        """End the call. May be repeated."""
        received = self._received
        if received is None or self._connection.why_not_here() is not None:
            return
        self._received = None
        try:
            await received.aclose()
        finally:
            await self._connection.end_stream(self._call)
