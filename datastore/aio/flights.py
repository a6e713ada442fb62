"""Reads in flight, so that concurrent reads of one key become one. Knows no stores."""

from __future__ import annotations

from collections.abc import Iterable

from datastore.aio._concurrency import Event, Lock
from datastore.model.deadline import has_deadline
from datastore.model.errors import own_error
from datastore.model.key import Key
from datastore.model.operations import ReadResult

__all__ = ["Flight", "Flights"]


class Flight:
    """One read of one key, for its reader and for the callers that wait for `done`."""

    __slots__ = ("_result", "done")

    def __init__(self) -> None:
        #: Set when the read has ended.
        self.done = Event()
        self._result: ReadResult | None = None

    def result(self) -> ReadResult | None:
        """A copy of the result, because raising a result's error removes it; None if the reader gave up."""
        return None if self._result is None else _copied(self._result)

    def land(self, result: ReadResult) -> None:
        """Give the result to all waiters, unless it concerns only the reader, whose own time ran out."""
        if not (isinstance(result.error, TimeoutError) and has_deadline()):
            self._result = _copied(result)
        self.done.set()

    def fail(self, error: BaseException) -> None:
        """Give an error to the waiters without a result, unless it concerns only the reader, which was cancelled."""
        if isinstance(error, Exception) and not self.done.is_set():
            self.land(ReadResult(error=error))
        self.done.set()


class Flights:
    """The reads in flight, by key. A caller that begins a flight must `land` or `fail` it, and then `end` it."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._in_flight: dict[Key, Flight] = {}

    def begin(self, keys: Iterable[Key]) -> tuple[dict[Key, Flight], dict[Key, Flight]]:
        """The flights of some keys: those that this call has begun, and those that other readers have."""
        led: dict[Key, Flight] = {}
        joined: dict[Key, Flight] = {}
        with self._guard:
            for key in keys:
                if key in self._in_flight:
                    joined[key] = self._in_flight[key]
                else:
                    led[key] = self._in_flight[key] = Flight()
        return led, joined

    def is_current(self, key: Key, flight: Flight) -> bool:
        """Whether no write of the key is known to have ended since the flight began."""
        return self._in_flight.get(key) is flight

    def outdate(self, keys: Iterable[Key]) -> None:
        """A write of these keys has ended: later reads must not join an earlier flight."""
        with self._guard:
            for key in keys:
                self._in_flight.pop(key, None)

    def outdate_all(self) -> None:
        """Any key may have been written."""
        with self._guard:
            self._in_flight.clear()

    def end(self, flights: dict[Key, Flight]) -> None:
        """Forget flights that have ended."""
        with self._guard:
            for key in [key for key, flight in flights.items() if self._in_flight.get(key) is flight]:
                del self._in_flight[key]


def _copied(result: ReadResult) -> ReadResult:
    return ReadResult(result.value, None if result.error is None else own_error(result.error))
