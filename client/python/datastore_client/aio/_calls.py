"""Helpers for calls of the asyncio stack: the twin of `datastore_client._calls`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import grpc

from datastore_client._slots import STUCK_S, Slots, Turn
from datastore_client.channel import CHANNEL_OPTIONS, Target
from datastore_client.tls import Credentials

__all__ = [
    "CALL_ERRORS",
    "CallSlots",
    "Home",
    "IdleLimit",
    "Messages",
    "Waiter",
    "answered",
    "here",
    "is_interruption",
    "led",
    "messages",
    "open_channel",
    "pause",
    "why_not_here",
]

#: What a call raises when it fails, when its caller is cancelled, or when its channel is closed meanwhile.
CALL_ERRORS = (grpc.RpcError, asyncio.CancelledError, grpc.aio.UsageError)


def open_channel(
    target: Target, credentials: Credentials, options: Sequence[tuple[str, Any]] = CHANNEL_OPTIONS
) -> grpc.aio.Channel:
    """A channel to `target`, with `credentials` if it is reached over TLS. Belongs to the loop that it is made on."""
    options = [*options, *target.options]
    if target.is_secure:
        return grpc.aio.secure_channel(target.name, credentials.for_channels(), options=options)
    return grpc.aio.insecure_channel(target.name, options=options)


#: What a channel belongs to: a process, and the event loop that it was made on.
Home: TypeAlias = tuple[int, asyncio.AbstractEventLoop | None]


def here() -> Home:
    """The home of the caller; without a loop if none is running."""
    try:
        return os.getpid(), asyncio.get_running_loop()
    except RuntimeError:
        return os.getpid(), None


def why_not_here(home: Home | None) -> str | None:
    """Why a channel of this `home` cannot be used by the caller, and what to do; None if it can.

    A channel that was not used yet has no home, and can be used on any event loop.
    """
    process, loop = here()
    if loop is None:
        return "it needs a running asyncio event loop; use datastore_client.connect without one"
    if home is None or home == (process, loop):
        return None
    if process != home[0]:
        return "it was opened in the process that this one was forked from; connect again in each process"
    if home[1] is not None and home[1].is_closed():
        return (
            "the event loop of its first call is closed; connect again on each loop, or keep one loop (asyncio.Runner)"
        )
    return "it belongs to another event loop, that of its first call; connect again on each loop"


class CallSlots:
    """Limits concurrent calls; others queue, FIFO, unless they would be answered too late."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._slots: Slots[asyncio.Future[Turn]] = Slots(at_once, waiting)

    async def acquire(self, timeout_s: float) -> Turn:
        """Take a slot for a call that has `timeout_s` to be answered. The caller must release it, if it is TAKEN."""
        if self._slots.take():
            return Turn.TAKEN
        if not self._slots.is_in_time(timeout_s, self._slots.waiting):
            return Turn.REFUSED
        ends_at = time.monotonic() + timeout_s
        waiter: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        if not self._slots.line_up(waiter):
            return Turn.FULL
        turn = await self._turn_of(waiter, ends_at)
        if turn is Turn.TAKEN and not self._slots.is_in_time(ends_at - time.monotonic(), 0):
            self.release()
            return Turn.REFUSED
        return turn

    def expected_s(self) -> float:
        """The expected duration of a call that asks for a slot now."""
        return self._slots.expected_s(self._slots.waiting)

    async def _turn_of(self, waiter: asyncio.Future[Turn], ends_at: float) -> Turn:
        try:
            while not waiter.done():
                left_s, turns = ends_at - time.monotonic(), self._slots.turns
                if left_s <= 0:
                    self._slots.give_up(waiter)
                    return Turn.LATE
                await asyncio.wait([waiter], timeout=min(left_s, STUCK_S))
                if turns == self._slots.turns and left_s > STUCK_S:
                    self._wake(self._slots.lend())
            return waiter.result()
        except asyncio.CancelledError:
            if not self._slots.give_up(waiter):
                # It was given a slot at the same moment.
                self.release()
            raise

    def release(self, took_s: float | None = None) -> None:
        """Return a slot, after a call of this duration."""
        waiter = self._slots.give_back(took_s)
        if waiter is not None:
            self._wake([waiter])

    def _wake(self, waiters: Sequence[asyncio.Future[Turn]]) -> None:
        for waiter in waiters:
            # A cancelled waiter notices that it was given the slot, and gives it back.
            if not waiter.done():
                waiter.set_result(Turn.TAKEN)

    def close(self) -> None:
        """End every wait."""
        for waiter in self._slots.dismiss():
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(Turn.CLOSED)


