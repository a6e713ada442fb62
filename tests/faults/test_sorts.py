"""A node that sorts in temporary files: exact, bounded in memory, and without a file left however its process ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from datastore.model.entries import Write
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import RemoteDatastore, connect
from tests.support import processes
from tests.support.memory import growth
from tests.support.waiting import until

#: The entries, which take some 30 MB while they are sorted in memory.
COUNT = 100_000
SORT_MEMORY = "16MiB"
#: How much the node may grow: by what it sorts, a block of each run, and what reading and sending take.
MOST_GROWTH_BYTES = 28 * 2**20
BY_NUMBER = Query(Key("/Thing")).order("n")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


@pytest.fixture
def node(tmp_path: Path, directory: Path) -> Iterator[processes.ServerProcess]:
    """A node on LMDB that may hold little to sort."""
    store = f"lmdb://{tmp_path / 'data'}?durability=async"
    limit = f"sort_memory_bytes={SORT_MEMORY}"
    node = processes.ServerProcess("serve", store, "--limit", limit, log=tmp_path / "log")
    try:
        node.start()
        yield node
    finally:
        node.stop()


async def fill(store: RemoteDatastore) -> None:
    for start in range(0, COUNT, 10_000):
        places = range(start, start + 10_000)
        writes = [Write(Key(f"/Thing:{place:06}"), {"n": place * 7919 % COUNT, "x": "x" * 170}) for place in places]
        assert not any(outcome.error for outcome in await store.batch_write(writes))


async def numbers(store: RemoteDatastore) -> list[int]:
    return [entry.value["n"] async for entry in store.query(BY_NUMBER).entries()]


def names(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def open_files(node: processes.ServerProcess, directory: Path) -> int:
    """How many of the node's open files are in a directory."""
    links = [link for link in Path(f"/proc/{node.pid}/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).startswith(str(directory)) for link in links)


async def test_a_large_sort_is_exact_and_takes_little_memory(node: processes.ServerProcess, directory: Path) -> None:
    async with connect(node.url) as store:
        await fill(store)
        async with growth({"node": node.pid}) as grown:
            assert await numbers(store) == list(range(COUNT))
        assert grown.most_bytes["node"] < MOST_GROWTH_BYTES

        async def files() -> int:
            return open_files(node, directory)

        await until(files, 0)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long("a stop"))])
async def test_a_node_that_ends_while_it_sorts_leaves_no_file(
    node: processes.ServerProcess, directory: Path, how: signal.Signals
) -> None:
    async with connect(node.url, retry=False) as store:
        await fill(store)
        reading = asyncio.create_task(numbers(store))

        async def sorts() -> bool:
            return open_files(node, directory) > 0

        await until(sorts, True)
        assert names(directory) == []
        await asyncio.to_thread(node.kill if how is signal.SIGKILL else node.stop)
        with pytest.raises(UnavailableError):
            await reading
    assert names(directory) == []
    node.start()
    # A connection that was refused waits before it is tried again.
    async with connect(node.url) as store:
        assert await numbers(store) == list(range(COUNT))
    assert names(directory) == []
