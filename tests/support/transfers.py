"""The command `datastore` with files: in this process with its streams as bytes, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from datastore_server.cli import cli, output

__all__ = ["COMMAND", "Done", "Transfers", "run_here"]

COMMAND = [sys.executable, "-m", "datastore"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run_here(*arguments: str) -> Done:
    """Run a command in this process, as the script would, but for the standard streams."""
    with (
        TextIOWrapper(BytesIO(), "utf-8", newline="") as out,
        TextIOWrapper(BytesIO(), "utf-8", newline="") as err,
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["datastore", *arguments]),
    ):
        code = output.run(lambda: cli.main(list(arguments), prog_name="datastore", standalone_mode=False) or 0)
        return Done(code, _written(out), _written(err))


class Transfers:
    """Runs commands against one server, with paths in one directory."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory

    def __call__(self, *arguments: str) -> Done:
        """Run a command in this process."""
        with patch.dict(os.environ, {"DATASTORE_SERVER": self.url}):
            return run_here(*arguments)

    def out(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        done = self(*arguments)
        assert done.code == 0, done.err
        return done.out

    def entries(self, key: str) -> list[tuple[str, Any]]:
        """The entries below a key, as `query` prints them."""
        # Not splitlines(): texts hold other characters that it splits at.
        lines = self.out("query", key, "--recursive").split("\n")
        return [(entry["key"], entry["value"]) for entry in map(json.loads, filter(None, lines))]

    def process(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own, with pipes for its streams."""
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | {"DATASTORE_SERVER": self.url}
        return subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.directory, env=environment, text=True, **(streams | options)
        )

    def shell(self, line: str) -> Done:
        """Run a line of shell in which $D is the command."""
        environment = os.environ | {"DATASTORE_SERVER": self.url, "D": " ".join(COMMAND)}
        done = subprocess.run(
            ["sh", "-c", line], cwd=self.directory, env=environment, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, content: str | bytes | Sequence[Any]) -> str:
        """Make a file of text, bytes, or rows of JSON Lines; its path."""
        path = self.directory / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return str(path)


def _written(stream: TextIOWrapper) -> str:
    stream.flush()
    written: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return written.decode()
