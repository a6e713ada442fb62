"""The only bridge from blocking to async: any blocking store as an async one.

A store may declare how to call it: `fast_reads = True` (its reads never block for long, so they run on the
event loop), and `submit(operations)` and `submit_atomic(operations)`, which pass writes to the store's own thread and
return a `concurrent.futures.Future` of their results; they block, as `wait_for_room()` does, unless `has_room()`.
Everything else runs in threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

from datastore.aio.base import Datastore
from datastore.aio.feeds import Feed
from datastore.aio.scan import Scan
from datastore.model.arguments import check_key
from datastore.model.capability import Capability
from datastore.model.changes import ChangeBatch, Watch
from datastore.model.description import Description
from datastore.model.entries import Batch
from datastore.model.errors import UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.model.spellings import replaces
from datastore.sync.atomic import atomic_of as blocking_atomic_of
from datastore.sync.base import Datastore as BlockingDatastore
from datastore.sync.feeds import Feed as BlockingFeed
from datastore.sync.feeds import feed_of as blocking_feed_of
from datastore.sync.scan import Scan as BlockingScan

__all__ = ["LiftedDatastore", "lift"]

T = TypeVar("T")

_READS = ("get", "contains", "batch_get", "query", "read", "scan")
_WRITES = ("put", "delete", "batch_write", "write")
_Write = Callable[[Sequence[Operation]], list[WriteResult]]
_Submit = Callable[[Sequence[Operation]], Future[list[WriteResult]]]


def lift(store: BlockingDatastore) -> LiftedDatastore:
    """The blocking `store` as an async one. Closing it closes `store`."""
    return LiftedDatastore(store)


class LiftedDatastore(Datastore):
    """A blocking store, called from tasks. Its guarantees are those of `blocking`.

    A cancelled call ends immediately, while its thread continues: a cancelled write may still happen, but before any
    later call for its key. A query lets other tasks run between its batches. Raises UnsupportedTypeError (a
    TypeError) unless `store` is a blocking Datastore.
    """

    def __init__(self, store: BlockingDatastore) -> None:
        if not isinstance(store, BlockingDatastore):
            raise UnsupportedTypeError(f"lift needs a blocking Datastore, got {type(store).__name__}")
        self.blocking = store
        self._reads_here: bool = _offered(store, "fast_reads", _READS) or False
        self._submit: _Submit | None = _offered(store, "submit", _WRITES)
        self._submit_atomic: _Submit | None = _offered(store, "submit_atomic", (*_WRITES, "write_atomic"))
        self._has_room: Callable[[], bool] = getattr(store, "has_room", _always)
        #: The wait for room, shared by all callers.
        self._room: Future[None] | None = None
        #: Writes that continue without their callers, by key: later calls for the key wait for them.
        self._abandoned: dict[Key, set[Future[Any]]] = {}

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        if self._abandoned:
            await self._settled(keys)
        if self._reads_here:
            return self.blocking.read(keys, options)
        return await _result(_in_thread(self.blocking.read, keys, options))

    async def get(self, key: Key) -> Any:
        """Read from the blocking store. Like `read`, but without its lists."""
        key = check_key(key)
        if self._abandoned:
            await self._settled([key])
        if self._reads_here:
            return self.blocking.get(key)
        return await _result(_in_thread(self.blocking.get, key))

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self._write(operations, self._submit, self.blocking.write)

    async def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        return await self._write(operations, self._submit_atomic, blocking_atomic_of(self.blocking))

    async def _write(self, operations: Sequence[Operation], submit: _Submit | None, write: _Write) -> list[WriteResult]:
        """Submit writes to the store's own thread or, if it has none, make them in another."""
        keys = [operation.key for operation in operations]
        if submit is None:
            return await self._write_in_thread(keys, write, operations)
        await self._settled(keys)
        # No other task runs between the last check and the submission.
        while not self._has_room():
            if self._room is None or self._room.done():
                self._room = _in_thread(self.blocking.wait_for_room)  # type: ignore[attr-defined]
            await _result(self._room)
        return await self._written(keys, submit(operations))

    async def _write_in_thread(self, keys: Sequence[Key], call: Callable[..., T], *arguments: Any) -> T:
        await self._settled(keys)
        return await self._written(keys, _in_thread(call, *arguments))

    async def _written(self, keys: Sequence[Key], write: Future[T]) -> T:
        """Wait for a write. If the caller is cancelled, the write continues, as others may share its commit."""
        try:
            return await _result(write)
        except asyncio.CancelledError:
            self._abandon(keys, write)
            raise

    def _abandon(self, keys: Sequence[Key], write: Future[Any]) -> None:
        for key in [key for key, writes in self._abandoned.items() if all(other.done() for other in writes)]:
            del self._abandoned[key]
        for key in keys:
            if isinstance(key, Key):
                self._abandoned.setdefault(key, set()).add(write)

    async def _settled(self, keys: Sequence[Key]) -> None:
        """Wait for all writes of these keys that continue without their callers."""
        if self._abandoned:
            for key in keys:
                for write in tuple(self._abandoned.get(key, ())) if isinstance(key, Key) else ():
                    # Suspend before an event loop is needed, see `Capability.reads_at_once`.
                    await asyncio.sleep(0)
                    with suppress(Exception):
                        await _result(write)

    def scan(self, query: Query) -> Scan:
        """The blocking store's results, batch by batch."""
        scan = self.blocking.scan(query)
        return Scan(self._batches(scan), scan.applied, shards=scan.shards, explained=scan.explained)

    async def _batches(self, scan: BlockingScan) -> AsyncGenerator[Batch]:
        batches: Iterator[Batch] = scan.batches
        advance = partial(next, batches, None)
        reading: Future[Batch | None] | None = None
        try:
            while True:
                if self._reads_here:
                    # Let other tasks run first; a cancelled task notices here.
                    await asyncio.sleep(0)
                    batch = advance()
                else:
                    reading = _in_thread(advance)
                    batch = await _result(reading)
                if batch is None:
                    return
                yield batch
        finally:
            if reading is None or reading.done():
                await self._close(scan)
            else:
                # A cancelled read continues in its thread, and its cursor cannot be closed meanwhile.
                reading.add_done_callback(lambda _: scan.close())

    async def _close(self, scan: BlockingScan) -> None:
        if self._reads_here:
            scan.close()
        else:
            await _result(_in_thread(scan.close))

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        return _LiftedFeed(blocking_feed_of(self.blocking, watch, wake), in_thread=not self._reads_here)

    def listed_key(self, key: Key) -> Key:
        return self.blocking.listed_key(key)

    @property
    def capability(self) -> Capability:
        return self.blocking.capability._replace(reads_at_once=self._reads_here)

    def describe(self) -> Description:
        return self.blocking.describe()._replace(capability=self.capability)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.blocking.close)


