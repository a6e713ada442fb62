"""docs/serving.md, step by step: its commands against real engines on free ports, in the order of the page."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pymongo
import pytest

from datastore_server.server_config import parse_server
from tests.documented.test_docs import SERVING, blocks
from tests.support.commands import server_process
from tests.support.engines import Engine, engine
from tests.support.waiting import PATIENCE_S

FILES, REDIS, MONGODB, WORKERS = blocks(SERVING, "sh")


def typed(text: str, directory: Path, **addresses: str) -> list[str]:
    """What each command of a block prints; each server replaces the previous one."""
    printed: list[str] = []
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    with ExitStack() as server:
        for line in text.splitlines():
            for address, real in addresses.items():
                line = line.replace({"redis": "127.0.0.1:6379", "mongodb": "127.0.0.1:27017"}[address], real)
            if line.startswith("redis-cli"):
                line = line.replace("redis-cli", f"redis-cli -p {addresses['redis'].rpartition(':')[2]}", 1)
            if line.startswith("datastore serve"):
                server.close()
                arguments = shlex.split(line)[1:]
                assert arguments[-2:] == ["--listen", "127.0.0.1:7420"]
                ready = server.enter_context(server_process(*arguments[:-1], "127.0.0.1:0", directory=directory))
                environment["DATASTORE_SERVER"] = ready["url"]
                continue
            done = subprocess.run(
                line,
                shell=True,
                cwd=directory,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            printed.append(done.stdout.strip())
    return printed


def test_a_directory_of_files(tmp_path: Path) -> None:
    *_, todo, _, found, done = typed(FILES, tmp_path)
    assert todo == '"tea"'
    assert (found.count("\n"), "coffee" in found, "tea" in found) == (1, True, True)
    assert done == "coffee"


@pytest.mark.long("docs/serving.md on Redis")
def test_redis(tmp_path: Path) -> None:
    with engine("redis", tmp_path / "redis") as server:
        *_, ada, _, grace, greeting, text = typed(REDIS, tmp_path, redis=f"127.0.0.1:{server.port}")
    assert (ada, grace) == ('{"name":"Ada"}', '{"name": "Grace"}')
    assert greeting == '"hello"'
    assert text == '"{\\"name\\": \\"Ada\\"}"'


@pytest.mark.long("docs/serving.md on FerretDB")
def test_mongodb(mongodb_server: Engine, tmp_path: Path) -> None:
    _, found = typed(MONGODB, tmp_path, mongodb=f"127.0.0.1:{mongodb_server.port}")
    assert "Samedan" in found
    with pymongo.MongoClient("127.0.0.1", mongodb_server.port) as client:
        document = client["flights"]["datastore"].find_one({"_id": "/Airport:LSZS"})
        assert (document["path"], document["value"]["elevation"]) == ("/Airport", 1707)
        client.drop_database("flights")


def test_several_processes(tmp_path: Path) -> None:
    _, greeting = typed(WORKERS, tmp_path)
    assert greeting == '"hello"'


def test_the_composition_is_a_configuration(tmp_path: Path) -> None:
    (text,) = blocks(SERVING, "toml")
    config = parse_server(text, source="server.toml", base=tmp_path)
    assert (config.store.kind, config.limits.batch_items, config.wait_s) == ("tiered", 500, 10)
    assert not list(tmp_path.iterdir())
