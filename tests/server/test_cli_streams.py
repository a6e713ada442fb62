"""The command's standard streams in every locale, closed or full, and Ctrl-C while it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "datastore"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    line = [*COMMAND, "serve", "memory:", "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert shell(url, "$D put /Closed:a '{\"a\": 1}'").returncode == 0
        yield url
        process.terminate()


def shell(server: str, line: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which $D is the command."""
    variables = os.environ | {"DATASTORE_SERVER": server, "D": " ".join(COMMAND)} | environment
    return subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, check=False, env=variables)


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.long)])
def test_output_and_input_are_utf_8_in_every_locale(server: str, encoding: str) -> None:
    locale = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    value = '{"name":"é €"}\n'.encode()
    assert shell(server, "$D put /Locale:a -", value, **locale).returncode == 0
    for line in ("$D get /Locale:a", "$D query /Locale", "$D export /Locale - --format jsonl"):
        done = shell(server, line, **locale)
        assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0)
        assert '"é €"'.encode() in done.stdout
    absent = shell(server, "$D get /Locale:é", **(locale | {"LC_ALL": "C.UTF-8"}))
    assert "/Locale:é".encode() in absent.stderr


PRINTING = {
    ">&-": ["get /Closed:a", "query /Closed", "export /Closed - --format csv", "status", "--help", "serve memory: "],
    ">/dev/full": ["get /Closed:a", "export /Closed - --format jsonl", "status", "--version"],
    "1</dev/null": ["contains /Closed:a", "count /Closed"],
}


#: A command's own output, its framework's, a server's, and each way to lose an output.
USUAL = {
    (">&-", "--help"),
    (">&-", "serve memory: "),
    (">/dev/full", "export /Closed - --format jsonl"),
    ("1</dev/null", "count /Closed"),
}


@pytest.mark.parametrize(
    ("redirection", "command"),
    [
        pytest.param(to, command, marks=() if (to, command) in USUAL else pytest.mark.long)
        for to, commands in PRINTING.items()
        for command in commands
    ],
)
def test_output_that_cannot_be_written_is_a_plain_error(server: str, command: str, redirection: str) -> None:
    listen = "--listen 127.0.0.1:0" if command.startswith("serve") else ""
    done = shell(server, f"$D {command} {listen} {redirection}")
    assert done.returncode == 5, done.stderr
    *_, last = done.stderr.decode().splitlines()
    assert last.startswith("Error: standard output: ")
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.long
def test_a_command_that_prints_nothing_needs_no_output(server: str) -> None:
    done = shell(server, "$D put /Closed:b 1 >&- <&- && $D get /Closed:b")
    assert (done.returncode, done.stdout) == (0, b"1\n")


@pytest.mark.parametrize("command", ["put /Closed:c -", "import -", "import - --format csv"])
def test_closed_input_is_a_plain_error(server: str, command: str) -> None:
    done = shell(server, f"$D {command} <&-")
    assert done.returncode == 5
    *before, last = done.stderr.decode().splitlines()
    assert last == "Error: standard input: closed"
    assert before in ([], ["Nothing was stored. To try again, run the same command."])


@pytest.mark.long
def test_closed_stderr_changes_nothing(server: str) -> None:
    rows = b'{"key":"/Closed:d","value":1}\n'
    done = shell(server, "$D import - 2>&- && $D get /Closed:d 2>&-; $D get /Closed:none 2>&-; $D nonsense 2>&-", rows)
    assert (done.returncode, done.stdout) == (2, b"1\n")


def test_input_that_is_not_utf_8_is_refused(server: str) -> None:
    done = shell(server, "$D put /Closed:e -", b'"\xe9"')
    assert done.returncode == 3
    assert "not in UTF-8" in done.stderr.decode()


INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
sys.argv = ["datastore", "get", "/a", "--server", "grpc://127.0.0.1:1"]
from datastore_server.start import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["datastore", "click", "datastore_server.cli.entries", "grpc"],
)
def test_ctrl_c_while_the_command_loads_prints_no_traceback(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module)], capture_output=True, check=False, text=True
    )
    assert done.returncode in (-signal.SIGINT, 130)
    assert done.stderr in ("", "Interrupted.\n", "\nInterrupted.\n")


def test_a_process_that_ignores_ctrl_c_keeps_ignoring_it() -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED.format(module="click")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 4


def test_the_installed_script_is_the_one_that_loads_nothing_first() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"datastore": "datastore_server.start:main"}
    code = "import datastore_server.start, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert not {"datastore", "click", "grpc"} & set(loaded)
