"""Real servers of other storage engines: each on a free port, in a separate directory, always ended."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.fronts import Front
from tests.support.suspending import suspended
from tests.support.waiting import PATIENCE_S

BUILT = Path(__file__).resolve().parent.parent.parent / "build"
TRIES = 5


class Engine:
    """A server of an engine, which can be killed and started again on its port, with its directory."""

    def __init__(self, command: Callable[[int, Path], list[str]], hello: tuple[bytes, bytes], directory: Path) -> None:
        self._command = command
        self._hello = hello
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        #: Where clients connect: to the server, or to what is in front of it.
        self.port = 0

    def start(self) -> None:
        """Start, and wait until it answers. If the port is taken meanwhile, another is chosen."""
        for _ in range(TRIES):
            port = self._port or _free_port()
            with (self._directory / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(port, self._directory), cwd=self._directory, stdout=log, stderr=log
                )
            if self._is_up(port):
                self._port = port
                self.port = self.port or port
                return
            self.kill()
        raise AssertionError(f"no start: {(self._directory / 'log').read_text()}")

    def _is_up(self, port: int) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if self._answers(port):
                return True
            time.sleep(0.01)
        return False

    def _answers(self, port: int) -> bool:
        """Whether it accepts a connection and responds as it does when it is ready."""
        said, expected = self._hello
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(said)
                return connection.recv(len(expected)) == expected
        except OSError:
            return False

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Keep it from answering while the block runs: it accepts connections but does not respond."""
        assert self._process is not None
        with suspended(self._process):
            yield

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _redis(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [
        *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    ]


def _redis_cluster(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, directory: [
        *_redis(program)(port, directory),
        *("--cluster-enabled", "yes", "--cluster-port", str(_free_port())),
    ]


def _memcached(program: str) -> Callable[[int, Path], list[str]]:
    return lambda port, _: [program, "-l", "127.0.0.1", "-p", str(port), "-u", "root", "-m", "64"]


def _ferretdb(program: str) -> Callable[[int, Path], list[str]]:
    # Writes survive a kill without being synced, which would take most of the time.
    return lambda port, directory: [
        *(program, "--handler=sqlite", f"--sqlite-url=file:{directory}/?_pragma=synchronous(off)"),
        f"--listen-addr=127.0.0.1:{port}",
        *("--debug-addr=-", "--telemetry=disable", f"--state-dir={directory}", "--log-level=error"),
    ]


#: The program, its command, a request and its response when it is ready, and where to get the program.
_ENGINES = {
    "redis": ("redis-server", _redis, (b"PING\r\n", b"+PONG"), "apt install redis-server"),
    "redis cluster": ("redis-server", _redis_cluster, (b"PING\r\n", b"+PONG"), "apt install redis-server"),
    "memcached": ("memcached", _memcached, (b"version\r\n", b"VERSION"), "apt install memcached"),
    # Ready once it accepts connections.
    "mongodb": ("ferretdb", _ferretdb, (b"", b""), "make engines, which needs Go"),
}


@contextmanager
def engine(name: str, directory: Path) -> Iterator[Engine]:
    """A running server: redis, one of a redis cluster, memcached, or FerretDB for mongodb.

    The test is left out where it is not installed.
    """
    program, command, hello, hint = _ENGINES[name]
    found = shutil.which(program, path=os.pathsep.join([str(BUILT), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"no {program}: {hint}")
    directory.mkdir(parents=True, exist_ok=True)
    server = Engine(command(found), hello, directory)
    server.start()
    with ExitStack() as stack:
        stack.callback(server.kill)
        if name == "mongodb":
            front = Front(server.port)
            stack.callback(front.end)
            server.port = front.port
        yield server
