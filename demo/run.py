"""The main job from end to end, by the real command line: `make demo`.

Three nodes and a proxy; the 28,298 airports of `airportsdata` go in, come out as queries and as an export,
and every answer is compared with a plain reading of the same file. A node is killed in the middle of a second
import. Every command is shown before it runs. Exit code 1 if anything differs or anything is left behind.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import airportsdata

from datastore.engine.placement import SlotMap
from datastore.model.key import Key
from datastore_server.config import load_config

AIRPORTS = Path(airportsdata.__file__).with_name("airports.csv")
#: How long the demo waits for anything.
PATIENCE_S = 60.0
#: The second import gets so many rows first, and the rest just before the kill, which therefore interrupts it.
ROWS_BEFORE_KILL = 12_000
TYPES = ["--type", "elevation=number", "--type", "lat=float", "--type", "lon=float"]
#: As issued in the environment of `make demo`: the command of the same installation as this interpreter.
COMMAND = str(Path(sys.executable).with_name("datastore"))


class DemoError(Exception):
    """A check failed."""


class Process(NamedTuple):
    """One row of the table that `datastore cluster` prints."""

    role: str
    name: str
    url: str
    pid: int


class Shell:
    """Shows and runs commands in the demo's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = dict(os.environ)
        self.commands = 0

    def show(self, *arguments: str, after: str = "") -> None:
        """Print a command as a person would type it."""
        self.commands += 1
        print(f"\n$ {shlex.join(['datastore', *arguments])}{after}", flush=True)

    def run(self, *arguments: str, expect: int = 0, shown: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and print what it prints. Its exit code must be the expected one."""
        self.show(*arguments)
        done = self._done(arguments, capture_output=True)
        if shown:
            print(done.stdout, end="")
        print(done.stderr, end="", flush=True)
        check(done.returncode == expect, f"exit code {done.returncode}, expected {expect}")
        return done

    def run_openly(self, *arguments: str) -> None:
        """Run a command on this terminal, so that its progress bar is visible."""
        self.show(*arguments)
        code = self._done(arguments).returncode
        check(code == 0, f"exit code {code}, expected 0")

    def run_until(self, is_enough: Callable[[str], bool], *arguments: str, what: str) -> None:
        """Repeat a command until it succeeds and prints enough."""
        self.show(*arguments, after=f"   # until {what}")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = self._done(arguments, capture_output=True)
            if done.returncode == 0 and is_enough(done.stdout):
                return
            check(time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}")

    @contextmanager
    def background(self, *arguments: str, after: str = " &", **pipes: Any) -> Iterator[subprocess.Popen[str]]:
        """Run a command in the background; at the end it is asked to stop, and must."""
        self.show(*arguments, after=after)
        command = [COMMAND, *arguments]
        with subprocess.Popen(command, text=True, cwd=self.directory, env=self.environment, **pipes) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise DemoError(f"{arguments[0]} did not stop within {PATIENCE_S:.0f} s") from None

    def _done(self, arguments: Sequence[str], **pipes: Any) -> subprocess.CompletedProcess[str]:
        command = [COMMAND, *arguments]
        return subprocess.run(command, check=False, text=True, cwd=self.directory, env=self.environment, **pipes)


def check(truth: bool, otherwise: str) -> None:
    """Raise DemoError unless the condition holds."""
    if not truth:
        raise DemoError(otherwise)


def say(text: str) -> None:
    """A remark between the commands."""
    print(f"\n# {text}", flush=True)


def read_plainly() -> dict[str, dict[str, Any]]:
    """The airports by key, read with the standard library alone: the reference for every answer."""
    airports = {}
    with AIRPORTS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            elevation = row["elevation"]
            row["elevation"] = float(elevation) if "." in elevation else int(elevation)
            row["lat"], row["lon"] = float(row["lat"]), float(row["lon"])
            airports[f"/Airport:{row['icao']}"] = row
    return airports


def entries_of(text: str) -> list[tuple[str, Any]]:
    """The entries in lines of `{"key": ..., "value": ...}`; without values, None."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [(line["key"], line.get("value")) for line in lines]


def check_same(what: str, found: Any, expected: Any) -> None:
    """Compare an answer with the plain reading's."""
    # JSON distinguishes 1 from 1.0; == does not.
    is_same = json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)
    check(is_same, f"{what}: got {str(found)[:300]}, the plain reading gives {str(expected)[:300]}")
    print(f"  = as read plainly: {what}", flush=True)


