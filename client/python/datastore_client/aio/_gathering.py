"""Single calls that share messages: the first are sent at once, and those made meanwhile together.

Knows how callers wait for their turn, and nothing of messages: `one` and `many` send them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from datastore.aio._concurrency import Lock, give_way
from datastore.model.errors import DeadlineExceededError, UnavailableError, own_error, without_frames
from datastore_client._gather import HURRY_S, MESSAGES_AT_ONCE, Gather, GatheredCall
from datastore_client.aio._calls import Waiter, led
from datastore_client.aio._connection import Connection

__all__ = ["Gathering"]

T = TypeVar("T")
R = TypeVar("R")


class _Caller(Waiter, Generic[T, R]):
    """What one caller wants, and gets."""

    def __init__(self, item: T) -> None:
        super().__init__()
        self.item = item
        self.result: R | None = None
        self.error: Exception | None = None


class Gathering(Generic[T, R]):
    """Calls that take an item and return a result, sent by one connection.

    A call that finds fewer than `at_once` messages in flight is sent at once by `one`, as if there were no
    gathering. Others wait, and are sent together by `many`, which returns a result for each, as soon as a message is
    answered, or after HURRY_S. Calls with the same order are made one after the other; see GatheredCall. Each caller
    has its own result, error and deadline; one that is cancelled leaves, and a message that was sent continues. A
    message has the deadline, and passes on the metadata, of the call in it with the latest deadline.
    Safe for threads (tasks, under asyncio).
    """

    def __init__(
        self,
        connection: Connection,
        one: Callable[[T], Awaitable[R]],
        many: Callable[[Sequence[T]], Awaitable[list[R]]],
        *,
        at_once: int = MESSAGES_AT_ONCE,
    ) -> None:
        self._connection = connection
        self._one = one
        self._many = many
        self._lock = Lock()
        self._gather: Gather[_Caller[T, R]] = Gather(at_once=at_once)

    async def call(self, item: T, *, order: Hashable = None, size: int, is_alone: bool = False) -> R:
        """The result of one call, whose item (or its result) is about `size` bytes long.

        Raises what `one` and `many` raise, DeadlineExceededError, and OverloadedError if too many calls wait.
        """
        caller: _Caller[T, R] = _Caller(item)
        policy = self._connection.policy()
        call = GatheredCall(order, size, time.monotonic() + policy.left_s(), caller, is_alone=is_alone)
        with self._lock:
            self._connection.check_waiting(self._gather.waiting)
            _wake(self._gather.join(call))
        await self._turn(call, policy.timeout_s)
        if call.leads:
            await self._lead(call)
        if caller.error is not None:
            raise own_error(caller.error)
        return caller.result  # type: ignore[return-value]  # Set, as there is no error.

    async def _turn(self, call: GatheredCall[_Caller[T, R]], timeout_s: float) -> None:
        """Wait until the call is answered, or leads its message."""
        caller = call.waiter
        try:
            if call.leads and call.message and self._gather.is_busy:
                await give_way()
                with self._lock:
                    self._gather.fill(call.message)
            while not (call.leads or caller.is_done):
                left_s = call.deadline - time.monotonic()
                if left_s <= 0:
                    raise self._connection.named(
                        DeadlineExceededError(f"no answer from {self._connection.url} within {timeout_s:.3g} s")
                    )
                await caller.wait(left_s if call.message else min(left_s, HURRY_S))
                if call.message is None:
                    with self._lock:
                        _wake(self._gather.hurry(call))
        except BaseException:
            with self._lock:
                if call.leads or call.message is None:
                    _wake(self._gather.leave(call))
            raise

    async def _lead(self, call: GatheredCall[_Caller[T, R]]) -> None:
        """Send the message of a call and wait for its answer."""
        message = call.message or []
        if len(message) > 1:
            await led(partial(self._send, message))
            return
        try:
            with self._connection.until(call.deadline):
                call.waiter.result = await self._one(call.waiter.item)
        finally:
            self._end(message)

    async def _send(self, message: Sequence[GatheredCall[_Caller[T, R]]]) -> None:
        """Make several calls by one message. Their callers get its errors; raises only interruptions."""
        callers = [call.waiter for call in message]
        try:
            with self._connection.until(max(call.deadline for call in message)):
                results = await self._many([caller.item for caller in callers])
            for caller, result in zip(callers, results, strict=True):
                caller.result = result
        except Exception as error:  # noqa: BLE001 - every caller raises it
            without_frames(error)
            for caller in callers:
                caller.error = error
        except BaseException:
            interrupted = UnavailableError(f"a call to {self._connection.url} was interrupted: its outcome is unknown")
            for caller in callers:
                caller.error = interrupted
            raise
        finally:
            self._end(message)
            for caller in callers:
                caller.finish()

    def _end(self, message: Sequence[GatheredCall[_Caller[T, R]]]) -> None:
        with self._lock:
            for leader in self._gather.end(message):
                _wake(leader)


def _wake(leader: GatheredCall[_Caller[T, R]] | None) -> None:
    if leader is not None:
        leader.waiter.wake()
