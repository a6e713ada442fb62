"""Expiry in the LMDB store: hidden at once, swept later, over restarts, clocks set back and full stores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from datastore.lmdb import LMDBDatastore, writer
from datastore.lmdb.writer import SWEEP_ENTRIES
from datastore.model.errors import ConditionFailedError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.operations import PRESENCE, Delete, Operation, Put
from datastore.model.query import Query
from tests.support.clocks import Clock
from tests.unit.test_lmdb_versions import entry_of, raw

A, B = Key("/c/a"), Key("/c/b")
HOUR_S = 3600


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_000_000.0)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store that removes nothing by itself."""
    monkeypatch.setattr(writer, "SWEEP_INTERVAL_S", HOUR_S)
    with LMDBDatastore(directory, clock=clock) as store:
        yield store


def swept(store: LMDBDatastore) -> int:
    """Sweep twice if there is so much, and return how many entries are still stored."""
    store._writer._sweep_due = 0.0
    # The writer sweeps after the writes that it has, before it takes others.
    for _ in range(3):
        store.write([])
    return store.stats().entries


def index_of(directory: Path) -> list[bytes]:
    """The texts of the keys in the index of a closed directory."""
    with raw(directory, b"expiries") as transaction:
        return [text for _, text in transaction.cursor()]


def test_an_entry_expires_at_its_instant_and_is_hidden_everywhere(store: LMDBDatastore, clock: Clock) -> None:
    store.put(A, b"a", expires_in_s=60)
    store.put(B, b"b")
    clock.now += 59.99
    assert store.get(A) == b"a"
    clock.now += 0.02
    assert store.get(A) is None
    assert store.entry(A) is None
    assert store.contains(A) is False
    assert [result.value for result in store.read([A, B], PRESENCE)] == [None, True]
    assert [result.value for result in store.batch_get([A, B])] == [None, b"b"]
    for query in (Query(Key("/c")), Query(Key("/c"), limit=1), Query(Key("/"), recursive=True)):
        assert list(store.query(query)) == [b"b"]
    assert [entry.key for entry in store.query(Query(Key("/c"), keys_only=True)).entries()] == [B]
    assert list(store.query(Query(Key("/c"), offset=1))) == []
    # Not removed yet.
    assert store.stats().entries == 2


def test_a_query_reads_on_past_expired_entries_up_to_its_limit(store: LMDBDatastore, clock: Clock) -> None:
    keys = [Key(f"/c/{place:04}") for place in range(3000)]
    expiry = Expiry.after(60)
    store.write([Put(key, b"x", None, None if place % 1000 == 999 else expiry) for place, key in enumerate(keys)])
    clock.now += 61
    assert [entry.key for entry in store.query(Query(Key("/c"), limit=2)).entries()] == [keys[999], keys[1999]]
    assert [entry.key for entry in store.query(Query(Key("/c"), offset=2)).entries()] == [keys[2999]]


def test_the_sweeper_removes_what_has_expired_some_in_each_commit(
    store: LMDBDatastore, clock: Clock, directory: Path
) -> None:
    count = SWEEP_ENTRIES + 10
    store.write([Put(Key(f"/c/{place}"), b"x", expiry=Expiry.after(60)) for place in range(count)])
    store.put(A, b"a", expires_in_s=HOUR_S)
    store.put(B, b"b")
    assert swept(store) == count + 2
    clock.now += 61
    before = store.stats().commits
    # A full sweep is followed by another one at once.
    assert swept(store) == 2
    assert store.stats().commits - before == 2
    store.close()
    assert index_of(directory) == [b"/c/a"]


