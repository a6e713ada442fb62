"""Helpers for calls of the threaded stack: the twin of `datastore_client.aio._calls`."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

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

#: What a call raises when it fails, or when its channel is closed meanwhile.
CALL_ERRORS = (grpc.RpcError, ValueError)


def open_channel(
    target: Target, credentials: Credentials, options: Sequence[tuple[str, Any]] = CHANNEL_OPTIONS
) -> grpc.Channel:
    """A channel to `target`, with `credentials` if it is reached over TLS."""
    options = [*options, *target.options]
    if target.is_secure:
        return grpc.secure_channel(target.name, credentials.for_channels(), options=options)
    return grpc.insecure_channel(target.name, options=options)


#: What a channel belongs to: a process.
Home: TypeAlias = int


def here() -> Home:
    """The home of the caller."""
    return os.getpid()


def why_not_here(home: Home | None) -> str | None:
    """Why a channel of this `home` cannot be used by the caller, and what to do; None if it can.

    A channel that was not used yet has no home, and can be used in any process.
    """
    if home is not None and os.getpid() != home:
        return "it was opened in the process that this one was forked from; connect again in each process"
    return None


class _Waiter:
    """One thread that waits for a slot."""

    def __init__(self) -> None:
        self.turn = Turn.LATE
        self._woken = threading.Event()

    def wait(self, timeout_s: float) -> Turn:
        """Wait until woken, at most `timeout_s`; LATE if not woken by then."""
        self._woken.wait(timeout_s)
        return self.turn

    def wake(self, turn: Turn) -> None:
        """Wake the thread."""
        self.turn = turn
        self._woken.set()


class CallSlots:
    """Limits concurrent calls; others queue, FIFO, unless they would be answered too late."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._slots: Slots[_Waiter] = Slots(at_once, waiting)
        self._lock = threading.Lock()
        #: The durations of calls whose slots were released but not yet returned.
        self._released: deque[float | None] = deque()

    def acquire(self, timeout_s: float) -> Turn:
        """Take a slot for a call that has `timeout_s` to be answered. The caller must release it, if it is TAKEN."""
        waiter = _Waiter()
        with self._lock:
            turn = self._asked(waiter, timeout_s)
        self._give_back()
        if turn is not None:
            return turn
        ends_at = time.monotonic() + timeout_s
        try:
            turn = self._turn_of(waiter, ends_at)
        finally:
            # Also if Ctrl-C ends the wait.
            with self._lock:
                has_slot = not self._slots.give_up(waiter) and waiter.turn is Turn.TAKEN
            self._give_back()
            if has_slot and turn is not Turn.TAKEN:
                self.release()
        if turn is Turn.TAKEN and not self._slots.is_in_time(ends_at - time.monotonic(), 0):
            self.release()
            return Turn.REFUSED
        return turn

    def _asked(self, waiter: _Waiter, left_s: float) -> Turn | None:
        """The outcome of asking for a slot; None if the waiter has to wait."""
        if self._slots.take():
            return Turn.TAKEN
        if not self._slots.is_in_time(left_s, self._slots.waiting):
            return Turn.REFUSED
        return None if self._slots.line_up(waiter) else Turn.FULL

    def _turn_of(self, waiter: _Waiter, ends_at: float) -> Turn:
        while True:
            left_s, turns = ends_at - time.monotonic(), self._slots.turns
            turn = waiter.wait(max(0.0, min(left_s, STUCK_S)))
            if turn is not Turn.LATE or left_s <= STUCK_S:
                return turn
            with self._lock:
                # Woken here, too: one that gives up must not miss that it was given a slot.
                for other in self._slots.lend() if turns == self._slots.turns else []:
                    other.wake(Turn.TAKEN)
            self._give_back()

    def expected_s(self) -> float:
        """The expected duration of a call that asks for a slot now."""
        return self._slots.expected_s(self._slots.waiting)

    def release(self, took_s: float | None = None) -> None:
        """Return a slot, after a call of this duration.

        Takes no lock that this thread may hold: the garbage collector may close a cursor at any moment.
        """
        self._released.append(took_s)
        self._give_back()

    def _give_back(self) -> None:
        # If the lock is taken, its holder does this as soon as it has released it.
        while self._released and self._lock.acquire(blocking=False):
            try:
                while self._released:
                    waiter = self._slots.give_back(self._released.popleft())
                    if waiter is not None:
                        waiter.wake(Turn.TAKEN)
            finally:
                self._lock.release()

    def close(self) -> None:
        """End every wait."""
        with self._lock:
            waiters = self._slots.dismiss()
        self._give_back()
        for waiter in waiters:
            waiter.wake(Turn.CLOSED)


def is_interruption(error: BaseException) -> bool:
    """Whether a call raised `error` because its caller was cancelled: threads are not."""
    return False


def answered(answer: Any) -> Any:
    """The response of a unary call: here, calling it is enough."""
    return answer


class Messages:
    """The messages of a streaming call, which ends with the last of them, with an error, or by `close`.

    Any thread may close it, also while another waits for a message.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Messages:
        return self

    def __next__(self) -> bytes:
        try:
            message: bytes = next(self._call)
        except BaseException:
            self._call.cancel()
            raise
        return message

    def close(self) -> None:
        """End the call. May be repeated."""
        self._call.cancel()


def messages(call: Any) -> Messages:
    """The messages of a streaming call. The caller must close them."""
    return Messages(call)


class IdleLimit:
    """Call `end` if the block takes longer than `idle_s`, and leave the block when that is done. None: never."""

    def __init__(self, idle_s: float | None, end: Callable[[], None]) -> None:
        self._timer = None if idle_s is None else threading.Timer(idle_s, end)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


class Waiter:
    """One thread that waits to be woken, several times if need be, until it is finished."""

    def __init__(self) -> None:
        self.is_done = False
        self._woken = threading.Event()

    def wait(self, timeout_s: float) -> None:
        """Wait until woken, at most `timeout_s`. Returns at once if it was woken before."""
        self._woken.wait(min(timeout_s, threading.TIMEOUT_MAX))
        self._woken.clear()

    def wake(self) -> None:
        """Wake the thread."""
        self._woken.set()

    def finish(self) -> None:
        """Wake the thread for the last time."""
        self.is_done = True
        self.wake()


def led(call: Callable[[], None]) -> None:
    """Make a call that others depend on: a thread is not cancelled."""
    call()


def pause(seconds: float) -> None:
    """Wait before the next attempt."""
    time.sleep(seconds)
