"""`datastore patch`: what is changed, printed and refused."""

from __future__ import annotations

import pytest

from tests.support.commands import Commands

KEY = "/Airport:GVA"


@pytest.fixture
def run(commands: Commands) -> Commands:
    commands("delete", "/", "--recursive", "--yes")
    return commands


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
        ((), 3, "at least one change"),
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
