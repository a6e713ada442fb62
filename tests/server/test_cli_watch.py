"""`datastore watch`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datastore.model.changes import ChangeBatch
from datastore.sync.watching import Watcher
from datastore_server.cli.output import ExitCode
from tests.support import clusters
from tests.support.commands import Commands, run_here, server_process


@pytest.fixture
def memory() -> Iterator[Commands]:
    """A server in memory, whose changes can be watched."""
    with clusters.background() as background, background.running(clusters.node()) as cluster:
        yield Commands(cluster.url)


def test_changes_are_lines_of_json_and_continue_from_a_file(memory: Commands, tmp_path: Path) -> None:
    memory.put("/Person/ada", value='{"born": 1815}')
    file = tmp_path / "token"
    listed = memory("watch", "/Person", "--initial", "--limit", "1", "--resume", str(file))
    assert listed.code == 0
    assert [(line["kind"], line["key"], line["value"]) for line in listed.lines] == [
        ("put", "/Person/ada", {"born": 1815})
    ]
    memory.put("/Person/bob", "/Other/x", value="2")
    assert memory("delete", "/Person/ada").code == 0
    missed = memory("watch", "/Person", "--limit", "2", "--resume", str(file))
    assert [(line["kind"], line["key"]) for line in missed.lines] == [("put", "/Person/bob"), ("delete", "/Person/ada")]
    assert "value" not in missed.lines[1]
    assert missed.lines[0]["version"] < missed.lines[1]["version"]
    memory.put("/Person/eve")
    assert [line["key"] for line in memory("watch", "/Person", "--limit", "1", "--resume", str(file)).lines] == [
        "/Person/eve"
    ]
    wrong = memory("watch", "/Other", "--limit", "1", "--resume", str(file))
    assert wrong.code == ExitCode.REFUSED
    file.write_text("not a token!")
    damaged = memory("watch", "/Person", "--resume", str(file))
    assert damaged.code == ExitCode.REFUSED
    assert str(file) in damaged.err


def test_conditions_and_keys_only(memory: Commands) -> None:
    memory.put("/Person/ada", value='{"born": 1815}')
    memory.put("/Person/bob", value='{"born": 1990}')
    done = memory("watch", "/", "-r", "--where", "born < 1900", "--initial", "--keys-only", "--limit", "1")
    assert [(line["kind"], line["key"]) for line in done.lines] == [("put", "/Person/ada")]
    assert "value" not in done.lines[0]


def test_a_watch_that_is_interrupted_before_any_change_continues_where_it_began(
    memory: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(self: Watcher) -> Iterator[ChangeBatch]:
        raise KeyboardInterrupt

    line = ("watch", "/Person", "--limit", "1", "--resume", str(tmp_path / "token"))
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "batches", interrupted)
        assert memory(*line).code == ExitCode.INTERRUPTED
    memory.put("/Person/ada")
    assert [change["key"] for change in memory(*line).lines] == ["/Person/ada"]


def test_a_limit_is_at_least_one() -> None:
    assert run_here("watch", "/", "--limit", "0").code == ExitCode.USAGE


def test_a_store_that_cannot_be_watched_is_an_error_that_says_how_it_could_be(tmp_path: Path) -> None:
    with server_process("serve", f"lmdb:{tmp_path / 'data'}", "--listen", "127.0.0.1:0") as ready:
        done = Commands(ready["url"])("watch", "/")
    assert done.code == ExitCode.FAILED
    assert done.err.startswith("Error: UNSUPPORTED: lmdb cannot be watched: ")
    assert "changes=true" in done.err


def test_a_watch_of_a_node_on_lmdb_continues_after_a_restart(tmp_path: Path) -> None:
    url, file = f"lmdb:{tmp_path / 'data'}?changes=true", tmp_path / "token"
    for number in range(3):
        with server_process("serve", url, "--listen", "127.0.0.1:0") as ready:
            commands = Commands(ready["url"])
            commands.put(f"/{number}")
            done = commands("watch", "/", "--initial", "--limit", "1", "--resume", str(file))
            assert [line["key"] for line in done.lines] == [f"/{number}"]
