"""The calls that have begun, but whose requests have not arrived: ends those that take too long. Knows no gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable

from google.rpc import status_pb2

from datastore import wire
from datastore.model.errors import DeadlineExceededError

__all__ = ["Arrivals"]

#: How many times late calls are looked for within the time that a request may take.
_LOOKS = 4


class Arrivals:
    """Calls that wait for their requests, at most `most_s` seconds. `begin` and `has_come` may be called in any thread.

    A call is identified by any object. One timer serves all: a call costs two changes of a dict.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[Hashable, tuple[float, Callable[[status_pb2.Status], object]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Hashable, end: Callable[[status_pb2.Status], object]) -> None:
        """Wait for the request of a call. If it is late, `end` is called with a status, on the event loop."""
        self._waiting[call] = time.monotonic(), end

    def has_come(self, call: Hashable) -> bool:
        """Note that the request has come, or never will. False if the call was ended before."""
        return self._waiting.pop(call, None) is not None

    def start(self) -> None:
        """Start looking for late calls."""
        self._timer = self._loop.call_later(self._most_s / _LOOKS, self._end_late)

    def stop(self) -> None:
        """Stop looking. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_late(self) -> None:
        oldest = time.monotonic() - self._most_s
        # The oldest are first. Other threads change the dict meanwhile; copying it is one step.
        for call, (began, end) in self._waiting.copy().items():
            if began > oldest:
                break
            if self.has_come(call):
                end(self._late())
        self.start()

    def _late(self) -> status_pb2.Status:
        error = DeadlineExceededError(f"the request did not arrive within {self._most_s:g} s (request_time_ms)")
        return wire.error_to_status(error)
