"""Versions and conditions in the LMDB store: over restarts, clocks set back, full stores and old directories."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.writer import Job
from datastore.model.entries import Entry, StoredEntry, Write
from datastore.model.errors import ConditionFailedError, CorruptDataError, InvalidValueError, StoreFullError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS, Metadata, Precondition
from datastore.model.operations import Delete, Form, Operation, Patch, Put, ReadOptions, WriteResult
from datastore.model.patches import changes_of
from datastore.model.query import Query
from tests.unit.test_lmdb import fill, run_python

KEY = Key("/a/b")
HOUR_S = 3600
KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


def entry_of(store: LMDBDatastore, key: Key = KEY) -> StoredEntry:
    entry = store.entry(key)
    assert entry is not None
    return entry


def errors(results: list[WriteResult]) -> list[type | None]:
    return [None if result.error is None else type(result.error) for result in results]


@contextmanager
def raw(directory: Path, database: bytes = b"entries") -> Iterator[Any]:
    """A transaction of LMDB alone on a closed directory."""
    environment = lmdb.open(str(directory), max_dbs=4)
    try:
        with environment.begin(environment.open_db(database), write=True) as transaction:
            yield transaction
    finally:
        environment.close()


def make_old(directory: Path, entries: dict[str, bytes | str]) -> None:
    """A directory of a release that kept no metadata."""
    LMDBDatastore(directory).close()
    with raw(directory, b"meta") as meta:
        meta.put(b"format", b"1")
    with raw(directory) as transaction:
        for key, value in entries.items():
            data = value.encode() if isinstance(value, str) else value
            checksum = xxh3_64_digest(data, xxh3_64_intdigest(key.encode()))
            transaction.put(key.encode(), (b"\x02" if isinstance(value, str) else b"\x01") + checksum + data)


def meta_of(directory: Path) -> dict[bytes, bytes]:
    with raw(directory, b"meta") as meta:
        return dict(meta.cursor())


# Versions


def test_versions_grow_though_the_clock_is_set_back(directory: Path) -> None:
    now = [1_000_000.0]
    versions = []
    with LMDBDatastore(directory, clock=lambda: now[0]) as store:
        for back_s in (0, 0, HOUR_S, HOUR_S):
            now[0] -= back_s
            store.put(KEY, b"v")
            versions.append(entry_of(store).version)
        store.delete(KEY)
    for _ in range(2):
        now[0] -= HOUR_S
        with LMDBDatastore(directory, clock=lambda: now[0]) as store:
            # What was deleted before the restart counts too.
            for _ in range(2):
                store.put(KEY, b"v")
                versions.append(entry_of(store).version)
            store.delete(KEY)
    assert versions == sorted(set(versions))
    assert versions[0] == 1_000_000_000_000


def test_times_are_those_of_the_clock(directory: Path) -> None:
    now = [1.0]
    with LMDBDatastore(directory, clock=lambda: now[0]) as store:
        store.put(KEY, "first")
        now[0] = 2.0
        (result,) = store.write([Put(KEY, b"second")])
        assert result.metadata == entry_of(store).metadata == Metadata(2_000_000, 1_000_000, 2_000_000)
        store.delete(KEY)
        now[0] = 3.0
        store.put(KEY, b"third")
        assert entry_of(store).metadata == Metadata(3_000_000, 3_000_000, 3_000_000)
        (presence,) = store.read([KEY], ReadOptions(values=False, metadata=True))
        assert (presence.value, presence.metadata) == (b"third", entry_of(store).metadata)


WRITES_UNTIL_KILLED = """
import itertools, sys
from datastore.model.key import Key
from datastore.lmdb import LMDBDatastore
store = LMDBDatastore(sys.argv[1], durability=sys.argv[2], clock=lambda: 4_000_000_000)
for number in itertools.count():
    store.put(Key("/a/b"), b"x")
    print(store.entry(Key("/a/b")).version, flush=True)
