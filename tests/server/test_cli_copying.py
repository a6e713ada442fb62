"""`datastore copy` and `move`: what is copied, deleted, kept and asked, and how an interrupted one continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from datastore.model.entries import Write
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, WriteResult
from datastore_client import RemoteDatastore, connect
from tests.support.commands import Commands, answered


def contents(run: Commands) -> dict[str, Any]:
    return {line["key"]: line["value"] for line in run("query", "/", "--recursive", "--json").lines}


def fill(url: str, count: int) -> None:
    with connect(url) as store:
        for result in store.batch_write([Write(Key(f"/A/b:{number:05}"), {"n": number}) for number in range(count)]):
            assert result.error is None


def test_one_entry_is_copied_or_moved_without_a_question(run: Commands) -> None:
    run("put", "/A", '{"n": 1}')
    run.put("/A/b")
    assert run("copy", "/A", "/B", "--json").lines == [{"copied": 1, "kept": 0, "failed": 0}]
    assert contents(run) == {"/A": {"n": 1}, "/A/b": 1, "/B": {"n": 1}}
    assert run("move", "/B", "/C:x/y", "--json").lines == [{"moved": 1, "kept": 0, "failed": 0}]
    assert contents(run) == {"/A": {"n": 1}, "/A/b": 1, "/C:x/y": {"n": 1}}


def test_everything_below_keeps_its_place_and_the_entry_itself_goes_too(run: Commands) -> None:
    run.put("/A", "/A/b", "/A:c", "/A/b/c:d", "/AB", "/B")
    done = run("copy", "/A", "/X/y", "--recursive", "--yes", "--json")
    assert done.lines == [{"copied": 4, "kept": 0, "failed": 0}]
    assert "Copying 4 entries from /A to /X/y." in done.err
    assert "Copied 4 entries" in done.err
    copied = {"/X/y", "/X/y/b", "/X/y:c", "/X/y/b/c:d"}
    assert contents(run).keys() == {"/A", "/A/b", "/A:c", "/A/b/c:d", "/AB", "/B"} | copied
    assert run("move", "/A", "/", "--recursive", "--yes").code == 2
    assert run("move", "/X/y", "/Z", "--recursive", "--yes", "--json").lines[0]["moved"] == 4
    assert contents(run).keys() == {"/A", "/A/b", "/A:c", "/A/b/c:d", "/AB", "/B", "/Z", "/Z/b", "/Z:c", "/Z/b/c:d"}


def test_expiries_are_kept(run: Commands) -> None:
    assert run("put", "/A", "1", "--expires-in", "1d").code == 0
    run("copy", "/A", "/B")
    one, other = (run("get", key, "--metadata").lines[0]["expire_time"] for key in ("/A", "/B"))
    assert one == other


def test_nothing_is_overwritten_unless_asked(run: Commands) -> None:
    run("put", "/A/1", '"new"')
    run("put", "/A/2", '"same"')
    run("put", "/A/3", '"free"')
    run("put", "/B/1", '"old"')
    run("put", "/B/2", '"same"')
    done = run("move", "/A", "/B", "--recursive", "--yes", "--json")
    assert done.code == 6
    assert done.lines == [{"moved": 2, "kept": 1, "failed": 0}]
    assert "1 entry not moved" in done.err
    assert "/A/1; --overwrite replaces those" in done.err
    assert contents(run) == {"/A/1": "new", "/B/1": "old", "/B/2": "same", "/B/3": "free"}
    assert run("move", "/A", "/B", "--recursive", "--overwrite", "--yes").code == 0
    assert contents(run) == {"/B/1": "new", "/B/2": "same", "/B/3": "free"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("copy", "/A", "/A"), "the same key"),
        (("copy", "/A", "/A/b", "--recursive", "--yes"), "one below the other"),
        (("copy", "/A", "/A:b", "--recursive", "--yes"), "one below the other"),
        (("move", "/A/b", "/A", "--recursive", "--yes"), "one below the other"),
        (("copy", "/", "/A", "--recursive", "--yes"), "one below the other"),
        (("copy", "/A", "/B", "--recursive"), "this would copy 1 entry from /A to /B"),
    ],
)
def test_what_makes_no_sense_or_was_not_confirmed_is_refused(
    run: Commands, arguments: tuple[str, ...], why: str
) -> None:
    run.put("/A/b")
    done = run(*arguments)
    assert done.code == 2
    assert why in done.err.replace("\n", " ")
    assert contents(run) == {"/A/b": 1}


def test_an_absent_entry_says_so_and_how_to_copy_those_below(run: Commands) -> None:
    run.put("/A:b")
    done = run("copy", "/A", "/B")
    assert done.code == 1
    assert "There is no entry /A." in done.err
    assert "datastore copy /A /B --recursive" in done.err
    assert contents(run) == {"/A:b": 1}


def test_a_new_key_that_is_too_long_fails_alone(run: Commands) -> None:
    long = f"/A/{'x' * 1000}"
    run.put("/A/b", long)
    done = run("move", "/A", f"/{'B' * 100}", "--recursive", "--yes", "--json")
    assert done.code == 3
    assert done.lines == [{"moved": 1, "kept": 0, "failed": 1}]
    assert "1 entry could not be moved:" in done.err
    assert contents(run).keys() == {long, f"/{'B' * 100}/b"}


def test_an_entry_that_is_written_between_copy_and_deletion_stays(
    url: str, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.put("/A/1", "/A/2")
    batch_write = RemoteDatastore.batch_write

    def disturbed(self: RemoteDatastore, writes: Sequence[Operation]) -> list[WriteResult]:
        if isinstance(writes[0], Delete):
            with connect(url) as other:
                other.put(Key("/A/2"), "later")
        results: list[WriteResult] = batch_write(self, writes)
        return results

    with monkeypatch.context() as patch:
        patch.setattr(RemoteDatastore, "batch_write", disturbed)
        done = run("move", "/A", "/B", "--recursive", "--yes", "--json")
    assert done.code == 6
    assert done.lines == [{"moved": 1, "kept": 1, "failed": 0}]
    assert contents(run) == {"/A/2": "later", "/B/1": 1, "/B/2": 1}
    assert run("move", "/A", "/B", "--recursive", "--yes", "--overwrite").code == 0
    assert contents(run) == {"/B/1": 1, "/B/2": "later"}


def test_an_interrupted_move_is_finished_by_the_next_run(
    url: str, run: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(url, 2000)
    batch_write = RemoteDatastore.batch_write
    calls: list[Any] = []

    def lost(self: RemoteDatastore, writes: Sequence[Operation]) -> list[WriteResult]:
        results: list[WriteResult] = batch_write(self, writes)
        calls.append(writes)
        if len(calls) == 3:
            # The answer of a copy is lost.
            raise UnavailableError("gone")
        return results

    with monkeypatch.context() as patch:
        patch.setattr(RemoteDatastore, "batch_write", lost)
        done = run("move", "/A", "/B", "--recursive", "--yes")
    assert done.code == 4
    assert "of 2,000 entries. Run the same command again for the rest." in done.err
    assert run("move", "/A", "/B", "--recursive", "--yes").code == 0
    assert contents(run) == {f"/B/b:{number:05}": {"n": number} for number in range(2000)}


def test_on_a_terminal_it_asks_first(url: str, run: Commands) -> None:
    run.put("/A/1", "/A/2")
    code, asked = answered("move", "/A", "/B", "--recursive", "--server", url, answer=b"n\n")
    assert code == 130
    assert b"Move 2 entries from /A to /B?" in asked
    assert contents(run).keys() == {"/A/1", "/A/2"}
