"""The system records of an LMDB directory: durable, atomic, and seen by no read, write or query of entries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Write
from datastore.model.errors import StoreFormatError, StoreFullError
from datastore.model.key import Key
from datastore.model.query import Query

MAP_BYTES = 256 * 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(params=["sync", "async"])
def store(request: pytest.FixtureRequest, directory: Path) -> Iterator[LMDBDatastore]:
    with LMDBDatastore(directory, durability=request.param) as store:
        yield store


def write(store: LMDBDatastore, name: str, content: bytes) -> None:
    store.write_system(name, content)


def meta(directory: Path, **changes: bytes | None) -> dict[bytes, bytes]:
    """The content of `meta` of a closed directory, after some changes."""
    environment = lmdb.open(str(directory), max_dbs=4)
    try:
        with environment.begin(environment.open_db(b"meta"), write=True) as transaction:
            for name, value in changes.items():
                if value is None:
                    transaction.delete(name.encode())
                else:
                    transaction.put(name.encode(), value)
            return dict(transaction.cursor())
    finally:
        environment.close()


def test_no_read_write_or_query_of_entries_sees_a_record(store: LMDBDatastore) -> None:
    store.put(Key("/a"), b"1")
    before = store.stats()
    for name in ("/a", "/b", "placement"):
        write(store, name, b"record")
    assert store.get(Key("/a")) == b"1"
    assert store.get(Key("/b")) is None
    assert not store.contains(Key("/placement"))
    assert [entry.key for entry in store.query(Query(Key("/"), recursive=True)).entries()] == [Key("/a")]
    assert store.stats().entries == before.entries == 1
    assert store.stats().used_bytes == before.used_bytes
    store.delete(Key("/a"))
    assert store.read_system("/a") == b"record"
    assert store.read_system("none") is None


def test_a_record_survives_reopening(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        assert store.read_system("placement") is None
        write(store, "placement", b"one")
        write(store, "placement", b"\x00" * 50_000)
    with LMDBDatastore(directory) as store:
        assert store.read_system("placement") == b"\x00" * 50_000


def test_a_record_is_synced_whatever_the_durability(store: LMDBDatastore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    class Watched:
        def __init__(self, environment: Any) -> None:
            self._environment = environment

        def sync(self, force: bool) -> None:
            synced.append("sync")
            self._environment.sync(force)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._environment, name)

    monkeypatch.setattr(store._writer, "_environment", Watched(store._environment))
    write(store, "placement", b"record")
    assert synced == ["sync"]


def test_a_record_comes_after_all_writes_that_were_submitted_before(store: LMDBDatastore) -> None:
    writes = [store.submit([Write(Key(f"/{number}"), b"x")]) for number in range(200)]
    store.write_system("placement", b"record")
    assert all(future.done() for future in writes)
    assert store.stats().entries == 200


def test_a_full_store_still_accepts_a_record(directory: Path) -> None:
    with LMDBDatastore(directory, map_bytes=MAP_BYTES, max_map_bytes=MAP_BYTES) as store:
        with pytest.raises(StoreFullError):
            for number in range(10_000):
                store.put(Key(f"/{number}"), b"x" * 1000)
        for content in (b"a" * 34_000, b"b" * 34_000):
            write(store, "placement", content)
            assert store.read_system("placement") == content
        store.delete(Key("/0"))


def test_a_directory_has_one_identity_which_a_copy_shares(directory: Path, tmp_path: Path) -> None:
    with LMDBDatastore(directory) as store, LMDBDatastore(tmp_path / "other") as other:
        identity = store.node_id()
        assert len(identity) == 32
        assert store.node_id() == identity != other.node_id()
    (tmp_path / "copy").mkdir()
    shutil.copy(directory / "data.mdb", tmp_path / "copy")
    with LMDBDatastore(directory) as store, LMDBDatastore(tmp_path / "copy") as copy:
        assert store.node_id() == copy.node_id() == identity


def test_a_directory_of_an_earlier_version_is_given_an_identity_once(directory: Path) -> None:
    with LMDBDatastore(directory, cluster="trial", shard="a"):
        pass
    meta(directory, node_id=None, format=b"1")
    with LMDBDatastore(directory) as store:
        identity = store.node_id()
        assert len(identity) == 32
    with LMDBDatastore(directory) as store:
        assert store.node_id() == identity
    # Earlier versions can still read it.
    assert meta(directory) == {b"format": b"1", b"cluster": b"trial", b"shard": b"a", b"node_id": identity.encode()}


def test_a_directory_with_records_has_a_format_that_earlier_versions_refuse(directory: Path) -> None:
    with LMDBDatastore(directory) as store:
        store.put(Key("/a"), b"1")
        write(store, "placement", b"record")
    # They read formats 1 and 2.
    assert meta(directory)[b"format"] == b"3"
    with LMDBDatastore(directory) as store:
        assert store.get(Key("/a")) == b"1"


def test_the_records_say_which_shard_a_directory_is_once_it_has_any(directory: Path) -> None:
    with LMDBDatastore(directory, cluster="trial", shard="old") as store:
        with pytest.raises(StoreFormatError):
            # Without records, the names from its creation apply.
            LMDBDatastore(_copied(store, directory.parent / "copy"), shard="new")
        write(store, "placement", b"renamed")
    with LMDBDatastore(directory, cluster="trial", shard="new") as store:
        assert store.read_system("placement") == b"renamed"


def _copied(store: LMDBDatastore, target: Path) -> Path:
    target.mkdir()
    shutil.copy(store.directory / "data.mdb", target)
    return target
