"""The one bridge between the colours: any blocking store as an async one.

A store may say how it wants to be called: `fast_reads = True` (its reads never wait long, so they run on the
event loop), and `submit(writes)`, which hands writes to a thread of the store's own and answers with a
`concurrent.futures.Future` of their outcomes; it waits, as `wait_for_room()` does, where not `has_room()`. Everything
else runs in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from datastore.aio.base import Datastore, check_key
from datastore.aio.cursor import Cursor
from datastore.core.base import Datastore as BlockingDatastore
from datastore.core.base import exact_query
from datastore.core.batch import Batch, Outcome, Write
from datastore.core.composition import Description
from datastore.core.errors import UnsupportedTypeError
from datastore.core.key import Key
from datastore.core.query import Query

__all__ = ["LiftedDatastore", "lift"]

T = TypeVar("T")


def lift(store: BlockingDatastore) -> LiftedDatastore:
    """The blocking `store` as an async one. Closing it closes `store`."""
    return LiftedDatastore(store)


class LiftedDatastore(Datastore):
    """A blocking store, called from tasks. All promises are those of `blocking`.

    A cancelled call ends at once, while its thread goes on: a cancelled write may still happen, but before whatever
    else is asked of its key. A query lets other tasks run between its batches. Raises UnsupportedTypeError (a
    TypeError) unless it is given a blocking Datastore.
    """

    ordered_queries = True

    def __init__(self, store: BlockingDatastore) -> None:
        if not isinstance(store, BlockingDatastore):
            raise UnsupportedTypeError(f"lift needs a blocking Datastore, got {type(store).__name__}")
        self.blocking = store
        self._reads_here: bool = getattr(store, "fast_reads", False)
        self._submit: Callable[[Sequence[Write]], Future[list[Outcome]]] | None = getattr(store, "submit", None)
        self._has_room: Callable[[], bool] = getattr(store, "has_room", _always)
        self._waiting_for_room = asyncio.Lock()
        #: The writes that go on without their callers, by key: whatever else is asked of the key comes after.
        self._abandoned: dict[Key, set[asyncio.Future[Any]]] = {}
        #: What goes on although nobody waits for it; the loop itself would let it be collected.
        self._running: set[asyncio.Task[Any]] = set()

    async def get(self, key: Key) -> Any:
        """The value of `key`, or None."""
        key = check_key(key)
        await self._settled([key])
        return await self._read(self.blocking.get, key)

    async def contains(self, key: Key) -> bool:
        """Whether `key` has a value."""
        key = check_key(key)
        await self._settled([key])
        return await self._read(self.blocking.contains, key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Outcome]:
        """Read several entries."""
        await self._settled(keys)
        return await self._read(self.blocking.batch_get, keys)

    async def _read(self, call: Callable[..., T], *arguments: Any) -> T:
        if self._reads_here:
            return call(*arguments)
        return await asyncio.to_thread(call, *arguments)

    async def put(self, key: Key, value: Any) -> None:
        """Store `value` under `key`."""
        key = check_key(key)
        if self._submit is None:
            await self._in_thread([key], self.blocking.put, key, value)
        else:
            await self._write(Write(key, value))

    async def delete(self, key: Key) -> None:
        """Remove the entry of `key`."""
        key = check_key(key)
        if self._submit is None:
            await self._in_thread([key], self.blocking.delete, key)
        else:
            await self._write(Write(key, None))

    async def _write(self, write: Write) -> None:
        (outcome,) = await self.batch_write([write])
        if outcome.error is not None:
            raise outcome.error

    async def batch_write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do several writes, in order."""
        keys = [key for key, _ in writes]
        if self._submit is None:
            return await self._in_thread(keys, self.blocking.batch_write, writes)
        await self._settled(keys)
        # One waits in a thread, the others for that one. From the last look to the submission nobody else comes.
        while not self._has_room():
            async with self._waiting_for_room:
                await asyncio.to_thread(self.blocking.wait_for_room)  # type: ignore[attr-defined]
        return await self._wait(keys, asyncio.wrap_future(self._submit(writes)))

    async def _in_thread(self, keys: Sequence[Key], call: Callable[..., T], *arguments: Any) -> T:
        """Make a call that writes keys, in a thread."""
        await self._settled(keys)
        return await self._wait(keys, self._go_on(asyncio.to_thread(call, *arguments)))

    async def _wait(self, keys: Sequence[Key], written: asyncio.Future[T]) -> T:
        """Wait for a write; a cancelled caller leaves it to go on, as others may share a commit with it."""
        try:
            return await asyncio.shield(written)
        except asyncio.CancelledError:
            if not written.done():
                self._abandon(keys, written)
            raise

    def _abandon(self, keys: Sequence[Key], written: asyncio.Future[Any]) -> None:
        def settle(_: object) -> None:
            _look_at(written)
            for key in good:
                self._abandoned[key].discard(written)
                if not self._abandoned[key]:
                    del self._abandoned[key]

        good = {key for key in keys if isinstance(key, Key)}
        for key in good:
            self._abandoned.setdefault(key, set()).add(written)
        written.add_done_callback(settle)

    async def _settled(self, keys: Sequence[Key]) -> None:
        """Return when no write of these keys goes on without its caller."""
        while self._abandoned:
            going_on = [self._abandoned[key] for key in keys if isinstance(key, Key) and key in self._abandoned]
            if not going_on:
                return
            await asyncio.wait(set().union(*going_on))

    def _go_on(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that ends its work whether or not anybody waits for it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(_look_at)
        return task

    def query(self, query: Query) -> Cursor:
        """The blocking store's answer, batch by batch."""
        cursor = exact_query(self.blocking, query)
        return Cursor.from_batches(query, self._batches(cursor), shards=cursor.shards)

    async def _batches(self, cursor: Any) -> AsyncGenerator[Batch]:
        batches: Iterator[Batch] = cursor.batches()
        advance = partial(next, batches, None)
        running: asyncio.Task[Batch | None] | None = None
        try:
            while True:
                if self._reads_here:
                    # Other tasks come first, and a cancelled one learns of it here.
                    await asyncio.sleep(0)
                    batch = advance()
                else:
                    running = self._go_on(asyncio.to_thread(advance))
                    batch = await asyncio.shield(running)
                if batch is None:
                    return
                yield batch
        finally:
            if running is None or running.done():
                await self._read(cursor.close)
            else:
                # A cancelled read goes on in its thread, and the cursor cannot be closed under it.
                self._go_on(self._close_after(running, cursor))

    async def _close_after(self, running: asyncio.Task[Any], cursor: Any) -> None:
        await asyncio.wait([running])
        await self._read(cursor.close)

    def listed_key(self, key: Key) -> Key:
        """As the blocking store's."""
        return self.blocking.listed_key(key)

    def describe(self) -> Description:
        """As the blocking store describes itself."""
        return self.blocking.describe()

    async def aclose(self) -> None:
        """Close the blocking store."""
        await asyncio.to_thread(self.blocking.close)


def _always() -> bool:
    return True


def _look_at(task: asyncio.Future[Any]) -> None:
    """Look at the failure of a task whose caller was cancelled, and so is told of nothing any more."""
    if not task.cancelled():
        task.exception()
