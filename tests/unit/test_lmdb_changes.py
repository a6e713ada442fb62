"""The log of changes in LMDB: it survives restarts and kills, stays within its limits, and gives way to entries."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datastore.lmdb import LMDBDatastore
from datastore.model.changes import ChangeKind
from datastore.model.errors import ChangesExpiredError, DatastoreClosedError, InvalidError, UnsupportedError
from datastore.model.key import Key
from datastore.model.query import Query

EVERYTHING = Query(Key("/"), recursive=True)


def kept(directory: Path, **arguments: Any) -> LMDBDatastore:
    return LMDBDatastore(directory, durability="async", keep_changes=True, **arguments)


def shown(watcher: Any, count: int) -> list[tuple[str, Any]]:
    return [(str(change.key), change.value) for change in (next(watcher) for _ in range(count))]


def test_a_watch_continues_after_a_restart(tmp_path: Path) -> None:
    with kept(tmp_path) as store, store.watch(EVERYTHING) as watcher:
        store.put(Key("/a"), "text")
        assert shown(watcher, 1) == [("/a", "text")]
        token = watcher.token
        store.put(Key("/a"), b"bytes")
        store.delete(Key("/a"))
    with kept(tmp_path) as store:
        store.put(Key("/b"), "")
        with store.watch(EVERYTHING, resume_token=token) as watcher:
            found = [next(watcher) for _ in range(3)]
    assert [(change.kind, change.value) for change in found] == [
        (ChangeKind.PUT, b"bytes"),
        (ChangeKind.DELETE, None),
        (ChangeKind.PUT, ""),
    ]
    versions = [change.version for change in found]
    assert versions == sorted(set(versions))


def test_changes_made_without_the_log_expire_its_tokens(tmp_path: Path) -> None:
    with kept(tmp_path) as store, store.watch(EVERYTHING) as watcher:
        token = watcher.token
    with LMDBDatastore(tmp_path) as store:
        assert store.capability.changes is False
        with pytest.raises(UnsupportedError):
            store.watch(EVERYTHING)
    with kept(tmp_path) as store, pytest.raises(ChangesExpiredError):
        store.watch(EVERYTHING, resume_token=token).__enter__()


@pytest.mark.parametrize("limits", [{"most_change_bytes": 200_000}, {"most_change_age_s": 1e-6}])
def test_the_oldest_changes_are_dropped_and_slow_watchers_end(tmp_path: Path, limits: Any) -> None:
    with kept(tmp_path, **limits) as store, store.watch(EVERYTHING) as slow:
        for number in range(200):
            store.put(Key("/a"), f"{number}" + "x" * 5000)
        pages = store._environment.begin().stat(store._log.database)
        assert pages["entries"] < 60
        with pytest.raises(ChangesExpiredError):
            next(slow)
        with store.watch(EVERYTHING) as watcher:
            store.put(Key("/a"), "new")
            assert shown(watcher, 1) == [("/a", "new")]


@pytest.mark.parametrize("name", ["most_change_bytes", "most_change_age_s"])
def test_the_limits_are_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match=name):
        kept(tmp_path / "data", **{name: 0})
    assert not (tmp_path / "data").exists()


def test_a_full_store_gives_up_the_log_before_it_refuses_entries(tmp_path: Path) -> None:
    size = 1024 * 1024
    with kept(tmp_path, map_bytes=size, max_map_bytes=size) as store, store.watch(EVERYTHING) as watcher:
        for number in range(100):
            store.put(Key("/a"), f"{number}" + "x" * 20_000)
        assert store.get(Key("/a")).startswith("99x")
        with pytest.raises(ChangesExpiredError):
            list(watcher)
        store.delete(Key("/a"))


def test_closing_the_store_ends_its_watches(tmp_path: Path) -> None:
    store = kept(tmp_path)
    with store.watch(EVERYTHING) as watcher:
        store.close()
        with pytest.raises(DatastoreClosedError):
            next(watcher)


_WRITES = """
import sys
from datastore.lmdb import LMDBDatastore
from datastore.model.key import Key
store = LMDBDatastore(sys.argv[1], keep_changes=True)
for number in range(1_000_000):
    store.put(Key(f"/a/{number % 5}"), str(number))
    print(number, flush=True)
"""


def test_after_a_kill_the_log_has_every_acknowledged_write_and_nothing_else(tmp_path: Path) -> None:
    with kept(tmp_path) as store, store.watch(EVERYTHING) as watcher:
        token = watcher.token
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _WRITES, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in writer.stdout.read().split()]
        with kept(tmp_path) as store, store.watch(EVERYTHING, resume_token=token) as watcher:
            found = [next(watcher) for _ in acknowledged]
            store.put(Key("/end"), "")
            rest = shown(watcher, 1)
            if rest != [("/end", "")]:
                # The last write was committed, and not acknowledged.
                assert [value for _, value in rest] == [str(len(acknowledged))]
                assert shown(watcher, 1) == [("/end", "")]
            token = watcher.token
            assert [change.value for change in found] == list(map(str, acknowledged))
