"""Large sorts on a node: what they hold in memory, and for how long they hold the event loop; beside the bounds."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.calls import SERVICE, channel
from bench.measure import IS_FULL, MIB, Row, bounded
from bench.servers import STOP_S
from bench.things import fill, query
from datastore.v1 import service_pb2
from tests.support.memory import growth
from tests.support.processes import ServerProcess

__all__ = ["ROWS"]

#: The entries whose sort is to be small, and the MiB that a node may hold of them.
SORTED, SORT_MIB = 5_000_000 if IS_FULL else 500_000, 64
#: The entries whose sort is to leave the event loop to others, the limits of the queries, and for how long it may be
#: held.
HELD = 1_000_000 if IS_FULL else 500_000
LIMITS, HELD_MS = (0, 100_000, HELD * 9 // 10), 20
#: How often that is measured: a busy machine only adds to it, so the least counts.
HELD_RUNS = 3


async def large_sort_growth_mib() -> Row:
    """The growth of a node that sorts 200 B maps by a field, without a limit; against the 64 MiB that it may hold."""
    with tempfile.TemporaryDirectory() as directory:
        node = ServerProcess("serve", f"lmdb://{directory}/data?durability=async", log=Path(directory) / "log")
        try:
            node.start()
            await fill(node.url, SORTED, _sortable)
            async with growth({"node": node.pid}) as grown:
                await _read_in_order(node.url, SORTED)
        finally:
            node.stop()
    return bounded("MiB", grown.most_bytes["node"] / MIB, SORT_MIB)


async def large_sort_held_ms() -> Row:
    """The longest time that the event loop of a node is held while it sorts such maps, against 20 ms.

    Without a limit and with one, in processor time of the node, all threads together; the least of three runs.
    """
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        with _node(f"{directory}/data") as (url, _):
            await fill(url, HELD, _sortable)
        for _ in range(HELD_RUNS):
            with _node(f"{directory}/data") as (url, found):
                for limit in LIMITS:
                    await _read_in_order(url, limit or HELD, limit)
            runs.append(found["held_ms"])
    return bounded("ms", min(runs), HELD_MS)


def _sortable(number: int) -> dict[str, object]:
    """A map of some 200 bytes, with a field that orders the entries otherwise than their keys."""
    return {"n": number * 7_919 % 1_000_003, "text": "x" * 170}


async def _read_in_order(url: str, entries: int, limit: int = 0) -> None:
    """Read so many maps ordered by their field. Raises RuntimeError if one is missing, or not in its place."""
    request = service_pb2.QueryRequest.FromString(query())
    if limit:
        request.query.limit = limit
    request.query.orders.add(field_path="n")
    read, last = 0, (-1, "")
    async with channel(url) as on:
        call: Any = on.unary_stream(f"{SERVICE}Query")
        async for data in call(request.SerializeToString()):
            for entry in service_pb2.QueryResponse.FromString(data).entries:
                place = (entry.value.map_value.fields["n"].int64_value, entry.key.text)
                if place <= last:
                    raise RuntimeError(f"{place} comes after {last}")
                read, last = read + 1, place
    if read != entries:
        raise RuntimeError(f"{read:,} of {entries:,} entries came")


@contextmanager
def _node(directory: str) -> Iterator[tuple[str, dict[str, float]]]:
    """A node that measures its event loop: its URL, and what it says at its end."""
    found: dict[str, float] = {}
    command = [sys.executable, "-m", "bench.held", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (line := process.stdout.readline()):
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield json.loads(line)["url"], found
            process.terminate()
            found.update(json.loads(process.stdout.readline()))
            process.wait(STOP_S)
        finally:
            process.kill()


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (large_sort_growth_mib, large_sort_held_ms)
