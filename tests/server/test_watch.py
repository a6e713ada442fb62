"""The RPC Watch: its beginning, its end, and what it refuses; clients that continue; a slow client."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.aio.feeds import Feed
from datastore.aio.watching import Watcher
from datastore.model.changes import Change, ChangeBatch, ChangeKind, Watch
from datastore.model.errors import (
    ChangesExpiredError,
    InvalidTokenError,
    LimitExceededError,
    UnavailableError,
    UnsupportedError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore_client.aio import connect
from datastore_server.limits import Limits
from datastore_server.watching import Watches, responses
from tests.support import clusters
from tests.support.scripted import broken_wire
from tests.support.serving import Running, value
from tests.support.waiting import PATIENCE_S

EVERYTHING = query_pb2.Query(scope=query_pb2.QUERY_SCOPE_RECURSIVE)


def request(**arguments: Any) -> service_pb2.WatchRequest:
    return service_pb2.WatchRequest(query=EVERYTHING, **arguments)


async def status_of(call: Any) -> Exception:
    """The error with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            await call.read()
    return wire.rpc_error_to_error(caught.value)


async def test_a_watch_begins_with_a_token_and_continues_with_changes(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    await running.put("/before", 0)
    call = running.stub.Watch(request(initial=True))
    begun = await call.read()
    assert (list(begun.changes), begun.caught_up) == ([], False)
    assert begun.resume_token
    listed = await call.read()
    assert [(change.kind, change.key.text) for change in listed.changes] == [
        (service_pb2.EntryChange.KIND_PUT, "/before")
    ]
    assert (await call.read()).caught_up
    await running.put("/a", 1)
    put = await call.read()
    await running.stub.Delete(service_pb2.DeleteRequest(key=value_pb2.Key(text="/a")))
    deleted = await call.read()
    assert put.changes[0].value == value(1)
    assert deleted.changes[0].kind == service_pb2.EntryChange.KIND_DELETE
    assert not deleted.changes[0].HasField("value")
    assert put.changes[0].version < deleted.changes[0].version
    call.cancel()
    again = running.stub.Watch(request(resume_token=put.resume_token))
    assert (await again.read()).resume_token == put.resume_token
    assert (await again.read()).changes == deleted.changes
    again.cancel()


async def test_a_server_that_stops_ends_watches_with_unavailable(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    call = running.stub.Watch(request())
    await call.read()
    stopping = asyncio.create_task(running.server.stop())
    error = await status_of(call)
    assert isinstance(error, UnavailableError)
    assert error.retry_after_s is not None
    await asyncio.wait_for(stopping, PATIENCE_S)


async def test_what_cannot_be_watched_is_refused(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    for wrong in (b"x", b"\0" * 40):
        assert isinstance(await status_of(running.stub.Watch(request(resume_token=wrong))), InvalidTokenError)
    for name in ("limit", "offset"):
        query = query_pb2.Query(**{name: 1})
        error = await status_of(running.stub.Watch(service_pb2.WatchRequest(query=query)))
        assert error.field == f"query.{name}"  # type: ignore[attr-defined]
    other: Running = await start(aio.SymlinkDatastore(aio.DictDatastore()))
    assert isinstance(await status_of(other.stub.Watch(request())), UnsupportedError)


async def test_watches_count_as_open_streams(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(), limits=Limits(open_streams_per_client=1))
    call = running.stub.Watch(request())
    await call.read()
    assert isinstance(await status_of(running.stub.Watch(request())), LimitExceededError)
    call.cancel()


async def test_a_client_that_does_not_read_gets_changes_expired_and_delays_no_writer(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(most_changes=5))
    call = running.stub.Watch(request())
    await call.read()
    for number in range(100):
        # More than the connection holds, so that the server has to wait for the client.
        await running.put("/a", f"{number}" + "x" * 500_000)
    assert isinstance(await status_of(call), ChangesExpiredError)


async def test_a_client_that_does_not_read_holds_up_no_equal_watch(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(most_changes=5))
    calls = [running.stub.Watch(request()) for _ in range(2)]
    for call in calls:
        await call.read()
    slow, fast = calls
    # More than the connection holds and the server keeps for both.
    for number in range(50):
        await running.put("/a", f"{number}" + "x" * 500_000)
        (change,) = (await fast.read()).changes
        assert change.value.string_value.startswith(f"{number}x")
    assert isinstance(await status_of(slow), ChangesExpiredError)
    await running.put("/a", "still")
    assert (await fast.read()).changes[0].value.string_value == "still"
    fast.cancel()


async def test_equal_watches_are_read_once_and_go_on_when_others_leave(start: Any) -> None:
    store = aio.DictDatastore(keep_changes=True)
    running: Running = await start(store)
    calls = [running.stub.Watch(request()) for _ in range(10)]
    for call in calls:
        await call.read()
    assert store._log is not None
    while len(store._log.wakers) > 1:
        await asyncio.sleep(0)
    for number, leaving in enumerate(calls[:-1]):
        await running.put("/a", number)
        for call in calls[number:]:
            assert [change.value.int64_value for change in (await call.read()).changes] == [number]
        leaving.cancel()
    await running.put("/a", "last")
    assert (await calls[-1].read()).changes[0].value.string_value == "last"
    calls[-1].cancel()
    while store._log.wakers:
        await asyncio.sleep(0)


async def test_a_watch_sees_only_what_comes_after_its_beginning_among_equal_ones(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())

    async def watch(*, with_values: bool) -> None:
        asked = request()
        if not with_values:
            asked.query.view = query_pb2.QUERY_VIEW_KEYS_ONLY
        before = len(written)
        call = running.stub.Watch(asked)
        await call.read()
        found: list[str] = []
        after = len(written)
        while "/a/299" not in found:
            changes = (await call.read()).changes
            assert {change.HasField("value") for change in changes} <= {with_values}
            found += [change.key.text for change in changes]
        call.cancel()
        # The put that is under way when the watch begins may be before or after it.
        assert before <= 300 - len(found) <= after + 1
        assert found == [f"/a/{number}" for number in range(300 - len(found), 300)]

    written: list[int] = []
    watching: list[asyncio.Task[None]] = []
    for number in range(300):
        if number % 20 == 0:
            # Begun while the others may have changes still to read.
            watching += [asyncio.create_task(watch(with_values=asked)) for asked in (True, True, False)]
        await running.put(f"/a/{number}", number)
        written.append(number)
    await asyncio.gather(*watching)


def test_the_token_of_a_batch_is_in_the_last_of_its_messages() -> None:
    stored = wire.encode_value("x" * 100_000)
    changes = [Change(ChangeKind.PUT, Key("/a"), version, stored) for version in range(1, 10)]
    batch = ChangeBatch(changes, b"token", caught_up=True)
    found = [service_pb2.WatchResponse.FromString(data) for data in responses(batch, Limits())]
    assert len(found) == 5
    assert [(each.resume_token, each.caught_up) for each in found] == [(b"", False)] * 4 + [(b"token", True)]
    assert [change.version for each in found for change in each.changes] == list(range(1, 10))


@pytest.mark.parametrize("seed", range(3))
async def test_a_watch_over_a_connection_that_breaks_anywhere_loses_and_repeats_nothing(start: Any, seed: int) -> None:
    running: Running = await start(aio.DictDatastore())
    choose = random.Random(seed)
    breaks = [choose.randrange(1000, 100_000) for _ in range(4)]
    async with broken_wire(running.server.port, breaks=breaks) as (url, broken), connect(url) as store:
        async with store.watch(Query(Key("/w"))) as watcher:
            broken.arm()
            for number in range(300):
                await running.put(f"/w/{number % 7}", [number, "x" * 1000])
            found = [(await anext(watcher)).value[0] for _ in range(300)]
    assert found == list(range(300))
    assert broken.faults >= 1


@pytest.mark.long
async def test_every_watcher_of_many_sees_every_change_through_a_proxy() -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store:

        async def watch() -> list[int]:
            async with store.watch(Query(Key("/w"))) as watcher:
                begun.append(1)
                return sorted([(await anext(watcher)).value for _ in range(100)])

        begun: list[int] = []
        watching = [asyncio.create_task(watch()) for _ in range(20)]
        while len(begun) < 20:
            await asyncio.sleep(0)
        for number in range(100):
            await store.put(Key(f"/w/{number}"), number)
        for found in await asyncio.gather(*watching):
            assert found == list(range(100))


async def test_a_watch_is_closed_even_if_its_client_leaves_while_that_happens() -> None:
    closing, go_on, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(Watcher):
        async def aclose(self) -> None:
            closing.set()
            await go_on.wait()
            await super().aclose()
            closed.set()

    watches, stream = Watches(Limits()), object()
    shared = watches.begin(stream, b"same", Slow(lambda _: Feed(), Watch(Query(Key("/")))))
    leaving = asyncio.create_task(watches.leave(stream, shared))
    await closing.wait()
    leaving.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert closed.is_set()
