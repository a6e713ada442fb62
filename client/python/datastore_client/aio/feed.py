"""The changes that a server streams, as a feed: received in the background, over as many calls as needed.

Knows messages and calls, and leaves what a watch means to the library.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import aclosing

from datastore import wire
from datastore.aio._concurrency import Background, Lock, Signal
from datastore.aio.feeds import Feed
from datastore.aio.verbs import scope_of
from datastore.engine.feeds import selected
from datastore.model.changes import Change, ChangeBatch, Watch
from datastore.model.errors import DeadlineExceededError, TruncatedStreamError, UnavailableError
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore_client._messages import parsed
from datastore_client._retry import RetryPolicy
from datastore_client.aio._calls import IdleLimit
from datastore_client.aio._connection import Connection, Stream

__all__ = ["RemoteFeed"]

_METHOD = "/datastore.v1.DatastoreService/Watch"
#: How many batches are received before they are taken.
_AHEAD = 2


class RemoteFeed(Feed):
    """The feed of a server's store. Its positions are the server's tokens.

    A stream that is cut off is continued by its last token, if the server is back within RESUME_TIMEOUT_S.
    """

    def __init__(self, connection: Connection, watch: Watch, wake: Callable[[], None], *, lazy: bool) -> None:
        query = watch.query
        self._is_selected = query.has_custom_code
        if self._is_selected:
            query = scope_of(query)
        with_values = watch.values or (self._is_selected and watch.reads_values)
        self._request = service_pb2.WatchRequest(
            query=wire.encode_query(query.replaced(keys_only=not with_values)),
            resume_token=watch.position or b"",
            initial=watch.initial,
        )
        self._connection = connection
        self._watch = watch
        self._wake = wake
        self._lazy = lazy
        self._lock = Lock()
        self._batches: deque[ChangeBatch] = deque()
        self._error: BaseException | None = None
        #: Set when there is room for a batch, and when the feed is closed.
        self._room = Signal()
        self._is_closed = False
        #: Whether there was a message.
        self._has_begun = False
        #: Whether a stream was cut off, until another has brought a batch.
        self._is_cut_off = False
        self._received: Stream | None = None
        self._receiving: Background | None = None

    @property
    def is_interrupted(self) -> bool:
        return self._is_cut_off

    async def take(self) -> ChangeBatch | None:
        """The next batch that has been received. The first call begins to receive."""
        if self._receiving is None:
            self._connection.check_usable()
            self._receiving = Background(self._receive)
        with self._lock:
            batch = self._batches.popleft() if self._batches else None
        if batch is not None:
            self._room.set()
            return batch
        if self._error is not None:
            raise self._error
        return None

    async def aclose(self) -> None:
        self._is_closed = True
        self._room.set()
        if self._received is not None:
            await self._received.aclose()
        if self._receiving is not None:
            await self._receiving.join()

    async def _receive(self) -> None:
        try:
            await self._receive_all()
        except Exception as error:  # noqa: BLE001 - it is raised to the reader
            self._error = error
        self._wake()

    async def _receive_all(self) -> None:
        policy = RetryPolicy(math.inf)
        while not self._is_closed:
            try:
                await self._receive_stream(policy)
            except UnavailableError as error:
                # Without a token the watch has not begun, and is like any other call.
                has_begun = bool(self._request.resume_token)
                backoff_s = policy.backoff_s(error) if has_begun else self._connection.backoff_s(error, policy)
                if backoff_s is None:
                    raise
                self._is_cut_off = True
                self._wake()
                if not self._is_closed:
                    await self._room.wait(backoff_s)

    async def _receive_stream(self, policy: RetryPolicy) -> None:
        """Receive the messages of one call. Returns if the feed is closed."""
        self._received = received = await self._connection.stream(_METHOD, self._request.SerializeToString(), policy)
        changes: list[Change] = []
        async with aclosing(received):
            while not self._is_closed and (data := await self._read(received)) is not None:
                response = parsed(raw.WatchResponse, data)
                changes += wire.decode_changes(response.changes)
                if response.resume_token:
                    self._request.resume_token = response.resume_token
                    await self._offer(ChangeBatch(self._own(changes), response.resume_token, response.caught_up))
                    changes = []
        if not self._is_closed:
            raise self._connection.named(TruncatedStreamError(f"the changes from {self._connection.url} ended"))

    async def _read(self, received: Stream) -> bytes | None:
        """The next message. Raises DeadlineExceededError if the first of the watch takes longer than a call may."""
        if self._has_begun:
            return await received.read()
        policy = self._connection.policy()
        is_late = False

        async def end() -> None:
            nonlocal is_late
            is_late = True
            await received.aclose()

        try:
            async with IdleLimit(policy.left_s(), end):
                data = await received.read()
        except BaseException:
            # A read that is ended from elsewhere ends in several ways.
            if not is_late:
                raise
        if is_late:
            raise self._connection.named(
                DeadlineExceededError(f"{self._connection.url} did not begin the watch within {policy.timeout_s:.3g} s")
            )
        self._has_begun = True
        return data

    def _own(self, changes: list[Change]) -> list[Change]:
        if not self._lazy:
            changes = [
                change if change.value is None else change._replace(value=change.value.decode()) for change in changes
            ]
        return selected(self._watch, changes) if self._is_selected else changes

    async def _offer(self, batch: ChangeBatch) -> None:
        """Leave a batch for the reader, once there is room."""
        while not self._is_closed:
            self._room.clear()
            with self._lock:
                if len(self._batches) < _AHEAD:
                    self._batches.append(batch)
                    self._is_cut_off = False
                    break
            await self._room.wait(None)
        self._wake()
