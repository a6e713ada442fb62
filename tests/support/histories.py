"""Histories of calls on one key by many clients, and whether one order of the calls explains all answers.

The search is that of Wing and Gong, Testing and Verifying Concurrent Objects (1993), with the memory of visited states
of Lowe, Testing for Linearizability (2017).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

__all__ = ["IMPOSSIBLE", "Call", "is_linearizable", "value_after", "versions_grow"]

#: What no state is.
IMPOSSIBLE = object()


@dataclass(slots=True, eq=False)
class Call:
    """One call and its answer.

    `kind` is get, put, delete, put_if (the value was `expected`; None: absent) or increment. `argument` is what it
    wrote; an increment adds 1. `held` says whether the condition held. `found` is what a get found, or the new value
    of an increment. `end` is infinite if the outcome is unknown: the call may take effect at any time, or never.
    `version` is the one that it read or wrote, 0 if unknown.
    """

    kind: str
    start: float
    end: float = math.inf
    argument: Any = None
    expected: Any = None
    held: bool = True
    found: Any = None
    version: int = 0

    @property
    def is_known(self) -> bool:
        """Whether the call was answered."""
        return self.end != math.inf


def value_after(state: Any, call: Call) -> Any:
    """The value after a call that found the value `state`; IMPOSSIBLE if its answer would have been another."""
    match call.kind:
        case "get":
            return state if state == call.found else IMPOSSIBLE
        case "put":
            return call.argument
        case "delete":
            return None
        case "put_if":
            if call.is_known and call.held != (state == call.expected):
                return IMPOSSIBLE
            return call.argument if state == call.expected else state
        case "increment":
            total = (state or 0) + 1
            return total if not call.is_known or total == call.found else IMPOSSIBLE
    raise ValueError(call.kind)


def is_linearizable(calls: Iterable[Call], initial: Any = None) -> bool:
    """Whether there is an order of all answered calls, and of some of the others, that explains every answer.

    In this order, a call that ended before another began comes before it. Values must be hashable.
    """
    ordered = sorted(calls, key=lambda call: call.start)
    answered = sum(1 << place for place, call in enumerate(ordered) if call.is_known)
    waiting = [(0, initial)]
    seen = set(waiting)
    while waiting:
        done, state = waiting.pop()
        if done & answered == answered:
            return True
        following = []
        for place in _next_places(ordered, done):
            after = value_after(state, ordered[place])
            reached = (done | 1 << place, after)
            if after is not IMPOSSIBLE and reached not in seen:
                seen.add(reached)
                following.append((ordered[place].end, reached))
        # Calls of unknown outcome last: few of them are needed.
        following.sort(key=lambda one: one[0], reverse=True)
        waiting += [reached for _, reached in following]
    return False


def _next_places(ordered: list[Call], done: int) -> list[int]:
    """The calls that may be next: those that began before any other of the rest had ended."""
    places = []
    first_end = math.inf
    for place, call in enumerate(ordered):
        if call.start > first_end:
            break
        if not done >> place & 1:
            places.append(place)
            first_end = min(first_end, call.end)
    return places


def versions_grow(calls: Iterable[Call]) -> bool:
    """Whether no call has a version below that of a call that had ended before it began, nor a write the same one."""
    known = sorted((call for call in calls if call.is_known and call.version), key=lambda call: call.end)
    ends = [call.end for call in known]
    greatest = [0, *accumulate((call.version for call in known), max)]
    for call in known:
        before = greatest[bisect_left(ends, call.start)]
        if call.version < before or (call.kind != "get" and call.version == before):
            return False
    return True
