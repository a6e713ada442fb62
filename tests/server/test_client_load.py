"""Many calls and many streams of one client: they queue, within their deadlines, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.model.entries import Write
from datastore.model.errors import (
    DatastoreClosedError,
    DeadlineExceededError,
    OverloadedError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore_client import RemoteDatastore
from datastore_client import _connection as threaded
from datastore_client.aio import _connection as tasked
from datastore_client.aio import connect
from datastore_client.aio._calls import Messages
from datastore_server.app import serve
from tests.support import clusters
from tests.support.colours import Tasks, Threads, connected
from tests.support.scripted import fails, hangs, replies, results, scripted, sends
from tests.support.serving import value

KEY = Key("/k")
#: Longer than a slow machine needs for that many calls.
LONG_S = 300


@pytest.fixture(params=[Tasks(), pytest.param(Threads(), marks=pytest.mark.long)], ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the client's limits, for both colours."""

    def limit(**limits: int) -> None:
        for module in (tasked, threaded):
            for name, most in limits.items():
                monkeypatch.setattr(module, name, most)

    return limit


# Unary calls


#: How many times more calls than run concurrently: the others queue.
FEW = 3 * tasked.CALLS_AT_ONCE


@pytest.mark.parametrize(
    ("servers", "number"),
    [
        pytest.param(clusters.node, 2000, marks=pytest.mark.long),
        pytest.param(clusters.proxy, 1200, marks=pytest.mark.long),
        (clusters.node, FEW),
        (clusters.proxy, FEW),
    ],
    ids=["node, thousands", "proxy, thousands", "node", "proxy"],
)
async def test_many_more_calls_than_are_made_concurrently_all_succeed(servers: Any, number: int) -> None:
    async with servers() as cluster, connect(cluster.url, timeout_s=LONG_S) as store:
        keys = [Key(f"/K:{index}") for index in range(number)]
        await asyncio.gather(*(store.put(key, index) for index, key in enumerate(keys)))
        assert await asyncio.gather(*map(store.get, keys)) == list(range(number))


CALLER = """
import asyncio, sys
from datastore import Key
from datastore_client.aio import connect

async def main():
    async with connect(sys.argv[1], timeout_s=300) as store:
        await asyncio.gather(*(store.put(Key(f"/{sys.argv[2]}:{n}"), n) for n in range(1000)))
        print(sum(await asyncio.gather(*(store.get(Key(f"/{sys.argv[2]}:{n}")) for n in range(1000)))))

asyncio.run(main())
"""


@pytest.mark.long
async def test_concurrent_calls_of_several_processes_all_succeed() -> None:
    async def call(name: str, url: str) -> tuple[bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER, url, name), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return await process.communicate()

    async with clusters.node() as cluster:
        ends = await asyncio.gather(*(call(name, cluster.url) for name in "abc"))
        assert ends == [(b"499500\n", b"")] * 3


@pytest.mark.parametrize("number", [FEW, pytest.param(1000, marks=pytest.mark.long)])
async def test_calls_of_many_threads_all_succeed(number: int) -> None:
    async with clusters.node() as cluster, connected(Threads(), cluster.url, timeout_s=LONG_S) as store:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(200) as executor:
            puts = [loop.run_in_executor(executor, store.put, Key(f"/K:{each}"), each) for each in range(number)]
            await asyncio.gather(*puts)
            gets = [loop.run_in_executor(executor, store.get, Key(f"/K:{each}")) for each in range(number)]
            assert await asyncio.gather(*gets) == list(range(number))


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_calls_past_the_limit_of_those_that_wait_are_refused(colour: Any, limited: Any, more: int) -> None:
    limited(CALLS_AT_ONCE=2, WAITING_CALLS=3)
    async with scripted(Get=hangs) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        waiting = [asyncio.create_task(colour.call(store.get, KEY)) for _ in range(5 + more)]
        if more > 0:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(OverloadedError, match=r"3 calls to .* are already waiting, the limit of one client"):
                await done.pop()
        else:
            while len(script.calls) < 2:
                await asyncio.sleep(0.001)
            assert not any(task.done() for task in waiting)
        assert len(script.calls) <= 2
        await colour.close(store)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(end) for end in ends} <= {DatastoreClosedError, OverloadedError}


