"""`datastore delete`, and `get` of several keys: what is deleted, kept, printed and asked."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

from datastore.model.entries import Write
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.model.operations import WriteResult
from datastore_client import RemoteDatastore, connect
from tests.support.commands import COMMAND, Commands, answered, interrupted_matching


def keys(run: Commands) -> list[str]:
    return [line["key"] for line in run("query", "/", "--recursive", "--keys-only", "--json").lines]


# By key


def test_deleting_a_collection_by_its_key_deletes_nothing_and_says_how_to(run: Commands) -> None:
    run.put("/Flight:a", "/Flight:b")
    done = run("delete", "/Flight")
    assert (done.code, done.out) == (1, "")
    assert "no entry /Flight" in done.err
    assert "datastore delete /Flight --collection" in done.err
    assert len(keys(run)) == 2


def test_deleting_a_key_with_entries_deeper_below_it_says_how_to(run: Commands) -> None:
    run.put("/Flight/of/two:a")
    assert "datastore delete /Flight --recursive" in run("delete", "/Flight").err


def test_deleting_what_does_not_exist_is_exit_code_1_without_advice(run: Commands) -> None:
    assert run("delete", "/Nothing").err == "There is no entry /Nothing.\n"
    run.put("/Nothing")
    assert run("delete", "/Nothing").code == 0
    assert run("delete", "/Nothing").code == 1


def test_several_keys_are_deleted_and_the_absent_ones_named(run: Commands) -> None:
    run.put("/A:1", "/A:2", "/A:3")
    done = run("delete", "/A:1", "/A:nope", "/A:3", "/A:1", "--json")
    assert done.code == 1
    assert done.lines == [{"deleted": 2, "absent": ["/A:nope"]}]
    assert "/A:nope" in done.err
    assert keys(run) == ["/A:2"]


def test_several_keys_are_read_in_the_order_given_and_the_absent_ones_named(run: Commands) -> None:
    names = [f"/A:{number}" for number in range(70)]
    run.put(*names)
    done = run("get", *reversed(names), "/A:nope")
    assert done.code == 1
    assert [line["key"] for line in done.lines] == names[::-1]
    assert done.lines[0] == {"key": "/A:69", "value": 1}
    assert done.err == "There is no entry /A:nope.\n"


def test_get_of_a_collection_says_that_query_is_meant(run: Commands) -> None:
    run.put("/Flight:a")
    done = run("get", "/Flight")
    assert (done.code, done.out) == (1, "")
    assert "datastore query /Flight" in done.err


def test_a_delete_that_a_server_refuses_is_an_error_with_its_key(
    run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.put("/A:1")
    refused = [WriteResult(error=UnavailableError("gone"))]
    monkeypatch.setattr(RemoteDatastore, "batch_write", lambda self, writes: refused)
    done = run("delete", "/A:1")
    assert done.code == 4
    assert "/A:1: gone" in done.err


# Many


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--collection"], ["/A", "/A/x:y", "/B:1"]),
        (["--recursive"], ["/A", "/B:1"]),
        (["--where", "__key__ > /A:1"], ["/A", "/A/x:y", "/A:1", "/B:1"]),
        (["--where", "__key__ > /A/", "--where", "__key__ < /A:2", "-r"], ["/A", "/A:2", "/B:1"]),
    ],
)
def test_many_are_deleted_as_query_selects_them_and_the_key_itself_stays(
    run: Commands, options: list[str], left: list[str]
) -> None:
    run.put("/A", "/A:1", "/A:2", "/A/x:y", "/B:1")
    number = 5 - len(left)
    done = run("delete", "/A", *options, "--yes", "--json")
    assert done.code == 0
    assert done.lines == [{"deleted": number, "passed_over": 0}]
    assert f"Deleted {number} entr" in done.err
    assert ("The entry /A itself is kept." in done.err) == ("--where" not in options)
    assert keys(run) == left


def test_several_selections_are_counted_together(run: Commands) -> None:
    run.put("/A:1", "/B:1", "/C:1")
    done = run("delete", "/A", "/B", "--collection", "--yes")
    assert "Deleting 2 entries of the collection /A and of the collection /B." in done.err
    assert keys(run) == ["/C:1"]


def test_without_a_terminal_many_are_deleted_only_with_yes(run: Commands) -> None:
    run.put("/A:1", "/A:2")
    done = run("delete", "/A", "--collection")
    assert done.code == 2
    assert "2 entries of the collection /A" in done.err and "--yes" in done.err
    assert len(keys(run)) == 2


def test_a_selection_that_finds_nothing_is_not_a_failure(run: Commands) -> None:
    run.put("/Flight:1", value='{"gate": "A"}')
    done = run("delete", "/flight", "--collection", "--json")
    assert (done.code, done.lines) == (0, [{"deleted": 0, "passed_over": 0}])
    assert "Nothing to delete." in done.err and "did you mean /Flight?" in done.err
    done = run("delete", "/Flight", "--where", "gat = A", "--yes")
    assert "did you mean gate?" in done.err
    assert len(keys(run)) == 1


def test_collection_and_recursive_exclude_each_other(run: Commands) -> None:
    assert run("delete", "/A", "--collection", "--recursive").code == 2


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130), (b"\n", 130)])
def test_on_a_terminal_it_asks_first(url: str, run: Commands, answer: bytes, code: int) -> None:
    run.put("/A:1", "/A:2")
    ended, asked = answered("delete", "/A", "--collection", "--server", url, answer=answer)
    assert ended == code
    assert b"Delete 2 entries of the collection /A?" in asked
    assert len(keys(run)) == (0 if code == 0 else 2)


def test_an_interrupted_deletion_reports_progress_and_continues_when_run_again(url: str, run: Commands) -> None:
    # So many that a server on a busy machine notices before they are all deleted.
    with connect(url) as store:
        store.batch_write([Write(Key(f"/A:{number:05}"), 1) for number in range(40_000)])
    with interrupted_matching():
        done = run("delete", "/A", "--collection", "--yes")
    assert done.code == 4
    left = len(keys(run))
    assert 0 < left < 40_000
    # The server may have deleted some more before it noticed.
    said = re.search(r"Deleted ([\d,]+) of 40,000 entries. Run the same command again", done.err)
    assert said is not None
    assert 0 < int(said[1].replace(",", "")) <= 40_000 - left
    assert run("delete", "/A", "--collection", "--yes", "--json").lines == [{"deleted": left, "passed_over": 0}]


def test_a_sigterm_in_the_middle_says_how_much_is_deleted(url: str, run: Commands) -> None:
    with connect(url) as store:
        store.batch_write([Write(Key(f"/A:{number:06}"), 1) for number in range(20_000)])
    line = [*COMMAND, "delete", "/A", "--collection", "--yes", "--server", url]
    with connect(url) as store, subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        while store.contains(Key("/A:000000")):
            pass
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
        code = process.wait()
    left = len(keys(run))
    if code == 0:
        # It was done before the signal arrived.
        assert left == 0
    else:
        assert code == 143
        assert "of 20,000 entries. Run the same command again" in said
        assert left < 20_000


@pytest.mark.long
def test_a_kill_in_the_middle_is_finished_by_the_next_run(url: str, run: Commands) -> None:
    with connect(url) as store:
        store.batch_write([Write(Key(f"/A:{number:06}"), 1) for number in range(20_000)])
    line = [*COMMAND, "delete", "/A", "--collection", "--yes", "--server", url]
    with connect(url) as store, subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        while store.contains(Key("/A:000000")):
            pass
        process.send_signal(signal.SIGKILL)
    left = len(keys(run))
    done = run("delete", "/A", "--collection", "--yes", "--json")
    assert json.loads(done.out) == {"deleted": left, "passed_over": 0}
    assert keys(run) == []
