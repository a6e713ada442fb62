"""Blocking stores called from tasks: what runs in threads, in which order, and what a cancelled call leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from datastore import aio, core
from datastore.aio.lift import lift
from datastore.engine import sorting
from datastore.engine.pipeline import LONG_VALUE_BYTES
from datastore.lmdb import LMDBDatastore, writer
from datastore.model.entries import Batch, Entry, Write
from datastore.model.errors import StoreError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.sync.cursor import Cursor
from datastore.wire import WireValue, encode_value
from tests.support.waiting import PATIENCE_S

KEY, QUERY = Key("/c:a"), Query(Key("/c"))


class Gated(core.DictDatastore):
    """Blocks calls of some names in their threads until the gate is open."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.closed_cursors = 0

    def _pass(self, name: str) -> None:
        if name in self.names and not self.gate.is_set():
            self.waiting.release()
            assert self.gate.wait(60)

    def put(self, key: Key, value: Any) -> None:
        self._pass(f"put {value}")
        super().put(key, value)

    def query(self, query: Query) -> Cursor:
        return Cursor.from_batches(query, self._batches())

    def _batches(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            self._pass("query")
            if "fails" in self.names:
                raise StoreError("too late to be told")
            yield Batch([KEY], [1])
        finally:
            self.closed_cursors += 1


async def until_waiting(store: Gated) -> None:
    """Return when a thread waits at the gate."""
    assert await asyncio.to_thread(store.waiting.acquire, timeout=PATIENCE_S)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, which ends at once."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("later", ["put", "batch"])
async def test_a_cancelled_write_comes_before_a_later_one(later: str):
    blocking = Gated("put old")
    store = lift(blocking)
    await cancelled_at_the_gate(blocking, store.put(KEY, "old"))
    second = asyncio.create_task(store.put(KEY, "new") if later == "put" else store.batch_write([Write(KEY, "new")]))
    # Others need not wait for it.
    await store.put(Key("/other"), 1)
    blocking.gate.set()
    await second
    assert await store.get(KEY) == "new"


async def cancelled_at_the_gate(blocking: Gated, call: Any) -> None:
    """Make a call, and cancel it while its thread waits."""
    task = asyncio.create_task(call)
    await until_waiting(blocking)
    await cancelled(task)


async def read_all(store: Any) -> list[Any]:
    """All values of a query."""
    return [value async for value in store.query(QUERY)]


@pytest.mark.parametrize("names", [("query",), ("query", "fails")], ids=["sound", "fails later"])
async def test_a_cancelled_query_ends_at_once_and_is_closed_when_its_thread_is_done(
    names: tuple[str, ...], caplog: pytest.LogCaptureFixture
):
    blocking = Gated(*names)
    await cancelled_at_the_gate(blocking, read_all(lift(blocking)))
    assert blocking.closed_cursors == 0
    blocking.gate.set()
    async with asyncio.timeout(PATIENCE_S):
        while not blocking.closed_cursors:
            await asyncio.sleep(0.001)
    assert caplog.records == []


async def test_a_bad_key_fails_alone():
    store = lift(core.DictDatastore())
    for wrong in ("/a", ["/a"], None):
        for call in (store.put(wrong, 1), store.delete(wrong)):
            with pytest.raises(UnsupportedTypeError, match="Key"):
                await call
        outcomes = await store.batch_write([Write(wrong, 1), Write(KEY, 1)])  # type: ignore[arg-type]
        assert [type(outcome.error) for outcome in outcomes] == [UnsupportedTypeError, type(None)]
    assert await store.get(KEY) == 1


class Seen(WireValue):
    """Records the threads that access it."""

    threads: ClassVar[list[int]] = []

    @classmethod
    def members(cls, datas: list[bytes], names: Sequence[str]) -> list[list[Any]] | None:
        cls.threads.append(threading.get_ident())
        return super().members(datas, names)


@pytest.mark.parametrize("order", ["n", "-t"])
@pytest.mark.parametrize(("excess", "apart"), [(-1, False), (0, False), (1, True)])
async def test_a_value_that_takes_long_to_read_is_read_in_a_thread(order: str, excess: int, apart: bool):
    frame = len(encode_value({"n": 1, "t": "x" * 40_000}).data) - 40_000
    Seen.threads.clear()
    entries = [
        Entry(Key(f"/c:{n}"), Seen(encode_value({"n": 3 - n, "t": "x" * (LONG_VALUE_BYTES - frame + excess)}).data))
        for n in range(3)
    ]
    query = Query(Key("/c")).order(order)
    found = [entry async for entry in aio.Cursor.applied(query, entries).entries()]
    assert [entry.key for entry in found] == [entry.key for entry in (entries[::-1] if order == "n" else entries)]
    assert {thread != threading.get_ident() for thread in Seen.threads} == {apart}


async def test_other_tasks_run_while_the_memory_of_a_closed_query_is_freed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sorting, "RUN_ENTRIES", 10)
    entries = [Entry(Key(f"/c:{n:04}"), encode_value({"n": n})) for n in range(1000)]
    cursor = aio.Cursor.applied(Query(Key("/c")).order("n"), entries)
    await anext(cursor)
    closing = asyncio.create_task(cursor.aclose())
    turns = 0
    while not closing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 50


