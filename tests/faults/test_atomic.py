"""Atomic batches while servers are killed by SIGKILL: each is there wholly or not at all, during and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from datastore.aio.base import Datastore
from datastore.model.errors import DeadlineExceededError, UnavailableError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT
from datastore.model.operations import Operation, Patch, Put, value_of
from datastore.model.patches import changes_of
from datastore_client.aio import connect
from tests.support import processes

WRITERS = 6
#: How many entries a batch writes; enough for several pages.
ENTRIES = 40
KILLS = 3
OUTAGES = (UnavailableError, DeadlineExceededError, asyncio.CancelledError)


class Writer:
    """Writes one collection by one batch after another, the entries of each with its number."""

    def __init__(self, number: int) -> None:
        self.keys = [Key(f"/Writer:{number}/Entry:{entry:02}") for entry in range(ENTRIES)]
        self.acknowledged = 0
        self.begun = 0

    async def write(self, store: Datastore) -> None:
        """Write until the server is lost. Some batches are refused at their end, and leave nothing."""
        while True:
            step = self.begun = max(self.begun, self.acknowledged) + 1
            writes: list[Operation] = [
                Patch(key, changes_of({"step": step, "filler": "x" * 200}), create=True)
                if step % 2
                else Put(key, {"step": step, "filler": "y" * 300})
                for key in self.keys
            ]
            if step % 5 == 0:
                results = await store.batch_write([*writes, Put(self.keys[0], {"step": -1}, ABSENT)], atomic=True)
                assert all(result.error is not None for result in results)
                continue
            results = await store.batch_write(writes, atomic=True)
            assert [result.error for result in results] == [None] * ENTRIES
            self.acknowledged = step

    async def check(self, store: Datastore) -> None:
        """Raise unless all entries are of one batch: the last that was acknowledged, or one that began later."""
        before = self.acknowledged
        values = [value_of(result) for result in await store.batch_get(self.keys)]
        found = {0 if value is None else value["step"] for value in values}
        assert len(found) == 1, found
        (step,) = found
        assert before <= step <= self.begun
        assert step == 0 or step % 5


@asynccontextmanager
async def writing(store: Datastore, writers: list[Writer]) -> AsyncIterator[Callable[[], bool]]:
    """Write and read while the block runs; gives whether one has ended, which only the loss of a server may cause."""

    async def read() -> None:
        while True:
            for writer in writers:
                await writer.check(store)

    tasks = [asyncio.create_task(work) for work in (*(writer.write(store) for writer in writers), read(), read())]
    try:
        yield lambda: any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        unexpected = [end for end in ends if not isinstance(end, OUTAGES)]
        assert unexpected == []


@contextmanager
def one_node(directory: Path) -> Iterator[tuple[str, processes.ServerProcess]]:
    with processes.node(directory / "data") as node:
        yield node.url, node


@contextmanager
def behind_a_proxy(directory: Path) -> Iterator[tuple[str, processes.ServerProcess]]:
    with processes.cluster(directory, shard_by="collection") as cluster:
        yield cluster.url, cluster.nodes["shard-2"]


@pytest.mark.parametrize("served", [one_node, pytest.param(behind_a_proxy, marks=pytest.mark.long)])
async def test_a_killed_node_has_each_atomic_batch_wholly_or_not_at_all(tmp_path: Path, served: Any) -> None:
    writers = [Writer(number) for number in range(WRITERS)]
    with served(tmp_path) as (url, node):
        for kill in range(KILLS):
            async with connect(url, retry=False) as store:
                async with writing(store, writers) as is_over:
                    goal = 3 * (kill + 1)
                    while sum(writer.acknowledged for writer in writers) < WRITERS * goal and not is_over():
                        await asyncio.sleep(0)
                    await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            async with connect(url) as store:
                for writer in writers:
                    await writer.check(store)
