"""The command `datastore` run inside the test, against a server in a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from datastore.model.errors import UnavailableError
from datastore.model.matching import MatchingStep, MatchingWrite
from datastore_client import RemoteDatastore
from datastore_server.cli import cli
from datastore_server.cli.output import run

COMMAND = [sys.executable, "-m", "datastore_server.cli"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The lines of JSON on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_here(*arguments: str) -> Done:
    """Run a command in this process like the script, except for the standard streams."""
    with (
        TextIOWrapper(BytesIO(), "utf-8", newline="") as out,
        TextIOWrapper(BytesIO(), "utf-8", newline="") as err,
        redirect_stdout(out),
        redirect_stderr(err),
        patch.object(sys, "argv", ["datastore", *arguments]),
    ):
        code = run(lambda: cli.main(list(arguments), prog_name="datastore", standalone_mode=False) or 0)
        return Done(code, _written(out), _written(err))


def _written(stream: TextIOWrapper) -> str:
    stream.flush()
    written: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return written.decode()


class Commands:
    """Runs commands against one server; faster than a process each."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *arguments: str) -> Done:
        """Run a command in this process."""
        with patch.dict(os.environ, {"DATASTORE_SERVER": self.url}):
            return run_here(*arguments)

    def put(self, *keys: str, value: str = "1") -> None:
        """Store one value under some keys."""
        for key in keys:
            assert self("put", key, value).code == 0


def answered(*arguments: str, answer: bytes) -> tuple[int, bytes]:
    """The exit code of a command on a terminal, where `answer` is typed when it asks, and what it said until then."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], stdin=theirs, stderr=theirs) as process:
        os.close(theirs)
        asked = b""
        while b"[y/N]" not in asked:
            asked += os.read(ours, 1000)
        os.write(ours, answer)
        code = process.wait()
    os.close(ours)
    return code, asked


@contextmanager
def interrupted_matching() -> Iterator[None]:
    """While the block runs, a change of many entries fails as soon as it has changed some."""
    write_matching = RemoteDatastore.write_matching

    def failing(self: RemoteDatastore, asked: MatchingWrite) -> Iterator[MatchingStep]:
        for step in write_matching(self, asked):
            yield step
            if step.changed:
                raise UnavailableError("gone")

    with patch.object(RemoteDatastore, "write_matching", failing):
        yield


async def command(*words: str) -> tuple[int, str]:
    """A command as typed: its exit code and output."""
    line = [*COMMAND, *words]
    done = await asyncio.to_thread(subprocess.run, line, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def server_process(*arguments: str, directory: Path | None = None) -> Iterator[dict[str, Any]]:
    """A server in its own process. Yields what it prints when it is ready. It must stop cleanly."""
    line = [*COMMAND, *arguments, "--json"]
    with subprocess.Popen(line, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            assert process.wait() == 0
