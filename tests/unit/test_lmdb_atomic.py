"""Atomic batches in LMDB: they share commits with other writes, and are never divided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Query
from datastore.lmdb import LMDBDatastore
from datastore.lmdb import writer as lmdb_writer
from datastore.model.entries import Write
from datastore.model.errors import BatchAbortedError, ConditionFailedError, StoreFullError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS
from datastore.model.operations import Delete, Operation, Patch, Put
from datastore.model.patches import changes_of
from tests.support.waiting import PATIENCE_S
from tests.unit.test_lmdb import busy_writer, fill

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LMDBDatastore]:
    with LMDBDatastore(tmp_path / "data", durability="async", keep_changes=True) as store:
        yield store


def contents(store: LMDBDatastore) -> dict[str, Any]:
    return {str(entry.key): entry.value for entry in store.query(Query(Key("/"), recursive=True)).entries()}


def test_atomic_batches_and_other_writes_share_a_commit_and_fail_alone(store: LMDBDatastore) -> None:
    with store.watch(Query(Key("/"))) as watcher, busy_writer(store) as release:
        before = store.stats().commits
        futures = [
            store.submit([Write(Key("/a"), b"1")]),
            store.submit_atomic([Put(Key("/a"), b"2", EXISTS), Write(Key("/b"), b"2")]),
            store.submit_atomic([Delete(Key("/a")), Write(Key("/c"), b"3"), Put(Key("/b"), b"3", ABSENT)]),
            store.submit([Put(Key("/a"), b"4", ABSENT), Put(Key("/d"), b"4", ABSENT)]),
            store.submit_atomic([Write(Key("/d"), b"5"), Delete(Key("/b"))]),
        ]
        release.set()
        errors = [[type(result.error) for result in future.result(PATIENCE_S)] for future in futures]
        none = type(None)
        assert errors == [
            [none],
            [none, none],
            [BatchAbortedError, BatchAbortedError, ConditionFailedError],
            [ConditionFailedError, none],
            [none, none],
        ]
        assert store.stats().commits == before + 1
        shown = [(str(change.key), change.value) for change in (next(watcher) for _ in range(7))]
    assert shown == [
        ("/held", b"x"),
        ("/a", b"1"),
        ("/a", b"2"),
        ("/b", b"2"),
        ("/d", b"4"),
        ("/d", b"5"),
        ("/b", None),
    ]
    assert contents(store) == {"/held": b"x", "/a": b"2", "/d": b"5"}


def test_a_refused_value_fails_its_batch_before_it_reaches_the_disk(store: LMDBDatastore) -> None:
    results = store.write_atomic([Put(Key("/a"), b"1"), Put(Key("/b"), 2), Put(Key("/c"), 3)])
    assert [type(result.error) for result in results] == [BatchAbortedError, UnsupportedTypeError, UnsupportedTypeError]
    assert store.stats().commits == 0


@pytest.mark.parametrize("conditional", [False, True])
def test_a_batch_that_does_not_fit_fails_whole_and_alone(tmp_path: Path, conditional: bool) -> None:
    condition = ABSENT if conditional else None
    with LMDBDatastore(tmp_path, durability="async", map_bytes=MIB, max_map_bytes=MIB) as store:
        large = [Put(Key(f"/large/{number}"), b"x" * 100_000, condition) for number in range(20)]
        with busy_writer(store) as release:
            futures = [store.submit([Write(Key(f"/{number}"), b"1")]) for number in range(5)]
            full = store.submit_atomic([Put(Key("/first"), b"1"), *large])
            fits = store.submit_atomic([Put(Key("/e"), b"2", condition), Put(Key("/f"), b"2", condition)])
            futures += [store.submit([Write(Key(f"/more/{number}"), b"1")]) for number in range(5)]
            release.set()
            with pytest.raises(StoreFullError):
                full.result(PATIENCE_S)
            for future in (*futures, fits):
                assert [result.error for result in future.result(PATIENCE_S) if result.error] == []
        assert len(contents(store)) == 1 + 5 + 2 + 5
        assert store.get(Key("/f")) == b"2"


def test_the_map_grows_for_a_batch_that_has_begun(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path, durability="async", map_bytes=MIB) as store:
        writes: list[Operation] = [Put(Key(f"/{number}"), os.urandom(100_000), ABSENT) for number in range(50)]
        assert [result.error for result in store.write_atomic(writes)] == [None] * 50
        assert store.stats().map_bytes > MIB
        assert len(contents(store)) == 50
        failing = [*(Delete(Key(f"/{number}")) for number in range(50)), Delete(Key("/absent"), EXISTS)]
        assert isinstance(store.write_atomic(failing)[50].error, ConditionFailedError)
        assert len(contents(store)) == 50


def test_a_full_store_can_be_emptied_by_an_atomic_batch(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path, durability="async", map_bytes=MIB, max_map_bytes=MIB) as store:
        stored = fill(store)
        results = store.write_atomic([Delete(Key(f"/{number:06d}"), EXISTS) for number in range(stored)])
        assert [result.error for result in results] == [None] * stored
        assert store.stats().entries == 0


def test_a_batch_beyond_the_size_of_a_commit_is_one_commit(
    store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_writer, "GROUP_BYTES", 10_000)
    before = store.stats().commits
    store.write_atomic([Put(Key(f"/{number}"), b"x" * 3000) for number in range(20)])
    assert store.stats().commits == before + 1


def test_a_cancelled_batch_that_waits_is_not_made(store: LMDBDatastore) -> None:
    with busy_writer(store) as release:
        cancelled = store.submit_atomic([Put(Key("/a"), b"x"), Put(Key("/b"), b"x", ABSENT)])
        kept = store.submit([Write(Key("/kept"), b"x")])
        assert cancelled.cancel()
        release.set()
        kept.result(PATIENCE_S)
    assert contents(store) == {"/held": b"x", "/kept": b"x"}


def test_versions_grow_over_batches_that_were_not_made(store: LMDBDatastore) -> None:
    store.put(Key("/a"), b"1")
    first = store.entry(Key("/a"))
    store.write_atomic([Put(Key("/a"), b"2"), Put(Key("/b"), b"2"), Put(Key("/a"), b"3", ABSENT)])
    assert store.entry(Key("/a")) == first
    store.put(Key("/a"), b"4")
    last = store.entry(Key("/a"))
    assert first is not None
    assert last is not None
    assert last.version > first.version


def test_a_batch_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        store.write_atomic([Put(Key("/a"), b"1", ABSENT), Put(Key("/b"), b"2", ABSENT)])
        store.write_atomic([Put(Key("/a"), b"9"), Put(Key("/b"), b"9", ABSENT)])
    with LMDBDatastore(tmp_path) as store:
        assert contents(store) == {"/a": b"1", "/b": b"2"}


_KEYS = [Key(f"/{name}") for name in "abc"]
_CONDITIONS = st.sampled_from([None, None, ABSENT, EXISTS])
_OPERATIONS = st.one_of(
    st.builds(Put, st.sampled_from(_KEYS), st.binary(max_size=3), _CONDITIONS),
    st.builds(Delete, st.sampled_from(_KEYS), _CONDITIONS),
)
_JOBS = st.lists(st.tuples(st.booleans(), st.lists(_OPERATIONS, max_size=5)), max_size=6)


@given(groups=st.lists(_JOBS, max_size=3))
def test_any_group_of_jobs_leaves_what_they_would_one_after_another(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[tuple[bool, list[Operation]]]]
) -> None:
    held: dict[str, bytes] = {"/held": b"x"}
    with LMDBDatastore(tmp_path_factory.mktemp("data"), durability="async") as store:
        for jobs in groups:
            with busy_writer(store) as release:
                futures = [(store.submit_atomic if is_atomic else store.submit)(job) for is_atomic, job in jobs]
                release.set()
                done = [[result.error is None for result in future.result(PATIENCE_S)] for future in futures]
            for (is_atomic, job), found in zip(jobs, done, strict=True):
                after, expected = dict(held), []
                for operation in job:
                    expected.append(_write_to_dict(after, operation))
                if is_atomic and not all(expected):
                    expected = [False] * len(job)
                else:
                    held = after
                assert found == expected
            assert contents(store) == held or not jobs


def _write_to_dict(held: dict[str, bytes], operation: Operation) -> bool:
    key = str(operation.key)
    if operation.condition is not None and not operation.condition.holds(int(key in held)):
        return False
    if isinstance(operation, Put):
        held[key] = operation.value
    else:
        held.pop(key, None)
    return True


def test_a_serializer_that_fails_in_an_unforeseen_way_undoes_its_batch(store: LMDBDatastore) -> None:
    def fail(stored: Any) -> Any:
        raise ZeroDivisionError

    patch = Patch(Key("/b"), changes_of({"n": 1}), create=True, encode=fail)
    results = store.write_atomic([Put(Key("/a"), b"1"), patch])
    assert [type(result.error).__name__ for result in results] == ["BatchAbortedError", "InvalidValueError"]
    assert contents(store) == {}