def is_interruption(error: BaseException) -> bool:
    """Whether a call raised `error` because its caller was cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def answered(call: Any) -> Any:
    """The answer of a unary call, which ends with its caller.

    The task that waits for the response is not cancelled with the caller: gRPC would leak what it holds
    (grpc/grpc#43360, 1 to 2 kB each time). Only the call is cancelled, which `call.cancel()` does not do.
    """
    ended = asyncio.get_running_loop().create_future()
    call.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
    try:
        await ended
    except asyncio.CancelledError:
        call._cancel("the caller was cancelled")
        raise
    return await call


class Messages:
    """The messages of a streaming call, which ends with the last of them, with an error, or by `aclose`.

    A pending read is not cancelled with its reader: gRPC would leak what it holds (grpc/grpc#43360, about 100 kB each
    time). The call is cancelled, and the read ends with it.

    Not a generator: a loop that shuts down closes all generators at once, and those that close others fail.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._read: asyncio.Future[Any] | None = None

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> bytes:
        try:
            self._read = asyncio.ensure_future(self._call.read())
            message = await asyncio.shield(self._read)
        except BaseException:
            await self.aclose()
            raise
        # Otherwise its message would be held until the next read.
        self._read = None
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return bytes(message)

    async def aclose(self) -> None:
        """End the call. May be repeated."""
        self._call.cancel()
        read, self._read = self._read, None
        if read is not None:
            await asyncio.wait([read])
            if not read.cancelled():
                # Retrieved, so that asyncio does not log an error that no one was waiting for.
                read.exception()


def messages(call: Any) -> Messages:
    """The messages of a streaming call. The caller must close them."""
    return Messages(call)


class IdleLimit:
    """Call `end` if the block takes longer than `idle_s`, and leave the block when that is done. None: never."""

    def __init__(self, idle_s: float | None, end: Callable[[], Awaitable[None]]) -> None:
        self._idle_s = idle_s
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[None] | None = None

    async def __aenter__(self) -> None:
        if self._idle_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._begin_to_end)

    def _begin_to_end(self) -> None:
        self._ending = asyncio.ensure_future(self._end())

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._ending is not None:
            await self._ending


#: How late the end of a wait may be noticed, in seconds.
TICK_S = 0.01


class _Timeouts:
    """Wakes the waiters of one event loop whose time has passed.

    One timer serves all, and none is set without waiters: one for each takes as long as several layers of a call.
    """

    def __init__(self) -> None:
        self._ends: dict[Waiter, float] = {}
        #: Whether a timer is set. It holds the loop, which must not be held here: the loop is the key of this.
        self._is_ticking = False

    def begin(self, waiter: Waiter, timeout_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the waiter after this time, unless its wait ends before."""
        self._ends[waiter] = loop.time() + timeout_s
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(TICK_S, self._tick)

    def end(self, waiter: Waiter) -> None:
        """Note that a wait has ended."""
        self._ends.pop(waiter, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiter, ends_at in self._ends.items():
            if ends_at <= now:
                waiter.wake()
        self._is_ticking = bool(self._ends)
        if self._is_ticking:
            loop.call_later(TICK_S, self._tick)


_timeouts: WeakKeyDictionary[asyncio.AbstractEventLoop, _Timeouts] = WeakKeyDictionary()


class Waiter:
    """One task that waits to be woken, several times if need be, until it is finished."""

    def __init__(self) -> None:
        self.is_done = False
        self._is_woken = False
        self._future: asyncio.Future[None] | None = None

    async def wait(self, timeout_s: float) -> None:
        """Wait until woken, at most `timeout_s` or TICK_S longer. Returns at once if it was woken before."""
        if not self._is_woken:
            loop = asyncio.get_running_loop()
            if (timeouts := _timeouts.get(loop)) is None:
                timeouts = _timeouts[loop] = _Timeouts()
            self._future = loop.create_future()
            timeouts.begin(self, timeout_s, loop)
            try:
                await self._future
            finally:
                self._future = None
                timeouts.end(self)
        self._is_woken = False

    def wake(self) -> None:
        """Wake the task."""
        self._is_woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def finish(self) -> None:
        """Wake the task for the last time."""
        self.is_done = True
        self.wake()


#: Calls that others depend on, which the event loop would forget.
_led: set[asyncio.Task[None]] = set()


async def led(call: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Make a call that others depend on: it continues if the caller is cancelled."""
    task = asyncio.get_running_loop().create_task(call())
    _led.add(task)
    task.add_done_callback(_led.discard)
    await asyncio.shield(task)


async def pause(seconds: float) -> None:
    """Wait before the next attempt."""
    await asyncio.sleep(seconds)
