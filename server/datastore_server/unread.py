"""How much gRPC may hold of answers that clients have not read yet. Knows no transports, calls or messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

__all__ = ["UNCOUNTED_BYTES", "Unread", "UnreadAnswers"]

#: Answers up to this size are not counted: they take less than their calls do.
UNCOUNTED_BYTES = 1024
#: An answer exists as an object of Python, and as a copy of gRPC's.
_COPIES = 2


@dataclass(eq=False, slots=True)
class Unread:
    """An answer that gRPC holds. `drop` makes gRPC forget it; None if that cannot be done."""

    client: str
    held_bytes: int
    drop: Callable[[], object] | None


class UnreadAnswers:
    """The answers that gRPC holds, at most `total_bytes`. Thread-safe.

    A client may leave as much unread as is left for all others, and begins no further call until it has read. So there
    is always room for those that read, however many others do not. Source: Choudhury and Hahne 1998, "Dynamic queue
    length thresholds for shared-memory packet switches".

    Calls that have begun before may still exceed that. Then the newest answer of the client with the most is dropped,
    but not a new one that is the only one of its client.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._lock = Lock()
        #: By client: its answers, the oldest first, and their bytes.
        self._answers: dict[str, dict[Unread, None]] = {}
        self._bytes: dict[str, int] = {}
        #: By client: the calls that it may not begin yet.
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        #: The bytes of all answers.
        self.held_bytes = 0

    @property
    def may_be_full(self) -> bool:
        """Whether there may be clients that have to read first. Takes no lock, because every call asks."""
        return self.held_bytes * 2 > self._total_bytes

    def when_read(self, client: str, begin: Callable[[], object]) -> bool:
        """Whether this client has to read before it begins a call; `begin` is then called once it has."""
        with self._lock:
            is_full = self._is_full(client)
            if is_full:
                self._waiting.setdefault(client, deque()).append(begin)
        return is_full

    def hold(self, client: str, size: int, drop: Callable[[], object] | None) -> Unread | None:
        """Count an answer of this size until `give_back`. None if there is no room for it: it must not be sent.

        `drop` is called at most once, in any thread.
        """
        newest = Unread(client, size * _COPIES, drop)
        with self._lock:
            self._add(newest)
            dropped = self._make_room(newest)
        for answer in dropped:
            if answer is not newest and answer.drop is not None:
                answer.drop()
        return None if newest in dropped else newest

    def give_back(self, answer: Unread) -> None:
        """Note that the client has read an answer, or left, or that it was dropped."""
        with self._lock:
            if answer in self._answers.get(answer.client, ()):
                self._remove(answer)
        # What begins may be answered at once, so there may be no room for the next.
        while self._waiting and (begin := self._next()) is not None:
            begin()

    def _next(self) -> Callable[[], object] | None:
        """The call that has waited longest, of a client that has read enough; it waits no more."""
        with self._lock:
            client = next((client for client in self._waiting if not self._is_full(client)), None)
            if client is None:
                return None
            begin = self._waiting[client].popleft()
            if not self._waiting[client]:
                del self._waiting[client]
            return begin

    def _is_full(self, client: str) -> bool:
        return self._bytes.get(client, 0) > max(self._total_bytes - self.held_bytes, 0)

    def _add(self, answer: Unread) -> None:
        self._answers.setdefault(answer.client, {})[answer] = None
        self._bytes[answer.client] = self._bytes.get(answer.client, 0) + answer.held_bytes
        self.held_bytes += answer.held_bytes

    def _remove(self, answer: Unread) -> None:
        del self._answers[answer.client][answer]
        self._bytes[answer.client] -= answer.held_bytes
        self.held_bytes -= answer.held_bytes
        if not self._answers[answer.client]:
            del self._answers[answer.client], self._bytes[answer.client]

    def _make_room(self, newest: Unread) -> list[Unread]:
        """Drop answers until the newest has room, itself perhaps. Returns them."""
        dropped: list[Unread] = []
        while self.held_bytes > self._total_bytes and newest not in dropped:
            victim = self._victim(newest)
            if victim is None:
                break
            self._remove(victim)
            dropped.append(victim)
        return dropped

    def _victim(self, newest: Unread) -> Unread | None:
        others = [client for client in self._bytes if client != newest.client]
        most = max(others, key=self._bytes.__getitem__, default=newest.client)
        can_drop_other = newest.drop is not None and most != newest.client
        if len(self._answers[newest.client]) == 1:
            return next(reversed(self._answers[most])) if can_drop_other else None
        if can_drop_other and self._bytes[most] > self._bytes[newest.client]:
            return next(reversed(self._answers[most]))
        return newest
