"""Versions and conditions on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from datastore.model.metadata import MAX_VERSION
from datastore_server.cli.instants import instant
from tests.support.commands import Commands, server_process


def version_of(commands: Commands, key: str) -> int:
    (shown,) = commands("get", key, "--metadata").lines
    version: int = shown["version"]
    return version


def test_get_prints_the_metadata_of_one_entry_and_of_several(commands: Commands) -> None:
    commands.put("/m:a", "/m:b", value='{"n":1}')
    (shown,) = commands("get", "/m:a", "--metadata").lines
    assert list(shown) == ["key", "value", "version", "create_time", "update_time"]
    assert (shown["key"], shown["value"]) == ("/m:a", {"n": 1})
    assert instant(shown["create_time"]) == instant(shown["update_time"])
    done = commands("get", "/m:a", "/m:absent", "/m:b", "--metadata")
    assert done.code == 1
    assert [line["key"] for line in done.lines] == ["/m:a", "/m:b"]
    assert done.lines[0] == shown
    assert done.lines[1]["version"] > shown["version"]
    assert commands("get", "/m:a").out == '{"n":1}\n'


def test_query_prints_the_metadata_of_each_entry_and_selects_by_it(commands: Commands) -> None:
    commands.put("/q:a", "/q:b", value='{"t":{"$datetime":"2026-11-29T08:00:00Z"}}')
    shown = commands("query", "/q", "--metadata", "--order", "-__version__").lines
    assert [list(line) for line in shown] == [["key", "value", "version", "create_time", "update_time"]] * 2
    assert [line["key"] for line in shown] == ["/q:b", "/q:a"]
    assert shown[0]["value"] == {"t": {"$datetime": "2026-11-29T08:00:00Z"}}
    assert shown[0]["version"] == version_of(commands, "/q:b")
    (older,) = commands(
        "query", "/q", "--keys-only", "--metadata", "--where", f"__version__ < {shown[0]['version']}"
    ).lines
    assert older == {name: member for name, member in shown[1].items() if name != "value"}
    since = commands("query", "/q", "--keys-only", "--where", f"__update_time__ >= {shown[0]['update_time']}").lines
    assert since == [{"key": "/q:b"}]
    listed = commands(
        "query", "/q", "--keys-only", "--where", f'__create_time__ in ["{shown[1]["create_time"]}"]'
    ).lines
    assert listed == [{"key": "/q:a"}]
    done = commands("query", "/q", "--where", "__update_time__ > yesterday")
    assert (done.code, "RFC 3339" in done.err) == (3, True)
    assert commands("query", "/q", "--where", "__version__ < 1").out == ""


def test_put_prints_the_new_version_only_if_asked(commands: Commands) -> None:
    assert commands("put", "/m:p", "1").out == ""
    old = version_of(commands, "/m:p")
    (shown,) = commands("put", "/m:p", "2", "--metadata").lines
    assert list(shown) == ["key", "version", "create_time", "update_time"]
    assert (shown["key"], shown["version"] > old) == ("/m:p", True)
    assert version_of(commands, "/m:p") == shown["version"]


def test_a_put_depends_on_its_condition(commands: Commands) -> None:
    assert commands("put", "/m:c", "1", "--if-exists").code == 6
    assert commands("put", "/m:c", "1", "--if-absent").code == 0
    assert commands("put", "/m:c", "2", "--if-absent").code == 6
    assert commands("put", "/m:c", "2", "--if-exists").code == 0
    version = version_of(commands, "/m:c")
    assert commands("put", "/m:c", "3", "--if-version", str(version)).code == 0
    done = commands("put", "/m:c", "4", "--if-version", str(version))
    assert (done.code, done.out) == (6, "")
    current = version_of(commands, "/m:c")
    assert done.err.startswith("Error: CONDITION_FAILED: /m:c ")
    assert f"version {version}" in done.err
    assert f"{current}" in done.err
    assert commands("get", "/m:c").out == "3\n"


def test_a_delete_depends_on_its_condition(commands: Commands) -> None:
    commands.put("/m:d")
    version = version_of(commands, "/m:d")
    assert commands("delete", "/m:d", "--if-version", str(version + 1)).code == 6
    assert commands("get", "/m:d").code == 0
    assert commands("delete", "/m:d", "--if-version", str(version), "--json").lines == [{"deleted": 1, "absent": []}]
    done = commands("delete", "/m:d", "--if-exists")
    assert done.code == 6
    assert "does not exist" in done.err
    assert commands("get", "/m:d").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "/m:u", "1", "--if-absent", "--if-exists"],
        ["put", "/m:u", "1", "--if-absent", "--if-version", "1"],
        ["put", "/m:u", "1", "--if-version", "0"],
        ["put", "/m:u", "1", "--if-version", "-1"],
        ["put", "/m:u", "1", "--if-version", str(MAX_VERSION + 1)],
        ["put", "/m:u", "1", "--if-version", "x"],
        ["delete", "/m:u", "--if-exists", "--if-version", "1"],
        ["delete", "/m:u", "/m:v", "--if-exists"],
        ["delete", "/m", "--collection", "--if-exists"],
        ["delete", "/m", "--recursive", "--if-exists"],
        ["delete", "/m", "--where", "n = 1", "--if-version", "1"],
    ],
    ids=" ".join,
)
def test_conditions_that_make_no_sense_are_usage_errors(commands: Commands, arguments: list[str]) -> None:
    done = commands(*arguments)
    assert (done.code, done.out) == (2, "")
    assert commands("get", "/m:u").code == 1


def test_a_store_without_versions_says_so(tmp_path: Path) -> None:
    with server_process("serve", f"file:{tmp_path}", "--listen", "127.0.0.1:0") as ready:
        commands = Commands(ready["url"])
        commands.put("/m:f")
        for arguments in (
            ["get", "/m:f", "--metadata"],
            ["put", "/m:f", "2", "--if-exists"],
            ["delete", "/m:f", "--if-exists"],
        ):
            done = commands(*arguments)
            assert (done.code, done.out) == (5, "")
            assert done.err.startswith("Error: UNSUPPORTED: this store keeps no versions")
        assert commands("get", "/m:f").out == "1\n"
        done = commands("put", "/m:f", "2", "--metadata")
        assert (done.code, done.out) == (5, "")
        assert "is stored, but" in done.err
        assert commands("get", "/m:f").out == "2\n"
