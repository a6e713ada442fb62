"""`python -m bench.curves [CURVE ...]`: what a call costs as something grows; writes docs/images/performance.json.

Each point is a run of `datastore bench` at full load. Its cost is the processor time that the servers used per call,
in a second after the beginning and up to a second before the end of the measurement, as Linux counts it: unlike a
rate, it does not depend on how fast the client is. `python -m bench.curves --draw` draws docs/images/performance.svg
from the file; that needs `pip install '.[bench]'`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bench import servers

POINTS = Path(__file__).resolve().parent.parent / "docs" / "images" / "performance.json"
#: How long a point is measured and warmed up, in seconds, and how often the servers' processor time is read.
MEASURED_S, WARMED_S, SAMPLED_S = 5, 1, 0.05
#: What is left out of the measurement at both ends: the report says when it began in whole seconds.
MARGIN_S = 1.0
#: The operations of a curve: one call of a query reads 100 entries, one of a batch too.
OPERATIONS = ("get", "put", "batch_get", "batch_write", "query")

Options = dict[str, object]


class Curve(NamedTuple):
    """What grows: where it stops, what the axis is called, and how it is measured."""

    label: str
    sizes: Sequence[int]
    operations: Sequence[str]
    options: Callable[[int], Options]
    shards: Callable[[int], int] = lambda _: 0


CURVES = {
    "entries": Curve("entries", (1_000, 10_000, 100_000, 1_000_000), OPERATIONS, lambda size: {"keys": size}),
    "value_bytes": Curve(
        "bytes of a value",
        (10, 100, 1_000, 10_000, 100_000, 1_000_000),
        ("get", "put"),
        lambda size: {"value-size": size, "keys": 1000},
    ),
    "clients": Curve(
        "calls in flight", (1, 4, 16, 64, 256, 1024), ("get", "put", "query"), lambda size: {"in-flight": size}
    ),
    "shards": Curve(
        "shards behind a proxy", (1, 2, 4, 8, 16), ("get", "batch_get", "query"), lambda _: {}, shards=lambda size: size
    ),
}


class _Processors:
    """The processor time of some processes, read again and again while the block runs."""

    def __init__(self, process_ids: Sequence[int]) -> None:
        self._paths = [Path(f"/proc/{number}/stat") for number in process_ids]
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> _Processors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def used(self, start: float, end: float) -> float:
        """Seconds of processor time per second between two times."""
        within = [sample for sample in self._samples if start <= sample[0] <= end]
        (first, before), (last, after) = within[0], within[-1]
        return (after - before) / (last - first)

    def _read(self) -> None:
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        while not self._ended.wait(SAMPLED_S):
            ticks = 0
            for path in self._paths:
                # After the name of the process, which is in parentheses: utime and stime are the 12th and 13th.
                fields = path.read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
            self._samples.append((time.time(), ticks / ticks_per_s))


def _point(url: str, process_ids: Sequence[int], operation: str, options: Options) -> dict[str, float]:
    """One run: microseconds of processor time per call, calls per second, and latencies."""
    given = {"rate": "max", "mix": operation, "duration": f"{MEASURED_S}s", "warm-up": f"{WARMED_S}s"} | options
    arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "datastore_server.cli", "bench", url, "--json", *arguments]
    with _Processors(process_ids) as processors:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    report = json.loads(done.stdout)
    began = datetime.fromisoformat(report["began"]).timestamp()
    used = processors.used(began + MARGIN_S, began + report["seconds"] - MARGIN_S)
    total = report["total"]
    return {
        "cpu_us_per_call": round(1e6 * used / total["calls_per_s"], 1),
        "calls_per_s": round(total["calls_per_s"], 1),
        "p50_ms": total["latency_ms"]["p50"],
        "p99_ms": total["latency_ms"]["p99"],
    }


@contextmanager
def _served(shards: int) -> Iterator[str]:
    """A node on LMDB, or a proxy over as many as there are shards. Writes are left to the operating system."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stores = [f"lmdb://{folder}/{number}?durability=async" for number in range(max(1, shards))]
        urls = [stack.enter_context(servers.node(store)) for store in stores]
        yield stack.enter_context(servers.proxy(urls, Path(folder), beside_client=False)) if shards else urls[0]


def _children() -> list[int]:
    """The servers: all processes that this one has started and that run."""
    path = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
    return [int(number) for number in path.read_text().split()]


def measure(names: Sequence[str]) -> dict[str, Any]:
    """The curves of these names: for each operation its points, by size."""
    console = Console()
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name in names:
        curve = CURVES[name]
        found[name] = {operation: {} for operation in curve.operations}
        for size in curve.sizes:
            for operation in curve.operations:
                with _served(curve.shards(size)) as url:
                    point = _point(url, _children(), operation, curve.options(size))
                console.print(f"{name} {size:,} {operation}: {point}", highlight=False)
                found[name][operation][str(size)] = point
    return found


def draw() -> None:
    """A panel for each curve, both axes logarithmic."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    # The same file for the same points.
    mpl.rcParams |= {"svg.hashsalt": "datastore", "svg.fonttype": "none", "font.size": 9}
    measured = json.loads(POINTS.read_text(encoding="utf-8"))
    figure, panels = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for panel, (name, curve) in zip(panels.flat, CURVES.items(), strict=True):
        for operation, points in measured[name].items():
            costs = [point["cpu_us_per_call"] for point in points.values()]
            panel.plot([int(size) for size in points], costs, marker="o", markersize=3, label=operation)
        panel.set(xscale="log", yscale="log", xlabel=curve.label, ylabel="µs of the servers' processors a call")
        panel.grid(visible=True, alpha=0.3)
        panel.legend(fontsize=8)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    POINTS.with_suffix(".svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure and write, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=" ".join(CURVES))
    parser.add_argument("--draw", action="store_true")
    chosen = parser.parse_args()
    if unknown := set(chosen.curves) - CURVES.keys():
        parser.error(f"no curve {', '.join(sorted(unknown))}; there are {' '.join(CURVES)}")
    if chosen.draw:
        draw()
        return
    servers.pin_client()
    known = json.loads(POINTS.read_text(encoding="utf-8")) if POINTS.exists() else {}
    found = known | measure(chosen.curves or list(CURVES))
    POINTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
