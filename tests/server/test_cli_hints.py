"""Hints on collections and fields that are probably mistyped, and orders in the notation of other languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from datastore.model.errors import InvalidQueryError, UnavailableError
from datastore_client import RemoteDatastore
from datastore_server.cli import hints
from datastore_server.cli.conditions import parse_order
from tests.support.commands import Commands, server_process

ENTRIES = {
    "/Airport:LSZS": '{"name": "Samedan", "country": "CH", "elevation": 5600, "at": {"lat": 46.5}}',
    "/Airport:LSZH": '{"name": "Zurich", "country": "CH", "elevation": 1416}',
    "/Air/port/deep": "1",
    "/Airline:LX": '{"name": "Swiss"}',
    "/Airport0:x": "0",
    "/Text:a": '"bare"',
    "/Quoted:a": """{"name": "'x'"}""",
}


@pytest.fixture
def run(commands: Commands) -> Commands:
    for key, value in ENTRIES.items():
        commands.put(key, value=value)
    return commands


@pytest.mark.parametrize("command", ["query", pytest.param("count", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["/airport"], "no entry of the collection /airport; did you mean /Airport?"),
        (["/Airprt"], "did you mean /Airport?"),
        (["/Airport00"], "did you mean /Airport0?"),
        (["/Nothing/like"], "no entry of the collection /Nothing/like"),
        (["/Zzz", "-r"], "no entry below /Zzz"),
        (["/Air"], "no entries itself; there are some below it: --recursive"),
        (["/Airport:LSZS"], "which is an entry: datastore get /Airport:LSZS"),
        (
            ["/Airport", "--where", "elevaton > 1"],
            "no entry of the collection /Airport has a field 'elevaton'; did you",
        ),
        (["/Airport", "--where", "at.lon > 1"], "did you mean at.lat?"),
        (["/Airport", "--where", "Country = CH"], "did you mean country?"),
        (["/Airport", "--where", "Country != CH"], "did you mean country?"),
        (["/Airport", "--where", "xyzzy = 1"], "has a field 'xyzzy'; there are "),
        (["/Airport:*"], "keys are not patterns; for a whole collection: datastore query /Airport"),
        (["/Airport/*"], "keys are not patterns; for a whole collection: datastore query /Airport"),
        (["/Text", "--where", "xyzzy = 1"], "has a field 'xyzzy'"),
        (["/", "-r", "--where", "xyzzy = 1"], "no entry below / has a field 'xyzzy'"),
        (
            ["/Airport", "--where", "country = 'CH'"],
            """quotes of 'CH' are part of the text; you may mean --where 'country = "CH"'""",
        ),
        (["/Airport", "--where", "country != 'CH'"], "the single quotes of 'CH' are part of the text"),
        (
            ["/Airport", "--where", "name > 1"],
            """no entry of the collection /Airport has a number in the field 'name', which holds, e.g., "Zurich\"""",
        ),
        (["/Airport", "--where", "elevation = high"], "has a text in the field 'elevation', which holds, e.g., 1416"),
        (["/Airport", "--where", "country = true"], "has true or false in the field 'country'"),
        (["/Airport", "--where", "at.lat < /Airport:M", "--where", "at.lat < a"], "has a text in the field 'at.lat'"),
        (
            ["/", "-r", "--where", 'elevation > {"$datetime": "2026-01-01T00:00:00Z"}'],
            "no entry below / has a time in the field 'elevation', which holds, e.g., 1416",
        ),
    ],
)
def test_a_query_without_results_has_a_hint_on_stderr(
    run: Commands, command: str, arguments: list[str], hint: str
) -> None:
    done = run(command, *arguments)
    assert done.code == 0
    assert hint in done.err
    assert "Hint" not in done.out


@pytest.mark.parametrize("command", ["get", "delete"])
def test_a_pattern_in_place_of_a_key_is_named_as_such(run: Commands, command: str) -> None:
    done = run(command, "/Airport:*")
    assert done.code == 1
    assert "There is no entry /Airport:*. Keys are not patterns" in done.err
    assert "  datastore query /Airport\n" in done.err or "  datastore delete /Airport --collection\n" in done.err


def test_an_export_of_nothing_has_a_hint(run: Commands, tmp_path: Path) -> None:
    done = run("export", "/Airprt", str(tmp_path / "out.jsonl"))
    assert done.code == 0
    assert "Hint: there is no entry below /Airprt; did you mean /Airport?" in done.err


def test_an_order_by_a_field_that_no_entry_has_gets_a_hint(run: Commands) -> None:
    done = run("query", "/Airport", "--order", "-elevaton", "--keys-only", "--json")
    assert len(done.lines) == 2
    assert "no entry of the collection /Airport has a field 'elevaton'; did you mean elevation?" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["/Airport"],
        ["/Airport", "--where", "country = DE"],
        ["/Airport", "--where", "nosuch = null"],
        ["/Airport", "--where", "elevation > 9000", "--order", "name"],
        ["/Airport", "--where", "at.lat > 0"],
        ["/Airport", "--where", "elevation = 1", "--where", "name = x"],
        ["/Quoted", "--where", "name = 'x'"],
        ["/Airport", "--where", "__key__ > /Airport:M", "--order", "__key__"],
        ["/nosuch", "--limit", "0"],
        ["/Airport", "--offset", "5"],
    ],
)
def test_correct_conditions_get_no_hint(run: Commands, arguments: list[str]) -> None:
    done = run("query", *arguments)
    assert (done.code, done.err) == (0, "")


def test_an_empty_store_is_said_to_be_empty() -> None:
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        assert Commands(ready["url"])("count", "/", "-r").err == "Hint: the store is empty\n"


