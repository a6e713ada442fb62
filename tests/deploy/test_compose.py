"""The compose files: their schema, and the cluster that their commands start."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from datastore_client import connect
from tests.support.commands import run_here, server_process
from tests.support.deployed import DEPLOY, moved, tool

COMPOSE = DEPLOY / "compose"
FILES = ("compose.yaml", "compose.tls.yaml")
CHECK = Path(sys.executable).with_name("check-jsonschema")


def services(*names: str) -> dict[str, dict[str, Any]]:
    """The services of a file, with what later ones replace."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, settings in yaml.safe_load((COMPOSE / name).read_text())["services"].items():
            found.setdefault(service, {}).update(settings)
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_valid(name: str) -> None:
    done = tool(CHECK, "--builtin-schema", "vendor.compose-spec", COMPOSE / name)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FILES)
def test_what_the_file_names_exists(name: str) -> None:
    for config in yaml.safe_load((COMPOSE / name).read_text())["configs"].values():
        assert (COMPOSE / config["file"]).exists()
    for service in services("compose.yaml").values():
        context = (COMPOSE / service["build"]["context"]).resolve()
        assert (context / service["build"]["dockerfile"]).exists()


def test_only_the_proxy_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in services("compose.yaml").items() if "ports" in service}
    assert published == {"proxy": ["${DATASTORE_PUBLISH:-127.0.0.1:7420}:7420"]}


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    """What docs/operations.md makes, and what clients show of it."""
    folder = tmp_path / "secrets"
    ca, token = str(folder / "ca.pem"), folder / "proxy.token"
    assert run_here("tls", "init", str(folder), "--host", "localhost").code == 0
    tokens = ["--tokens", str(folder / "tokens.toml")]
    token.write_text(run_here("token", "create", "proxy", "--rights", "admin", "--prefix", "/", *tokens).out)
    return {"ca": ca, "token_file": str(token)}


@pytest.mark.parametrize(
    ("files", "file", "scheme"),
    [
        pytest.param(("compose.yaml",), "cluster.toml", "grpc", id="plain", marks=pytest.mark.long),
        pytest.param(("compose.yaml", "compose.tls.yaml"), "cluster.tls.toml", "grpcs", id="TLS and tokens"),
    ],
)
def test_the_commands_start_a_cluster(
    files: tuple[str, ...], file: str, scheme: str, secrets: dict[str, str], tmp_path: Path
) -> None:
    """Each server has its files and ports to itself in its container; here they differ."""
    (text,) = moved([(COMPOSE / file).read_text()], {"127.0.0.1:9420": "127.0.0.1:0", "/etc/datastore": str(tmp_path)})
    commands = {name: service["command"] for name, service in services(*files).items()}
    proxy = commands.pop("proxy")
    urls = {}
    with ExitStack() as stack:
        for name, words in commands.items():
            (tmp_path / f"{name}.toml").write_text(text.replace("/var/lib/datastore", str(tmp_path / name)))
            places = {"/etc/datastore/cluster.toml": str(tmp_path / f"{name}.toml"), "0.0.0.0:7420": "127.0.0.1:0"}
            urls[f"{scheme}://{name}:7420"] = stack.enter_context(server_process(*moved(words, places)))["url"]
        text = re.sub("^store = .*$", "", text, flags=re.MULTILINE)
        (text,) = moved([text], {**urls, "0.0.0.0:7420": "127.0.0.1:0"})
        (tmp_path / "proxy.toml").write_text(text)
        words = moved(proxy, {"/etc/datastore/cluster.toml": str(tmp_path / "proxy.toml")})
        url = stack.enter_context(server_process(*words))["url"]
        assert url.startswith(f"{scheme}://")
        with connect(url, **(secrets if scheme == "grpcs" else {})) as store:
            assert {shard.name for shard in store.describe_store().shards} == set(commands)
