"""The keys that a scan reads: exactly the scope, and few others."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Key, Position, Query
from datastore.engine.ranges import END, ScanPlan
from datastore.testing import model

keys = st.lists(
    st.sampled_from(["a", "b", "a-b", "a0", "a;", "T:x", "T:y", "T:", "T", ":z", ":", ":y:q", "c:d:e", "é"]), max_size=4
).map(Key)


def scan(plan, stored):
    """The keys that a scan takes, and how many it met; `stored` is sorted."""
    at, taken, met = bisect_left(stored, plan.start), [], 0
    while at < len(stored):
        met += 1
        verdict = plan.seek_after(stored[at])
        # The fast match may miss a key, but is never wrong.
        assert verdict is None or not plan.matches_fast(stored[at])
        if verdict is None:
            taken.append(stored[at])
            at += 1
        elif verdict == END:
            break
        else:
            assert verdict > stored[at]
            at = bisect_left(stored, verdict)
    return taken, met


@given(
    st.sets(keys, max_size=60), keys, st.booleans(), st.lists(st.tuples(st.sampled_from("< <= = >= >".split()), keys))
)
def test_a_scan_takes_exactly_the_scope_within_the_bounds(stored, key, recursive, bounds):
    query = Query(key, recursive=recursive)
    for op, bound in bounds:
        query.filter("__key__", op, bound)
    taken, _ = scan(ScanPlan(query), sorted(str(key).encode() for key in stored))
    expected = model.answer(query, dict.fromkeys(stored, 1)).entries
    assert taken == [str(entry.key).encode() for entry in expected]


@given(st.sets(keys, max_size=30), keys, keys, st.booleans())
def test_a_scan_starts_after_a_position(stored, key, after, recursive):
    query = Query(key, recursive=recursive, start_after=Position(b"", after))
    taken, _ = scan(ScanPlan(query), sorted(str(key).encode() for key in stored))
    scope = model.answer(Query(key, recursive=recursive), dict.fromkeys(stored, 1)).entries
    assert taken == [str(entry.key).encode() for entry in scope if entry.key > after]


@given(keys, keys, st.booleans())
def test_without_an_upper_bound_every_key_of_the_scope_is_taken_quickly(key, stored, recursive):
    plan, text = ScanPlan(Query(key, recursive=recursive)), str(stored).encode()
    assert (plan.seek_after(text) is None) == bool(plan.matches_fast(text))


def test_a_collection_costs_its_entries_and_one_seek_per_subtree():
    stored = [Key(f"/a/{name}") for name in "bcd"] + [Key(f"/a:{name}") for name in "ef"]
    stored += [Key(f"/a/b/{number}") for number in range(1000)]
    stored += [Key(f"/a/T:{number}") for number in range(1000)]
    stored += [Key(f"/a:e/{number}") for number in range(1000)]
    stored += [Key(f"/a-{number}") for number in range(1000)]
    taken, met = scan(ScanPlan(Query(Key("/a"))), sorted(str(key).encode() for key in stored))
    assert len(taken) == 5
    assert met <= 5 + 3 + 2


@given(st.lists(keys, min_size=1, max_size=8, unique=True), keys, st.booleans(), st.none() | keys)
def test_a_run_is_covered_only_if_each_of_its_keys_is_in_scope(stored, key, recursive, bound):
    query = Query(key, recursive=recursive)
    if bound is not None:
        query.filter("__key__", "<", bound)
    plan, texts = ScanPlan(query), sorted(str(each).encode() for each in stored)
    assert not plan.covers(texts) or all(plan.seek_after(text) is None for text in texts if text >= plan.start)


@pytest.mark.parametrize(("key", "recursive"), [("/T", False), ("/T", True), ("/", True), ("/a:b", False)])
def test_runs_of_a_scope_are_covered(key, recursive):
    mark = ":" if key == "/T" else "/"
    texts = [f"{key.rstrip('/')}{mark}{number}".encode() for number in range(10, 99)]
    assert ScanPlan(Query(Key(key), recursive=recursive)).covers(texts)
