"""When the entries of one store expire, by key and in order of time. Pure."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from datastore.model.key import Key

__all__ = ["SWEEP_ENTRIES", "Expiries"]

#: How many expired entries one call removes at most. More than one, so that a store does not grow if every put adds an
#: entry that expires; and few, so that no call takes noticeably longer than others.
SWEEP_ENTRIES = 16
#: The heap is built anew if it has more than twice as many items as there are entries, and more than this.
_SMALL = 64


class Expiries:
    """The expiry of each entry that has one, in microseconds since 1970. Not safe for threads."""

    __slots__ = ("_heap", "at_us")

    def __init__(self) -> None:
        self.at_us: dict[Key, int] = {}
        #: The earliest first. An item that differs from `at_us` is outdated.
        self._heap: list[tuple[int, Key]] = []

    def put(self, key: Key, at_us: int) -> None:
        """An entry was written; it expires at this time, 0 for never."""
        if not at_us:
            self.at_us.pop(key, None)
            return
        self.at_us[key] = at_us
        heappush(self._heap, (at_us, key))
        if len(self._heap) > max(_SMALL, 2 * len(self.at_us)):
            self._heap = [(at_us, key) for key, at_us in self.at_us.items()]
            heapify(self._heap)

    def has_passed(self, key: Key, now_us: int) -> bool:
        """Whether an entry has expired."""
        return self.at_us.get(key, now_us + 1) <= now_us

    def pop(self, now_us: int) -> list[Key]:
        """Some of the entries that have expired, the earliest first, at most SWEEP_ENTRIES; they are forgotten here."""
        passed: list[Key] = []
        while self._heap and self._heap[0][0] <= now_us and len(passed) < SWEEP_ENTRIES:
            at_us, key = heappop(self._heap)
            if self.at_us.get(key) == at_us:
                del self.at_us[key]
                passed.append(key)
        return passed

    def passed(self, now_us: int) -> set[Key]:
        """The entries that have expired. Takes a time proportional to their number."""
        found: set[Key] = set()
        # An item of a heap is not after those below it.
        places = [0]
        while places:
            place = places.pop()
            if place < len(self._heap) and self._heap[place][0] <= now_us:
                places += (2 * place + 1, 2 * place + 2)
                at_us, key = self._heap[place]
                if self.at_us.get(key) == at_us:
                    found.add(key)
        return found
