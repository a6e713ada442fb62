"""`python -m bench.clients [LANG ...]`: the clients of all languages whose driver is built, or of those named.

Each is compared with the code that it is generated from, used as plainly as possible in the same process, and all of
them with one another. The drivers measure themselves, as tests/clients/README.md says; they have the first core, and
the node the last.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import servers
from bench.measure import Row, compare
from bench.servers import pin_client
from bench.tables import table
from tests.clients.drivers import Client, Driver, clients

#: The entries that are queried, those that are read slowly, both by default, and the bytes of each value.
ENTRIES, READ_SLOWLY, VALUE_BYTES = 1_000_000, 10_000_000, 100
#: The calls of a run, and how many of them are in flight at once.
CALLS, IN_FLIGHT = 6000, 64
#: Pairs of runs of each row, and runs of each client in the table of all.
RUNS = 7
#: The entries that are written by one request, and those that are asked for at once by the slow reader.
WRITTEN_AT_ONCE, READ_AT_ONCE = 100_000, 10_000
#: The entries that a client writes in a run.
WRITTEN = 20_000
#: Where they are, where the others that are read slowly are, and where what the clients write is.
READ, MORE, WRITE = "/Thing/Read", "/Thing/More", "/Written"
#: Above the entries that are read slowly.
ALL = "/Thing"


class Bench:
    """One client's driver, with a node that holds so many entries to be queried."""

    def __init__(self, driver: Driver, address: str, entries: int) -> None:
        self._driver = driver
        self._address = address
        self._entries = entries
        self._connected: int = self.ask("connect", addresses=[address], timeout_ms=600_000)["client"]

    def ask(self, op: str, **request: Any) -> Any:
        """The result of an operation."""
        response = self._driver.ask({"op": op, **request})
        if "result" not in response:
            raise RuntimeError(f"the driver of {self._driver.client} answered {op} by {response}")
        return response["result"]

    async def entries_per_second(self, through: str) -> float:
        """Read the whole collection."""
        done = self.ask("bench_query", address=self._address, key=READ, through=through)
        if int(done["entries"]) != self._entries:
            raise RuntimeError(
                f"{self._driver.client} read {done['entries']} of {self._entries} entries by its {through}"
            )
        return self._entries / float(done["seconds"])

    async def gets_per_second(self, through: str) -> float:
        """Get one entry again and again."""
        sent = {"key": f"{READ}/0000/00000000", "in_flight": IN_FLIGHT, "calls": CALLS}
        done = self.ask("bench_get", address=self._address, through=through, **sent)
        return CALLS / float(done["seconds"])

    async def writes_per_second(self) -> float:
        """Write entries, in batches."""
        start = asyncio.get_running_loop().time()
        self.write(WRITTEN, f"{WRITE}/{self._driver.client}")
        return WRITTEN / (asyncio.get_running_loop().time() - start)

    def write(self, count: int, prefix: str) -> None:
        """Write so many entries below a key."""
        self.ask("write", client=self._connected, count=count, value_bytes=VALUE_BYTES, prefix=prefix)

    def growth_bytes(self) -> int:
        """By how much the driver's memory grows while the collection is read slowly, once a hundredth has been read.

        Every entry is written out as JSON, so the server is always ahead of the reader.
        """
        cursor = self.ask("open_query", client=self._connected, query={"key": ALL, "recursive": True})["cursor"]
        used: list[int] = []
        found: dict[str, Any] = {}
        while "summary" not in found:
            found = self.ask("next", cursor=cursor, count=READ_AT_ONCE)
            used.append(int(self.ask("memory")["rss_bytes"]))
        settled = used[len(used) // 100 :]
        return max(settled) - settled[0]


@contextmanager
def _node() -> Iterator[str]:
    """The address of an empty node on LMDB."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}/data?durability=async") as url:
        yield url.removeprefix("grpc://")


def _fill(address: str, entries: int, prefix: str) -> None:
    """Store so many entries below a key, written by Python's client."""
    driver = Driver(clients()[0])
    try:
        writer = Bench(driver, address, entries)
        for number, start in enumerate(range(0, entries, WRITTEN_AT_ONCE)):
            writer.write(min(WRITTEN_AT_ONCE, entries - start), f"{prefix}/{number:04}")
    finally:
        driver.kill()


async def _ratios(benches: dict[str, Bench]) -> dict[str, Row]:
    rows = {}
    for name, bench in benches.items():
        kinds: dict[str, tuple[str, Callable[[str], Awaitable[float]]]] = {
            "query": ("entries/s", bench.entries_per_second),
            "get": ("calls/s", bench.gets_per_second),
        }
        for kind, (unit, rate) in kinds.items():
            rows[f"{name}_{kind}_vs_stub"] = await compare(
                unit, partial(rate, "client"), partial(rate, "stub"), runs=RUNS
            )
    return rows


async def _throughput(benches: dict[str, Bench]) -> Table:
    """What each client does against the same node, round after round."""
    shown = Table("client", "entries/s, queried", "gets/s, 64 at once", "entries/s, written", title="Medians")
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in benches}
    for _ in range(RUNS):
        for name, bench in benches.items():
            read, got = await bench.entries_per_second("client"), await bench.gets_per_second("client")
            measured[name].append((read, got, await bench.writes_per_second()))
    for name, runs in measured.items():
        shown.add_row(name, *(f"{statistics.median(column):,.0f}" for column in zip(*runs, strict=True)))
    return shown


def _growth(selected: Sequence[Client], address: str, entries: int) -> Table:
    """In new processes, because a heap that has grown before would hide it."""
    shown = Table("client", "MiB", title="Growth of memory while the entries are read slowly")
    for client in selected:
        driver = Driver(client)
        try:
            shown.add_row(client.name, f"{Bench(driver, address, entries).growth_bytes() / 2**20:.0f}")
        finally:
            driver.kill()
    return shown


def _chosen(names: Sequence[str]) -> list[Client]:
    known = {client.name: client for client in clients()}
    if unknown := set(names) - known.keys():
        raise SystemExit(f"no driver of {', '.join(sorted(unknown))}: make clients; there are {' '.join(known)}")
    return [known[name] for name in names or known]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", metavar="LANG")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="that are queried")
    parser.add_argument("--read-slowly", type=int, default=READ_SLOWLY, help="entries, these among them")
    chosen = parser.parse_args()
    selected = _chosen(chosen.clients)
    pin_client()
    console = Console()
    with _node() as address:
        _fill(address, chosen.entries, READ)
        with ExitStack() as stack:
            benches = {}
            for client in selected:
                driver = Driver(client)
                stack.callback(driver.kill)
                benches[client.name] = Bench(driver, address, chosen.entries)
            console.print(table(asyncio.run(_ratios(benches))))
            console.print(asyncio.run(_throughput(benches)))
        _fill(address, chosen.read_slowly - chosen.entries, MORE)
        console.print(_growth(selected, address, chosen.read_slowly))


if __name__ == "__main__":
    main()
