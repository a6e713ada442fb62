"""`datastore bench` against real servers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import pytest

from datastore_client import RemoteDatastore, connect
from datastore_server.cli.output import ExitCode
from tests.support import processes
from tests.support.certificates import write_files
from tests.support.commands import COMMAND, Commands, run_here, server_process
from tests.support.local_clusters import alive, wait_until

#: A short benchmark of few entries, by one worker.
SHORT = ["--duration", "300ms", "--warm-up", "50ms", "--keys", "50", "--workers", "1", "--rate", "100"]


def report_of(out: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(out)
    return report


def test_every_operation_is_measured_and_nothing_is_left(run: Commands) -> None:
    run.put("/Bench/mine", "/Bench", "/other")
    mix = "get,put,put_if_exists,batch_get,batch_write,query"
    options = ["--mix", mix, "--batch-items", "5", "--query-entries", "7", "--zipf", "0.99", "--value-size", "10-1KiB"]
    done = run("bench", *SHORT, *options, "--keys", "2500", "--workers", "2", "--rate", "200", "--json")
    assert done.code == 0, done.err
    report = report_of(done.out)
    assert list(report["operations"]) == mix.split(",")
    # Each call of the schedule was made, and succeeded.
    assert sum(each["calls"] for each in report["operations"].values()) == report["total"]["calls"] == 200 * 0.3
    assert report["total"]["failures"] == {}
    assert sum(count for _, count in report["histogram_us"]) == 60
    assert (report["plan"]["workers"], report["server"].split(",")[0]) == (2, "dict")
    # The keys of others are as they were.
    left = [line["key"] for line in run("query", "/", "-r", "--keys-only", "--json").lines]
    assert left == ["/Bench", "/Bench/mine", "/other"]


def test_the_report_has_a_table_pictures_and_the_rate(run: Commands) -> None:
    done = run("bench", *SHORT)
    assert done.code == 0, done.err
    assert "of 100 calls/s" in done.out
    assert "(open loop)" in done.out
    assert re.search(r"^ +get +put +query +total *$", done.out, re.MULTILINE)
    assert re.search(r"^p99.9 ms( +[\d.,-]+){4} *$", done.out, re.MULTILINE)
    assert "latency in ms, by percentile" in done.out
    assert "calls/s, over time" in done.out
    assert "█" in done.out


def test_a_closed_loop_says_what_it_is(run: Commands) -> None:
    done = run("bench", *SHORT, "--rate", "max", "--in-flight", "4", "--mix", "get")
    assert done.code == 0, done.err
    assert "with 4 calls in flight" in done.out
    assert "(closed loop" in done.out
    assert re.search(r"achieved: [\d,.]+ calls/s", done.out)


def test_entries_that_are_kept_are_named(run: Commands) -> None:
    done = run("bench", *SHORT, "--keep", "--under", "/mine", "--mix", "put", "--value-size", "3")
    assert done.code == 0, done.err
    assert "50 entries are left" in done.err
    (delete,) = (line.split() for line in done.err.splitlines() if "datastore delete" in line)
    assert delete[2].startswith("/mine/")
    found = run("query", delete[2], "-r", "--json").lines
    assert len(found) == 50
    assert run(*delete[1:], "--yes").code == 0
    assert run("count", "/", "-r").out == "0\n"


def test_two_reports_are_compared(run: Commands, tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    report = report_of(run("bench", *SHORT, "--mix", "put,get", "--json").out)
    paths[0].write_text(json.dumps(report))
    report["plan"]["keys"] = 60
    paths[1].write_text(json.dumps(report))
    compare = ["bench", "--compare", *map(str, paths)]
    shown = run(*compare)
    assert shown.code == 0, shown.err
    assert "p99 ms" in shown.out
    assert "+0.0%" in shown.out
    assert "Not the same: keys is 50 in the first, and 60 in the second." in shown.out
    (compared,) = run(*compare, "--json").lines
    assert {change["operation"] for change in compared["changes"]} == {"put", "get", "total"}
    paths[0].write_text("{}")
    refused = run(*compare)
    assert refused.code == ExitCode.REFUSED
    assert f"{paths[0]} is not a report" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mix", "get=1,scan=2"], "'scan' is not an operation; valid: get, put"),
        (["--mix", "get=1,get=2"], "get is there twice"),
        (["--mix", "get=0"], "'0' is not a weight"),
        (["--rate", "0"], "'0' is not a number of calls per second, e.g. 5000, or max"),
        (["--rate", "fast"], "'fast' is not a number of calls per second"),
        (["--duration", "0"], "a duration"),
        (["--value-size", "10-5"], "the sizes must ascend"),
        (["--value-size", "4MiB"], "at most be 3,143,680 bytes"),
        (["--value-size", "big"], "a range is written like 100-10KiB"),
        (["--rate", "max", "--in-flight", "2", "--workers", "3"], "--workers 3 need at least"),
        (["--mix", "batch_write", "--value-size", "1MiB"], "do not fit in a message"),
        (["--compare", "nowhere.json", "nowhere.json"], "nowhere.json"),
        (["/Person"], "/Person"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], said: str) -> None:
    done = run_here("bench", *options)
    assert done.code == ExitCode.USAGE
    assert said in " ".join(done.err.split())


def test_a_server_that_cannot_be_reached_is_named() -> None:
    done = run_here("bench", "grpc://127.0.0.1:1", *SHORT)
    assert done.code == ExitCode.UNAVAILABLE
    assert "grpc://127.0.0.1:1" in done.err


@pytest.mark.long("a benchmark over TLS, with a token")
def test_calls_over_tls_have_the_token_of_the_caller(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    tokens, token = tmp_path / "tokens.toml", tmp_path / "token"
    rights = ["--rights", "read,write,delete", "--prefix", "/team"]
    token.write_text(run_here("token", "create", "load", *rights, "--tokens", str(tokens)).out)
    token.chmod(0o600)
    tls = ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tokens", str(tokens)]
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0", *tls) as ready:
        shown = [ready["url"], "--ca", str(files.ca), "--token-file", str(token)]
        done = run_here("bench", *shown, *SHORT, "--under", "/team/bench", "--json")
        assert done.code == 0, done.err
        report = report_of(done.out)
        assert (report["total"]["calls"], report["total"]["failures"]) == (30, {})
        refused = run_here("bench", *shown, *SHORT)
        assert refused.code == ExitCode.FAILED
        assert "PERMISSION_DENIED" in refused.err


@pytest.mark.long("a benchmark through a proxy")
def test_a_proxy_is_measured_like_a_node(tmp_path: Path) -> None:
    with processes.cluster(tmp_path) as cluster:
        done = run_here("bench", cluster.url, *SHORT, "--mix", "get,query,batch_write", "--json")
        assert done.code == 0, done.err
        report = report_of(done.out)
        assert report["server"].startswith("proxy, 3 shards")
        assert (report["total"]["calls"], report["total"]["failures"]) == (30, {})
        assert run_here("count", "/", "-r", "--server", cluster.url).out == "0\n"


# Processes


@contextmanager
def bench_process(url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A benchmark of gets that has begun to measure."""
    line = [*COMMAND, "bench", url, "--warm-up", "0", "--keys", "50", "--workers", "2", "--mix", "get", *options]
    with connect(url) as store, subprocess.Popen(line, stdout=PIPE, stderr=PIPE, text=True) as process:
        before = gets_of(store)
        wait_until(lambda: gets_of(store) > before + 5)
        yield process


