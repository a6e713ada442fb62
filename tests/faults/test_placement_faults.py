"""A node killed at every step of a move, and moves during writes: no acknowledged change is lost or undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from datastore.model.entries import Write
from datastore.model.errors import UnavailableError, WrongShardError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import RemoteDatastore
from datastore_server.app import serve
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node
from tests.support import processes
from tests.support.placements import PlacedServer, keys_of, placement
from tests.support.serving import entry

BEFORE, AFTER = placement("a", "b"), placement("a", "b", "c", epoch=2)
OWN = keys_of("a", BEFORE, 300)
STAY = [key for key in OWN if AFTER.owner_of(key) == "a"]
LEAVE = [key for key in OWN if AFTER.owner_of(key) == "c"]


class Node:
    """A node: its placement, and a client."""

    def __init__(self, placed: PlacedServer, client: RemoteDatastore) -> None:
        self.placed = placed
        self.client = client

    async def keys(self) -> list[Key]:
        """The keys of a query for everything."""
        cursor = self.client.query(Query(Key("/"), recursive=True, keys_only=True))
        return [found.key async for found in cursor.entries() if found.key]

    async def put(self, keys: list[Key]) -> None:
        """Put an entry under each key."""
        outcomes = await self.client.batch_write([Write(key, str(key)) for key in keys])
        assert not any(outcome.error for outcome in outcomes)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Node]:
    address = url.removeprefix("grpc://")
    # Channels to one address would share a connection, and its memory of a server that is gone.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(address, options=options) as channel,
        RemoteDatastore(url, retry=False) as client,
    ):
        yield Node(PlacedServer(channel), client)


@pytest.fixture(params=["sync", pytest.param("async", marks=pytest.mark.long)])
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[processes.ServerProcess]:
    """A node on LMDB, of either durability."""
    store = f"lmdb://{tmp_path / 'data'}"
    server = processes.ServerProcess("serve", store, "--durability", request.param, log=tmp_path / "log")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.long
async def test_every_acknowledged_step_of_a_move_survives_a_kill(process: processes.ServerProcess) -> None:
    async def again() -> None:
        process.kill()
        process.start()

    async with connected(process.url) as node:
        await node.placed.place("a", BEFORE)
    await again()
    async with connected(process.url) as node:
        with pytest.raises(WrongShardError):
            await node.client.get(keys_of("b", BEFORE, 1)[0])
        await node.put(OWN)
        await node.placed.prepare("a", AFTER)
    await again()
    async with connected(process.url) as node:
        kept = (await node.placed.get()).placement
        assert (kept.current.epoch, kept.pending.epoch, kept.pending_shard) == (1, 2, "a")
        with pytest.raises(UnavailableError, match="entries are being moved"):
            await node.client.put(OWN[0], 1)
        assert await node.client.get(OWN[0]) == str(OWN[0])
        assert await node.keys() == OWN
        await node.placed.commit(2)
    await again()
    async with connected(process.url) as node:
        assert await node.keys() == STAY
        for key in LEAVE[:3]:
            with pytest.raises(WrongShardError) as raised:
                await node.client.get(key)
            assert (raised.value.owner, raised.value.epoch) == ("c", 2)
        await node.client.put(STAY[0], "new")
        assert await node.placed.clear(2) == len(LEAVE)
    await again()
    async with connected(process.url) as node:
        assert await node.keys() == STAY
        assert not (await node.placed.get()).placement.may_hold_foreign
        assert sum(entries for entries, _, _ in (await node.placed.summarize()).values()) == len(STAY)
        await node.placed.prepare("a", placement("a", "b", epoch=3))
        await node.placed.abort(3)
    await again()
    async with connected(process.url) as node:
        assert not (await node.placed.get()).placement.HasField("pending")
        await node.client.put(STAY[0], "newer")


@pytest.mark.long
async def test_a_joining_member_keeps_moved_entries_and_shows_them_only_after_the_commit(
    process: processes.ServerProcess,
) -> None:
    async with connected(process.url) as node:
        await node.placed.prepare("c", AFTER)
        await node.placed.write(2, [entry(str(key), str(key)) for key in LEAVE])
        counted = await node.placed.summarize()
    process.kill()
    process.start()
    async with connected(process.url) as node:
        assert await node.placed.summarize() == counted
        assert await node.keys() == []
        await node.placed.commit(2)
        assert await node.keys() == LEAVE


@pytest.mark.long
async def test_clearing_slots_can_be_repeated_after_a_kill(process: processes.ServerProcess) -> None:
    async with connected(process.url) as node:
        await node.placed.place("a", BEFORE)
        await node.put(OWN)
        await node.placed.prepare("a", AFTER)
        await node.placed.commit(2)
        clearing = asyncio.create_task(node.placed.clear(2))
        await asyncio.sleep(0)
        process.kill()
        await asyncio.wait([clearing])
        clearing.exception()
    process.start()
    async with connected(process.url) as node:
        assert await node.keys() == STAY
        await node.placed.clear(2)
        assert await node.keys() == STAY
        assert not (await node.placed.get()).placement.may_hold_foreign


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_write_is_in_the_store_when_a_move_is_prepared_or_is_refused(tmp_path: Path, durability: str) -> None:
    topology = build_node(parse_store_url(f"lmdb://{tmp_path / 'data'}"), durability=durability)
    async with serve(topology.datastore, system=topology.system) as server, connected(server.url) as node:
        await node.placed.place("a", BEFORE)
        begun = asyncio.Event()
        done: set[Key] = set()
        refused: set[Key] = set()

        async def put_one_by_one(keys: list[Key]) -> None:
            for key in keys:
                try:
                    await node.client.put(key, 1)
                    done.add(key)
                except UnavailableError:
                    refused.add(key)

        async def put_in_batches(keys: list[Key]) -> None:
            for start in range(0, len(keys), 5):
                writes = [Write(key, 1) for key in keys[start : start + 5]]
                outcomes = await node.client.batch_write(writes)
                for write, outcome in zip(writes, outcomes, strict=True):
                    assert outcome.error is None or isinstance(outcome.error, UnavailableError)
                    (refused if outcome.error else done).add(write.key)
                begun.set()

        jobs = [put_one_by_one(OWN[start::20]) for start in range(0, 20, 2)]
        jobs += [put_in_batches(OWN[start::20]) for start in range(1, 20, 2)]
        writers = list(map(asyncio.create_task, jobs))
        await begun.wait()
        await node.placed.prepare("a", AFTER)
        copied = {key for key in OWN if await node.client.contains(key)}
        await asyncio.gather(*writers)
        assert done <= copied
        assert not refused & copied
        assert done | refused == set(OWN)
        assert set(await node.keys()) == copied
