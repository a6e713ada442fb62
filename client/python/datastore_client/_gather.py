"""Which calls are sent at once, and which wait to share a message with others. Decides, but does not wait.

Pure, and shared by the sync and async clients, which wait in different ways. Not safe for threads by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

__all__ = [
    "BATCHES_AT_ONCE",
    "GATHERED_BYTES",
    "GATHERED_CALLS",
    "HURRY_S",
    "MESSAGES_AT_ONCE",
    "Gather",
    "GatheredCall",
]

#: Messages in flight before further calls wait to share one. With two, the server works on one while the client
#: prepares the next.
MESSAGES_AT_ONCE = 2
#: The same for calls that are batches themselves: one keeps the server busy for long enough.
BATCHES_AT_ONCE = 1
#: The maximum calls of a message, and their bytes: larger ones save little more, and the answer comes for all at once.
GATHERED_CALLS = 256
GATHERED_BYTES = 256 * 1024
#: How long a call waits for a message in flight to be answered, in seconds; then it is sent beside it, because the
#: server may not answer that one soon.
HURRY_S = 0.05

W = TypeVar("W")


class GatheredCall(Generic[W]):
    """One call. Calls with the same `order` are made in the order of their joining; None: without an order.

    A call that `is_alone` shares its message with no other. `waiter` is whatever its caller waits with.
    """

    __slots__ = ("deadline", "is_alone", "leads", "message", "order", "size", "waiter")

    def __init__(self, order: Hashable, size: int, deadline: float, waiter: W, *, is_alone: bool = False) -> None:
        self.order = order
        self.size = size
        self.deadline = deadline
        self.waiter = waiter
        self.is_alone = is_alone
        #: The calls of its message, in their order; None while it waits, and once they are answered.
        self.message: list[GatheredCall[W]] | None = None
        #: Whether its caller sends the message: the one with the latest deadline, which applies to the message.
        self.leads = False


class Gather(Generic[W]):
    """The calls that wait, and the messages in flight."""

    def __init__(self, *, at_once: int = MESSAGES_AT_ONCE) -> None:
        self._free = at_once
        self._waiting: dict[GatheredCall[W], None] = {}
        #: How many calls of messages in flight have each order.
        self._in_order: Counter[Hashable] = Counter()
        #: Whether several calls shared the message that was answered last: their callers may soon make the next ones.
        self.is_busy = False

    @property
    def waiting(self) -> int:
        """The number of calls that wait."""
        return len(self._waiting)

    def join(self, call: GatheredCall[W]) -> GatheredCall[W] | None:
        """Add a call, which begins a message at once if it may. Returns the leader of that."""
        self._waiting[call] = None
        return self._begin() if self._free > 0 else None

    def hurry(self, call: GatheredCall[W]) -> GatheredCall[W] | None:
        """Begin one more message if this call may be in it. Returns the leader, if there is a message."""
        if call not in self._waiting or self._in_order[call.order]:
            return None
        return self._begin()

    def leave(self, call: GatheredCall[W]) -> GatheredCall[W] | None:
        """Remove a call that waits, or leads a message that was not sent. Returns the message's new leader, if any."""
        if call.message is None:
            self._waiting.pop(call, None)
            return None
        call.message.remove(call)
        self._forget([call])
        if call.message:
            return self._appoint(call.message)
        self._free += 1
        return self._begin() if self._free > 0 else None

    def end(self, message: Sequence[GatheredCall[W]]) -> list[GatheredCall[W]]:
        """Note that a message was answered. Returns the leaders of those that begin now."""
        self._forget(message)
        for call in message:
            # Otherwise each would hold all, itself included, until the garbage collector runs.
            call.message = None
        self._free += 1
        self.is_busy = len(message) > 1
        leaders = []
        while self._free > 0 and (leader := self._begin()) is not None:
            leaders.append(leader)
        return leaders

    def _begin(self) -> GatheredCall[W] | None:
        """Begin a message with the calls that have waited longest. Returns its leader; None if all must wait."""
        message: list[GatheredCall[W]] = []
        self.fill(message)
        if not message:
            return None
        self._free -= 1
        return self._appoint(message)

    def fill(self, message: list[GatheredCall[W]]) -> None:
        """Add to a message that was not sent the calls that have waited longest, as many as it may take."""
        #: Later calls of these orders wait behind an earlier one.
        behind: set[Hashable] = set()
        own = {call.order for call in message}
        size = sum(call.size for call in message)
        added = []
        for call in self._waiting:
            if len(message) == GATHERED_CALLS or (message and message[0].is_alone):
                break
            is_behind = call.order in behind or (self._in_order[call.order] and call.order not in own)
            if (call.order is not None and is_behind) or (
                message and (call.is_alone or size + call.size > GATHERED_BYTES)
            ):
                behind.add(call.order)
            else:
                message.append(call)
                added.append(call)
                size += call.size
        for call in added:
            del self._waiting[call]
            call.message = message
        self._in_order.update(call.order for call in added if call.order is not None)

    def _appoint(self, message: list[GatheredCall[W]]) -> GatheredCall[W]:
        leader = max(message, key=lambda call: call.deadline)
        leader.leads = True
        return leader

    def _forget(self, calls: Sequence[GatheredCall[W]]) -> None:
        for call in calls:
            if call.order is not None:
                self._in_order[call.order] -= 1
                if not self._in_order[call.order]:
                    del self._in_order[call.order]
