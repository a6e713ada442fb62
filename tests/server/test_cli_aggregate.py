"""`datastore aggregate`."""

from __future__ import annotations

import pytest

from datastore_server.cli.output import ExitCode
from tests.support.commands import Commands


@pytest.fixture
def airports(commands: Commands) -> Commands:
    for code, value in {
        "LSZS": '{"country": "CH", "elevation": 1707, "geo": {"lat": 46.5}}',
        "LSZH": '{"country": "CH", "elevation": 432}',
        "LOWI": '{"country": "AT", "elevation": 581}',
        "XXXX": '{"elevation": null}',
    }.items():
        commands.put(f"/Airport:{code}", value=value)
    commands.put("/Airport:LSZS/Runway:03", value='{"elevation": 1}')
    return commands


def test_rows_are_lines_of_json(airports: Commands) -> None:
    done = airports("aggregate", "/Airport", "--group-by", "country", "--count", "--avg", "elevation")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        {"country": None, "count": 1, "avg_elevation": None},
        {"country": "AT", "count": 1, "avg_elevation": 581.0},
        {"country": "CH", "count": 2, "avg_elevation": 1069.5},
    ]


def test_rows_are_sorted_and_limited(airports: Commands) -> None:
    done = airports("aggregate", "/Airport", "--group-by", "country", "--count", "--order", "-count", "--limit", "1")
    assert done.lines == [{"country": "CH", "count": 2}]


def test_every_function_and_condition(airports: Commands) -> None:
    arguments = ["--sum", "elevation", "--min", "elevation", "--max", "__key__", "--max", "geo.lat"]
    done = airports("aggregate", "/Airport", "--where", "country = CH", *arguments)
    assert done.lines == [
        {
            "sum_elevation": 2139,
            "min_elevation": 432,
            "max___key__": {"$key": "/Airport:LSZS"},
            "max_geo.lat": 46.5,
        }
    ]
    assert airports("aggregate", "/Airport", "-r", "--count").lines == [{"count": 5}]


def test_nothing_to_compute_is_a_wrong_command_line(commands: Commands) -> None:
    done = commands("aggregate", "/Airport", "--group-by", "country")
    assert done.code == ExitCode.USAGE
    assert "at least one of --count, --sum, --avg, --min and --max" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--order", "elevation"], "cannot be sorted by 'elevation'; they have 'country', 'count'"),
        (["--group-by", "country"], "'country' would be in each row twice"),
        (["--where", "country ="], "INVALID_QUERY"),
    ],
)
def test_bad_input_is_refused_in_plain_words(commands: Commands, arguments: list[str], text: str) -> None:
    done = commands("aggregate", "/Airport", "--group-by", "country", "--count", *arguments)
    assert done.code == ExitCode.REFUSED
    assert text in done.err


def test_an_order_with_a_direction_in_words_says_what_to_write(commands: Commands) -> None:
    done = commands("aggregate", "/Airport", "--group-by", "country", "--count", "--order", "count", "desc")
    assert done.code == ExitCode.USAGE
    assert "-count" in done.err


def test_no_rows_come_with_a_hint(commands: Commands) -> None:
    done = commands("aggregate", "/Nowhere", "--group-by", "country", "--count")
    assert (done.code, done.out) == (0, "")
    assert "Hint" in done.err


@pytest.mark.parametrize("options", [("--avg", "elevatoin"), ("--group-by", "elevatoin", "--count")])
def test_a_field_that_no_entry_has_comes_with_a_hint(airports: Commands, options: tuple[str, ...]) -> None:
    done = airports("aggregate", "/Airport", *options)
    assert done.code == 0
    assert len(done.lines) == 1
    assert "has a field 'elevatoin'; did you mean elevation?" in done.err


def test_the_whole_value_of_no_entry_comes_with_a_hint(commands: Commands) -> None:
    done = commands("aggregate", "/Nowhere", "--max", "__value__", "--min", "__key__")
    assert done.lines == [{"min___key__": None, "max___value__": None}]
    assert "Hint: there is no entry of the collection /Nowhere" in done.err


def test_a_field_that_no_selected_entry_has_needs_no_hint(airports: Commands) -> None:
    done = airports("aggregate", "/Airport", "--where", "country = AT", "--avg", "geo.lat")
    assert (done.lines, done.err) == ([{"avg_geo.lat": None}], "")
