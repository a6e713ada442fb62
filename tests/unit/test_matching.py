"""Changes of many entries: positions, clocks that differ, stores that fail in the middle, and who writes meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import datastore
from datastore import Key, Query
from datastore.engine.matching import WorkState, joined, parted
from datastore.engine.parts import packed, sealed, unpacked, unsealed
from datastore.model.errors import InvalidTokenError, UnavailableError, UnsupportedError
from datastore.model.operations import Operation, Patch, WriteResult
from datastore.sync.matching import MATCHING_BATCH

ALL = Query(Key("/m"))


def filled(store: Any, count: int = 40) -> dict[Key, Any]:
    contents = {Key(f"/m/{n:05}"): {"n": n, "visits": 0} for n in range(count)}
    for key, value in contents.items():
        store.put(key, value)
    return contents


def visits(store: Any) -> Counter[int]:
    return Counter(value["visits"] for value in store.query(ALL))


# Positions


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_parts_are_unpacked_as_they_were_packed(parts: list[bytes]) -> None:
    assert unpacked(packed(parts)) == parts


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4), st.data())
def test_parts_that_are_cut_short_are_noticed(parts: list[bytes], data: st.DataObject) -> None:
    whole = packed(parts)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with suppress(ValueError):
        assert unpacked(cut) == parts[: len(unpacked(cut))]


@given(st.binary(max_size=50), st.integers(0, 400))
def test_a_token_that_was_altered_or_is_another_call_s_is_refused(position: bytes, bit: int) -> None:
    token = sealed("this", position)
    assert unsealed("this", token, "that") == position
    altered = bytearray(token)
    altered[bit // 8 % len(token)] ^= 1 << bit % 8
    for wrong, identity in ((bytes(altered), "this"), (token, "that"), (token[:-1], "this")):
        with pytest.raises(InvalidTokenError):
            unsealed(identity, wrong, "that")


@given(
    st.builds(
        WorkState,
        st.sampled_from([b"", b"/", "/é".encode()]),
        st.booleans(),
        st.none() | st.dictionaries(st.integers(0, 9), st.integers(0, 2**63 - 1), max_size=3),
        st.none() | st.tuples(*[st.tuples(st.binary(max_size=9), st.binary(max_size=9))] * 2),
    )
)
def test_states_survive_as_positions(state: WorkState) -> None:
    assert WorkState.unpacked(state.packed()) == state


@pytest.mark.parametrize(
    "position", [b"", b"x", packed([b"\0\0"]), packed([b"\0\1", b"short", b""]), packed([b""] * 9)]
)
def test_what_is_no_position_is_refused(position: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        WorkState.unpacked(position)


def test_positions_of_other_shards_are_refused() -> None:
    position = joined({"a": b"1", "b": None})
    assert parted(position, ["b", "a"]) == {"a": b"1", "b": None}
    for names in (["a"], ["a", "c"], ["a", "b", "c"]):
        with pytest.raises(InvalidTokenError, match="shards"):
            parted(position, names)


# Clocks


@pytest.mark.parametrize("query", [ALL, Query(Key("/m"), limit=25, offset=3).order("-n")], ids=["all", "limited"])
def test_clocks_of_shards_that_differ_patch_no_entry_twice_after_a_lost_answer(query: Query) -> None:
    stores = [datastore.DictDatastore(clock=lambda now=now: now) for now in (1_000, 2_000_000_000, 50)]
    store = datastore.ShardedDatastore(stores)
    filled(store)
    run = store.patch_matching(query, increment={"visits": 1})
    begun = next(run).token
    changed = run.finish().changed
    assert visits(store)[1] == changed == min(query.limit or 40, 40)
    again = store.patch_matching(query, increment={"visits": 1}, resume_token=begun).finish()
    assert (again.changed, again.passed_over) == (0, changed)


# Others who write meanwhile


class Disturbed(datastore.DictDatastore):
    """A store in which something happens before each write of patches."""

    def __init__(self, before: Callable[[Disturbed], None]) -> None:
        super().__init__()
        self.before = before

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        if isinstance(operations[0], Patch):
            self.before(self)
        results: list[WriteResult] = super().write(operations)
        return results


def test_an_entry_that_is_written_between_scan_and_patch_is_passed_over() -> None:
    def write(store: Disturbed) -> None:
        store.put(Key("/m/00007"), {"visits": 70})
        store.delete(Key("/m/00008"))

    store = Disturbed(write)
    filled(store)
    done = store.patch_matching(ALL, increment={"visits": 1}).finish()
    assert (done.total, done.changed, done.passed_over) == (40, 38, 2)
    assert visits(store) == {1: 38, 70: 1}


def test_a_store_that_fails_in_the_middle_is_continued_where_it_was() -> None:
    steps = iter([False, False, True, False, True] + [False] * 100)

    def fail(store: Disturbed) -> None:
        if next(steps):
            raise UnavailableError("gone")

    store, count = Disturbed(fail), 5 * MATCHING_BATCH
    filled(store, count)
    token, changed, failures = None, 0, 0
    while True:
        run = store.patch_matching(ALL, increment={"visits": 1}, resume_token=token)
        try:
            changed += run.finish().changed
            break
        except UnavailableError:
            changed += run.progress.changed
            token, failures = run.progress.token, failures + 1
    assert (changed, failures) == (count, 2)
    assert visits(store) == {1: count}


# What stays


def test_a_run_that_is_not_read_does_nothing_and_can_be_closed() -> None:
    store = datastore.DictDatastore()
    filled(store)
    with store.delete_matching(ALL) as run:
        assert run.progress.token is None
    assert len(store) == 40
    assert list(run) == []
    assert run.finish().changed == 0


def test_links_cannot_be_deleted_on_a_condition_and_fail_by_themselves() -> None:
    store = datastore.SymlinkDatastore(datastore.DictDatastore())
    store.put(Key("/other"), {"n": 1})
    store.put(Key("/m/plain"), {"n": 1})
    store.link(Key("/other"), Key("/m/link"))
    done = store.delete_matching(ALL).finish()
    assert (done.changed, done.failed) == (1, 1)
    assert isinstance(done.failures[0].error, UnsupportedError)
    assert store.get(Key("/other")) == {"n": 1}