def test_a_hint_that_cannot_be_found_is_left_out(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise UnavailableError("gone")

    monkeypatch.setattr(hints, "_first", failing)
    done = run("query", "/nosuch")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_looking_for_a_hint_has_a_time_limit(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(hints, "set_time_left", limits.append)
    run("query", "/nosuch")
    assert limits == [hints.HINT_TIME_S, None]


def test_the_time_limit_of_hints_begins_once(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(hints, "set_time_left", limits.append)
    assert run("query", "/Airport", "--where", "name > 1", "--where", "nosuch = 1").err.count("Hint: ") == 2
    assert limits == [hints.HINT_TIME_S, None]


def test_a_hint_shows_only_the_beginning_of_a_long_value(run: Commands) -> None:
    run.put("/Long:a", value='{"text": "' + "x" * 1000 + '"}')
    hint = run("query", "/Long", "--where", "text = 1").err
    assert hint.endswith("x" * (hints.SHOWN_CHARACTERS - 1) + "...\n")
    assert len(hint) < 200


def test_names_of_siblings_are_searched_up_to_a_limit(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean" in run("query", "/Tex").err
    monkeypatch.setattr(hints, "NAMES", 1)
    asked = []
    query = RemoteDatastore.query
    monkeypatch.setattr(RemoteDatastore, "query", lambda self, wanted: asked.append(wanted) or query(self, wanted))
    assert "did you mean" not in run("query", "/Tex").err
    # The query itself, its scope, what is below it, and one sibling.
    assert len(asked) == 4


# Orders


@pytest.mark.parametrize(
    ("order", "meant"),
    [
        ("elevation:desc", "write -elevation."),
        ("elevation:asc", "write elevation."),
        ("elevation DESC", "write -elevation."),
        ("elevation,descending", "write -elevation."),
        ("elevation=Ascending", "write elevation."),
        ("-elevation:desc", "write -elevation."),
        ("desc:elevation", "write -elevation."),
        ("desc(elevation)", "write -elevation."),
        ("elevation-", "write -elevation."),
        ("elevation+", "write elevation."),
        ("name,elevation", "write --order name --order elevation."),
        ("-name, elevation", "write --order -name --order elevation."),
    ],
)
def test_an_order_in_another_language_is_refused_with_what_to_write(order: str, meant: str) -> None:
    with pytest.raises(InvalidQueryError) as refused:
        parse_order(order)
    assert meant in str(refused.value)
    assert "double quotes" in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["/Airport", "--order", "name", "desc"], "write -name."),
        (["/Airport", "--order=name", "ASC"], "write name."),
        (["--order", "name", "descending", "/Airport"], "write -name."),
    ],
)
def test_an_order_without_its_quotes_is_refused_with_what_to_write(
    run: Commands, arguments: list[str], meant: str
) -> None:
    done = run("query", *arguments)
    assert done.code == 2
    assert meant in done.err


def test_a_key_behind_an_order_is_a_key(run: Commands) -> None:
    assert run("query", "--order", "name", "desc").code == 0


def test_surplus_arguments_are_named(run: Commands) -> None:
    assert "unexpected extra argument (/b)" in run("query", "/a", "/b", "--order", "name").err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["qurey", "/a"], "query"), (["exprot"], "export"), (["placement", "aply"], "apply")],
)
def test_a_mistyped_command_is_refused_with_a_similar_one(run: Commands, arguments: list[str], meant: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert re.search(rf"Did you mean '?{meant}'?\?", done.err)


@pytest.mark.parametrize("words", [["/Text:a", "null"], ["/Text:a", " null "]])
def test_putting_null_is_refused_and_says_how_to_delete(run: Commands, words: list[str]) -> None:
    done = run("put", *words)
    assert done.code == 2
    assert "datastore delete /Text:a" in done.err
    assert run("contains", "/Text:a").code == 0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://127.0.0.1:27420", "grpc://127.0.0.1:27420"),
        ("http://db.example:1/", "grpc://db.example:1"),
        ("127.0.0.1:27420", "grpc://127.0.0.1:27420"),
        ("https://:27420", "grpc://127.0.0.1:27420"),
        ("http://[::1]:1", "grpc://[::1]:1"),
        ("http://host/path", "grpc://127.0.0.1:7420"),
    ],
)
def test_the_example_of_a_server_url_keeps_host_and_port(run: Commands, given: str, meant: str) -> None:
    done = run("get", "/a", "--server", given)
    assert done.code == 2
    assert re.search(rf"e\.g\.\s+{re.escape(meant)}$", done.err.strip())


@pytest.mark.parametrize(
    ("order", "sign", "field"),
    [
        ("desc", "+", "desc"),
        ("-asc", "-", "asc"),
        ("+a", "+", "a"),
        ("description", "+", "description"),
        ("a:b", "+", "a:b"),
        ("a-b", "+", "a-b"),
        ('"elevation:desc"', "+", "elevation:desc"),
        ('-"elevation:desc"', "-", "elevation:desc"),
        ('"-a"', "+", "-a"),
        ('"a\\"b,c"', "+", 'a"b,c'),
    ],
)
def test_a_field_of_any_name_can_be_ordered_by(order: str, sign: str, field: str) -> None:
    parsed = parse_order(order)
    assert (parsed.op, parsed.field) == (sign, field)


@pytest.mark.parametrize("order", ["", "-", '"a', '""', '"a" x'])
def test_an_order_without_a_field_is_refused(order: str) -> None:
    with pytest.raises(InvalidQueryError):
        parse_order(order)
