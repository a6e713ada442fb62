"""The command `datastore` as a person uses it: real processes against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

import datastore
from datastore.model.key import Key
from datastore_server.cli import cli as datastore_command
from tests.support.commands import COMMAND, Done, run_here, server_process
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server on memory."""
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        yield ready["url"]


class Cli:
    """Runs commands against one server."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {"DATASTORE_SERVER": url}

    def __call__(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run a command in this process, or in its own where it reads standard input."""
        if stdin is not None:
            return self.process(*arguments, stdin=stdin)
        with patch.dict(os.environ, self.environment), chdir(self.directory):
            return run_here(*arguments)

    def process(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run a command in its own process."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=PATIENCE_S,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def out(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of a command that must succeed."""
        done = self(*arguments, stdin=stdin)
        assert done.code == 0, done.err
        return done.out

    def lines(self, *arguments: str) -> list[Any]:
        """The lines of JSON that a command prints."""
        return [json.loads(line) for line in self.out(*arguments).splitlines()]


@pytest.fixture
def cli(server: str, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["serve", "redis://127.0.0.1:1/0"], ""),
        (["serve", "--config", "server.toml"], "server.toml: server.store: "),
        (["serve", "--config", "server.toml", "--check-config"], "server.toml: server.store: "),
        (["serve", "--config", "composed.toml"], "composed.toml: store.fast: "),
        (["proxy", "shards.toml"], "shards.toml: shards[0].store: "),
        (["proxy", "tiers.toml"], "tiers.toml: proxy.tiers[0]: "),
        (["config", "show", "shards.toml"], "shards.toml: shards[0].store: "),
        (["placement", "plan", "shards.toml"], "shards.toml: shards[0].store: "),
    ],
)
def test_a_driver_that_is_missing_is_one_line_that_says_where_and_what_helps(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str], place: str
) -> None:
    monkeypatch.setattr("datastore.model.extras.find_spec", lambda name: None if name == "redis" else find_spec(name))
    url = "redis://127.0.0.1:1/0"
    shard = '[cluster]\nname = "c"\n[[shards]]\nname = "a"\nurl = "grpc://127.0.0.1:1"\n'
    for name, text in {
        "server.toml": f'[server]\nstore = "{url}"\n',
        "composed.toml": f'[store.fast]\nkind = "redis"\nurl = "{url}"\n[server]\nstore = "fast"\n',
        "shards.toml": f'{shard}store = "{url}"\n',
        "tiers.toml": f'{shard}[proxy]\ntiers = ["{url}"]\n',
    }.items():
        (cli.directory / name).write_text(text)
    done = cli(*arguments)
    assert done.err == (
        f"Error: CONFIG: {place}this needs redis, which is not installed; in the checkout: pip install '.[redis]'\n"
    )
    assert done.code == 3


# One entry


@pytest.mark.parametrize(
    "value",
    [
        '{"born":1815,"name":"Ada","x":1.0}',
        '"é\\n"',
        "0",
        "false",
        '""',
        "[]",
        "-5",
        '{"$bytes":"AAE="}',
        '{"$datetime":"2026-01-31T12:00:00Z"}',
        '{"$key":"/a/b"}',
        '{"$float":"NaN"}',
        '{"$map":{"$bytes":1}}',
    ],
)
def test_a_value_is_read_as_it_was_put(cli: Cli, value: str) -> None:
    cli.out("put", "/one:value", value)
    assert json.loads(cli.out("get", "/one:value")) == json.loads(value)


def test_a_value_may_come_from_standard_input(cli: Cli) -> None:
    cli.out("put", "/one:stdin", "-", stdin='{"a": [1, 2]}\n')
    assert cli.out("get", "/one:stdin") == '{"a":[1,2]}\n'


def test_absent_is_exit_code_1_and_nothing_on_stdout(cli: Cli) -> None:
    done = cli("get", "/one:absent")
    assert (done.code, done.out) == (1, "")
    assert "/one:absent" in done.err


def test_contains_says_it_in_words_and_by_its_exit_code(cli: Cli) -> None:
    cli.out("put", "/one:here", "1")
    assert cli("contains", "/one:here").out == "true\n"
    done = cli("contains", "/one:gone")
    assert (done.code, done.out) == (1, "false\n")