async def test_the_deadline_of_a_call_counts_while_it_waits(colour: Any, limited: Any) -> None:
    limited(CALLS_AT_ONCE=1)
    async with scripted(Get=hangs) as script, connected(colour, script.url, timeout_s=0.2) as store:
        await colour.call(store._connection._calls.acquire, math.inf)
        with pytest.raises(
            DeadlineExceededError, match=r"not sent to .* within 0\.2 s: 1 other calls .* were in progress"
        ):
            await colour.call(store.get, KEY)
        assert script.calls == []


async def test_a_call_that_would_be_answered_too_late_is_not_sent(colour: Any, limited: Any) -> None:
    limited(CALLS_AT_ONCE=2)
    async with scripted(Get=hangs) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        slots = store._connection._calls
        for _ in range(2):
            await colour.call(slots.acquire, math.inf)
        slots.release(1e6)
        await colour.call(slots.acquire, math.inf)
        with pytest.raises(
            OverloadedError, match=r"was not sent to .* has 3e\+02 s left; make fewer concurrent calls"
        ) as caught:
            await colour.call(store.get, KEY)
        assert caught.value.retry_after_s == 1.0
        assert script.calls == []


async def test_health_is_checked_even_if_all_other_calls_wait(colour: Any, limited: Any) -> None:
    limited(CALLS_AT_ONCE=1, WAITING_CALLS=1)
    async with (
        scripted(Get=hangs, Check=replies(b"\x08\x01")) as script,
        connected(colour, script.url, timeout_s=LONG_S) as store,
    ):
        waiting = [asyncio.create_task(colour.call(store.get, KEY)) for _ in range(2)]
        while not script.calls:
            await asyncio.sleep(0.001)
        await colour.call(store.check_health)
        await colour.close(store)
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_cancelled_calls_that_waited_leave_nothing() -> None:
    async with scripted(Get=hangs) as script, connected(Tasks(), script.url, timeout_s=LONG_S) as store:
        tasks = [asyncio.create_task(store.get(KEY)) for _ in range(2000)]
        while len(script.calls) < tasked.CALLS_AT_ONCE:
            await asyncio.sleep(0)
        left = weakref.WeakSet(tasks)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        del tasks, task, ends
        while left:
            # The loop and the server's answers release them with some delay.
            await asyncio.sleep(0.01)
            gc.collect()
        await script.until_cancelled(times=tasked.CALLS_AT_ONCE)
        slots = store._connection._calls._slots
        assert (slots.free, slots.waiting) == (tasked.CALLS_AT_ONCE, 0)


# Streams


async def test_unary_calls_do_not_wait_behind_half_read_cursors(colour: Any) -> None:
    async with (
        scripted(Query=sends(results(1), hangs=True), Get=replies(b"")) as script,
        connected(colour, script.url) as store,
    ):
        cursors = [store.query(Query(KEY)) for _ in range(150)]
        for cursor in cursors:
            await colour.read(cursor, 1)
        for _ in range(10):
            await colour.call(store.get, KEY)
        for cursor in cursors:
            await colour.close(cursor)


async def test_half_read_cursors_hold_no_messages_beside_their_entries(colour: Any) -> None:
    async with (
        scripted(Query=sends(results(1, 2), hangs=True)) as script,
        connected(colour, script.url) as store,
    ):
        cursors = [store.query(Query(KEY)) for _ in range(20)]
        for cursor in cursors:
            await colour.read(cursor, 1)
        gc.collect()
        held = gc.get_objects()
        # By type(), because weak proxies of other tests' objects are among them.
        assert not any(type(thing) is raw.QueryResponse for thing in held)
        assert not any(type(thing) is Messages and thing._read is not None for thing in held)
        for cursor in cursors:
            await colour.close(cursor)


