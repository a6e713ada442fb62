"""The checker of histories: it accepts what can have happened, and finds what cannot."""

from __future__ import annotations

import random

import pytest

from datastore.model.metadata import ABSENT, EXISTS, Precondition
from tests.support.linearizability import Call, Outcome, is_linearizable

FAILED, UNKNOWN = Outcome.FAILED, Outcome.UNKNOWN
PUT_A, PUT_B = Call("put", 0, 1, "a", 1), Call("put", 2, 3, "b", 2)


def at(version: int) -> Precondition:
    return Precondition(version=version)


RIGHT = {
    "nothing": [],
    "only what is unknown": [Call("put", 0, 1, "a", outcome=UNKNOWN)],
    "one after the other": [PUT_A, PUT_B, Call("get", 4, 5, "b", 2)],
    "a read during a write, before it": [PUT_A, Call("put", 2, 9, "b", 2), Call("get", 3, 4, "a", 1)],
    "a read during a write, after it": [PUT_A, Call("put", 2, 9, "b", 2), Call("get", 3, 4, "b", 2)],
    "a condition that held": [PUT_A, Call("put", 2, 3, "b", 2, at(1)), Call("delete", 4, 5, condition=at(2))],
    "a condition that failed": [PUT_A, Call("put", 2, 3, "b", 1, ABSENT, FAILED), Call("get", 4, 5, "a", 1)],
    "one of two wins": [Call("put", 0, 5, "a", 1, ABSENT), Call("put", 0, 5, "b", 1, ABSENT, FAILED)],
    "deleted and created again": [PUT_A, Call("delete", 2, 3), Call("put", 4, 5, "b", 2, ABSENT)],
    "an unknown write that happened": [Call("put", 0, 1, "a", outcome=UNKNOWN), Call("get", 2, 3, "a", 7)],
    "an unknown write that happened late": [
        Call("put", 0, 1, "a", outcome=UNKNOWN),
        Call("get", 2, 3),
        Call("get", 4, 5, "a", 7),
    ],
    "an unknown write that did not happen": [PUT_A, Call("put", 2, 3, "b", outcome=UNKNOWN), Call("get", 4, 5, "a", 1)],
    "an unknown write seen by its version only": [
        PUT_A,
        Call("put", 2, 3, "b", outcome=UNKNOWN),
        Call("put", 4, 5, "c", 5, at(1), FAILED),
        Call("get", 6, 7, "b", 5),
    ],
    "an unknown write that another depended on": [
        Call("put", 0, 1, "a", outcome=UNKNOWN),
        Call("put", 2, 3, "b", 4, EXISTS),
    ],
}
WRONG = {
    "a read of nothing that was written": [Call("get", 0, 1, "a", 1)],
    "a read of what is overwritten": [PUT_A, PUT_B, Call("get", 4, 5, "a", 1)],
    "a read that does not see a write that ended": [PUT_A, Call("get", 2, 3)],
    "reads that go back": [
        PUT_A,
        Call("put", 2, 9, "b", 2),
        Call("get", 3, 4, "b", 2),
        Call("get", 5, 6, "a", 1),
    ],
    "a version that is smaller than an earlier one": [Call("put", 0, 1, "a", 2), Call("put", 2, 3, "b", 1)],
    "a version given twice": [PUT_A, Call("put", 2, 3, "b", 1)],
    "a smaller version after a delete": [PUT_A, Call("delete", 2, 3), Call("put", 4, 5, "b", 1)],
    "two that win": [Call("put", 0, 5, "a", 1, ABSENT), Call("put", 0, 5, "b", 2, ABSENT)],
    "two writes on one version": [
        PUT_A,
        Call("put", 2, 9, "b", 2, at(1)),
        Call("put", 2, 9, "c", 3, at(1)),
    ],
    "a condition that held against the version": [PUT_A, PUT_B, Call("put", 4, 5, "c", 3, at(1))],
    "a condition that failed although it held": [PUT_A, Call("put", 2, 3, "b", 1, EXISTS, FAILED)],
    "a failed condition that reports an old version": [PUT_A, PUT_B, Call("put", 4, 5, "c", 1, ABSENT, FAILED)],
    "a failed write that is read": [PUT_A, Call("put", 2, 3, "b", 1, ABSENT, FAILED), Call("get", 4, 5, "b", 2)],
    "a delete that failed and deleted": [
        PUT_A,
        Call("delete", 2, 3, version=1, condition=at(9), outcome=FAILED),
        Call("get", 4, 5),
    ],
    "an unknown write that happened twice": [
        Call("put", 0, 1, "a", outcome=UNKNOWN),
        Call("get", 2, 3, "a", 1),
        Call("delete", 4, 5),
        Call("get", 6, 7, "a", 2),
    ],
    "an unknown write that happened before it began": [
        Call("get", 0, 1, "a", 1),
        Call("put", 2, 3, "a", outcome=UNKNOWN),
    ],
    "an unknown write whose condition did not hold": [
        PUT_A,
        Call("put", 2, 3, "b", outcome=UNKNOWN, condition=ABSENT),
        Call("get", 4, 5, "b", 2),
    ],
    "an update that was lost": [
        PUT_A,
        Call("get", 2, 3, "a", 1),
        Call("get", 2, 3, "a", 1),
        Call("put", 4, 8, "a+x", 2, at(1)),
        Call("put", 4, 8, "a+y", 3, at(1)),
    ],
}


@pytest.mark.parametrize("calls", RIGHT.values(), ids=RIGHT)
def test_a_history_that_is_possible_is_accepted(calls: list[Call]) -> None:
    assert is_linearizable(calls)


@pytest.mark.parametrize("calls", WRONG.values(), ids=WRONG)
def test_a_history_that_is_impossible_is_found(calls: list[Call]) -> None:
    assert not is_linearizable(calls)


def random_history(chooser: random.Random, length: int) -> list[Call]:
    """What callers of an atomic store see: each call happens at one instant between its beginning and its end."""
    calls, value, version, latest = [], None, 0, 0
    for place in range(length):
        began, ended = place - chooser.random() * 3, place + chooser.random() * 3
        condition = chooser.choice([None, None, ABSENT, EXISTS, at(version or 1), at(latest + 7)])
        kind = chooser.choice(["get", "put", "put", "delete"])
        holds = condition is None or condition.holds(version)
        outcome = UNKNOWN if kind != "get" and chooser.random() < 0.02 else Outcome.DONE if holds else FAILED
        if kind == "get":
            calls.append(Call("get", began, ended, value, version))
            continue
        new = f"value {place}" if kind == "put" else None
        seen = version
        if holds and (outcome is not UNKNOWN or chooser.random() < 0.5):
            latest += kind == "put"
            value, version = new, latest if kind == "put" else 0
            seen = version
        calls.append(Call(kind, began, ended, new, 0 if outcome is UNKNOWN else seen, condition, outcome))
    return calls


@pytest.mark.parametrize("seed", range(10))
def test_a_long_history_of_an_atomic_store_is_accepted_and_a_stale_read_in_it_found(seed: int) -> None:
    calls = random_history(random.Random(seed), 300)
    assert is_linearizable(calls)
    stale = next(call for call in calls if call.kind == "put" and call.outcome is Outcome.DONE)
    assert not is_linearizable([*calls, Call("get", 10_000, 10_001, stale.value, stale.version)])