# The steps


def start_cluster(stack: ExitStack, shell: Shell) -> tuple[subprocess.Popen[str], list[Process]]:
    """Start three nodes and a proxy, and read from the printed table where each runs."""
    cluster = stack.enter_context(
        shell.background("cluster", "--nodes", "3", "--directory", "cluster", stdout=subprocess.PIPE)
    )
    processes = []
    for line in cluster.stdout or ():
        print(line, end="", flush=True)
        words = line.split()
        if words[:1] in (["node"], ["proxy"]):
            processes.append(Process(words[0], words[1], words[2], int(words[3])))
        exported = re.match(r"\s*export DATASTORE_SERVER=(\S+)", line)
        if exported:
            shell.environment["DATASTORE_SERVER"] = exported[1]
            print(f"\n$ export DATASTORE_SERVER={exported[1]}")
            break
    check(len(processes) == 4, f"expected four processes, the table has {len(processes)}")
    return cluster, processes


def query(shell: Shell, airports: dict[str, dict[str, Any]]) -> None:
    """Query in several ways, and compare each answer."""
    say("How many are there?")
    check_same("how many", int(shell.run("count", "/Airport").stdout), len(airports))

    say("The five highest in Switzerland.")
    done = shell.run("query", "/Airport", "--where", "country = CH", "--order", "-elevation", "--limit", "5")
    swiss = [(key, row) for key, row in airports.items() if row["country"] == "CH"]
    highest = sorted(swiss, key=lambda pair: (-pair[1]["elevation"], pair[0]))[:5]
    check_same(", ".join(f"{row['icao']} {row['elevation']}" for _, row in highest), entries_of(done.stdout), highest)

    say("How many in Iceland?")
    iceland = sum(row["country"] == "IS" for row in airports.values())
    check_same("how many in Iceland", int(shell.run("count", "/Airport", "--where", "country = IS").stdout), iceland)

    say("Page 3 of ten, by country and then the highest first.")
    page = ["--order", "country", "--order", "-elevation", "--offset", "20", "--limit", "10"]
    done = shell.run("query", "/Airport", *page, "--keys-only")
    ordered = sorted(airports.items(), key=lambda pair: (pair[1]["country"], -pair[1]["elevation"], pair[0]))
    check_same("page 3", [key for key, _ in entries_of(done.stdout)], [key for key, _ in ordered[20:30]])


def stream_everything(shell: Shell, airports: dict[str, dict[str, Any]]) -> float:
    """Read all entries as one stream. Returns the rows per second."""
    say("Everything, as one stream in the order of the keys (not printed here).")
    began = time.monotonic()
    done = shell.run("query", "/Airport", "--json", shown=False)
    seconds = time.monotonic() - began
    entries = entries_of(done.stdout)
    rate = len(entries) / seconds
    print(f"  {len(entries):,} rows in {seconds:.1f} s: {rate:,.0f} rows/s, the command's start included")
    check_same("every key and value, and their order", entries, sorted(airports.items()))
    return rate


def export(shell: Shell, airports: dict[str, dict[str, Any]]) -> None:
    """Export, and compare with what was imported."""
    say("An export, equal to what was imported.")
    shell.run_openly("export", "/Airport", "airports.jsonl")
    text = (shell.directory / "airports.jsonl").read_text(encoding="utf-8")
    check_same("the export", dict(entries_of(text)), airports)


