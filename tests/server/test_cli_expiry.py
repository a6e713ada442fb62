"""Expiry on the command line."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from datastore_server.cli.instants import instant
from tests.support.commands import Commands


def lifetime(commands: Commands, key: str) -> timedelta | None:
    """How long after its last write an entry expires, to the minute; None for never."""
    (shown,) = commands("get", key, "--metadata").lines
    if "expire_time" not in shown:
        return None
    expires, updated = (instant(shown[name]) for name in ("expire_time", "update_time"))
    assert isinstance(expires, datetime)
    return timedelta(minutes=round((expires - updated) / timedelta(minutes=1)))


def test_put_and_touch_say_when_an_entry_expires(commands: Commands) -> None:
    assert commands("put", "/x:a", "1", "--expires-in", "2h").code == 0
    assert lifetime(commands, "/x:a") == timedelta(hours=2)
    assert commands("touch", "/x:a", "--expires-in", "7d").code == 0
    assert lifetime(commands, "/x:a") == timedelta(days=7)
    assert commands("touch", "/x:a", "--never").code == 0
    assert lifetime(commands, "/x:a") is None
    assert commands("put", "/x:a", "1", "--expires-in", "90m").code == 0
    assert commands("put", "/x:a", "1").code == 0
    assert lifetime(commands, "/x:a") is None
    absent = commands("touch", "/x:absent", "--expires-in", "1h")
    assert (absent.code, absent.err) == (1, "There is no entry /x:absent.\n")


@pytest.mark.parametrize("given", ["0s", "-1h", "1", "1 week", "nan", "9999999999d"])
def test_a_bad_duration_is_a_usage_error(commands: Commands, given: str) -> None:
    done = commands("put", "/x:b", "1", f"--expires-in={given}")
    assert done.code == 2
    assert commands("get", "/x:b").code == 1


def test_touch_needs_one_of_its_options(commands: Commands) -> None:
    for options in ((), ("--never", "--expires-in", "1h")):
        assert commands("touch", "/x:c", *options).code == 2


def test_imported_rows_expire(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"key": "/x:d", "value": 1}\n{"key": "/x:e", "value": 2}\n')
    assert commands("import", str(file), "--expires-in", "1h").code == 0
    assert [lifetime(commands, key) for key in ("/x:d", "/x:e")] == [timedelta(hours=1)] * 2