"""


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_versions_grow_after_a_kill(directory: Path, durability: str) -> None:
    with run_python(WRITES_UNTIL_KILLED, directory, durability) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        acknowledged += map(int, process.stdout.read().split())
        process.wait()
    with LMDBDatastore(directory) as store:
        store.delete(KEY)
        store.put(KEY, b"y")
        assert entry_of(store).version > max(acknowledged) > 4_000_000_000_000_000


def test_versions_can_be_raised_durably(directory: Path) -> None:
    with LMDBDatastore(directory, clock=lambda: 1.0) as store:
        store.put(KEY, b"v")
        for raised, latest in ((5_000_000, 5_000_000), (4_000_000, 5_000_000)):
            store.raise_versions(raised)
            assert store.latest_version == latest
        assert entry_of(store).version == 1_000_000
    with LMDBDatastore(directory, clock=lambda: 2.0) as store:
        assert store.latest_version == 5_000_000
        store.put(KEY, b"v")
        assert entry_of(store).metadata == Metadata(5_000_001, 1_000_000, 2_000_000)


# Directories of earlier releases


def test_entries_of_earlier_releases_are_read_and_rewritten_when_they_are_written(directory: Path) -> None:
    make_old(directory, {"/a/b": b"bytes", "/a/c": "text"})
    with LMDBDatastore(directory, clock=lambda: 0.0) as store:
        for key, value in ((KEY, b"bytes"), (Key("/a/c"), "text")):
            assert store.get(key) == value
            assert entry_of(store, key).metadata == Metadata(1, 0, 0)
        assert list(store.query(Query(Key("/a")))) == [b"bytes", "text"]
        with pytest.raises(ConditionFailedError) as failed:
            store.put(KEY, b"new", if_version=2)
        assert failed.value.version == 1
        store.put(KEY, b"new", if_version=1)
        # Even by a clock at the beginning of 1970.
        assert entry_of(store).metadata == Metadata(2, 0, 0)
        assert list(store.query(Query(Key("/a")))) == [b"new", "text"]
    with raw(directory) as transaction:
        assert [record[0] for _, record in transaction.cursor()] == [16, 2]


def test_a_directory_keeps_its_format_until_an_entry_is_stored(directory: Path) -> None:
    make_old(directory, {"/a/b": b"bytes"})
    before = meta_of(directory)
    with LMDBDatastore(directory) as store:
        assert store.get(KEY) == b"bytes"
        store.delete(Key("/a/c"))
        with pytest.raises(ConditionFailedError):
            store.put(KEY, b"new", if_absent=True)
    assert meta_of(directory) == before
    with LMDBDatastore(directory) as store:
        store.put(Key("/a/c"), b"new")
        version = entry_of(store, Key("/a/c")).version
    # Earlier releases refuse it: they read formats 1 and 2.
    after = meta_of(directory)
    assert int(after.pop(b"latest_time")) > 0
    assert after == {**before, b"format": b"3", b"last_version": b"%d" % version}


def test_a_damaged_latest_version_is_refused_and_the_directory_released(directory: Path) -> None:
    LMDBDatastore(directory).close()
    with raw(directory, b"meta") as meta:
        meta.put(b"last_version", b"x")
    for _ in range(2):
        with pytest.raises(CorruptDataError, match="the last_version that"):
            LMDBDatastore(directory)


# Conditions


def test_conditions_are_decided_in_order_among_the_writes_of_one_commit(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        begun, release = threading.Event(), threading.Event()

        def hold(_: Future[list[WriteResult]]) -> None:
            begun.set()
            release.wait()

        job = Job([Write(Key("/held"), b"x")])
        job.future.add_done_callback(hold)
        store._writer.submit(job)
        begun.wait()
        try:
            submitted: list[list[Operation]] = [
                [Put(KEY, b"1", ABSENT), Put(Key("/other"), b"1")],
                [Put(KEY, b"2", ABSENT), Put(KEY, b"3", EXISTS)],
                [Delete(KEY, Precondition(version=1)), Delete(KEY, EXISTS), Put(KEY, "4", ABSENT)],
            ]
            futures = [store.submit(operations) for operations in submitted]
            before = store.stats().commits
        finally:
            release.set()
        results = [future.result() for future in futures]
        assert [errors(of_one) for of_one in results] == [
            [None, None],
            [ConditionFailedError, None],
            [ConditionFailedError, None, None],
        ]
        assert store.stats().commits == before + 1
        first, third = results[0][0].metadata, results[1][1].metadata
        assert first is not None
        assert third is not None
        assert [result.error.version for result in (results[1][0], results[2][0])] == [first.version, third.version]
        assert entry_of(store) == Entry(KEY, "4")
        assert entry_of(store).metadata == results[2][2].metadata


def test_conditions_hold_in_a_full_store(directory: Path) -> None:
    large, kept = b"x" * 2 * MIB, Key("/kept")
    with LMDBDatastore(directory, map_bytes=MIB, max_map_bytes=MIB) as store:
        store.put(kept, b"old")
        version = entry_of(store, kept).version
        results = store.batch_write(
            [
                Put(KEY, large, ABSENT),
                Put(KEY, b"small", ABSENT),
                Put(KEY, large, EXISTS),
                Put(kept, large, Precondition(version=version)),
                Put(kept, b"new", Precondition(version=version)),
                Put(kept, b"newer", Precondition(version=version)),
                Delete(KEY, EXISTS),
                Put(KEY, b"again", EXISTS),
            ]
        )
        assert errors(results) == [
            StoreFullError,
            None,
            StoreFullError,
            StoreFullError,
            None,
            ConditionFailedError,
            None,
            ConditionFailedError,
        ]
        assert store.get(kept) == b"new"
        assert entry_of(store, kept).metadata == results[4].metadata
        assert store.get(KEY) is None


def test_a_full_store_can_be_emptied_on_conditions(directory: Path) -> None:
    with LMDBDatastore(directory, map_bytes=MIB, max_map_bytes=MIB) as store:
        stored = fill(store)
        results = store.batch_write([Delete(Key(f"/{number:06d}"), EXISTS) for number in range(stored + 1)])
        assert errors(results) == [*([None] * stored), ConditionFailedError]
        assert store.stats().entries == 0


def test_a_commit_that_is_repeated_in_a_larger_map_decides_conditions_anew(directory: Path) -> None:
    with LMDBDatastore(directory, map_bytes=128 * KIB) as store:
        keys = [Key(f"/{number}") for number in range(40)]
        results = store.batch_write([Put(key, b"x" * 50 * KIB, ABSENT) for key in keys])
        assert store.stats().map_bytes > 2 * MIB
        assert errors(results) == [None] * len(keys)
        assert [result.metadata for result in results] == [entry_of(store, key).metadata for key in keys]


def test_a_damaged_entry_fails_a_condition_alone_and_is_repaired_by_a_put(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.put(KEY, b"value")
    with raw(directory) as transaction:
        transaction.put(b"/a/b", transaction.get(b"/a/b")[:-1] + b"?")
    patch = Patch(KEY, changes_of({"a": 1}, None, None, ()), create=True)
    with LMDBDatastore(directory) as store:
        results = store.batch_write([Put(KEY, b"new", EXISTS), Delete(KEY, ABSENT), patch, Put(Key("/c"), b"1")])
        assert errors(results) == [CorruptDataError, CorruptDataError, CorruptDataError, None]
        with pytest.raises(CorruptDataError):
            store.entry(KEY)
        store.put(KEY, b"new")
        assert store.get(KEY) == b"new"
        assert entry_of(store).create_time == entry_of(store).update_time


def test_a_patch_that_fails_in_any_way_fails_alone(directory: Path) -> None:
    def fail(_: Any) -> Any:
        raise LookupError("a serializer may raise anything")

    def patch(dumps: Callable[[Any], Any], loads: Callable[[Any], Any] = lambda stored: {"n": len(stored)}) -> Patch:
        return Patch(KEY, changes_of(None, {"n": 1}, None, ()), forms=(Form(loads, dumps),))

    with LMDBDatastore(directory) as store:
        store.put(KEY, b"12")
        results = store.batch_write([patch(fail), patch(str, fail), patch(lambda _: 7), patch(str)])
        assert [type(result.error) for result in results[:2]] == [InvalidValueError] * 2
        assert isinstance(results[2].error, TypeError)
        assert results[3].error is None
        assert store.get(KEY) == results[3].value == "{'n': 3}"
        assert results[3].metadata == entry_of(store).metadata
