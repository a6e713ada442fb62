"""Concurrency for tasks, under the names that both colours share: the twin of `datastore.sync._concurrency`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from threading import get_ident
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any, TypeVar

__all__ = [
    "Background",
    "Event",
    "KeyLocks",
    "Lock",
    "Signal",
    "close_iterator",
    "fan_out",
    "give_way",
    "in_thread",
    "iterate",
    "run_to_completion",
    "sleep",
    "was_closed",
    "within",
]

T = TypeVar("T")

Event = asyncio.Event
#: `async with within(seconds)`: raises TimeoutError in the block after this time; None for no limit.
within = asyncio.timeout


class Lock:
    """Guards nothing: between two awaits a task is alone on its loop.

    The code under it must not await; it never does where the threaded twin from the same source is correct.
    """

    def __enter__(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class KeyLocks:
    """A lock for each key in use; keys out of use cost nothing."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of `key` while the block runs."""
        lock, users = self._held.setdefault(key, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._held[key]

    def hold_all(self, keys: Iterable[Any]) -> AbstractAsyncContextManager[None]:
        """Hold the locks of several keys: taken in the keys' order, so that no two blocks wait for each other."""
        ordered = sorted(set(keys), key=str)
        return self.hold(ordered[0]) if len(ordered) == 1 else self._hold_several(ordered)

    @asynccontextmanager
    async def _hold_several(self, keys: list[Any]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for key in keys:
                await stack.enter_async_context(self.hold(key))
            yield


class Signal:
    """Wakes the task that waits for it; any thread may set it. For the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._event = asyncio.Event()
        self._is_set = False

    def set(self) -> None:
        """End the wait in progress, or the next one."""
        if self._is_set:
            return
        self._is_set = True
        if get_ident() == self._thread:
            self._event.set()
        else:
            # The loop may have ended, and its tasks with it.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Let the next wait last until the signal is set again."""
        self._is_set = False
        self._event.clear()

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until the signal is set, or for this many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()


class Background:
    """A call in progress beside its caller. It must not raise, and must end before it is forgotten."""

    def __init__(self, call: Callable[[], Awaitable[None]]) -> None:
        self._task = asyncio.ensure_future(call())

    def cancel(self) -> None:
        """Have it end early, wherever it waits."""
        self._task.cancel()

    async def join(self) -> None:
        """Wait until it has ended."""
        await asyncio.wait([self._task])


async def fan_out(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make every call at once, each in a task; results in the order of the calls.

    The first error is raised after the other calls were cancelled and have ended.
    """
    if len(calls) == 1:
        return [await calls[0]()]
    tasks = [asyncio.ensure_future(call()) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
            del task
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    finally:
        # An error of a task holds this frame; if the frame kept the tasks, that would be a cycle. The same applies
        # below.
        del tasks


async def run_to_completion(call: Callable[[], Awaitable[T]]) -> T:
    """Await a call that runs to completion even if the task is cancelled; the cancellation is raised after it."""
    task = asyncio.ensure_future(call())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    finally:
        del task


async def in_thread(call: Callable[[], T]) -> T:
    """Make a slow call in a thread, so that other tasks continue. Runs to completion even if cancelled."""
    return await run_to_completion(partial(asyncio.to_thread, call))


async def give_way() -> None:
    """Let other tasks run."""
    await asyncio.sleep(0)


async def sleep(seconds: float) -> None:
    """Suspend this task."""
    await asyncio.sleep(seconds)


async def iterate(iterable: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    """The items of an iterable of either colour."""
    if isinstance(iterable, AsyncIterable):
        async for item in iterable:
            yield item
    else:
        for item in iterable:
            yield item


def was_closed(iterator: Any) -> bool:
    """Whether a generator has ended or was closed: asyncio closes those that are left at the end of their loop."""
    return isinstance(iterator, AsyncGeneratorType) and iterator.ag_frame is None


async def close_iterator(iterator: Any) -> None:
    """Stop a producer of items: a generator of either colour, or one of ours that has `aclose`."""
    if isinstance(iterator, AsyncGeneratorType) or getattr(iterator, "closes_with_cursor", False):
        await iterator.aclose()
    elif isinstance(iterator, GeneratorType):
        iterator.close()
