"""Whether what concurrent callers saw of one key could have happened one call after the other.

Source: Wing and Gong 1993, Testing and verifying concurrent objects; with the memory of Lowe 2017, Testing for
linearizability.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain
from typing import NamedTuple

from datastore.model.metadata import Precondition

__all__ = ["Call", "Outcome", "is_linearizable"]

#: How many writes of unknown outcome may have happened in a row without a trace of all but the last.
UNSEEN_IN_A_ROW = 2


class Outcome(Enum):
    """How a call ended."""

    DONE = "done"
    #: Its condition did not hold.
    FAILED = "failed"
    #: It may have happened, and may even happen later.
    UNKNOWN = "unknown"


class Call(NamedTuple):
    """A call of one key: a get, a put or a delete, and what its caller knows of it.

    `value` is what was put, or read; every put has a value that no other has. `version` is that of the entry as
    written or read, or as the failure of the condition reports it; 0 if it is absent.
    """

    kind: str
    began: float
    ended: float
    value: object = None
    version: int = 0
    condition: Precondition | None = None
    outcome: Outcome = Outcome.DONE

    @property
    def only_sees(self) -> bool:
        """Whether it changes nothing."""
        return self.kind == "get" or self.outcome is Outcome.FAILED


class _State(NamedTuple):
    """An entry: its value; its version, 0 if absent and None if not known; the highest version that is known."""

    value: object = None
    version: int | None = 0
    highest: int = 0
    #: If the last call was a write of unknown outcome, the state without it.
    without: _State | None = None

    @property
    def unseen(self) -> int:
        """How many writes of unknown outcome have happened since the last call of known outcome."""
        return 0 if self.without is None else 1 + self.without.unseen


def is_linearizable(calls: Sequence[Call]) -> bool:
    """Whether the calls can have happened one after the other, none before one that had ended when it began.

    Calls of unknown outcome may be left out.
    """
    search = _Search(calls)
    seen: set[_Place] = set()
    stack = [iter([_Place()])]
    while stack:
        place = next(stack[-1], None)
        if place is None:
            stack.pop()
        elif place.first == search.needed:
            return True
        elif place not in seen:
            seen.add(place)
            stack.append(search.after(place))
    return False


class _Place(NamedTuple):
    """How far an order goes, and the state there.

    `first` is the first call of known outcome that is not in it, and `done` has a bit for each after it that is;
    `used` has one for each call of unknown outcome that is.
    """

    first: int = 0
    done: int = 0
    used: int = 0
    state: _State = _State()


class _Search:
    """The orders of some calls."""

    def __init__(self, calls: Sequence[Call]) -> None:
        ordered = sorted(calls, key=lambda call: call.began)
        self._known = [call for call in ordered if call.outcome is not Outcome.UNKNOWN]
        self._unknown = [call for call in ordered if call.outcome is Outcome.UNKNOWN]
        self.needed = len(self._known)
        #: Versions only grow, so the puts of known outcome happened in this order.
        self._versions = sorted(call.version for call in self._known if call.kind == "put" and not call.only_sees)

    def after(self, place: _Place) -> Iterator[_Place]:
        """Each way to go on; a call that may be next began before any other ended."""
        found, ends = [], math.inf
        for number in range(place.first, self.needed):
            call = self._known[number]
            if call.began > ends:
                break
            if place.done >> (number - place.first) & 1:
                continue
            ends = min(ends, call.ended)
            state = self._state_after(call, place.state)
            if state is None:
                continue
            found.append(_with(place, number, state))
            if call.only_sees and place.state.version is not None:
                # It changes nothing, so nothing is lost if it is the next.
                return iter(found[-1:])
        return chain(found, self._with_unknown(place, ends))

    def _with_unknown(self, place: _Place, ends: float) -> Iterator[_Place]:
        for number, call in enumerate(self._unknown):
            if call.began > ends:
                return
            if not place.used >> number & 1 and (state := self._state_after(call, place.state)) is not None:
                yield place._replace(used=place.used | 1 << number, state=state)

    def _state_after(self, call: Call, state: _State) -> _State | None:
        """The state after a call; None if the call would have ended differently in this one.

        Also None if all would be the same without the write of unknown outcome before it: then that did not happen.
        """
        after = self._made(call, state)
        if after is None or state.without is None:
            return after
        instead = self._made(call, state.without)
        return None if instead is not None and instead[:3] == after[:3] else after

    def _made(self, call: Call, state: _State) -> _State | None:
        if call.outcome is Outcome.FAILED:
            return None if call.condition is None or call.condition.holds(call.version) else self._seen(state, call)
        if call.kind == "get":
            return self._seen(state, call) if state.value == call.value else None
        if not self._holds(call.condition, state):
            return None
        if call.outcome is Outcome.UNKNOWN:
            if state.unseen == UNSEEN_IN_A_ROW:
                return None
            return _State(call.value, None if call.kind == "put" else 0, state.highest, state)
        if call.kind == "delete":
            return _State(highest=state.highest)
        return _State(call.value, call.version, call.version) if call.version == self._next(state) else None

    def _seen(self, state: _State, call: Call) -> _State | None:
        """The state once a call has seen its version; None if it has another."""
        if state.version is not None:
            return state._replace(without=None) if state.version == call.version else None
        return (
            _State(state.value, call.version, call.version)
            if state.highest < call.version < self._next(state)
            else None
        )

    def _holds(self, condition: Precondition | None, state: _State) -> bool:
        if condition is None:
            return True
        if state.version is not None:
            return condition.holds(state.version)
        return condition.exists is True or self._may_be(condition.version or 0, state)

    def _may_be(self, version: int, state: _State) -> bool:
        """Whether a version that is not known may be this one."""
        return state.highest < version < self._next(state)

    def _next(self, state: _State) -> float:
        """The version of the next put of known outcome."""
        place = bisect_right(self._versions, state.highest)
        return self._versions[place] if place < len(self._versions) else math.inf


def _with(place: _Place, number: int, state: _State) -> _Place:
    first, done = place.first, place.done | 1 << (number - place.first)
    while done & 1:
        first, done = first + 1, done >> 1
    return _Place(first, done, place.used, state)
