"""Which calls in progress have to notice that their clients disconnect: those that take long. Knows no gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

__all__ = ["WATCHED_AFTER_S", "Unwatched"]

#: After how long a call is watched, in seconds, or up to twice that: to watch one takes 5 % of the time of the call,
#: and to find out that the client of a shorter one has disconnected saves nothing.
WATCHED_AFTER_S = 0.05


class Unwatched:
    """Calls that have begun, each with what begins to watch it. For one event loop.

    A call is identified by any object. One timer serves all, and none is set without calls.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: dict[Hashable, Callable[[], object]] = {}
        #: Those of these that had begun when the timer was set.
        self._older: dict[Hashable, Callable[[], object]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, call: Hashable, watch: Callable[[], object]) -> None:
        """Call `watch` unless the call ends soon."""
        self._calls[call] = watch
        if self._timer is None:
            self._timer = self._loop.call_later(WATCHED_AFTER_S, self._watch_older)

    def end(self, call: Hashable) -> None:
        """Note that a call has ended. May be repeated."""
        if self._calls.pop(call, None) is None:
            self._older.pop(call, None)

    def stop(self) -> None:
        """Watch no more. May be repeated."""
        if self._timer is not None:
            self._timer.cancel()

    def _watch_older(self) -> None:
        older, self._older, self._calls = self._older, self._calls, {}
        self._timer = self._loop.call_later(WATCHED_AFTER_S, self._watch_older) if self._older else None
        for watch in older.values():
            watch()