def kill_in_the_middle(shell: Shell, processes: list[Process]) -> tuple[Process, int]:
    """Kill a node during an import. Returns the node, and how many rows were acknowledged by then."""
    victim = next(process for process in processes if process.name == "shard-2")
    say(f"A second import, to /Copy. In its middle {victim.name} dies: SIGKILL, nothing is flushed.")
    arguments = ["import", "-", "--format", "csv", "--key", "/Copy:{icao}", *TYPES]
    lines = AIRPORTS.read_text(encoding="utf-8").splitlines(keepends=True)
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with shell.background(*arguments, after=" < airports.csv &", **pipes) as importing:
        if importing.stdin is None or importing.stderr is None:
            raise DemoError("the import has no pipes")
        importing.stdin.writelines(lines[:ROWS_BEFORE_KILL])
        importing.stdin.flush()
        enough = ROWS_BEFORE_KILL // 2
        shell.run_until(lambda count: int(count) >= enough, "count", "/Copy", what=f"it is {enough:,}")
        feeder = threading.Thread(target=feed, args=(importing.stdin, lines[ROWS_BEFORE_KILL:]))
        feeder.start()
        print(f"\n$ kill -9 {victim.pid}", flush=True)
        os.kill(victim.pid, signal.SIGKILL)
        reported = importing.stderr.read()
        feeder.join()
        print(reported, end="")
        check(importing.wait(PATIENCE_S) == 4, f"the import ended with {importing.returncode}, expected 4")
    acknowledged = re.search(r"the first ([\d,]+) rows", reported)
    if acknowledged is None or victim.name not in reported:
        raise DemoError("the import does not say which rows are acknowledged, or which node failed")
    rows = int(acknowledged[1].replace(",", ""))
    check(0 < rows < len(lines) - 1, f"{rows} rows acknowledged: the kill was not in the middle")
    return victim, rows


def feed(pipe: IO[str], lines: list[str]) -> None:
    """Send the rest to an import, which may end before it has read everything."""
    with suppress(BrokenPipeError), pipe:
        pipe.writelines(lines)


def ask_around(shell: Shell, airports: dict[str, dict[str, Any]], victim: Process) -> str:
    """Get a key of each shard while one is down. Returns the key of the shard that is down."""
    config = load_config(shell.directory / "cluster" / "cluster.toml")
    slot_map = SlotMap([shard.name for shard in config.shards], shard_by=config.cluster.shard_by)
    of_shard: dict[str, str] = {}
    for key in airports:
        of_shard.setdefault(slot_map.shard_of(Key(key)), key)
    say(f"A key of {victim.name} is unavailable, and the error names the shard; the others answer as before.")
    reported = shell.run("get", of_shard[victim.name], expect=4).stderr
    check("UNAVAILABLE" in reported and victim.name in reported, "the error does not name UNAVAILABLE and the shard")
    for name, key in of_shard.items():
        if name != victim.name:
            check_same(f"{key}, on {name}", json.loads(shell.run("get", key).stdout), airports[key])
    shell.run("status", expect=4)
    return of_shard[victim.name]


def restart(stack: ExitStack, shell: Shell, victim: Process, key: str) -> subprocess.Popen[str]:
    """Start the killed node again, and wait until the proxy has noticed."""
    say(f"{victim.name} is started again, on its data.")
    arguments = ["serve", "--config", "cluster/cluster.toml", "--shard", victim.name]
    node = stack.enter_context(shell.background(*arguments, stdout=subprocess.PIPE))
    ready = node.stdout.readline() if node.stdout else ""
    print(ready, end="")
    check(victim.url in ready, f"it is not ready at {victim.url}")
    shell.run_until(bool, "get", key, what="the proxy has found it again")
    return node


