"""`datastore list`: which collections there are, and how much each holds."""

from __future__ import annotations

import pytest

from datastore import wire
from datastore.model.key import Key
from datastore_server.cli import listing
from datastore_server.cli.listing import Listing
from tests.support.commands import Commands

KEYS = [
    "/greeting",
    "/Person:ada",
    "/Person:ada:maiden",
    "/Person:ada/letter",
    "/Person:ada/letter/page:1",
    "/Person/x",
    "/Person/x/y",
    "/Person/T:1",
    "/Person0:x",
    "/deep/er/est",
    "/:untyped",
]


@pytest.fixture
def run(commands: Commands) -> Commands:
    commands.put(*KEYS, value='"é"')
    return commands


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("/", {"/": (2, 0), "/Person": (3, 4), "/Person0": (1, 0), "/deep": (0, 1)}),
        ("/Person", {"/Person": (3, 0), "/Person/T": (1, 0), "/Person/x": (1, 0), "/Person:ada": (1, 1)}),
        ("/Person:ada", {"/Person:ada": (1, 1), "/Person:ada/letter": (0, 1)}),
        ("/deep", {"/deep/er": (1, 0)}),
        ("/greeting", {}),
    ],
)
def test_collections_are_listed_one_level_deep(run: Commands, key: str, held: dict[str, tuple[int, int]]) -> None:
    done = run("list", key, "--json")
    assert done.code == 0
    assert {row["collection"]: (row["entries"], row["below"]) for row in done.lines} == held
    assert [row["collection"] for row in done.lines] == sorted(held)
    for row in done.lines:
        assert run("count", row["collection"]).out == f"{row['entries']}\n"
    below = sum(row["entries"] + row["below"] for row in done.lines)
    assert run("count", key, "-r").out == f"{below}\n"
    value_bytes = len(wire.encode_value("é").data)
    texts = [text for text in KEYS if text.startswith((key.rstrip("/") + "/", key + ":"))]
    assert sum(row["bytes"] for row in done.lines) == sum(len(text) + value_bytes for text in texts)


def test_without_a_key_the_whole_store_is_listed_in_a_table(run: Commands) -> None:
    lines = [line.split() for line in run("list").out.splitlines()]
    assert lines[0] == ["collection", "entries", "below", "bytes"]
    assert [line[0] for line in lines[2:]] == ["/", "/Person", "/Person0", "/deep"]


def test_an_empty_collection_gets_a_hint(run: Commands) -> None:
    done = run("list", "/Persn")
    assert (done.code, done.out) == (0, "")
    assert "did you mean /Person?" in done.err


@pytest.mark.parametrize(("number", "others"), [(2, 0), (3, 0), (5, 2)])
def test_collections_past_the_limit_are_summed_up(monkeypatch: pytest.MonkeyPatch, number: int, others: int) -> None:
    monkeypatch.setattr(listing, "COLLECTIONS", 3)
    held = Listing(Key("/"))
    for index in range(number):
        held.add(Key(f"/T{index}:x"), 10)
    assert len(held.rows) == min(number, 3) + (others > 0)
    if others:
        assert held.rows[listing.OTHERS].below == others
