"""Clients in other languages, made by the commands of docs/protocol.md, and run against a cluster.

Compilers are slow: a test that hangs is ended by the time limit of the whole run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_clusters import Running, cluster

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/protocol.md").read_text().partition("## Generating a client\n")[2].partition("\n## ")[0]
ADDRESS = "127.0.0.1:7420"
PRINTED = "true CH\n/Airport:LSZH\n/Airport:LSZS\n"
#: Exists if `make engines` has installed what these tests need.
GO_READY, NODE_READY = ROOT / "build/protoc-gen-go", ROOT / "build/clients/node_modules"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with cluster(tmp_path_factory.mktemp("clients") / "cluster", "--nodes", "2", "--port", "0") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a new client, beside one that represents a checkout."""
    checkout, client, tools = tmp_path / "datastore", tmp_path / "client", tmp_path / "bin"
    for made in (checkout, client, tools):
        made.mkdir()
    shutil.copytree(ROOT / "protos", checkout / "protos")
    shutil.copy(ROOT / "buf.yaml", checkout)
    (tools / "protoc").write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
    (tools / "protoc").chmod(0o755)
    (tools / "buf").symlink_to(BIN / "buf")
    return client


def run(commands: str, folder: Path) -> str:
    """The last output of the commands of a block, without that of fetching tools."""
    tools = folder.parent / "bin"
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "GOBIN": str(tools), "npm_config_prefer_offline": "true"}
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long("a client in Go")
@pytest.mark.timeout(0)
def test_a_go_client_is_generated_and_run_as_documented(running: Running, folder: Path) -> None:
    if not GO_READY.exists():
        pytest.skip("no protoc-gen-go: make engines, which needs Go")
    commands, with_buf = blocks("sh")[:2]
    (folder / "main.go").write_text(blocks("go")[0])
    assert ADDRESS in commands
    assert run(commands.replace(ADDRESS, running.url.removeprefix("grpc://")), folder).endswith(PRINTED)
    generated = {path.name: path.read_text() for path in (folder / "datastorev1").iterdir()}
    assert set(generated) >= {"service.pb.go", "service_grpc.pb.go"}
    shutil.rmtree(folder / "datastorev1")
    run(with_buf, folder)
    # They differ in the comment that names the compiler's version.
    version = re.compile(r"^// -?\s*protoc .*$", re.MULTILINE)
    by_buf = {path.name: path.read_text() for path in (folder / "datastorev1").iterdir()}
    assert {name: version.sub("", text) for name, text in by_buf.items()} == {
        name: version.sub("", text) for name, text in generated.items()
    }


@pytest.mark.long("a client in TypeScript")
@pytest.mark.timeout(0)
def test_a_typescript_client_is_generated_and_run_as_documented(running: Running, folder: Path) -> None:
    if not NODE_READY.exists():
        pytest.skip("no packages for TypeScript: make engines, which needs Node.js")
    (folder / "client.ts").write_text(blocks("typescript")[0])
    commands = blocks("sh")[2]
    assert ADDRESS in commands
    assert run(commands.replace(ADDRESS, running.url.removeprefix("grpc://")), folder).endswith(PRINTED)
