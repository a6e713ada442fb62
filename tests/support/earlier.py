"""Earlier releases of this repository, run from its history beside the present one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from datastore_server.config import ClusterConfig, Config, ProxyConfig, ShardConfig, dump_config
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent.parent
#: The folders that are on Python's path.
SOURCES = ("", "server", "client/python")
#: Leaves out the present folder, whose packages would be found first.
PYTHON = (sys.executable, "-P")
CLIENT = ROOT / "tests/upgrade/client.py"


class Release(NamedTuple):
    """The programs of one release, in a folder that has its files."""

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which Python finds the packages of this release."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(str(self.folder / source) for source in SOURCES)}

    def client(self, url: str, step: str) -> list[str]:
        """The lines that a step of tests/upgrade/client.py prints with the client of this release."""
        done = subprocess.run(
            [*PYTHON, str(CLIENT), url, step],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    @contextmanager
    def server(self, *arguments: str) -> Iterator[str]:
        """A server of this release in its own process. Yields its URL; it must stop cleanly."""
        command = [*PYTHON, "-m", "datastore_server.cli", *arguments, "--json", "--stop-with-stdin"]
        with subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                url: str = json.loads(process.stdout.readline())["url"]
                yield url
            finally:
                process.terminate()
                assert process.wait(PATIENCE_S) == 0


PRESENT = Release(ROOT)


def in_history(revision: str) -> bool:
    """Whether the history of this checkout has the revision; a shallow one or a source distribution lacks it."""
    done = subprocess.run(
        ["git", "cat-file", "-e", f"{revision}^{{commit}}"], cwd=ROOT, stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def checked_out(revision: str, folder: Path) -> Release:
    """The release at this revision, written to a folder."""
    command = ["git", "archive", revision, *filter(None, (*SOURCES, "datastore"))]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return Release(folder)


@contextmanager
def cluster_of(nodes: Release, proxy: Release, directory: Path) -> Iterator[str]:
    """A cluster of one shard, whose data is in `directory`, and a proxy of its own release. Yields the proxy's URL."""
    with ExitStack() as stack:
        node = ["serve", f"lmdb://{directory}", "--cluster", "main", "--shard", "shard-1", "--listen", "127.0.0.1:0"]
        url = stack.enter_context(nodes.server(*node))
        yield stack.enter_context(proxy.server("proxy", str(cluster_file(directory, url))))


def cluster_file(directory: Path, url: str) -> Path:
    """A file, beside the directory, for a cluster of one shard whose node is at `url`."""
    path = directory.with_suffix(".toml")
    shards = [ShardConfig(name="shard-1", url=url)]
    cluster = ClusterConfig(name="main")
    path.write_text(dump_config(Config(cluster=cluster, shards=shards, proxy=ProxyConfig(listen="127.0.0.1:0"))))
    return path
