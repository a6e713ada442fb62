"""A process that only reads what the store of another process has committed."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from datastore.lmdb import LMDBDatastore
from datastore.lmdb.reader import LMDBReader
from datastore.model.entries import Write
from datastore.model.errors import CorruptDataError, StoreError, StoreFormatError, UnsupportedError
from datastore.model.key import Key
from datastore.model.query import Query
from tests.support.clocks import Clock

#: What a store may grow to in these tests.
MAX_MAP_BYTES = 64 * 1024 * 1024
KEY = Key("/a")


class Commands:
    """What the other process does."""

    def __init__(self, directory: Path, max_map_bytes: int) -> None:
        self.clock = Clock(time.time())
        self.reader = LMDBReader(directory, max_map_bytes=max_map_bytes, clock=self.clock)

    def get(self, key: Key) -> Any:
        return self.reader.get(key)

    def present(self, key: Key) -> bool:
        return self.reader.contains(key)

    def put(self, key: Key) -> None:
        self.reader.put(key, b"1")

    def keys(self) -> list[str]:
        found = self.reader.query(Query(Key("/"), recursive=True, keys_only=True)).entries()
        return [str(entry.key) for entry in found]

    def last_commit(self) -> int:
        return self.reader.last_commit()

    def records(self, *names: str) -> list[bytes | None]:
        return self.reader.read_records(names)

    def node_id(self) -> str:
        return self.reader.node_id()

    def set_time(self, now: float) -> None:
        self.clock.now = now


class Reader:
    """A reader in another process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any) -> Any:
            self._pipe.send((name, arguments))
            result = self._pipe.recv()
            if isinstance(result, Exception):
                raise result
            return result

        return ask


def serve(pipe: Connection, directory: Path, max_map_bytes: int) -> None:
    try:
        commands = Commands(directory, max_map_bytes)
    except StoreError as error:
        pipe.send(error)
        return
    pipe.send(None)
    with commands.reader:
        while (asked := pipe.recv()) is not None:
            name, arguments = asked
            try:
                pipe.send(getattr(commands, name)(*arguments))
            except Exception as error:  # noqa: BLE001 - it is raised to the test
                pipe.send(error)


@contextmanager
def reading(directory: Path, max_map_bytes: int = MAX_MAP_BYTES) -> Iterator[Reader]:
    """A reader of a directory while the block runs."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, directory, max_map_bytes))
    process.start()
    theirs.close()
    try:
        if (error := ours.recv()) is not None:
            raise error
        yield Reader(ours)
        ours.send(None)
    finally:
        ours.close()
        process.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LMDBDatastore]:
    """A store whose map is small at first."""
    with LMDBDatastore(tmp_path, map_bytes=1024 * 1024, max_map_bytes=MAX_MAP_BYTES) as store:
        yield store


@pytest.fixture
def reader(store: LMDBDatastore) -> Iterator[Reader]:
    with reading(store.directory) as reader:
        yield reader


def test_a_read_sees_what_was_acknowledged_before(store: LMDBDatastore, reader: Reader) -> None:
    for number in range(200):
        store.put(KEY, str(number))
        assert reader.get(KEY) == str(number)
    store.delete(KEY)
    assert reader.get(KEY) is None
    assert not reader.present(KEY)
    assert reader.keys() == []


def test_it_goes_on_reading_while_the_store_grows_beyond_its_map(store: LMDBDatastore, reader: Reader) -> None:
    keys = [Key(f"/thing:{number:06}") for number in range(5000)]
    for start in range(0, len(keys), 500):
        store.batch_write([Write(key, b"x" * 5000) for key in keys[start : start + 500]])
        assert reader.get(keys[start]) == b"x" * 5000
        assert reader.keys() == [str(key) for key in keys[: start + 500]]
    assert store.stats().map_bytes > 16 * 1024 * 1024


def test_entries_that_expire_are_hidden_also_if_the_first_one_came_later(store: LMDBDatastore, reader: Reader) -> None:
    store.put(Key("/stays"), b"1")
    store.put(KEY, b"1", expires_in_s=1000)
    assert reader.get(KEY) == b"1"
    assert reader.keys() == ["/a", "/stays"]
    reader.set_time(time.time() + 2000)
    assert reader.get(KEY) is None
    assert not reader.present(KEY)
    assert reader.keys() == ["/stays"]
    # They do not come back if the clock is set back.
    reader.set_time(time.time())
    assert reader.get(KEY) is None
    assert reader.keys() == ["/stays"]


def test_records_and_the_number_of_commits_tell_what_has_changed(store: LMDBDatastore, reader: Reader) -> None:
    assert reader.node_id() == store.node_id()
    before = reader.last_commit()
    assert reader.last_commit() == before
    assert reader.records("one", "other") == [None, None]
    store.write_system("one", b"1")
    assert reader.last_commit() > before
    assert reader.records("one", "other") == [b"1", None]


def test_it_does_not_write(reader: Reader) -> None:
    with pytest.raises(UnsupportedError, match="is open for reading only"):
        reader.put(KEY)


def test_it_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreFormatError, match="is not a data directory"), reading(tmp_path / "absent"):
        pass
    assert not (tmp_path / "absent").exists()


def test_a_store_larger_than_the_address_space_is_refused(store: LMDBDatastore) -> None:
    with pytest.raises(StoreError, match="lower its max_size"), reading(store.directory, 2**60):
        pass


def test_damage_is_reported(store: LMDBDatastore, reader: Reader) -> None:
    store.put(KEY, b"value" * 100)
    data = store.directory / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(content.replace(b"value" * 100, b"vALue" * 100))
    with pytest.raises(CorruptDataError):
        reader.get(KEY)
