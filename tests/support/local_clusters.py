"""`datastore cluster` as a process, with its nodes and its proxy, and how they ended."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import COMMAND, run_here
from tests.support.waiting import PATIENCE_S


class Running:
    """A cluster of which all processes run; `ready` is the line that says so."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.url: str = ready["url"]
        self.members: dict[str, dict[str, Any]] = {member["name"]: member for member in ready["processes"]}

    def pid(self, name: str) -> int:
        pid: int = self.members[name]["pid"]
        return pid

    def cli(self, *arguments: str, code: int = 0) -> str:
        """What a command prints, on both streams."""
        done = run_here(*arguments, "--server", self.url)
        assert done.code == code, done.err
        return done.out + done.err

    def status_with(self, **health: str) -> dict[str, Any]:
        """What `status` prints once the shards have this health: a busy machine may answer a probe too late."""
        printed: dict[str, Any] = {}

        def has_come() -> bool:
            printed.update(json.loads(run_here("status", "--json", "--server", self.url).out or "{}"))
            return {shard["name"]: shard["health"] for shard in printed.get("shards", ())} == health

        wait_until(has_come)
        return printed

    def count(self, key: str) -> str:
        """What `count` prints, nothing if it fails."""
        return run_here("count", key, "--server", self.url).out

    def reported(self) -> str:
        """The next line that the cluster prints on stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def cluster(directory: Path, *arguments: str) -> Iterator[Running]:
    """A cluster in a directory, stopped at the end with nothing left."""
    line = [*COMMAND, "cluster", "--directory", str(directory), "--json", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            first = process.stdout.readline()
            if not first:
                pytest.fail(process.stderr.read())
            running = Running(process, json.loads(first))
            yield running
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    wait_until(lambda: not any(alive(running.pid(name)) for name in running.members))
    assert not any(answers(member["url"]) for member in running.members.values())


def alive(pid: int) -> bool:
    """Whether a process runs; zombies do not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def answers(url: str) -> bool:
    host, port = url.partition("://")[2].rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def wait_until(truth: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not truth():
        assert time.monotonic() < deadline
        time.sleep(0.01)
