"""Servers in separate processes, through the real command line; to be killed and started again.

Each listens on a free port, keeps it when it starts again, and ends when its standard input does: with this
process at the latest, however that ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from datastore.engine.placement import ShardBy, SlotMap
from datastore_server.config import ClusterConfig, Config, ProxyConfig, ShardConfig, dump_config
from tests.support.suspending import suspended
from tests.support.waiting import PATIENCE_S

SHARDS = ("shard-1", "shard-2", "shard-3")


class ServerProcess:
    """One server: `datastore <arguments> --listen <address>`. A node has its data in `directory`."""

    def __init__(self, *arguments: str, log: Path, directory: Path | None = None) -> None:
        self._arguments = arguments
        self._directory = directory
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start, at the previous address if there is one, and wait until it is ready."""
        address = self.url.removeprefix("grpc://") or "127.0.0.1:0"
        command = [sys.executable, "-m", "datastore_server.cli", *self._arguments, "--listen", address]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--json", "--stop-with-stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise AssertionError(f"{command} did not start:\n{self._log.read_text()}")
        self.url = json.loads(line)["url"]

    @property
    def pid(self) -> int:
        """The process id, while it runs."""
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Ask the process to stop by SIGTERM, and do not wait."""
        assert self._process is not None
        self._process.terminate()

    def kill(self) -> None:
        """End the process by SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._end()

    @property
    def data_bytes(self) -> int:
        """The size of the data file of a node on LMDB."""
        assert self._directory is not None
        return (self._directory / "data.mdb").stat().st_size

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the process: it accepts connections but does not respond."""
        assert self._process is not None
        with suspended(self._process):
            yield

    def stop(self) -> int | None:
        """Stop the process gracefully, if it runs. Returns its exit code."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._end()

    def _end(self) -> int | None:
        code = None
        if self._process is not None:
            code = self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
        return code


class ClusterProcesses:
    """Nodes on LMDB and one or more proxies, all processes. `url` is the first proxy's."""

    def __init__(self, nodes: dict[str, ServerProcess], proxies: list[ServerProcess]) -> None:
        self.nodes = nodes
        self.proxies = proxies
        self.proxy = proxies[0]
        self.urls = [proxy.url for proxy in proxies]
        self.url = self.urls[0]
        self._slots = SlotMap(list(nodes))

    def shard_of(self, key: Any) -> str:
        """The name of the shard that has the key."""
        return self._slots.shard_of(key)


@contextmanager
def node(
    directory: Path, *, name: str = "", changes: bool = False, workers: int = 1, limits: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """A node on LMDB in `directory`. With `changes` it keeps a log of them. Several `workers` answer reads."""
    identity = ["--cluster", "test", "--shard", name] if name else []
    log = directory.with_suffix(".log")
    store = f"lmdb://{directory.absolute()}{'?changes=true' if changes else ''}"
    shared = ["--workers", str(workers)] if workers > 1 else []
    limited = [f"--limit={limit}" for limit in limits]
    process = ServerProcess("serve", store, *identity, *shared, *limited, log=log, directory=directory)
    try:
        process.start()
        yield process
    finally:
        process.stop()


@contextmanager
def cluster(
    directory: Path,
    *,
    shards: Sequence[str] = SHARDS,
    proxies: int = 1,
    shard_by: ShardBy = "key",
    changes: bool = False,
    route: Callable[[str, str], str] = lambda _, url: url,
) -> Iterator[ClusterProcesses]:
    """A node for each shard and one or more proxies; configuration, data and logs in `directory`.

    The proxies reach a node at what `route` returns for its name and URL.
    """
    with ExitStack() as stack:
        nodes = {name: stack.enter_context(node(directory / name, name=name, changes=changes)) for name in shards}
        path = directory / "cluster.toml"
        path.write_text(
            dump_config(_config({name: route(name, node.url) for name, node in nodes.items()}, shard_by)),
            encoding="utf-8",
        )
        started = []
        for place in range(proxies):
            proxy = ServerProcess("proxy", str(path), log=directory / f"proxy{place or ''}.log")
            stack.callback(proxy.stop)
            proxy.start()
            started.append(proxy)
        yield ClusterProcesses(nodes, started)


def _config(urls: dict[str, str], shard_by: ShardBy) -> Config:
    shards: Sequence[ShardConfig] = [ShardConfig(name=name, url=url) for name, url in urls.items()]
    of_cluster = ClusterConfig(name="test", shard_by=shard_by)
    return Config(cluster=of_cluster, shards=list(shards), proxy=ProxyConfig(listen="127.0.0.1:0"))
