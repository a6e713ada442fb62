"""The checker of histories: accepts what one order of the calls explains, and nothing else."""

from __future__ import annotations

from itertools import permutations
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.histories import IMPOSSIBLE, Call, is_linearizable, value_after, versions_grow

RIGHT = {
    "nothing was called": [],
    "a read sees the write before it": [Call("put", 0, 1, "a"), Call("get", 2, 3, found="a")],
    "a read beside a write sees either": [
        Call("put", 0, 1, "a"),
        Call("put", 2, 9, "b"),
        Call("get", 3, 4, found="a"),
        Call("get", 5, 6, found="b"),
    ],
    "a write of unknown outcome took effect late": [
        Call("put", 0, inf, "a"),
        Call("get", 1, 2, found=None),
        Call("get", 3, 4, found="a"),
    ],
    "a write of unknown outcome never took effect": [Call("put", 0, inf, "a"), Call("get", 1, 2, found=None)],
    "one of two conditional writes won": [
        Call("put_if", 0, 5, "a", held=True),
        Call("put_if", 1, 4, "b", held=False),
        Call("get", 6, 7, found="a"),
    ],
    "a condition failed because of a write of unknown outcome": [
        Call("put", 0, 1, "a"),
        Call("delete", 2, inf),
        Call("put_if", 3, 4, "b", "a", held=False),
    ],
    "increments add up": [
        Call("increment", 0, 3, found=2),
        Call("increment", 1, 2, found=1),
        Call("increment", 4, inf),
        Call("get", 5, 6, found=3),
    ],
}
WRONG = {
    "a read missed the write before it": [Call("put", 0, 1, "a"), Call("get", 2, 3, found=None)],
    "a read went back": [
        Call("put", 0, 1, "a"),
        Call("put", 2, 9, "b"),
        Call("get", 3, 4, found="b"),
        Call("get", 5, 6, found="a"),
    ],
    "a value came from nowhere": [Call("put", 0, 1, "a"), Call("get", 2, 3, found="b")],
    "both conditional writes won": [Call("put_if", 0, 5, "a"), Call("put_if", 1, 4, "b")],
    "a condition held that had failed": [Call("put", 0, 1, "a"), Call("put_if", 2, 3, "b", "old")],
    "a condition failed that held": [Call("put", 0, 1, "a"), Call("put_if", 2, 3, "b", "a", held=False)],
    "an increment was lost": [Call("increment", 0, 1, found=1), Call("increment", 2, 3, found=1)],
    "an increment was made twice": [Call("increment", 0, 1, found=1), Call("get", 2, 3, found=2)],
    "a deleted value returned": [
        Call("put", 0, 1, "a"),
        Call("delete", 2, 3),
        Call("get", 4, 5, found="a"),
    ],
    "a write of unknown outcome was undone": [
        Call("put", 0, inf, "a"),
        Call("get", 1, 2, found="a"),
        Call("get", 3, 4, found=None),
    ],
}


@pytest.mark.parametrize("calls", RIGHT.values(), ids=RIGHT)
def test_a_history_that_an_order_explains_is_accepted(calls):
    assert is_linearizable(calls)


@pytest.mark.parametrize("calls", WRONG.values(), ids=WRONG)
def test_a_history_that_no_order_explains_is_refused(calls):
    assert not is_linearizable(calls)


TIMES = st.integers(0, 12)
VALUES = st.sampled_from(["a", "b", None])


@st.composite
def some_call(draw):
    start, end = sorted((draw(TIMES), draw(TIMES)))
    end = draw(st.sampled_from([end, end, end, inf]))
    kind = draw(st.sampled_from(["put", "delete", "put_if"] if end == inf else ["get", "put", "delete", "put_if"]))
    return Call(kind, start, end, draw(st.sampled_from("ab")), draw(VALUES), draw(st.booleans()), draw(VALUES))


def explained(calls):
    """The same by trying all orders of all subsets."""
    known = [call for call in calls if call.is_known]
    unknown = [call for call in calls if not call.is_known]
    for chosen in range(1 << len(unknown)):
        some = known + [call for place, call in enumerate(unknown) if chosen >> place & 1]
        for order in permutations(some):
            state = None
            for place, call in enumerate(order):
                if any(later.end < call.start for later in order[place + 1 :]):
                    break
                state = value_after(state, call)
                if state is IMPOSSIBLE:
                    break
            else:
                return True
    return False


@given(st.lists(some_call(), max_size=5))
def test_the_search_finds_what_trying_all_orders_finds(calls):
    assert is_linearizable(calls) == explained(calls)


def test_versions_grow_from_call_to_call():
    first, second = Call("put", 0, 1, version=5), Call("get", 2, 3, version=5)
    assert versions_grow([first, second, Call("put", 2, 4, version=6), Call("get", 5, 6, version=6)])
    assert not versions_grow([first, Call("put", 2, 3, version=5)])
    assert not versions_grow([first, Call("get", 2, 3, version=4)])
    assert versions_grow([first, Call("put", 0.5, 3, version=4)])
