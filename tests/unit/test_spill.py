"""Temporary files of sorted queries: without a name, and with a clear error when the disk is full."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from datastore import Key, Query, core, wire
from datastore.engine.room import SortBudget, set_sort_budget
from datastore.model.errors import StoreError, StoreFullError
from datastore.spill import SpillFile


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def file() -> Iterator[SpillFile]:
    file = SpillFile()
    yield file
    file.close()


def test_bytes_are_read_back_and_the_end_is_cut_off(file: SpillFile) -> None:
    file.append(b"abc")
    file.append(b"defg")
    assert file.read(2, 3) == b"cde"
    file.truncate(4)
    file.append(b"xyz")
    assert file.read(0, 7) == b"abcdxyz"
    file.close()
    file.close()


def test_the_file_has_no_name(file: SpillFile, directory: Path) -> None:
    file.append(b"abc")
    assert list(directory.iterdir()) == []
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert any(str(link.readlink()).startswith(str(directory)) for link in links)


def test_a_full_disk_is_named(file: SpillFile, directory: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreFullError, match="have no space left"):
            file.append(bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_lost_its_end_is_an_error(file: SpillFile) -> None:
    file.append(b"abc")
    with pytest.raises(StoreError, match="lost their end"):
        file.read(1, 3)


def test_an_error_names_the_directory(file: SpillFile, directory: Path) -> None:
    with pytest.raises(StoreError, match=f"in {directory}, lost their end"):
        file.read(0, 1)


def test_without_any_directory_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    with pytest.raises(StoreError, match="have no place: No usable temporary directory found"):
        SpillFile()


def test_a_directory_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StoreError, match="failed: Permission denied"):
        SpillFile()


def test_a_store_of_this_process_sorts_with_files_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[SpillFile] = []
    init = SpillFile.__init__
    monkeypatch.setattr(SpillFile, "__init__", lambda self: opened.append(self) or init(self))
    store = core.SerializerShimDatastore(core.DictDatastore(), wire.lazy)
    numbers = [number * 7919 % 1000 for number in range(1000)]
    for place, number in enumerate(numbers):
        store.put(Key(f"/a/{place:04}"), wire.encode_value({"n": number}))
    context = copy_context()
    context.run(set_sort_budget, SortBudget(memory_bytes=10_000))
    query = Query(Key("/a")).order("n")
    found = context.run(lambda: [entry.value.decode()["n"] for entry in store.query(query).entries()])
    assert found == sorted(numbers)
    assert opened
    assert all(file._file.closed for file in opened)
    assert list(directory.iterdir()) == []