def test_a_second_delete_finds_nothing_and_says_so(cli: Cli) -> None:
    cli.out("put", "/one:dead", "1")
    cli.out("delete", "/one:dead")
    done = cli("delete", "/one:dead")
    assert (done.code, done.out) == (1, "")
    assert "/one:dead" in done.err


# Many entries


@pytest.fixture(scope="module")
def people(server: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [
        {"key": f"/Person:{name}", "value": {"name": name, "born": born, "land": land}}
        for name, born, land in [
            ("ada", 1815, "GB"),
            ("alan", 1912, "GB"),
            ("grace", 1906, "US"),
            ("niklaus", 1934, "CH"),
        ]
    ]
    rows.append({"key": "/Person:ada/letter", "value": "Dear Charles"})
    file = tmp_path_factory.mktemp("people") / "people.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Cli(server, file.parent).out("import", str(file))


def names(lines: list[Any]) -> list[str]:
    return [line["key"].removeprefix("/Person:") for line in lines]


@pytest.mark.usefixtures("people")
class TestQuery:
    def test_a_collection_is_returned_in_key_order(self, cli: Cli) -> None:
        lines = cli.lines("query", "/Person")
        assert names(lines) == ["ada", "alan", "grace", "niklaus"]
        assert lines[0] == {"key": "/Person:ada", "value": {"name": "ada", "born": 1815, "land": "GB"}}

    def test_recursive_adds_deeper_entries(self, cli: Cli) -> None:
        assert "ada/letter" in names(cli.lines("query", "/Person", "--recursive", "--keys-only"))

    def test_conditions_orders_offset_and_limit(self, cli: Cli) -> None:
        where = ["--where", "born >= 1900", "--where", "land != CH"]
        assert names(cli.lines("query", "/Person", *where, "--order", "-born")) == ["alan", "grace"]
        ordered = ["--order", "land", "--order", "-born", "--keys-only"]
        assert names(cli.lines("query", "/Person", *ordered, "--offset", "1", "--limit", "2")) == [
            "alan",
            "ada",
        ]

    def test_fields_leaves_out_the_others(self, cli: Cli) -> None:
        only = cli.lines("query", "/Person", "--fields", "name, born,missing", "--where", "land = CH")
        assert only == [{"key": "/Person:niklaus", "value": {"name": "niklaus", "born": 1934}}]
        exported = cli.lines("export", "/Person", "-", "--format", "jsonl", "--collection", "--fields", "name")
        assert exported[0] == {"key": "/Person:ada", "value": {"name": "ada"}}
        for bad, text in (("__key__", "always returned"), ("a,,b", "empty"), ("", "by commas"), ('"a', "as in CSV")):
            done = cli("query", "/Person", "--fields", bad)
            assert (done.code, text in done.err) == (2, True), done.err
        assert cli("query", "/Person", "--fields", "name", "--keys-only").code == 2

    def test_count_counts_what_query_finds(self, cli: Cli) -> None:
        assert cli.out("count", "/Person") == "4\n"
        assert cli.out("count", "/Person", "--where", "land = GB") == "2\n"
        assert cli.lines("count", "/Person", "-r", "--limit", "3", "--json") == [{"count": 3}]

    def test_finding_nothing_is_not_a_failure(self, cli: Cli) -> None:
        assert cli.out("query", "/Nobody") == ""
        assert cli.out("count", "/Nobody") == "0\n"

    def test_a_terminal_gets_a_table(self, cli: Cli) -> None:
        code, text = on_terminal(cli, "query", "/Person", "--where", "land = GB")
        assert code == 0
        lines = [line.split() for line in text.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()]
        assert lines[0] == ["key", "born", "land", "name"]
        assert lines[1] == ["/Person:ada", "1815", "GB", "ada"]
        assert "2 entries" in text

    def test_a_table_shows_metadata_beside_the_values(self, cli: Cli) -> None:
        code, text = on_terminal(cli, "query", "/Person", "--keys-only", "--metadata", "--order", "__version__")
        assert code == 0
        lines = [line.split() for line in re.sub("\x1b\\[[0-9;]*m", "", text).splitlines()]
        assert lines[0][:3] == ["key", "version", "create_time"]
        (entry,) = cli.lines("query", "/Person", "--metadata", "--order", "__version__", "--limit", "1")
        assert lines[1][:3] == [entry["key"], str(entry["version"]), entry["create_time"]]

    def test_a_terminal_gets_a_table_of_rows(self, cli: Cli) -> None:
        code, text = on_terminal(cli, "aggregate", "/Person", "--where", "land = GB", "--group-by", "land", "--count")
        assert code == 0
        lines = [line.split() for line in re.sub("\x1b\\[[0-9;]*m", "", text).splitlines()]
        assert ["land", "count"] in lines
        assert ["GB", "2"] in lines
        assert "1 row" in text

    def test_a_reader_that_closes_its_input_ends_the_query_quietly(self, cli: Cli) -> None:
        line = [*COMMAND, "query", "/Person", "-r"]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environment) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(PATIENCE_S) == 141

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--where", "born ~ 3"],
            ["--where", "born"],
            ["--where", " = 3"],
            ["--order", "-"],
        ],
    )
    def test_a_bad_query_is_refused_before_anything_is_asked(self, cli: Cli, arguments: list[str]) -> None:
        done = cli("query", "/Person", *arguments)
        assert done.code == 3
        assert "INVALID_QUERY" in done.err

    def test_a_negative_limit_is_a_usage_error(self, cli: Cli) -> None:
        assert cli("query", "/Person", "--limit", "-1").code == 2


