"""Files that are read again when they change."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from datastore.model.errors import ConfigError
from datastore_client import reloading
from datastore_client.reloading import Reloading, reload_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


def words(path: Path) -> Reloading[list[str]]:
    """The words of a file, which are not valid without an `o`."""

    def read() -> list[str]:
        if not path.exists():
            raise ConfigError(f"{path} is missing")
        text = path.read_text()
        if "o" not in text:
            raise ConfigError(f"{path} is only {text!r}")
        return text.split()

    return Reloading([path], read)


def test_contents_stay_the_same_object_until_they_change(path: Path) -> None:
    found = words(path)
    first = found.reload()
    path.write_text("one")
    assert found.reload() is first
    path.write_text("two")
    assert found.reload() == ["two"]


def test_files_that_are_not_valid_at_first_are_an_error(path: Path) -> None:
    path.write_text("")
    with pytest.raises(ConfigError, match="is only ''"):
        words(path)


def test_files_that_are_no_longer_valid_are_not_taken_and_reported_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = words(path)
    caplog.set_level(logging.INFO)
    path.write_text("")
    assert [found.reload() for _ in range(3)] == [["one"]] * 3
    path.unlink()
    assert found.reload() == ["one"]
    path.write_text("")
    assert found.reload() == ["one"]
    path.write_text("two")
    assert found.reload() == ["two"]
    said = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    kept = "what was read before stays in force"
    assert said == [
        f"WARNING {path} is only ''; {kept}",
        f"WARNING {path} is missing; {kept}",
        f"WARNING {path} is only ''; {kept}",
        f"INFO read again after a change: {path}",
    ]


def freeze_times(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have changes of the file not change its times and size."""
    state = reloading._state_of((path,))
    monkeypatch.setattr(reloading, "_state_of", lambda _: state)


def test_a_change_within_one_tick_of_the_files_clock_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = words(path)
    freeze_times(path, monkeypatch)
    path.write_text("two")
    assert found.reload() == ["two"]


def test_a_file_that_has_not_changed_for_a_while_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "SETTLED_S", -1.0)
    found = words(path)
    freeze_times(path, monkeypatch)
    path.write_text("two")
    assert found.reload() == ["one"]


def test_files_are_looked_at_about_once_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(reloading.time, "monotonic", lambda: now)
    found = words(path)
    path.write_text("two")
    now += reloading.CHECK_S - 0.1
    assert found.current() == ["one"]
    now += 0.2
    assert found.current() == ["two"]


def test_all_that_is_in_use_is_looked_at_on_demand(path: Path) -> None:
    found = words(path)
    path.write_text("two")
    reload_all()
    assert found.current() == ["two"]
