"""Watcher: the changes of a store as its caller reads them. Knows feeds and no stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from time import monotonic

from datastore.aio._concurrency import Lock, Signal, give_way, run_to_completion
from datastore.aio.feeds import Feed
from datastore.engine.feeds import sealed
from datastore.model.changes import Change, ChangeBatch, Watch

__all__ = ["HEARTBEAT_S", "Watcher"]

#: After this many seconds without a batch, `batches` yields a heartbeat: several for each minute after which networks
#: drop idle connections.
HEARTBEAT_S = 10.0
#: How often stores are asked for entries that have expired, in seconds: about as late an expiry is shown.
_POLL_S = 1.0


class Watcher:
    """The changes of a store, from when it is entered by `with`, or first read, until it is closed.

    An iterator that waits for the next Change. For one task or thread; `aclose` may be called by any, and ends the
    iteration. If reading raises an error, the watcher is closed.
    """

    #: A store over this one, or a cursor, may close it.
    closes_with_cursor = True

    def __init__(
        self, open_feed: Callable[[Callable[[], None]], Feed], watch: Watch, *, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._open_feed = open_feed
        self._watch = watch
        self._heartbeat_s = heartbeat_s
        self._signal: Signal | None = None
        self._feed: Feed | None = None
        self._guard = Lock()
        self._is_closed = False
        #: Whether the feed is being read: then the reader closes it.
        self._is_reading = False
        self._pending: list[Change] = []
        self._next_token: bytes | None = None
        #: Where a watch continues that gets this as its `resume_token`: after the last change that was read or, if
        #: others came in the same batch, before the first of them. None before a watch from now has begun.
        self.token = None if watch.position is None else sealed(watch, watch.position)
        self._stage = 0
        #: Whether the initial listing is complete. The entries in it are those that existed when the watch began.
        self.caught_up = False

    async def __aenter__(self) -> Watcher:
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        """The next change. Waits for one; ends when the watcher is closed."""
        while not self._pending:
            batch = await self._next_batch()
            if batch is None:
                raise StopAsyncIteration
            self._pending = list(reversed(batch.changes))
            self._next_token = batch.token
            if not batch.changes:
                self.token = batch.token
        change = self._pending.pop()
        if not self._pending:
            self.token = self._next_token
        return change

    async def batches(self) -> AsyncGenerator[ChangeBatch]:
        """The changes in batches, each with the token after it; empty ones are heartbeats, some seconds apart."""
        while (batch := await self._next_batch()) is not None:
            self.token = batch.token
            yield batch

    async def _begin(self) -> None:
        """Open the feed, and wait until its position is known: all later changes will come."""
        if self._feed is not None or self._is_closed:
            return
        self._signal = Signal()
        self._feed = self._open_feed(self._signal.set)
        batch = await self._read(self._feed, self._signal, None)
        if batch is not None:
            self.token = batch.token

    async def _next_batch(self) -> ChangeBatch | None:
        """The next batch with changes or a mark, or a heartbeat; None once the watcher is closed."""
        await self._begin()
        if self._feed is None or self._signal is None:
            return None
        return await self._read(self._feed, self._signal, self._heartbeat_s)

    async def _read(self, feed: Feed, signal: Signal, heartbeat_s: float | None) -> ChangeBatch | None:
        with self._guard:
            self._is_reading = not self._is_closed
        try:
            return await self._wait_for_batch(feed, signal, heartbeat_s)
        except BaseException:
            self._is_closed = True
            raise
        finally:
            with self._guard:
                self._is_reading = False
            if self._is_closed:
                await self._close_feed()

    async def _wait_for_batch(self, feed: Feed, signal: Signal, heartbeat_s: float | None) -> ChangeBatch | None:
        """The first batch at once if there is no heartbeat. Later, empty ones only move the token."""
        begun_at = monotonic()
        while not self._is_closed:
            signal.clear()
            batch = await feed.take()
            if batch is not None:
                token = sealed(self._watch, batch.token)
                turns, self._stage = batch.stage != self._stage, batch.stage
                if batch.changes or batch.caught_up or turns or heartbeat_s is None:
                    self.caught_up = self.caught_up or batch.caught_up
                    return batch._replace(token=token)
                self.token = token
            left_s = None if heartbeat_s is None else begun_at + heartbeat_s - monotonic()
            if left_s is not None and left_s <= 0 and self.token is not None:
                return ChangeBatch((), self.token)
            if batch is None:
                await signal.wait(_POLL_S if left_s is None else min(_POLL_S, left_s))
            else:
                await give_way()
        return None

    async def aclose(self) -> None:
        """End the watch. May be repeated."""
        with self._guard:
            self._is_closed = True
            is_reading = self._is_reading
        if self._signal is not None:
            self._signal.set()
        if not is_reading:
            await self._close_feed()

    async def _close_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            # If the reader were cancelled meanwhile, nothing would close the rest of it.
            await run_to_completion(feed.aclose)
