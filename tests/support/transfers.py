"""The command `datastore` with files: in this process with its streams as bytes, or in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.commands import Commands, Done

__all__ = ["COMMAND", "Transfers"]

COMMAND = [sys.executable, "-m", "datastore"]


class Transfers(Commands):
    """Runs commands against one server, with paths in one directory."""

    def __init__(self, url: str, directory: Path) -> None:
        super().__init__(url)
        self.directory = directory

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
        """Start a command in a separate process, with pipes for its streams."""
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
        """Create a file of text, bytes, or rows of JSON Lines. Returns its path."""
        path = self.directory / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return str(path)
