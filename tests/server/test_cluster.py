"""`datastore cluster`: real processes on this machine, their ends included."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from datastore.model.errors import ConfigError
from datastore_client import connect
from datastore_server.auth_config import AuthConfig
from datastore_server.cluster import CONFIG_NAME, plan_cluster
from datastore_server.config import dump_config, load_config
from tests.support.commands import run_here
from tests.support.local_clusters import COMMAND, alive, cluster, wait_until
from tests.support.metrics import metrics
from tests.support.waiting import PATIENCE_S


def test_a_cluster_serves_restarts_at_the_same_addresses_and_leaves_nothing_behind(tmp_path: Path) -> None:
    # A name that is another one in a URL, if it is not quoted.
    directory = tmp_path / "new" / "a%20?b"
    with cluster(directory, "--nodes", "2") as first:
        assert list(first.members) == ["shard-1", "shard-2", "proxy"]
        for number in range(10):
            first.cli("put", f"/a:{number}", str(number))
        assert first.process.poll() is None
    assert first.process.returncode == 0
    assert first.process.stderr is not None
    config = load_config(directory / CONFIG_NAME)
    assert config.shard("shard-1").url == first.members["shard-1"]["url"]
    with cluster(directory) as second:
        addresses = {name: member["url"] for name, member in first.members.items()}
        assert {name: member["url"] for name, member in second.members.items()} == addresses
        assert second.cli("count", "/a") == "10\n"


@pytest.mark.long("a cluster whose servers want tokens, and moves between its nodes")
def test_the_servers_of_a_cluster_want_tokens_and_its_proxy_has_one(tmp_path: Path) -> None:
    directory, tokens, mine = tmp_path / "cluster", tmp_path / "tokens.toml", tmp_path / "token"
    made = run_here("token", "create", "root", "--rights", "admin", "--prefix", "/", "--tokens", str(tokens))
    mine.write_text(made.out)
    with pytest.raises(ConfigError, match="the nodes would refuse the proxy"):
        plan_cluster(directory, nodes=2, port=None, durability="sync", auth=AuthConfig(str(tokens)))
    with cluster(directory, "--nodes", "2", "--tokens", str(tokens), "--token-file", str(mine)) as first:
        for member in first.members.values():
            done = run_here("get", "/a", "--server", member["url"])
            assert (done.code, "UNAUTHENTICATED" in done.err) == (5, True)
        for number in range(10):
            first.cli("--token-file", str(mine), "put", f"/a:{number}", str(number))
        path = directory / CONFIG_NAME
        path.write_text(path.read_text().replace('name = "shard-2"', 'name = "shard-9"'))
        assert run_here("placement", "apply", str(path), "--rename", "shard-2=shard-9").code == 0
    with cluster(directory) as second:
        assert second.cli("--token-file", str(mine), "count", "/a") == "10\n"


@pytest.mark.long
def test_a_node_that_is_killed_is_reported_missed_and_comes_back_by_hand(tmp_path: Path) -> None:
    def log_of(name: str) -> str:
        return (tmp_path / "logs" / f"{name}.log").read_text()

    with cluster(tmp_path, "--nodes", "2") as running:
        for number in range(3):
            running.cli("put", f"/a:{number}", str(number))
        os.kill(running.pid("shard-2"), signal.SIGKILL)
        reported = running.reported()
        assert "shard-2" in reported and "SIGKILL" in reported
        again = running.reported().split()
        assert again == ["datastore", "serve", "--config", str(tmp_path / CONFIG_NAME), "--shard", "shard-2"]

        failed = running.cli("count", "/a", code=4)
        assert "UNAVAILABLE" in failed and "shard-2" in failed
        running.status_with(**{"shard-1": "serving", "shard-2": "unavailable"})
        running.cli("status", code=4)
        partial = running.cli("count", "/a", "--allow-partial")
        assert "Incomplete: shard shard-2" in partial

        line = [*COMMAND, *again[1:], "--stop-with-stdin"]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            assert running.members["shard-2"]["url"] in node.stdout.readline()
            wait_until(lambda: running.count("/a") == "3\n")
            wait_until(lambda: "is back after" in log_of("proxy"))
            status = running.status_with(**{"shard-1": "serving", "shard-2": "serving"})
            assert status["entries"] == sum(shard["entries"] for shard in status["shards"]) == 3
            assert status["bytes"] == sum(shard["bytes"] for shard in status["shards"]) > 0
            node.terminate()
            assert node.wait(PATIENCE_S) == 0
            wait_until(lambda: log_of("proxy").count("is down") == 2)
    url = running.members["shard-2"]["url"]
    for event in (
        f"shard shard-2 at {url} is up",
        f"shard shard-2 at {url} is down: ",
        "Query /a from ipv4:127.0.0.1:[0-9]+ failed: UNAVAILABLE",
        f"shard shard-2 at {url} is back after ",
        r"stopped serving at .*; calls: .*Put 3.*Query [0-9]+ \([0-9]+ failed\)",
    ):
        assert re.search(event, log_of("proxy"))
    assert "shard-2 of cluster-" in log_of("shard-2")
    assert "was ended by SIGKILL" in log_of("cluster")
    assert "stopped serving" in log_of("shard-1")


def test_a_cluster_that_is_killed_stops_its_processes(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "1") as running:
        running.process.kill()
        wait_until(lambda: not any(alive(running.pid(name)) for name in running.members))


@pytest.mark.long
def test_ctrl_c_on_a_terminal_stops_all(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "1") as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 0
        assert not any(alive(running.pid(name)) for name in running.members)


@pytest.mark.long
def test_a_cluster_ends_when_all_its_processes_have_ended(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "1") as running:
        for name in running.members:
            os.kill(running.pid(name), signal.SIGKILL)
        assert running.process.wait(PATIENCE_S) == 5


@pytest.mark.long
def test_a_node_that_cannot_start_ends_all_with_its_own_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = plan_cluster(tmp_path, nodes=2, port=None, durability="sync")
        port = taken.getsockname()[1]
        text = dump_config(config).replace("grpc://127.0.0.1:0", f"grpc://127.0.0.1:{port}", 1)
        (tmp_path / CONFIG_NAME).write_text(text)
        line = [*COMMAND, "cluster", "--directory", str(tmp_path)]
        done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 4
    assert "shard-1" in done.stderr and "in use" in done.stderr and str(port) in done.stderr
    assert done.stdout == ""


@pytest.mark.long
def test_people_get_a_table_of_processes_and_addresses(tmp_path: Path) -> None:
    line = [*COMMAND, "cluster", "--directory", str(tmp_path), "--nodes", "1"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for text in process.stdout:
            lines.append(text.split())
            if "DATASTORE_SERVER" in text:
                break
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert ["role", "name", "address", "pid", "data"] in lines
    assert any(words[:2] == ["node", "shard-1"] and words[-1] == str(tmp_path / "shard-1") for words in lines)
    assert any(words[:2] == ["proxy", "proxy"] for words in lines)


@pytest.mark.long
def test_the_limits_of_a_cluster_are_those_of_its_nodes_and_its_proxy(tmp_path: Path) -> None:
    config = plan_cluster(tmp_path, nodes=1, port=None, durability="sync")
    text = dump_config(config).replace("[proxy]", '[cluster.limits]\nbatch_items = 7\nread_bytes = "1MiB"\n\n[proxy]')
    (tmp_path / CONFIG_NAME).write_text(text)
    with cluster(tmp_path) as running:
        for member in running.members.values():
            with connect(member["url"]) as store:
                limits = store.describe_store().limits
                assert (limits.batch_items, limits.read_bytes) == (7, 1024**2)
        assert load_config(tmp_path / CONFIG_NAME).cluster.limits == {"batch_items": 7, "read_bytes": "1MiB"}


@pytest.mark.long
async def test_the_processes_of_a_cluster_have_metrics_and_logs_as_its_options_say(tmp_path: Path) -> None:
    options = ("--nodes", "1", "--metrics", "127.0.0.1:0", "--log-format", "json", "--slow-call-ms", "1")
    with cluster(tmp_path, *options) as running:
        urls = {name: member["metrics_url"] for name, member in running.members.items()}
        assert len(set(urls.values())) == 2
        running.cli("put", "/a:1", "1")
        for url in urls.values():
            assert (await metrics(url)).value("datastore_calls_total", method="Put") == 1
        os.kill(running.pid("shard-1"), signal.SIGKILL)
        running.reported()
        # The port in the file is that of the proxy.
        assert running.reported().split()[-2:] == ["--metrics", "127.0.0.1:0"]
    config = load_config(tmp_path / CONFIG_NAME)
    assert (config.metrics.listen, config.log.format, config.log.slow_call_ms) == ("127.0.0.1:0", "json", 1)
    for name in ("shard-1", "proxy", "cluster"):
        lines = (tmp_path / "logs" / f"{name}.log").read_text().splitlines()
        assert lines and all(json.loads(line)["event"] for line in lines)


def test_a_different_number_of_nodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text(dump_config(plan_cluster(tmp_path, nodes=2, port=None, durability="sync")))
    assert len(plan_cluster(tmp_path, nodes=2, port=None, durability="sync").shards) == 2
    with pytest.raises(ConfigError, match="has 2 shards, not 3") as more:
        plan_cluster(tmp_path, nodes=3, port=None, durability="sync")
    command = f"datastore placement apply {tmp_path / CONFIG_NAME} --offline"
    assert command in str(more.value) and 'name = "shard-3"' in str(more.value)
    with pytest.raises(ConfigError, match="has 2 shards, not 1") as fewer:
        plan_cluster(tmp_path, nodes=1, port=None, durability="sync")
    assert command in str(fewer.value) and "e.g. shard-2," in str(fewer.value)


@pytest.mark.long("`datastore cluster` that gets a node more")
def test_a_cluster_grows_by_following_the_refusal(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "2") as running:
        for number in range(20):
            running.cli("put", f"/a:{number}", str(number))
    line = [*COMMAND, "cluster", "--directory", str(tmp_path), "--nodes", "3"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 3
    said = re.fullmatch(r".*?(\n\[\[shards.*\n)\(port 0 .*start it\n  (.*)\n.*\n  (.*)\n", done.stderr, re.DOTALL)
    assert said is not None
    toml, start, apply = said.groups()
    config = tmp_path / CONFIG_NAME
    config.write_text(config.read_text() + toml)
    assert shlex.split(start) == ["datastore", "cluster", "--directory", str(tmp_path)]
    with cluster(tmp_path) as running:
        assert running.ready["ready"] is False
        assert "has the shard 'shard-3'" in running.ready["differences"][0]["text"]
        refused = running.cli("count", "/a", code=4)
        assert "has the shard 'shard-3', which the cluster does not have" in refused
        assert apply in refused
        subprocess.run([*COMMAND, *shlex.split(apply)[1:]], check=True, capture_output=True, timeout=PATIENCE_S)
        wait_until(lambda: running.count("/a") == "20\n")


@pytest.mark.long
def test_a_shard_whose_directory_is_gone_is_not_started_on_an_empty_one(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "2") as running:
        running.cli("put", "/a:1", "1")
    data = tmp_path / "shard-1"
    data.rename(tmp_path / "kept")
    line = [*COMMAND, "cluster", "--directory", str(tmp_path)]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 5 and "the data directory of 'shard-1' is not there" in done.stderr
    assert not data.exists()
    make = shlex.split(done.stderr.strip().splitlines()[-1])
    subprocess.run(make, check=True)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for text in process.stdout:
            lines.append(text)
            if "--replace shard-1" in text:
                break
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    reported = "".join(lines)
    assert "NOT SERVING" in reported and "serves an empty data directory" in reported and "Ready" not in reported


def test_a_given_proxy_port_overrides_the_recorded_one(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_text(dump_config(plan_cluster(tmp_path, nodes=1, port=1, durability="sync")))
    assert plan_cluster(tmp_path, nodes=None, port=None, durability="sync").proxy.listen == "127.0.0.1:1"
    assert plan_cluster(tmp_path, nodes=None, port=2, durability="sync").proxy.listen == "127.0.0.1:2"


def test_a_cluster_with_changes_can_be_watched_also_one_that_was_made_without(tmp_path: Path) -> None:
    with cluster(tmp_path, "--nodes", "1") as first:
        first.cli("put", "/a:1", "1")
        assert "?changes=true" in first.cli("watch", "/a", code=5)
    for arguments in (["--changes"], ["--changes"], []):
        with cluster(tmp_path, *arguments) as running:
            assert json.loads(running.cli("watch", "/a", "--initial", "--limit", "1"))["key"] == "/a:1"
        (shard,) = load_config(tmp_path / CONFIG_NAME).shards
        assert shard.store is not None and shard.store.count("changes=true") == 1