@pytest.mark.parametrize("servers", [clusters.node, clusters.proxy], ids=["node", "proxy"])
async def test_half_read_cursors_past_the_limit_are_refused_and_closed_ones_make_room(
    servers: Any, colour: Any, limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(STREAMS_AT_ONCE=3)
    async with servers() as cluster, connected(Tasks(), cluster.url) as writer:
        await writer.batch_write([Write(Key(f"/K:{number:04}"), "x" * 4000) for number in range(1500)])
        async with connected(colour, cluster.url, timeout_s=LONG_S) as store:
            cursors = [store.query(Query(Key("/K"))) for _ in range(4)]
            for cursor in cursors[:3]:
                await colour.read(cursor, 1)
            # The queued one need not wait long.
            with monkeypatch.context() as patched:
                patched.setattr(store._connection, "_timeout_s", 0.05)
                with pytest.raises(OverloadedError, match=r"3 queries to .* are open.*close them"):
                    await colour.read(cursors[3], 1)
            assert await colour.call(store.get, Key("/K:0000")) == "x" * 4000
            await colour.close(cursors[0])
            assert len(await colour.read(store.query(Query(Key("/K"), limit=7)))) == 7
            for cursor in cursors[1:]:
                await colour.close(cursor)


async def test_a_forgotten_cursor_makes_room(colour: Any, limited: Any) -> None:
    limited(STREAMS_AT_ONCE=1)
    async with (
        scripted(Query=[sends(results(1), hangs=True), sends(results(2, last=1))]) as script,
        connected(colour, script.url) as store,
    ):
        await colour.read(store.query(Query(KEY)), 1)
        gc.collect()
        assert [entry.value for entry in await colour.read(store.query(Query(KEY)))] == [2]


# Retries


REFUSALS = [
    OverloadedError("the server is busy", retry_after_s=0.001),
    UnavailableError("the server is shutting down", retry_after_s=0.001),
]


def refusable(store: Any) -> dict[str, tuple[Any, ...]]:
    return {
        "Get": (store.get, KEY),
        "Put": (store.put, KEY, 1),
        "Delete": (store.delete, KEY),
        "Contains": (store.contains, KEY),
        "DescribeStore": (store.describe_store,),
    }


METHODS = list(refusable(RemoteDatastore("grpc://localhost:1")))


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", METHODS)
async def test_a_call_that_was_refused_before_it_began_is_retried(colour: Any, method: str, refusal: Any) -> None:
    answers = {method: [fails(refusal), fails(refusal), replies(b"")]}
    async with scripted(**answers) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        await colour.call(*refusable(store)[method])
        assert [name for name, _ in script.calls] == [method] * 3


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_refusal_is_raised_when_the_time_of_the_call_is_over(colour: Any, refusal: Any) -> None:
    async with scripted(Put=fails(refusal)) as script, connected(colour, script.url, timeout_s=0.5) as store:
        with pytest.raises(type(refusal), match=str(refusal)):
            await colour.call(store.put, KEY, 1)
        assert len(script.calls) > 1


@pytest.mark.parametrize("method", METHODS)
async def test_a_store_that_does_not_retry_raises_every_refusal(colour: Any, method: str) -> None:
    async with (
        scripted(**{method: fails(REFUSALS[0])}) as script,
        connected(colour, script.url, retry=False) as store,
    ):
        with pytest.raises(OverloadedError) as raised:
            await colour.call(*refusable(store)[method])
        assert raised.value.retry_after_s == pytest.approx(0.001)
        assert len(script.calls) == 1


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
@pytest.mark.parametrize("method", METHODS)
async def test_a_read_that_was_cut_is_retried_and_a_write_is_not(colour: Any, method: str, code: str) -> None:
    answers = {method: [fails(grpc.StatusCode[code]), replies(b"")]}
    async with scripted(**answers) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        if method in ("Put", "Delete"):
            with pytest.raises(UnavailableError) as raised:
                await colour.call(*refusable(store)[method])
            assert raised.value.retry_after_s is None
            assert len(script.calls) == 1
        else:
            await colour.call(*refusable(store)[method])
            assert len(script.calls) == 2


async def test_a_server_that_answered_before_is_waited_for_by_reads_and_writes(colour: Any) -> None:
    async with (
        serve(aio.DictDatastore(), grace_s=0.2) as first,
        connected(colour, first.url, timeout_s=LONG_S) as store,
    ):
        await colour.call(store.put, KEY, 1)
        await first.stop()
        calls = [
            asyncio.create_task(colour.call(store.put, Key("/K:1"), 1)),
            asyncio.create_task(colour.call(store.get, Key("/K:2"))),
            asyncio.create_task(colour.read(store.query(Query(Key("/L"))))),
        ]
        await asyncio.sleep(0.2)
        assert not any(call.done() for call in calls)
        async with serve(aio.DictDatastore(), listen=f"127.0.0.1:{first.port}", grace_s=0.2):
            assert await asyncio.gather(*calls) == [None, None, []]


async def test_a_call_that_is_repeated_ends_when_its_task_is_cancelled() -> None:
    busy = OverloadedError("busy", retry_after_s=30.0)
    async with scripted(Get=fails(busy)) as script, connected(Tasks(), script.url, timeout_s=math.inf) as store:
        task = asyncio.create_task(store.get(KEY))
        while not script.calls:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store._connection._calls._slots.free == tasked.CALLS_AT_ONCE


# Batches


def written(*errors: Any) -> service_pb2.BatchWriteResponse:
    response = service_pb2.BatchWriteResponse()
    for error in errors:
        result = response.results.add()
        if error is not None:
            result.status.CopyFrom(wire.error_to_status(error))
    return response


def keys_of(request: bytes) -> list[str]:
    return [write.put.key.text for write in raw.BatchWriteRequest.FromString(request).writes]


AWAY = UnavailableError("shard-2 is shutting down", shard="shard-2", retry_after_s=0.001)
LOST = UnavailableError("a call was cut short", shard="shard-2")


async def test_items_that_were_refused_are_written_again_and_no_others(colour: Any) -> None:
    answers = [replies(written(None, AWAY, LOST, AWAY)), replies(written(AWAY, None)), replies(written(None))]
    async with scripted(BatchWrite=answers) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        outcomes = await colour.call(store.batch_write, [Write(Key(f"/K:{number}"), number) for number in range(4)])
        assert [type(outcome.error) for outcome in outcomes] == [type(None), type(None), UnavailableError, type(None)]
        assert [keys_of(request) for _, request in script.calls] == [
            ["/K:0", "/K:1", "/K:2", "/K:3"],
            ["/K:1", "/K:3"],
            ["/K:1"],
        ]


@pytest.mark.parametrize("later", [None, LOST], ids=["done", "unknown"])
async def test_a_refused_write_does_not_overwrite_a_later_one_to_its_key(colour: Any, later: Any) -> None:
    answers = [replies(written(AWAY, later, AWAY, AWAY)), replies(written(None, None))]
    async with scripted(BatchWrite=answers) as script, connected(colour, script.url, timeout_s=LONG_S) as store:
        writes = [Write(Key(text), number) for number, text in enumerate(["/a", "/a", "/b", "/b"])]
        outcomes = await colour.call(store.batch_write, writes)
        assert [outcome.error is None for outcome in outcomes] == [False, later is None, True, True]
        assert keys_of(script.calls[1][1]) == ["/b", "/b"]


async def test_items_that_were_refused_are_read_again(colour: Any) -> None:
    first, second = service_pb2.BatchGetResponse(), service_pb2.BatchGetResponse()
    first.results.add().value.CopyFrom(value(1))
    first.results.add().status.CopyFrom(wire.error_to_status(AWAY))
    first.results.add().status.CopyFrom(wire.error_to_status(LOST))
    second.results.add().value.CopyFrom(value(2))
    async with (
        scripted(BatchGet=[replies(first), replies(second)]) as script,
        connected(colour, script.url, timeout_s=LONG_S) as store,
    ):
        outcomes = await colour.call(store.batch_get, [Key("/a"), Key("/b"), Key("/c")])
        assert [outcome.value for outcome in outcomes] == [1, 2, None]
        assert str(outcomes[2].error) == str(LOST)
        assert len(script.calls) == 2


async def test_items_that_stay_refused_end_with_the_time_of_the_call(colour: Any) -> None:
    async with (
        scripted(BatchWrite=replies(written(AWAY, AWAY))) as script,
        connected(colour, script.url, timeout_s=0.5) as store,
    ):
        outcomes = await colour.call(store.batch_write, [Write(KEY, 1), Write(Key("/other"), 1)])
        assert [(str(outcome.error), outcome.error.shard) for outcome in outcomes] == [(str(AWAY), "shard-2")] * 2
        assert len(script.calls) > 1
