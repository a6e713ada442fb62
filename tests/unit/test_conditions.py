"""Conditions written with Q, and joined."""

from __future__ import annotations

import pytest

from datastore import DictDatastore, Filter, Key, Q, Query
from datastore.errors import InvalidQueryError, LimitExceededError, UnsupportedTypeError
from datastore.model.trees import Tree


@pytest.mark.parametrize(
    ("condition", "written"),
    [
        (Q("a") < 1, ["a", "<", 1]),
        (Q("a") <= 1, ["a", "<=", 1]),
        (Q("a") == 1, ["a", "=", 1]),
        (Q("a") != 1, ["a", "!=", 1]),
        (Q("a") >= 1, ["a", ">=", 1]),
        (Q("a") > 1, ["a", ">", 1]),
        (1 < Q("a"), ["a", ">", 1]),  # noqa: SIM300 - what a user may write
        (Q("a").in_(each for each in (1, 2)), ["a", "in", [1, 2]]),
        (Q("a").not_in({1: 2}), ["a", "not in", [1]]),
        (Q("a").starts_with("x"), ["a", "starts_with", "x"]),
        (Q("a").contains("x"), ["a", "contains", "x"]),
        (Q("a").exists(), ["a", "exists", True]),
        (~(Q("a") == 1), {"not": ["a", "=", 1]}),
        ((Q("a") == 1) & (Q("b") == 2) & (Q("c") == 3), {"and": [["a", "=", 1], ["b", "=", 2], ["c", "=", 3]]}),
        ((Q("a") == 1) | ~Q("b").exists(), {"or": [["a", "=", 1], {"not": ["b", "exists", True]}]}),
    ],
)
def test_q_writes_filters_and_trees_of_them(condition, written):
    assert condition.data() == written


@pytest.mark.parametrize(
    "write",
    [
        lambda: (Q("a") == 1) and (Q("b") == 2),
        lambda: (Q("a") == 1) or (Q("b") == 2),
        lambda: not Q("a").exists(),
        lambda: 1 < Q("a") < 5,
        lambda: ((Q("a") == 1) & (Q("b") == 2)) and (Q("c") == 3),
        lambda: (~(Q("a") == 1)) or (Q("c") == 3),
        lambda: Filter("a", "=", 1) and Filter("b", "=", 2),
    ],
)
def test_a_condition_is_never_lost_in_a_python_and_or_not_or_chain(write):
    with pytest.raises(TypeError, match="join conditions with &"):
        write()


@pytest.mark.parametrize(
    ("write", "error", "says"),
    [
        (lambda: Q("a").in_("CH"), UnsupportedTypeError, "in_ takes a list of values, not str"),
        (lambda: Q("a").not_in(3), UnsupportedTypeError, "not_in takes a list of values, not int"),
        (lambda: Q("a").starts_with(3), InvalidQueryError, "takes a text, bytes or a key, not int"),
        (lambda: (Q("a") == 1) & True, UnsupportedTypeError, "not bool"),
        (lambda: Q("") == 1, InvalidQueryError, "is empty"),
    ],
)
def test_a_condition_that_cannot_be_says_why(write, error, says):
    with pytest.raises(error, match=says):
        write()


def test_conditions_are_nested_sixteen_deep():
    deepest = Q("a") == 1
    for _ in range(16):
        deepest = Tree("not", [deepest])
    with pytest.raises(LimitExceededError, match="16 deep"):
        Tree("not", [deepest])


def test_not_matches_what_its_condition_does_not_even_without_the_field():
    store = DictDatastore()
    for name, value in (("a", {"n": 1}), ("b", {"n": 9}), ("c", {}), ("d", "text")):
        store.put(Key("/x").child(name), value)

    def found(condition):
        return [entry.key.name for entry in store.query(Query(Key("/x")).filter(condition)).entries()]

    assert found(Q("n") < 5) == ["a"]
    assert found(~(Q("n") < 5)) == ["b", "c", "d"]
    assert found(~Q("n").exists()) == ["c", "d"]
    assert found(Q("n").not_in([1])) == ["b", "c", "d"]
    assert found(Q("__value__").starts_with("te") | Q("__key__").in_([Key("/x/a")])) == ["a", "d"]
