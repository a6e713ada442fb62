"""Servers in separate processes, each on one core, which always end with the benchmark.

The server that is measured has the last core to itself. The client has the first, and so has a proxy: it then works in
parallel with its node, as in production.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["bare", "ended", "node", "pin_client", "pinned_to_server", "proxy"]

#: How long a server may take to stop before it is killed.
STOP_S = 10.0

_CAN_PIN = hasattr(os, "sched_setaffinity")
_CORES = sorted(os.sched_getaffinity(0)) if _CAN_PIN else [0]


def _pin(process_id: int, core: int) -> None:
    if _CAN_PIN:
        os.sched_setaffinity(process_id, {core})


def pin_client() -> None:
    """Keep this process off the servers' core."""
    _pin(0, _CORES[0])


@contextmanager
def _process(arguments: Sequence[str], core: int = _CORES[-1]) -> Iterator[str]:
    """A server, pinned to one core. Returns the URL in its first line of output."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            # Before it starts threads, which inherit the setting.
            _pin(process.pid, core)
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield json.loads(line)["url"]
        finally:
            ended(process)


def ended(process: subprocess.Popen[Any]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def pinned_to_server(process: subprocess.Popen[Any]) -> None:
    """Give a new process the core of the measured server."""
    _pin(process.pid, _CORES[-1])


@contextmanager
def bare() -> Iterator[str]:
    """The reference server."""
    with _process(["bench.bare"]) as url:
        yield url


@contextmanager
def node(store: str, *, beside_client: bool = False) -> Iterator[str]:
    """A storage node, as `datastore serve` starts it."""
    arguments = ["serve", store, "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with _process(["datastore_server.cli", *arguments], core=_CORES[0 if beside_client else -1]) as url:
        yield url


@contextmanager
def proxy(url: str, directory: Path, *, beside_client: bool = True) -> Iterator[str]:
    """A proxy over one node."""
    config = directory / "proxy.toml"
    config.write_text(f'[cluster]\nname = "bench"\n\n[[shards]]\nname = "only"\nurl = "{url}"\n')
    arguments = ["proxy", str(config), "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    core = _CORES[0 if beside_client else -1]
    with _process(["datastore_server.cli", *arguments], core=core) as proxy_url:
        yield proxy_url