class _LiftedFeed(Feed):
    """A blocking feed, read from tasks."""

    def __init__(self, blocking: BlockingFeed, *, in_thread: bool) -> None:
        self._blocking = blocking
        self._in_thread = in_thread
        self._taking: Future[ChangeBatch | None] | None = None

    @property
    def is_interrupted(self) -> bool:
        return self._blocking.is_interrupted

    async def take(self) -> ChangeBatch | None:
        if not self._in_thread:
            return self._blocking.take()
        self._taking = _in_thread(self._blocking.take)
        return await _result(self._taking)

    async def aclose(self) -> None:
        if self._taking is not None and not self._taking.done():
            # A cancelled call continues in its thread.
            self._taking.add_done_callback(lambda _: self._blocking.close())
        elif self._in_thread:
            await _result(_in_thread(self._blocking.close))
        else:
            self._blocking.close()


def _offered(store: BlockingDatastore, offer: str, operations: Sequence[str]) -> Any:
    """What a store offers in place of these operations; None if it does not, or a subclass overrides any of them."""
    is_offered = hasattr(store, offer) and replaces(store, offer, operations)
    return getattr(store, offer) if is_offered else None


def _always() -> bool:
    return True


def _in_thread(call: Callable[..., T], *arguments: Any) -> Future[T]:
    """Make a call in a thread, with this task's context. The result is not bound to an event loop."""
    future: Future[T] = Future()
    # It cannot be cancelled: if the caller is, the call continues.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = call(*arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised to the waiter
            future.set_exception(error)
        else:
            future.set_result(result)

    asyncio.get_running_loop().run_in_executor(None, copy_context().run, run)
    return future


async def _result(future: Future[T]) -> T:
    """The result of a thread's call, which continues if the task is cancelled."""
    loop = asyncio.get_running_loop()
    if (waking := _waking.get(loop)) is None:
        waking = _waking[loop] = _Waking(loop)
    waiter = loop.create_future()
    future.add_done_callback(lambda _: waking.wake(waiter))
    try:
        await waiter
        return future.result()
    finally:
        # An error holds this frame; if the frame kept the future, that would be a cycle.
        del future


class _Waking:
    """Wakes the tasks of an event loop from other threads: all that come before it does are one wake-up.

    A commit answers many writes, and to wake the loop for each costs more than to make the write.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not to be kept by what is kept for it.
        self._loop = ref(loop)
        self._waiters: deque[asyncio.Future[None]] = deque()

    def wake(self, waiter: asyncio.Future[None]) -> None:
        """Set the result of a future of the loop; in any thread."""
        self._waiters.append(waiter)
        # Only the first waiter schedules the wake-up; it serves those that join before it runs.
        with suppress(IndexError):
            if self._waiters[0] is waiter and (loop := self._loop()) is not None:
                # The loop may be closed, if it did not wait for its tasks.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for _ in range(len(self._waiters)):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
        # They came meanwhile, and were not the first.
        if self._waiters and (loop := self._loop()) is not None:
            loop.call_soon(self._wake_all)


_waking: WeakKeyDictionary[asyncio.AbstractEventLoop, _Waking] = WeakKeyDictionary()