def test_the_sweeper_works_by_itself(directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SWEEP_INTERVAL_S", 0.001)
    with LMDBDatastore(directory, clock=clock) as store:
        store.put(A, b"a", expires_in_s=60)
        clock.now += 61
        while store.stats().entries:
            time.sleep(0.001)


def test_an_entry_that_is_written_again_leaves_the_index(store: LMDBDatastore, clock: Clock, directory: Path) -> None:
    keys = [Key(f"/c/{place}") for place in range(4)]
    store.write([Put(key, b"x", expiry=Expiry.after(60)) for key in keys])
    store.put(keys[0], b"y")
    store.delete(keys[1])
    store.touch(keys[2], expires_in_s=HOUR_S)
    store.touch(keys[3])
    clock.now += 61
    assert swept(store) == 3
    assert [store.get(key) for key in keys] == [b"y", None, b"x", b"x"]
    store.close()
    assert index_of(directory) == [b"/c/2"]


def test_an_entry_put_over_an_expired_one_begins_anew(store: LMDBDatastore, clock: Clock) -> None:
    store.put(A, b"a", expires_in_s=60)
    before = entry_of(store, A)
    clock.now += 61
    with pytest.raises(ConditionFailedError) as failed:
        store.put(A, b"b", if_version=before.version)
    assert failed.value.version == 0
    for options in ({"if_absent": True}, {}):
        store.put(A, b"b", **options)
        assert entry_of(store, A).create_time > before.create_time
        store.touch(A, expires_in_s=60)
        clock.now += 61
    assert swept(store) == 0


def test_the_sweeper_leaves_what_the_index_is_wrong_about(directory: Path, clock: Clock) -> None:
    with LMDBDatastore(directory, clock=clock) as store:
        store.put(A, b"a", expires_in_s=60)
        store.put(B, b"b")
        version = entry_of(store, B).version
    with raw(directory, b"expiries") as transaction:
        transaction.put(b"\0" * 15 + b"\1", b"/c/b")
        transaction.put(b"\0" * 15 + b"\2", b"/c/missing")
    with LMDBDatastore(directory, clock=clock) as store:
        assert swept(store) == 2
        assert entry_of(store, B).version == version
        clock.now += 61
        assert swept(store) == 1


def test_versions_of_a_node_whose_clock_is_ahead_expire_nothing_also_after_a_restart(
    directory: Path, clock: Clock
) -> None:
    with LMDBDatastore(directory, durability="async", clock=clock) as store:
        store.put(A, "a", expires_in_s=60)
        store.raise_versions(int((clock.now + 2 * HOUR_S) * 1_000_000))
        assert store.get(A) == "a"
    with LMDBDatastore(directory, durability="async", clock=clock) as store:
        assert store.get(A) == "a"
        store.put(B, "b", expires_in_s=60)
        clock.now += 61
        assert store.get(A) is None
        assert store.get(B) is None


def test_what_has_expired_stays_so_over_a_restart_with_the_clock_set_back(directory: Path, clock: Clock) -> None:
    with LMDBDatastore(directory, clock=clock) as store:
        store.put(A, b"a", expires_in_s=60)
        clock.now += 61
        store.put(B, b"b")
        assert store.get(A) is None
        clock.now -= HOUR_S
        assert store.get(A) is None
    with LMDBDatastore(directory, clock=clock) as store:
        assert store.get(A) is None
        assert store.get(B) == b"b"


def test_an_expiry_outlives_the_store(directory: Path, clock: Clock) -> None:
    with LMDBDatastore(directory, clock=clock) as store:
        store.put(A, "text", expires_in_s=60)
        expire_time = entry_of(store, A).expire_time
    with LMDBDatastore(directory, clock=clock) as store:
        assert (store.get(A), entry_of(store, A).expire_time) == ("text", expire_time)
        clock.now += 61
        assert store.get(A) is None


def test_a_store_without_expiries_has_no_index(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.put(A, b"a", if_absent=True)
        store.write([Put(B, b"b"), Delete(A)])
        assert store._writer.expiries is None
        assert store._writer._sweep_due is None


def test_concurrent_readers_see_the_index_appear(directory: Path, clock: Clock) -> None:
    """A reader whose transaction is older than the index must not look into it."""
    with LMDBDatastore(directory, clock=clock) as store:
        store.put(B, b"b")
        began = store._environment.begin

        def begin_and_wait(*arguments: Any, **options: Any) -> Any:
            transaction = began(*arguments, **options)
            if not options.get("write") and store._writer.expiries is None:
                store._environment.begin = began  # type: ignore[method-assign]
                store.put(A, b"a", expires_in_s=60)
            return transaction

        store._environment = _Environment(store._environment, begin_and_wait)  # type: ignore[assignment]
        assert list(store.query(Query(Key("/c")))) == [b"b"]


class _Environment:
    """An LMDB environment whose `begin` is replaced."""

    def __init__(self, environment: Any, begin: Any) -> None:
        self._environment = environment
        self.begin = begin

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


def test_a_full_store_still_removes_what_has_expired(directory: Path, clock: Clock) -> None:
    with LMDBDatastore(directory, clock=clock, map_bytes=1 << 20, max_map_bytes=1 << 20) as store:
        operations: list[Operation] = [
            Put(Key(f"/c/{place}"), bytes(4000), expiry=Expiry.after(60)) for place in range(400)
        ]
        results = store.submit(operations).result()
        assert any(result.error is not None for result in results)
        assert store.stats().entries > 0
        clock.now += 61
        assert swept(store) == 0
        store.put(A, b"a")