def gets_of(store: RemoteDatastore) -> int:
    """How many gets a server has answered."""
    return sum(method.calls for method in store.describe_store().load.methods if method.method == "Get")


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    return [worker.pid for worker in psutil.Process(process.pid).children()]


def test_ctrl_c_reports_what_was_measured_and_leaves_nothing(url: str, run: Commands) -> None:
    with bench_process(url, "--duration", "1h", "--rate", "50") as process:
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "interrupted after" in out
    assert "of 50 calls/s" in out
    assert "Interrupted." in err
    assert not any(map(alive, workers))
    assert run("count", "/", "-r").out == "0\n"


def test_ctrl_c_before_the_measurement_leaves_nothing(url: str, run: Commands) -> None:
    with bench_process(url, "--warm-up", "1h", "--rate", "50") as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, ""), err
    # On a slow machine, progress comes before it.
    assert err.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in err
    assert run("count", "/", "-r").out == "0\n"


def test_the_workers_of_a_killed_command_end(url: str, run: Commands) -> None:
    with bench_process(url, "--duration", "1h", "--rate", "50") as process:
        workers = workers_of(process)
        process.kill()
    wait_until(lambda: not any(map(alive, workers)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[processes.ServerProcess]:
    """A server that can be paused and killed."""
    server = processes.ServerProcess("serve", "memory:", log=tmp_path / "log")
    server.start()
    yield server
    server.stop()


def test_a_pause_of_the_server_is_in_the_latencies_of_all_calls_that_were_due(
    server: processes.ServerProcess,
) -> None:
    rate, pause_s = 100, 1.0
    with (
        bench_process(server.url, "--duration", "1h", "--rate", str(rate), "--json") as process,
        connect(server.url) as store,
    ):
        with server.paused():
            time.sleep(pause_s)
        # All that were due have been answered.
        before = gets_of(store)
        wait_until(lambda: gets_of(store) > before + rate * pause_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    report = report_of(out)
    assert report["is_interrupted"], err
    # A call was due every 10 ms and waited until the end of the pause, a half of them for more than half of it.
    for part in (0.5, 0.9):
        waited = sum(count for us, count in report["histogram_us"] if us >= part * pause_s * 1_000_000)
        assert waited >= (1 - part) * pause_s * rate - 2
    assert report["total"]["latency_ms"]["max"] >= 1000 * (pause_s - 2 / rate)


@pytest.mark.long("a benchmark of a server that is killed")
def test_a_server_that_goes_away_is_in_the_failures(server: processes.ServerProcess) -> None:
    options = ["--duration", "1h", "--rate", "50", "--json", "--timeout", "2"]
    with bench_process(server.url, *options) as process:
        assert process.stderr is not None
        server.kill()
        # Progress is printed every few seconds.
        for _ in range(2):
            assert process.stderr.readline().startswith("measuring")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    report = report_of(out)
    assert report["total"]["failures"]["UNAVAILABLE"] > 0
    assert process.returncode == ExitCode.UNAVAILABLE
    assert "50 entries are left" in err
    assert "UNAVAILABLE" in " ".join(report["warnings"])
