"""Servers as processes of their own, each on one core, ended with the benchmark whatever becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["bare", "node", "proxy"]


@contextmanager
def _process(arguments: Sequence[str]) -> Iterator[str]:
    """A server, pinned to the last core that this process may use; the URL that its first line tells."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield json.loads(line)["url"]
        finally:
            process.terminate()


@contextmanager
def bare() -> Iterator[str]:
    """The reference server."""
    with _process(["bench.bare"]) as url:
        yield url


@contextmanager
def node(store: str) -> Iterator[str]:
    """A storage node, as `datastore serve` starts it."""
    arguments = ["serve", store, "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with _process(["datastore_server.cli", *arguments]) as url:
        yield url


@contextmanager
def proxy(url: str, directory: Path) -> Iterator[str]:
    """A proxy over one node."""
    config = directory / "proxy.toml"
    config.write_text(f'[cluster]\nname = "bench"\n\n[[shards]]\nname = "only"\nurl = "{url}"\n')
    arguments = ["proxy", str(config), "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with _process(["datastore_server.cli", *arguments]) as proxy_url:
        yield proxy_url
