"""`status --watch`: a table or a line for each sample, until Ctrl-C; and what is nearly full."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from datastore import aio
from datastore.model.description import Description
from datastore.model.key import Key
from datastore_client import connect
from datastore_server import observation
from datastore_server.app import serve
from tests.support import clusters
from tests.support.clusters import background
from tests.support.commands import COMMAND, Commands, run_here


@contextmanager
def watching(url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`status --watch` in a process, which is interrupted at the end."""
    command = [*COMMAND, "status", "--server", url, "--watch", "--interval", "0.1", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
        assert (process.returncode, error.strip()) == (130, "Interrupted.")


def samples(lines: IO[str] | None) -> Iterator[Any]:
    assert lines is not None
    return map(json.loads, lines)


def test_each_sample_is_a_line_with_what_the_servers_did_since_the_one_before() -> None:
    with background() as loop, loop.running(clusters.proxy()) as cluster, connect(cluster.url) as store:
        store.put(Key("/a:0"), 0)
        with watching(cluster.url, "--json") as process:
            found = samples(process.stdout)
            first = next(found)
            assert (first["role"], first["cluster"], first["health"]) == ("proxy", "test", "serving")
            assert (first["calls_per_s"], first["p50_ms"]) == (None, None)
            assert first["lag_ms"] >= 0
            for number in range(50):
                store.put(Key(f"/a:{number}"), number)
            # The calls of `status` are answered by other methods.
            sample = next(sample for sample in found if sample["entries"] == 50 and sample["p99_ms"])
            assert sample["calls_per_s"] > 0
            assert 0 < sample["p50_ms"] <= sample["p99_ms"]
            assert {shard["name"] for shard in sample["shards"]} == set(clusters.SHARDS)
            assert all(shard["calls_per_s"] > 0 for shard in sample["shards"])


def test_without_a_terminal_tables_follow_one_another() -> None:
    with background() as loop, loop.running(clusters.node()) as cluster, watching(cluster.url) as process:
        assert process.stdout is not None
        heads = 0
        while heads < 3:
            heads += bool(
                re.search(r"server +health +entries .*calls/s +failed/s +p50 ms +p99 ms", process.stdout.readline())
            )


def test_a_server_that_goes_away_is_shown_as_unavailable_and_asked_again() -> None:
    with background() as loop, ExitStack() as stack:
        server = serve(aio.DictDatastore())
        with loop.running(server):
            url, address = server.url, str(server.address)
            found = samples(stack.enter_context(watching(url, "--json")).stdout)
            assert next(found)["health"] == "serving"
        gone = next(sample for sample in found if sample["health"] == "unavailable")
        assert url in gone["error"]
        with loop.running(serve(aio.DictDatastore(), listen=address)):
            assert next(sample for sample in found if sample["health"] == "serving")["error"] is None


def test_on_a_terminal_the_table_is_replaced_and_the_cursor_comes_back() -> None:
    with background() as loop, loop.running(clusters.node()) as cluster:
        ours, theirs = pty.openpty()
        command = [*COMMAND, "status", "--server", cluster.url, "--watch", "--interval", "0.1"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
        with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment) as process:
            os.close(theirs)
            shown = b""
            while shown.count(b"calls/s") < 3:
                shown += os.read(ours, 10_000)
            process.send_signal(signal.SIGINT)
            try:
                while more := os.read(ours, 10_000):
                    shown += more
            except OSError:
                # The other end is closed.
                pass
            assert process.wait() == 130
        os.close(ours)
    # It moves up to overwrite the table, and hides the cursor only while it runs.
    assert re.search(rb"\x1b\[1A|\x1b\[\d+A", shown)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


def test_an_unreachable_server_is_an_error_at_once(unused_tcp_port: int) -> None:
    done = Commands(f"grpc://127.0.0.1:{unused_tcp_port}")("status", "--watch")
    assert (done.code, "Is a server running" in done.err) == (4, True)


def full(part: float, *, map_part: float = 0.0) -> Description:
    figures = {
        "map_used_bytes": map_part * 1000,
        "map_limit_bytes": 1000,
        "disk_free_bytes": (1 - part) * 1000,
        "disk_bytes": 1000,
    }
    return Description("lmdb", "/data", figures=figures)


@pytest.mark.parametrize(
    ("description", "warned"),
    [
        (full(0.89), []),
        (full(0.901), ["lmdb /data: 10% of the disk is free"]),
        (full(0.0, map_part=0.799), []),
        (full(0.0, map_part=0.8), ["lmdb /data: 80% of max_map_bytes is in use"]),
        (Description("tiered", children=(full(0.0), full(0.99))), ["lmdb /data: 1% of the disk is free"]),
        (Description("dict"), []),
    ],
)
def test_a_server_warns_before_its_map_or_disk_is_full(description: Description, warned: list[str]) -> None:
    assert [text.split(":")[0] + ":" + text.split(":")[1] for text in observation.space_warnings(description)] == warned


def test_warnings_of_nodes_are_shown_by_their_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # No disk is so empty.
    monkeypatch.setattr(observation, "DISK_FREE_PART", 1.1)
    with background() as loop, loop.running(clusters.proxy(tmp_path)) as cluster, connect(cluster.url) as store:
        store.put(Key("/a:1"), 1)
        run = Commands(cluster.url)
        (shown,) = run("status", "--json").lines
        assert [len(shard["warnings"]) for shard in shown["shards"]] == [1, 1, 1]
        assert re.search(r"^shard-1: warning: lmdb \S+: \d+% of the disk is free", run("status").out, re.MULTILINE)


def test_a_caller_that_is_not_told_what_is_served_is_told_so(tmp_path: Path) -> None:
    path, token = tmp_path / "tokens.toml", tmp_path / "shop.token"
    created = run_here("token", "create", "shop", "--rights", "read", "--prefix", "/shop", "--tokens", str(path))
    token.write_text(created.out)
    with background() as loop, loop.running(serve(aio.DictDatastore(), tokens=path)) as server:
        shown = run_here("status", "--server", server.url, "--token-file", str(token))
    assert shown.code == 0
    assert re.search(r"^server +grpc://", shown.out, re.MULTILINE)
    assert "what it serves is only shown to callers that may read /" in shown.out