def check_acknowledged(shell: Shell, airports: dict[str, dict[str, Any]], rows: int) -> None:
    """Check that every row that the killed import acknowledged is stored; then continue the import."""
    say(f"Are the {rows:,} acknowledged rows all there?")
    shell.run_openly("export", "/Copy", "copy.jsonl")
    copy = dict(entries_of((shell.directory / "copy.jsonl").read_text(encoding="utf-8")))
    expected = {f"/Copy:{row['icao']}": row for row in airports.values()}
    lost = [key for key in list(expected)[:rows] if key not in copy]
    check(not lost, f"{len(lost)} acknowledged rows are lost, e.g. {lost[:3]}")
    there = {key: expected[key] for key in copy}
    check_same(f"{len(copy):,} entries of /Copy, {rows:,} of them acknowledged", copy, there)
    say("The import continues from there, with the command that it printed.")
    shell.run_openly("import", "airports.csv", "--key", "/Copy:{icao}", *TYPES, "--skip", str(rows))
    check_same("how many copies", int(shell.run("count", "/Copy").stdout), len(airports))


def largest_memory(processes: list[Process]) -> float:
    """The largest peak of resident memory of the processes, in MiB; NaN where there is no /proc. Prints each."""
    peaks = []
    for process in processes:
        status = Path(f"/proc/{process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        peaks.append(int(found[1]) / 1024 if found else float("nan"))
        print(f"  {process.name:<8} {peaks[-1]:6.1f} MiB at most")
    return max(peaks)


def check_nothing_left(directory: Path, processes: list[Process], pids: list[int]) -> None:
    """Check that no process runs, no port answers, and no file is left."""
    for pid in [*(process.pid for process in processes), *pids]:
        check(not Path(f"/proc/{pid}").exists(), f"process {pid} is still there")
    for process in processes:
        host, port = process.url.removeprefix("grpc://").rsplit(":", 1)
        with socket.socket() as probe:
            check(probe.connect_ex((host, int(port))) != 0, f"{process.url} still answers")
    check(not directory.exists(), f"{directory} is still there")


def run(directory: Path) -> tuple[list[str], list[Process], list[int]]:
    """Everything from the first process to the last. Returns the lines of the summary, and the processes."""
    shell = Shell(directory)
    with ExitStack() as stack:
        print(f"$ cd {directory}\n$ cp {AIRPORTS} .", flush=True)
        shutil.copy(AIRPORTS, directory)
        airports = read_plainly()

        say("Three nodes on LMDB and a proxy, each a process.")
        cluster, processes = start_cluster(stack, shell)

        say("The airports go in through the proxy, with typed members.")
        began = time.monotonic()
        shell.run_openly("import", "airports.csv", "--key", "/Airport:{icao}", *TYPES)
        import_rate = len(airports) / (time.monotonic() - began)
        query(shell, airports)
        query_rate = stream_everything(shell, airports)
        peak = largest_memory(processes)
        export(shell, airports)

        victim, rows = kill_in_the_middle(shell, processes)
        key = ask_around(shell, airports, victim)
        node = restart(stack, shell, victim, key)
        check_acknowledged(shell, airports, rows)
        shell.run("status")
        say("Stopping all (Ctrl-C).")
    check(cluster.returncode == 0, f"the cluster ended with exit code {cluster.returncode}")
    check(node.returncode == 0, f"the node ended with exit code {node.returncode}")
    summary = [
        f"{len(airports):,} airports in at {import_rate:,.0f} rows/s, and out at {query_rate:,.0f} rows/s,",
        "every answer equal to a plain reading of the file;",
        f"{victim.name} killed during an import: all {rows:,} acknowledged rows survived;",
        f"largest resident memory {peak:.0f} MiB; {shell.commands} commands.",
    ]
    return summary, processes, [cluster.pid, node.pid]


def main() -> int:
    """Run the demo. Returns 0 if every check passed, otherwise 1."""
    began = time.monotonic()
    # It leaves nothing behind, however it is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="datastore-demo-"))
    try:
        try:
            summary, processes, pids = run(directory)
        finally:
            shutil.rmtree(directory)
        check_nothing_left(directory, processes, pids)
    except DemoError as error:
        print(f"\nFAILED: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything was stopped and removed.", flush=True)
        return 130
    print("\nDone: " + "\n      ".join(summary))
    print(f"      No process, port or file is left. {time.monotonic() - began:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
