"""The procedure of docs/configuration.md, step by step: three shards become four, and then two."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client import connect
from datastore_server.config import ClusterConfig, Config, ShardConfig, dump_config, dump_shards
from tests.support.local_clusters import COMMAND
from tests.support.processes import ServerProcess

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/configuration.md"
SECTION = PAGE.read_text().split("## Growing and shrinking a cluster")[1].split("\n## ")[0]
ADDED, SERVE, MOVE = re.findall(r"^```\w+\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)

ENTRIES = {Key(f"/Thing:{number:03}"): {"n": number} for number in range(300)}


class Typist:
    """A directory with a cluster.toml, the nodes and the proxy that are started by it, and the commands of the page."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.path = directory / "cluster.toml"
        self.nodes: dict[str, ServerProcess] = {}
        self._stack = stack

    def config(self, names: Iterable[str]) -> None:
        """Write the file as a user edits it."""
        shards = [
            ShardConfig(
                name=name,
                url=self.nodes[name].url if name in self.nodes else "grpc://127.0.0.1:0",
                store=f"lmdb://{self.directory / name}",
            )
            for name in names
        ]
        cluster = ClusterConfig(name="trial")
        self.path.write_text(dump_config(Config(cluster=cluster, shards=shards)))

    def serve(self, name: str) -> None:
        """Start a node by the line of the page, on a free port."""
        words = shlex.split(SERVE.replace("shard-3", name).replace("cluster.toml", str(self.path)))
        assert words[0] == "datastore"
        self.nodes[name] = ServerProcess(*words[1:], log=self.directory / f"{name}.log")
        self._stack.callback(self.nodes[name].stop)
        self.nodes[name].start()

    def move(self) -> list[str]:
        """Run the commands that plan and apply. Returns their output."""
        printed = []
        for line in MOVE.splitlines():
            words = shlex.split(line.replace("cluster.toml", str(self.path)))
            done = subprocess.run([*COMMAND, *words[1:]], check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            printed.append(done.stdout + done.stderr)
        return printed

    @contextmanager
    def proxy(self) -> Iterator[str]:
        """The proxy, started with the current file. Yields its address."""
        process = ServerProcess("proxy", str(self.path), log=self.directory / "proxy.log")
        try:
            process.start()
            yield process.url
        finally:
            process.stop()

    def check(self) -> None:
        """Check that the cluster holds exactly the entries, by every kind of read."""
        with self.proxy() as url, connect(url) as store:
            assert list(store.query(Query(Key("/"), recursive=True))) == list(ENTRIES.values())
            assert [outcome.value for outcome in store.batch_get(list(ENTRIES))] == list(ENTRIES.values())
            assert all(store.contains(key) for key in list(ENTRIES)[:30])


@pytest.mark.long("the procedure of docs/configuration.md that grows a cluster")
def test_three_shards_become_four_and_two_by_the_documented_procedure(tmp_path: Path) -> None:
    (documented,) = tomllib.loads(ADDED)["shards"]
    assert dump_shards([ShardConfig(**documented)]).replace('durability = "sync"\n', "").lstrip() == ADDED
    three = ["shard-1", "shard-2", "shard-3"]
    with ExitStack() as stack:
        typist = Typist(tmp_path, stack)
        typist.config(three)
        for name in three:
            typist.serve(name)
        typist.config(three)
        with typist.proxy() as url, connect(url) as store:
            assert not any(outcome.error for outcome in store.batch_write([Write(*pair) for pair in ENTRIES.items()]))
        typist.config([*three, "shard-4"])
        typist.serve("shard-4")
        typist.config([*three, "shard-4"])
        planned, applied = typist.move()
        assert len(re.findall(r"^shard-\d +shard-4 ", planned, re.MULTILINE)) == 3
        assert "trial is at epoch 2: shard-1, shard-2, shard-3, shard-4" in applied
        typist.check()
        typist.config(["shard-1", "shard-4"])
        _, applied = typist.move()
        assert "trial is at epoch 3: shard-1, shard-4" in applied
        for name in ("shard-2", "shard-3"):
            typist.nodes[name].stop()
        typist.check()
