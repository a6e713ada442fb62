"""What is wrong with a directory is found, and compacting and reading one while it is open change nothing in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.checking import check_entries, check_log
from datastore.lmdb.directory import DATA_FILE, compact_directory
from datastore.lmdb.records import pack
from datastore.lmdb.snapshot import Snapshot
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, StoreFormatError, StoreLockedError
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from tests.unit.test_lmdb import run_python
from tests.unit.test_lmdb_versions import make_old, meta_of, raw


def findings(directory: Path) -> list[str]:
    """What is wrong with a directory."""
    with Snapshot(directory) as snapshot:
        return [finding for check in (check_entries, check_log) for one in check(snapshot) for finding in one.findings]


def make(directory: Path) -> int:
    """A directory with entries that expire, and a log; returns its latest version."""
    with LMDBDatastore(directory, keep_changes=True) as store:
        store.batch_write([Write(Key(f"/a:{number}"), b"%d" % number) for number in range(5)])
        store.put(Key("/expires"), b"x", expires_in_s=3600)
        store.delete(Key("/a:4"))
        return store.latest_version


def flip(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


Change = Callable[[Any, int], object]
DAMAGE: dict[str, tuple[str, Change, str]] = {
    "record": ("entries", lambda data, _: data.put(b"/a:1", flip(data.get(b"/a:1"))), "its checksum does not match"),
    "format": ("entries", lambda data, _: data.put(b"/a:1", b"\x09" + data.get(b"/a:1")[1:]), "has format 9"),
    "empty": ("entries", lambda data, _: data.put(b"/a:1", b""), "has no format"),
    "key": (
        "entries",
        lambda data, last: data.put(b"/a//b", pack(b"/a//b", b"x", Metadata(last, 1, 1))),
        "is not a key in canonical form",
    ),
    "bytes of a key": (
        "entries",
        lambda data, last: data.put(b"/\xff", pack(b"/\xff", b"x", Metadata(last, 1, 1))),
        "is not a key in canonical form",
    ),
    "version": (
        "entries",
        lambda data, last: data.put(b"/new", pack(b"/new", b"x", Metadata(last + 1, 1, 1))),
        "above the latest that was given",
    ),
    "index": ("expiries", lambda data, _: data.delete(next(iter(data.cursor()))[0]), "missing in the index"),
    "log is later": (
        "changes",
        lambda data, last: data.put(last.to_bytes(8), b"\x00\x00\x04/a:1v"),
        "and the log a later change of it",
    ),
    "log has another value": (
        "changes",
        lambda data, _: [
            data.put(key, flip(item)) for key, item in data.cursor() if item.endswith(b"/a:21"[:4] + b"2")
        ],
        "has another value than the log",
    ),
    "log says deleted": (
        "changes",
        lambda data, _: [data.put(key, b"\x02" + item[1:-1]) for key, item in data.cursor() if b"/a:2" in item],
        "with which the log says that it was removed",
    ),
    "log beyond the latest": (
        "changes",
        lambda data, last: data.put((last + 5).to_bytes(8), b"\x00\x00\x04/newv"),
        "outside of",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_wrong_is_found(name: str, tmp_path: Path) -> None:
    database, damage, found = DAMAGE[name]
    last = make(tmp_path)
    assert findings(tmp_path) == []
    with raw(tmp_path, database.encode()) as data:
        damage(data, last)
    assert [text for text in findings(tmp_path) if found in text] != []


def test_a_directory_of_an_earlier_release_is_sound_and_read_as_one(tmp_path: Path) -> None:
    make_old(tmp_path, {"/a/b": b"bytes", "/a/c": "text"})
    before = meta_of(tmp_path)
    assert findings(tmp_path) == []
    assert meta_of(tmp_path) == before


def test_a_snapshot_is_of_its_moment_while_another_process_writes(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path) as store:
        store.batch_write([Write(Key(f"/early:{number}"), b"x") for number in range(100)])
        code = f"""
from pathlib import Path
from datastore.lmdb.snapshot import Snapshot
with Snapshot(Path({str(tmp_path)!r})) as snapshot:
    print(snapshot.stored_entries, flush=True)
    input()
    print(sum(len(texts) for texts, _ in snapshot.batches()))
"""
        reader = run_python(code)
        assert reader.stdout is not None and reader.stdin is not None
        assert reader.stdout.readline().strip() == "100"
        for number in range(100):
            store.put(Key(f"/later:{number}"), b"x" * 10_000)
        assert reader.communicate("\n")[0].strip() == "100"


def test_only_a_data_directory_is_read_or_compacted(tmp_path: Path) -> None:
    for use in (Snapshot, compact_directory):
        with pytest.raises(StoreFormatError, match=r"it has no data\.mdb"):
            use(tmp_path)
    (tmp_path / DATA_FILE).touch()
    for use in (Snapshot, compact_directory):
        with pytest.raises(CorruptDataError, match="was truncated"):
            use(tmp_path)


def test_compacting_gives_space_back_and_changes_no_entry(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path, keep_changes=True) as store:
        store.batch_write([Write(Key(f"/a:{number}"), b"x") for number in range(500)])
        store.batch_write([Write(Key(f"/big:{number}"), b"x" * 100_000) for number in range(50)])
        store.batch_write([Write(Key(f"/big:{number}"), None) for number in range(50)])
        store.put(Key("/expires"), b"x", expires_in_s=3600)
        with pytest.raises(StoreLockedError, match="already open"):
            compact_directory(tmp_path)
    with LMDBDatastore(tmp_path) as store:
        node_id = store.node_id()
    with Snapshot(tmp_path) as snapshot:
        entries = list(snapshot.batches())
    before, after = compact_directory(tmp_path)
    assert after < before / 2 and (tmp_path / DATA_FILE).stat().st_size == after
    with Snapshot(tmp_path) as snapshot:
        assert list(snapshot.batches()) == entries
    assert findings(tmp_path) == []
    with LMDBDatastore(tmp_path) as store:
        assert store.node_id() == node_id
        store.put(Key("/new"), b"1")


def test_what_an_interrupted_compaction_leaves_is_removed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / ".datastore-new").mkdir()
    (tmp_path / ".datastore-new" / DATA_FILE).write_bytes(b"half")
    compact_directory(tmp_path)
    assert not (tmp_path / ".datastore-new").exists()
    assert findings(tmp_path) == []


def test_restored_entries_keep_their_metadata_and_the_log_begins_after_them(tmp_path: Path) -> None:
    expires_us = int(time.time() + 3600) * 1_000_000
    entries = [
        (b"/a", b"1", Metadata(7, 1, 2)),
        (b"/b", b"2", Metadata(2**50, 3, 4, expires_us)),
        (b"/c", b"3", Metadata(5, 0, 0)),
    ]
    with LMDBDatastore(tmp_path, clock=lambda: 1.0, keep_changes=True) as store:
        store.put(Key("/a"), b"before")
        store.restore(entries)
        for text, value, metadata in entries:
            found = store.entry(Key(text.decode()))
            assert found is not None and (found.value, found.metadata) == (value, metadata)
        store.put(Key("/d"), b"4")
        later = store.entry(Key("/d"))
        assert later is not None and later.version == 2**50 + 1
    assert findings(tmp_path) == []
