"""`datastore patch`: what is changed, printed and refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore_client import connect
from tests.support.commands import Commands, interrupted_matching

KEY = "/Airport:GVA"


def test_members_are_changed_and_the_new_value_is_printed(run: Commands) -> None:
    run("put", KEY, '{"elevation": 1, "views": 2, "tags": ["a"], "draft": true}')
    done = run(
        *("patch", KEY, "--set", "elevation=430", "--set", 'city.name="Geneva"', "--increment", "views=0.5"),
        *("--append", 'tags="b"', "--append", "tags=[1]", "--remove", "draft", "--remove", "nothing"),
    )
    assert done.code == 0
    expected = {"elevation": 430, "views": 2.5, "tags": ["a", "b", [1]], "city": {"name": "Geneva"}}
    assert done.lines == [expected]
    assert run("get", KEY).lines == [expected]


def test_an_absent_entry_is_created_only_if_asked(run: Commands) -> None:
    done = run("patch", KEY, "--increment", "views=1")
    assert done.code != 0
    assert done.err.startswith("Error: CONDITION_FAILED: ")
    assert run("patch", KEY, "--increment", "views=1", "--create").lines == [{"views": 1}]
    assert run("patch", KEY, "--increment", "views=1", "--create", "--json").lines == [{"views": 2}]
    assert run("patch", KEY, "--increment", "views=1", "--if-version", "1").code != 0
    assert run("get", KEY).lines == [{"views": 2}]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ((), 2, "at least one of --set, --increment"),
        (("--collection", "--yes"), 2, "at least one of --set, --increment"),
        (("--set", "n"), 2, "not PATH=JSON"),
        (("--set", "=1"), 2, "not PATH=JSON"),
        (("--set", "n=text"), 2, "a text needs double quotes, e.g. n='\"text\"'\n"),
        (("--set", "n=99999999999999999999"), 2, "has more than 64 bits\n"),
        (("--set", "n=1", "--set", "n=2"), 2, "changes 'n' twice"),
        (("--set", "n=1", "--remove", "n"), 3, "changes 'n' twice"),
        (("--set", "n=1", "--remove", "n.below"), 3, "changes 'n' twice"),
        (("--increment", 'text="1"'), 3, "can be incremented by a number"),
        (("--increment", "text=1"), 3, "text is a str, which cannot be incremented"),
        (("--append", "text=1"), 3, "text is a str, to which nothing can be appended"),
        (("--set", "list.0=1"), 3, "leads into list, which is a list, not a map"),
        (("--set", "n=1", "--if-version", "0"), 2, "--if-version"),
    ],
)
def test_a_bad_patch_says_what_is_wrong_and_changes_nothing(
    run: Commands, arguments: tuple[str, ...], code: int, why: str
) -> None:
    before = {"text": "x", "list": [1]}
    run("put", KEY, '{"text": "x", "list": [1]}')
    done = run("patch", KEY, *arguments)
    assert (done.code, done.out) == (code, "")
    assert why in done.err
    assert run("get", KEY).lines == [before]


# Many


def fill(url: str, count: int) -> None:
    with connect(url) as store:
        store.batch_write([Write(Key(f"/A:{number:05}"), {"n": number % 2, "views": 0}) for number in range(count)])


def views(run: Commands) -> Counter[int]:
    return Counter(line["value"]["views"] for line in run("query", "/A", "--json").lines)


@pytest.mark.parametrize(
    ("options", "number"),
    [(["--collection"], 10), (["--recursive"], 10), (["--where", "n = 1"], 5), (["-r", "--where", "n = 7"], 0)],
)
def test_many_are_patched_as_query_selects_them(url: str, run: Commands, options: list[str], number: int) -> None:
    fill(url, 10)
    done = run("patch", "/A", *options, "--increment", "views=1", "--yes", "--json")
    assert done.code == 0
    if number:
        assert f"Patching {number} entries" in done.err
        assert f"Patched {number} entries" in done.err
    assert done.lines == [{"patched": number, "passed_over": 0, "failed": 0}]
    assert views(run)[1] == number


def test_entries_that_a_patch_does_not_fit_are_named(run: Commands) -> None:
    run.put("/A:1", "/A:2", value='{"views": "many"}')
    run.put("/A:3", value="{}")
    done = run("patch", "/A", "--collection", "--increment", "views=1", "--yes", "--json")
    assert done.code == 3
    assert done.lines == [{"patched": 1, "passed_over": 0, "failed": 2}]
    assert "2 entries could not be patched:\n  /A:1: INVALID_VALUE: " in done.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--collection",), "this would patch 1 entry of the collection /A"),
        (("--collection", "--recursive", "--yes"), "exclude each other"),
        (("--where", "n = 1", "--create", "--yes"), "--create and --if-version are for one KEY"),
        (("--collection", "--if-version", "3", "--yes"), "--create and --if-version are for one KEY"),
        (("--resume", "file"), "--resume is for many entries"),
    ],
)
def test_options_that_do_not_fit_many_are_refused(run: Commands, options: tuple[str, ...], why: str) -> None:
    run.put("/A:1", value='{"n": 1}')
    done = run("patch", "/A", *options, "--set", "n=2")
    assert done.code == 2
    assert why in done.err
    assert run("get", "/A:1").lines == [{"n": 1}]


def test_an_interrupted_patch_continues_by_its_file_and_patches_nothing_twice(
    url: str, run: Commands, tmp_path: Path
) -> None:
    fill(url, 5000)
    file = tmp_path / "patch.token"
    line = ("patch", "/A", "--collection", "--increment", "views=1", "--yes", "--resume", str(file))
    with interrupted_matching():
        done = run(*line)
    assert done.code == 4
    assert "of 5,000 entries. Run the same command again to patch the rest." in done.err
    assert file.exists()
    assert run("patch", "/B", *line[2:]).code == 3
    assert run(*line).code == 0
    assert views(run) == {1: 5000}
    assert not file.exists()