async def test_other_tasks_run_between_the_batches_of_a_query(tmp_path: Path):
    async with lift(LMDBDatastore(tmp_path, durability="async")) as store:
        await store.batch_write([Write(Key(f"/c:{number}"), b"x") for number in range(10_000)])
        nothing = Query(Key("/c")).filter("n", "=", 1)

        async def reading() -> None:
            async for _ in store.query(nothing):
                pass

        turns = 0
        task = asyncio.create_task(reading())
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 5
        task = asyncio.create_task(reading())
        await asyncio.sleep(0)
        await cancelled(task)


async def test_a_full_backlog_blocks_writers_but_not_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "BACKLOG_WRITES", 1)
    async with lift(LMDBDatastore(tmp_path, durability="async")) as store:
        # While its thread commits nothing, it accepts nothing more.
        committing, go_on, commit = threading.Event(), threading.Event(), writer.Writer._commit

        def commit_later(*arguments: Any) -> Any:
            committing.set()
            assert go_on.wait(60)
            return commit(*arguments)

        monkeypatch.setattr(writer.Writer, "_commit", commit_later)
        tasks = [asyncio.create_task(store.put(Key(f"/c:{number}"), b"x")) for number in range(8)]
        # The loop continues to serve other calls.
        assert await asyncio.to_thread(committing.wait, 60)
        assert not any(task.done() for task in tasks)
        await cancelled(tasks.pop())
        go_on.set()
        await asyncio.gather(*tasks)
        found = [outcome async for outcome in store.query(Query(Key("/c")))]
        assert len(found) == 7
        assert await store.batch_get([Key("/c:7")]) == [ReadResult()]


class Later(core.DictDatastore):
    """Runs submitted work on request."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[tuple[Sequence[Operation], Future[list[WriteResult]]]] = []

    def submit(self, operations: Sequence[Operation]) -> Future[list[WriteResult]]:
        future: Future[list[WriteResult]] = Future()
        self.submitted.append((operations, future))
        return future

    def do_all(self) -> None:
        for operations, future in self.submitted:
            future.set_result(self.write(operations))


class Spread(core.DictDatastore):
    """Completes submitted work in several threads."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        super().__init__()
        self.threads = threads

    def submit(self, operations: Sequence[Operation]) -> Future[list[WriteResult]]:
        return self.threads.submit(self.write, operations)


async def test_tasks_that_wait_for_several_threads_are_all_woken():
    with ThreadPoolExecutor(8) as threads:
        store = lift(Spread(threads))

        async def put(task: int) -> None:
            for number in range(100):
                await store.put(Key(f"/c:{task}"), number)

        await asyncio.wait_for(asyncio.gather(*map(put, range(50))), PATIENCE_S)
        assert await store.get(Key("/c:49")) == 99


def test_an_abandoned_write_does_not_block_a_later_loop():
    store = lift(blocking := Later())

    async def leave_a_write() -> None:
        task = asyncio.create_task(store.put(KEY, "old"))
        while not blocking.submitted:
            await asyncio.sleep(0)
        await cancelled(task)

    async def read() -> Any:
        task = asyncio.create_task(store.get(KEY))
        await asyncio.sleep(0)
        assert not task.done()
        blocking.do_all()
        return await task

    asyncio.run(leave_a_write())
    assert asyncio.run(read()) == "old"
    assert asyncio.run(store.get(KEY)) == "old"


def test_a_query_is_closed_even_if_its_loop_ends_first(caplog: pytest.LogCaptureFixture):
    blocking = Gated("query")

    async def leave_a_reader() -> None:
        async def read() -> None:
            try:
                await read_all(lift(blocking))
            finally:
                blocking.gate.set()

        reader = asyncio.create_task(read())
        await until_waiting(blocking)
        assert not reader.done()

    asyncio.run(leave_a_reader())
    assert blocking.closed_cursors == 1
    assert caplog.records == []


class Full(core.DictDatastore):
    """Has no room until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.waits = 0

    def has_room(self) -> bool:
        return self.gate.is_set()

    def wait_for_room(self) -> None:
        self.waits += 1
        assert self.gate.wait(60)

    def submit(self, operations: Sequence[Operation]) -> Future[list[WriteResult]]:
        done: Future[list[WriteResult]] = Future()
        done.set_result(self.write(operations))
        return done


async def test_many_calls_waiting_for_room_occupy_one_thread():
    store = lift(blocking := Full())
    for _ in range(50):
        task = asyncio.create_task(store.put(KEY, 1))
        await asyncio.sleep(0)
        await cancelled(task)
    waiting = [asyncio.create_task(store.put(Key(f"/c:{number}"), number)) for number in range(50)]
    assert await asyncio.to_thread(lambda: 7) == 7
    blocking.gate.set()
    await asyncio.gather(*waiting)
    assert blocking.waits == 1
    assert len(blocking) == 50