def on_terminal(cli: Cli, *arguments: str) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal; its exit code and what it wrote."""
    ours, theirs = os.openpty()
    with subprocess.Popen([*COMMAND, *arguments], stdout=theirs, stderr=theirs, env=cli.environment) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:
            # On Linux this means the end of a terminal.
            pass
        os.close(ours)
        return process.wait(PATIENCE_S), written.decode()


# Import and export


def test_an_export_equals_what_was_imported(cli: Cli) -> None:
    rows = [{"key": f"/Rows/x:{n:05}", "value": {"n": n, "f": n / 2, "s": f"é{n}"}} for n in range(2500)]
    (cli.directory / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = cli("import", "in.jsonl", "--json")
    assert json.loads(done.out)["rows"] == 2500
    assert "2,500 rows" in done.err
    cli.out("export", "/Rows", "out.jsonl")
    text = (cli.directory / "out.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert not (cli.directory / "out.jsonl.partial").exists()
    assert cli.out("export", "/Rows", "-") == text
    # Without a key, everything; the rows of other tests are there too.
    assert set(text.splitlines()) <= set(cli.out("export", "-").splitlines())
    assert cli("export").code == cli("export", "/a", "b", "c").code == 2


def test_csv_becomes_typed_members_and_is_exported_again(cli: Cli) -> None:
    (cli.directory / "in.csv").write_text("id,n,f\nX,1,2.5\nY,2.5,\n")
    types = ["--type", "n=number", "--type", "f=float"]
    cli.out("import", "in.csv", "--key", "/Csv:{id}", *types)
    assert cli.lines("get", "/Csv:X") == [{"id": "X", "n": 1, "f": 2.5}]
    assert cli.lines("get", "/Csv:Y") == [{"id": "Y", "n": 2.5}]
    cli.out("export", "/Csv", "out.csv")
    before = cli.lines("query", "/Csv")
    cli.out("import", "out.csv", *types, "--type", "id=str")
    assert cli.lines("query", "/Csv") == before


def test_rows_come_from_standard_input(cli: Cli) -> None:
    cli.out("import", "-", stdin='{"key":"/Stdin:a","value":1}\n')
    assert cli.out("get", "/Stdin:a") == "1\n"


def test_the_last_row_of_a_key_wins(cli: Cli) -> None:
    (cli.directory / "in.jsonl").write_text("".join(f'{{"key":"/Same","value":{n}}}\n' for n in range(3000)))
    cli.out("import", "in.jsonl")
    assert cli.out("get", "/Same") == "2999\n"


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_a_row_whose_value_is_null_is_refused_and_deletes_nothing(cli: Cli, file_format: str) -> None:
    cli.out("put", "/Null:a", "1")
    row = '{"key":"/Null:a","value":null}'
    done = cli("import", "-", "--format", file_format, stdin=f"[{row}]" if file_format == "json" else row)
    assert done.code == 3 and "line 1: an entry cannot be null" in done.err
    assert cli.out("get", "/Null:a") == "1\n"


def test_a_bad_row_ends_the_import_which_says_how_to_continue(cli: Cli) -> None:
    rows = [f'{{"key":"/Bad:{n:04}","value":{n}}}\n' for n in range(1200)]
    (cli.directory / "in.jsonl").write_text("".join([*rows[:1100], "oops\n", *rows[1101:]]))
    done = cli("import", "in.jsonl")
    assert done.code == 3
    assert "line 1101" in done.err and "not valid JSON" in done.err
    assert "datastore import in.jsonl --skip 1100" in done.err
    assert cli.out("count", "/Bad") == "1100\n"
    (cli.directory / "in.jsonl").write_text("".join(rows))
    cli.out("import", "in.jsonl", "--skip", "1100")
    assert cli.out("count", "/Bad") == "1200\n"


def test_a_row_that_the_store_refuses_is_named_by_its_line(cli: Cli) -> None:
    deep = "[" * 40 + "]" * 40
    (cli.directory / "in.jsonl").write_text(f'{{"key":"/Ref:a","value":1}}\n{{"key":"/Ref:b","value":{deep}}}\n')
    done = cli("import", "in.jsonl")
    assert done.code == 3
    assert "line 2" in done.err and "--skip 1" in done.err
    assert cli.out("count", "/Ref") == "1\n"


@pytest.mark.long
def test_ctrl_c_in_the_middle_of_an_import_leaves_it_resumable(cli: Cli) -> None:
    rows = [f'{{"key":"/Int:{n:05}","value":{n}}}\n' for n in range(6000)]
    line = [*COMMAND, "import", "-"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, text=True, env=cli.environment, **pipes) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.writelines(rows[:3000])
        process.stdin.flush()
        while int(cli.out("count", "/Int")) < 2000:
            pass
        process.send_signal(signal.SIGINT)
        reported = process.stderr.read()
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 130
    assert "Interrupted" in reported
    skip = int(reported.split("--skip ")[1].split()[0])
    assert 2000 <= skip <= 3000
    stored = cli.lines("query", "/Int")
    assert [line["value"] for line in stored[:skip]] == list(range(skip))
    cli.out("import", "-", "--skip", str(skip), stdin="".join(rows))
    assert cli.out("count", "/Int") == "6000\n"


def test_export_resume_without_a_partial_file_says_so(cli: Cli) -> None:
    done = cli("export", "/Res", "none.jsonl", "--resume")
    assert done.code == 3
    assert "none.jsonl.partial" in done.err


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["import", "x.txt"], "--format"),
        (["import", "x.csv", "--type", "a=integer"], "int, float"),
        (["import", "x.jsonl", "--type", "a=int"], "CSV"),
        (["export", "/a", "x.csv", "--resume"], "JSON Lines"),
    ],
)
def test_wrong_options_are_usage_errors(cli: Cli, arguments: list[str], reported: str) -> None:
    for name in ("x.txt", "x.csv", "x.jsonl"):
        (cli.directory / name).touch()
    done = cli(*arguments)
    assert done.code == 2
    assert reported in done.err


def test_a_file_that_is_not_there_is_named(cli: Cli) -> None:
    done = cli("import", "nowhere.jsonl")
    assert done.code == 2
    assert "nowhere.jsonl" in done.err and "does not exist" in done.err


# Explanations


def test_explain_prints_how_a_query_was_evaluated_instead_of_its_results(cli: Cli, server: str) -> None:
    for number in range(5):
        cli.out("put", f"/Explained:{number}", f'{{"n": {number}}}')
    done = cli("query", "/Explained", "--where", "n > 2", "--order", "-n", "--limit", "1", "--explain")
    first, *rest = [re.sub(r"[0-9.]+ ms", "T ms", line) for line in done.out.splitlines()]
    assert (done.code, done.err) == (0, "1 entry\n")
    assert first == f"remote ({server}): scanned 5, returned 1, T ms"
    assert rest == [
        "  applied: filter n > 2, order -n, limit 1",
        "  dict (in memory): scanned 5, returned 5, T ms",
        "    applied after reading: filter n > 2, order -n, limit 1",
        "    left after that: 1",
    ]


def test_explain_is_machine_readable_with_json(cli: Cli) -> None:
    cli.out("put", "/Explained:1", "1")
    (found,) = cli.lines("query", "/Explained", "--keys-only", "--explain", "--json")
    assert found["parts"] == [{"text": "keys only", "support": "exact"}]
    (child,) = found["children"]
    assert (child["kind"], child["scanned"], child["note"], child["children"]) == ("dict", child["returned"], "", [])


# Status and help


def test_status_shows_the_store(cli: Cli, server: str) -> None:
    (status,) = cli.lines("status", "--json")
    assert (status["role"], status["address"], status["health"]) == ("node", server, "serving")
    assert status["durability"] == "memory"
    assert (status["entries"] == int(cli.out("count", "/", "-r")), status["bytes"]) == (True, None)
    assert server in cli.out("status")


COMMANDS = [
    *("serve", "proxy", "cluster", "get", "put", "delete", "contains", "query", "count", "import", "export"),
    *("status", "list"),
]


def test_help_lists_every_command_and_the_exit_codes(cli: Cli) -> None:
    text = cli.out("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in text
    for code in ("0", "1", "2", "3", "4", "5", "6", "130"):
        assert f"  {code}  " in text
    assert "bash_source" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_s_help_has_an_example(command: str) -> None:
    text = CliRunner().invoke(datastore_command, [command, "--help"]).output
    assert f"  datastore {command}" in text


def test_the_shell_can_complete_commands(cli: Cli) -> None:
    cli.environment |= {
        "_DATASTORE_COMPLETE": "bash_complete",
        "COMP_WORDS": "datastore co",
        "COMP_CWORD": "1",
    }
    words = [line.split(",")[1] for line in cli.process().out.splitlines()]
    assert words == ["copy", "contains", "count", "compact", "config"]


def test_options_may_come_before_or_after_the_command_and_the_last_one_counts(cli: Cli, server: str) -> None:
    cli.environment["DATASTORE_SERVER"] = "grpc://127.0.0.1:1"
    assert cli.out("--server", server, "count", "/Nobody") == "0\n"
    assert cli.out("--server", "grpc://127.0.0.1:2", "count", "/Nobody", "--server", server) == "0\n"
    assert cli.out("--server", server, "--json", "count", "/Nobody") == '{"count":0}\n'


# Bad input


@pytest.mark.parametrize("command", ["get", "delete", "contains", "query", "count"])
def test_a_store_s_url_in_place_of_a_key_is_refused_with_what_to_do(cli: Cli, command: str) -> None:
    done = cli(command, "lmdb:/x")
    assert done.code == 2
    assert "datastore serve lmdb:/x" in done.err


def test_a_store_s_url_in_place_of_a_command_is_refused_with_what_to_do(cli: Cli) -> None:
    done = cli("lmdb:///x")
    assert done.code == 2
    assert "datastore serve lmdb:///x" in done.err


def test_a_server_that_is_not_there_is_named_with_what_to_do(cli: Cli) -> None:
    url = f"grpc://127.0.0.1:{free_port()}"
    done = cli("get", "/a", "--server", url)
    assert done.code == 4
    assert "UNAVAILABLE" in done.err
    assert url in done.err and "datastore serve" in done.err


@pytest.mark.parametrize("url", ["http://x:1", "127.0.0.1:7420", "grpc://x:y", "grpc://x:0"])
def test_an_invalid_server_url_is_a_usage_error(cli: Cli, url: str) -> None:
    done = cli("get", "/a", "--server", url)
    assert done.code == 2
    assert "grpc://HOST:PORT" in done.err


def test_a_port_in_place_of_the_server_is_refused_with_its_url(cli: Cli) -> None:
    done = cli("get", "/a", "--server", "17650")
    assert done.code == 2
    assert "grpc://127.0.0.1:17650" in done.err


@pytest.mark.parametrize("key", ["/\x01", "/" + "a" * 1024])
def test_a_bad_key_is_refused(cli: Cli, key: str) -> None:
    done = cli("get", key)
    assert done.code == 3
    assert "INVALID_KEY" in done.err


@pytest.mark.parametrize(
    ("value", "reported"), [("hello", "double quotes"), ('{"$bytes": 3}', "$bytes"), ("NaN", "$float")]
)
def test_invalid_json_is_refused_with_the_valid_notation(cli: Cli, value: str, reported: str) -> None:
    done = cli("put", "/a", value)
    assert done.code == 3
    assert reported in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "reported"),
    [
        ([], 2, "lmdb:///DIRECTORY"),
        (["lmbd:x"], 3, "did you mean lmdb:?"),
        (["redis://:s3cret@x/y"], 3, "'redis://***@x/y': expected redis://HOST:PORT/DATABASE"),
        (["memcached://x", "--shard", "a"], 3, "--state-dir"),
        (["memory:", "--state-dir", "x"], 3, "holds its node's records itself: leave state_dir out"),
        (["redis://x", "--durability", "sync"], 3, "redis://x: durability is for lmdb: and file:"),
        (["/var/data"], 3, "lmdb:/var/data"),
        (["memory:", "--listen", "nonsense:port"], 3, "HOST:PORT"),
        (["memory:", "--listen", "17650"], 3, "127.0.0.1:17650"),
        (["lmdb:x?durability=async", "--durability", "sync"], 3, "leave one of them out"),
        (["lmdb:x?durable=yes"], 3, "unknown option 'durable'"),
        (["memory:", "--listen", "0.0.0.0:0"], 3, "--insecure"),
        (["--config", "nowhere.toml", "--shard", "a"], 3, "nowhere.toml"),
        (["--config", "x.toml"], 3, "x.toml: cannot read"),
        (["memory:", "--config", "x.toml"], 2, "leave out STORE and --cluster"),
    ],
)
def test_serve_refuses_what_it_cannot_serve(cli: Cli, arguments: list[str], code: int, reported: str) -> None:
    done = cli("serve", *arguments)
    assert done.code == code
    assert reported in done.err
    assert "Traceback" not in done.err


def test_a_port_in_use_is_an_error_that_names_it(cli: Cli, server: str) -> None:
    address = server.removeprefix("grpc://")
    done = cli.process("serve", "memory:", "--listen", address)
    assert done.code == 3
    assert address in done.err and "in use" in done.err


def test_a_data_directory_in_use_is_an_error_that_names_it(cli: Cli) -> None:
    data = cli.directory / "data"
    with server_process("serve", f"lmdb://{data}", "--listen", "127.0.0.1:0"):
        done = cli.process("serve", f"lmdb://{data}", "--listen", "127.0.0.1:0")
    assert done.code == 5
    assert "STORE_LOCKED" in done.err and str(data) in done.err


@pytest.mark.long
def test_data_of_another_shard_are_refused(cli: Cli) -> None:
    data = f"lmdb://{cli.directory / 'data'}"
    with server_process("serve", data, "--listen", "127.0.0.1:0", "--cluster", "c", "--shard", "a"):
        pass
    done = cli.process("serve", data, "--listen", "127.0.0.1:0", "--cluster", "c", "--shard", "b")
    assert done.code == 5
    assert "STORE_FORMAT" in done.err


# Servers


def test_entries_in_lmdb_survive_a_restart(cli: Cli) -> None:
    store = f"lmdb://{cli.directory / 'data'}"
    with server_process("serve", store, "--listen", "127.0.0.1:0") as ready:
        assert ready["store"] == store
        cli.out("put", "/a", "1", "--server", ready["url"])
    with server_process("serve", store, "--listen", "127.0.0.1:0") as ready:
        assert cli.out("get", "/a", "--server", ready["url"]) == "1\n"


@pytest.mark.long
def test_a_percent_escape_means_the_same_directory_as_in_open(cli: Cli) -> None:
    store = f"lmdb://{cli.directory}/a%20b?durability=async"
    with server_process("serve", store, "--listen", "127.0.0.1:0") as ready:
        cli.out("put", "/a", "1", "--server", ready["url"])
        (status,) = cli.lines("status", "--json", "--server", ready["url"])
        assert status["durability"] == "async"
    with datastore.open(store) as opened:
        assert opened.contains(Key("/a"))


def test_a_server_stops_when_its_standard_input_ends() -> None:
    line = [*COMMAND, "serve", "memory:", "--listen", "127.0.0.1:0", "--stop-with-stdin"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert b"Serving memory: on grpc://127.0.0.1:" in process.stdout.readline()
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("name", datastore_command.list_commands(None))
def test_the_help_of_every_command_is_laid_out_for_reading(name: str) -> None:
    shown = CliRunner().invoke(datastore_command, [name, "--help"])
    assert shown.exit_code == 0
    assert "\\b" not in shown.output
