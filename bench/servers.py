"""Servers in separate processes, each on one core, which always end with the benchmark.

The server that is measured has the last core to itself. The client has the first, and so has a proxy: it then works in
parallel with its node, as in production.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "bare",
    "by_hand",
    "free_ports",
    "listening",
    "node",
    "node_with_workers",
    "pin_client",
    "proxy",
    "replaying",
    "unpin",
]

#: How long a server of others may take to listen, and any to stop before it is killed.
START_S, STOP_S = 60.0, 10.0

_CAN_PIN = hasattr(os, "sched_setaffinity")
_CORES = sorted(os.sched_getaffinity(0)) if _CAN_PIN else [0]


def _pin(process_id: int, *cores: int) -> None:
    if _CAN_PIN:
        os.sched_setaffinity(process_id, cores)


def pin_client() -> None:
    """Keep this process off the servers' core."""
    _pin(0, _CORES[0])


@contextmanager
def _process(arguments: Sequence[str], *cores: int) -> Iterator[str]:
    """A server, pinned to these cores, by default to the last. Returns the URL in its first line of output."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            # Before it starts threads, which inherit the setting.
            _pin(process.pid, *(cores or _CORES[-1:]))
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield json.loads(line)["url"]
        finally:
            _end(process)


def _end(process: subprocess.Popen[Any]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def listening(command: Sequence[str], port: int, **environment: str) -> Iterator[None]:
    """A server of others, with the core of the measured one to itself, once it listens on a port of this machine."""
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        _pin(process.pid, _CORES[-1])
        try:
            _wait(process, port)
            yield
        finally:
            _end(process)


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server listens."""
    ends_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


@contextmanager
def bare() -> Iterator[str]:
    """The reference server."""
    with _process(["bench.bare"]) as url:
        yield url


def unpin(process_id: int) -> None:
    """Let a process use every core."""
    _pin(process_id, *_CORES)


@contextmanager
def node_with_workers(store: str, workers: int) -> Iterator[str]:
    """A storage node whose processes may use every core."""
    arguments = ["serve", store, "--workers", str(workers), "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with _process(["datastore_server.cli", *arguments], *_CORES) as url:
        yield url


@contextmanager
def by_hand(directory: str, entries: int) -> Iterator[str]:
    """The reference of filtered queries, over so many maps."""
    with _process(["bench.by_hand", directory, str(entries)]) as url:
        yield url


@contextmanager
def node(store: str, *, beside_client: bool = False) -> Iterator[str]:
    """A storage node, as `datastore serve` starts it."""
    arguments = ["serve", store, "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with _process(["datastore_server.cli", *arguments], _CORES[0 if beside_client else -1]) as url:
        yield url


@contextmanager
def replaying(url: str) -> Iterator[str]:
    """A node that replays the queries of another one, on the client's core."""
    with _process(["bench.replaying", url], _CORES[0]) as own_url:
        yield own_url


@contextmanager
def proxy(urls: Sequence[str], directory: Path, *, beside_client: bool = True) -> Iterator[str]:
    """A proxy over some nodes."""
    config = directory / "proxy.toml"
    shards = [f'[[shards]]\nname = "shard-{number}"\nurl = "{url}"\n' for number, url in enumerate(urls)]
    config.write_text("\n".join(['[cluster]\nname = "bench"\n', *shards]))
    arguments = ["proxy", str(config), "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    core = _CORES[0 if beside_client else -1]
    with _process(["datastore_server.cli", *arguments], core) as proxy_url:
        yield proxy_url
