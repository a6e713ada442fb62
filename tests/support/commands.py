"""The command `datastore` run inside the test, against a server of its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from datastore_server.cli import cli
from datastore_server.cli.output import run

COMMAND = [sys.executable, "-m", "datastore_server.cli"]


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """Runs commands against one server; faster than a process each."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        code = run(
            lambda: cli.main(["--server", self.url, *arguments], prog_name="datastore", standalone_mode=False) or 0
        )
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)

    def put(self, *keys: str, value: str = "1") -> None:
        """Store one value under some keys."""
        for key in keys:
            assert self("put", key, value).code == 0


@contextmanager
def server_process(*arguments: str) -> Iterator[dict[str, Any]]:
    """A server in its own process; what it prints when it is ready. It must stop cleanly."""
    line = [*COMMAND, *arguments, "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait() == 0
