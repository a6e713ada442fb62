"""The processes of one node: killed, suspended and stopped; no write is lost, and none of them is left."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from datastore.model.entries import Write
from datastore.model.errors import DeadlineExceededError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import RemoteDatastore, connect
from tests.support import processes
from tests.support.histories import Call
from tests.support.registers import RegisterClient, check_histories
from tests.support.waiting import PATIENCE_S, until
from tests.support.workers import children, is_alive, kill

WORKERS = 2
#: So many connections that each worker has some of them.
CONNECTIONS = 12
#: Patches that a worker makes while it is suspended, and writes by others then.
PATCHES_AT_ONCE = 8
WRITES = 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[processes.ServerProcess]:
    with processes.node(tmp_path / "data", changes=True, workers=WORKERS) as node:
        yield node


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[list[RemoteDatastore]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(url, timeout_s=PATIENCE_S)) for _ in range(CONNECTIONS)]


async def readers_of(node: processes.ServerProcess) -> set[int]:
    """The readers, once all of them run."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := children(node.pid)) != WORKERS:
            await asyncio.sleep(0.02)
    return found


async def test_a_worker_that_is_killed_is_started_again_and_no_write_is_lost(
    node: processes.ServerProcess, tmp_path: Path
) -> None:
    before = await readers_of(node)
    key = Key("/a")
    async with connected(node.url) as stores:
        for number, killed in enumerate(sorted(before)):
            for store in stores:
                await store.put(key, number)
            kill(killed)
            assert [await store.get(key) for store in stores] == [number] * CONNECTIONS
            await until(lambda: _number_of(node), WORKERS)
        assert not before & await readers_of(node)
    node.stop()
    log = (tmp_path / "data.log").read_text()
    assert log.count(") was killed by signal 9") == WORKERS
    assert "Unknown child" not in log


async def _number_of(node: processes.ServerProcess) -> int:
    return len(children(node.pid))


async def test_all_end_with_a_writer_that_is_killed_and_another_takes_its_place(node: processes.ServerProcess) -> None:
    readers = await readers_of(node)
    async with connect(node.url, timeout_s=PATIENCE_S) as store:
        await store.put(Key("/a"), 1)
        node.kill()
        await until(lambda: _alive(readers), set())
        # At the same address.
        node.start()
        assert await store.get(Key("/a")) == 1
    assert not readers & await readers_of(node)


async def test_a_suspended_worker_ends_with_its_writer_too(node: processes.ServerProcess) -> None:
    readers = await readers_of(node)
    os.kill(min(readers), signal.SIGSTOP)
    node.kill()
    await until(lambda: _alive(readers), set())


async def _alive(pids: set[int]) -> set[int]:
    return set(filter(is_alive, pids))


async def test_a_stop_ends_streams_so_that_clients_continue_and_leaves_nothing(
    node: processes.ServerProcess, tmp_path: Path
) -> None:
    readers = await readers_of(node)
    async with connected(node.url) as stores:
        await stores[0].batch_write([Write(Key(f"/thing:{number}"), "x" * 1000) for number in range(10_000)])
        cursors = [store.query(Query(Key("/thing"), keys_only=True)).entries() for store in stores]
        first = [(await anext(cursor)).key for cursor in cursors]
        async with stores[0].watch(Query(Key("/other"))) as watcher:
            assert await asyncio.to_thread(node.stop) == 0
            assert not await _alive(readers)
            assert {path.name for path in (tmp_path / "data").iterdir()} == {"data.mdb", "lock.mdb", "datastore.lock"}
            await asyncio.to_thread(node.start)
            await stores[1].put(Key("/other:a"), 1)
            assert (await anext(watcher)).value == 1
        for key, cursor in zip(first, cursors, strict=True):
            assert len({key} | {entry.key async for entry in cursor}) == 10_000


async def test_a_stop_does_not_wait_for_a_suspended_worker(node: processes.ServerProcess) -> None:
    readers = await readers_of(node)
    os.kill(min(readers), signal.SIGSTOP)
    assert await asyncio.to_thread(node.stop) == 0
    assert not await _alive(readers)


async def test_reads_go_on_while_the_writer_is_suspended(node: processes.ServerProcess) -> None:
    await readers_of(node)
    async with connected(node.url) as stores, connect(node.url, timeout_s=0.2) as impatient:
        await stores[0].put(Key("/a"), 1)
        with node.paused():
            assert [await store.get(Key("/a")) for store in stores] == [1] * CONNECTIONS
            with pytest.raises(DeadlineExceededError):
                await impatient.put(Key("/b"), 2)
        await stores[0].put(Key("/a"), 3)
        assert [await store.get(Key("/a")) for store in stores] == [3] * CONNECTIONS


async def test_a_suspended_worker_that_leaves_answers_unread_delays_no_other(tmp_path: Path) -> None:
    key = Key("/large")
    with processes.node(tmp_path / "data", workers=WORKERS, limits=["unread_bytes=2MB"]) as node:
        suspended = min(await readers_of(node))
        async with AsyncExitStack() as stack:
            served: list[RemoteDatastore] = []
            others: list[RemoteDatastore] = []
            while not (served and others):
                before = _connections(suspended)
                store = await stack.enter_async_context(connect(node.url, timeout_s=PATIENCE_S))
                await store.contains(key)
                (served if _connections(suspended) > before else others).append(store)
            await store.put(key, {"n": 0, "content": b"x" * 900_000})
            patching = [asyncio.create_task(_patch(served[0], key)) for _ in range(PATCHES_AT_ONCE)]
            await until(lambda: _is_patched(others[0], key), True)
            # Some of their answers are on their way from the writer.
            os.kill(suspended, signal.SIGSTOP)
            for number in range(WRITES):
                for store in others:
                    await store.put(Key("/small"), number)
                    await store.describe_store()
            kill(suspended)
            for task in patching:
                task.cancel()
            await asyncio.wait(patching)


async def _patch(store: RemoteDatastore, key: Key) -> None:
    while True:
        await store.patch(key, increment={"n": 1})


async def _is_patched(store: RemoteDatastore, key: Key) -> bool:
    return bool((await store.get(key))["n"])


def _connections(pid: int) -> int:
    return len(psutil.Process(pid).net_connections("tcp"))


@pytest.mark.long("kills and restarts at random")
@pytest.mark.timeout(0)
async def test_one_order_explains_all_answers_of_all_workers(node: processes.ServerProcess) -> None:
    history: dict[Key, list[Call]] = defaultdict(list)
    chooser, left = random.Random(1), iter(range(20_000))

    async def work(client: RegisterClient) -> None:
        for _ in left:
            await client.call()

    async def break_things() -> None:
        while True:
            await asyncio.sleep(chooser.uniform(0, 2))
            fault = chooser.choice([None, None, node.kill, node.stop])
            if fault is None:
                kill(chooser.choice(sorted(await readers_of(node))))
            else:
                await asyncio.shield(asyncio.to_thread(_restart, node, fault))

    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(connect(node.url, timeout_s=2, retry_writes=number % 2 == 0))
            for number in range(CONNECTIONS)
        ]
        clients = [RegisterClient(stores[number % CONNECTIONS], number, history) for number in range(48)]
        breaking = asyncio.create_task(break_things())
        try:
            await asyncio.gather(*map(work, clients))
            assert not breaking.done(), breaking.exception()
        finally:
            breaking.cancel()
            await asyncio.wait([breaking])
    check_histories(history)
    answered = [call for calls in history.values() for call in calls if call.is_known]
    assert len(answered) > 5000


def _restart(node: processes.ServerProcess, end: Callable[[], object]) -> None:
    end()
    node.start()
