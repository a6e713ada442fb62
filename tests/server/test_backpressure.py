"""A client that stops reading, disconnects or is late stops the backend; a long query does not delay other calls."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.model.errors import StoreFullError, UnavailableError
from datastore.model.key import Key
from datastore.v1 import service_pb2, value_pb2
from datastore_server.call import Call, ClientGoneError
from datastore_server.interceptors import guard
from datastore_server.limits import KEY_REQUEST, Limits
from datastore_server.service import DatastoreService
from tests.support.serving import Endless, Running, entry, everything, value
from tests.support.waiting import PATIENCE_S

#: How much is between a backend and a client that does not read, in batches of a megabyte: the one being split, the
#: next one, and the message and the window that gRPC has in flight.
MOST_BATCHES_AHEAD = 4


class Scanning(Endless):
    """Never ends, never waits, and finds nothing."""

    async def _batches(self) -> Any:
        async for batch in super()._batches():
            batch.keys, batch.values = [], []
            yield batch


async def settled(store: Endless) -> int:
    """How many batches were pulled, once no more are."""
    pulled = -1
    while pulled != store.pulled:
        pulled = store.pulled
        # Long compared with the time that a batch takes; the loop stays free.
        for _ in range(20):
            await asyncio.sleep(0.01)
    return pulled


async def test_a_reader_that_stops_reading_stops_the_backend(start: Any) -> None:
    store = Endless(entry_bytes=100_000)
    running: Running = await start(store)
    call = running.stub.Query(everything())
    read = len((await call.read()).entries)
    assert await settled(store) <= read // 10 + MOST_BATCHES_AHEAD
    for _ in range(20):
        read += len((await call.read()).entries)
    assert read // 10 <= await settled(store) <= read // 10 + MOST_BATCHES_AHEAD
    call.cancel()


async def test_cancelling_frees_the_cursor_immediately(start: Any) -> None:
    store = Endless()
    running: Running = await start(store)
    call = running.stub.Query(everything())
    await call.read()
    call.cancel()
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


async def test_cancelling_frees_the_cursor_of_a_backend_that_hangs(start: Any) -> None:
    store = Endless(stop_after=0)
    running: Running = await start(store)
    call = running.stub.Query(everything())
    await asyncio.wait_for(store.waiting.wait(), PATIENCE_S)
    call.cancel()
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


async def test_an_answer_that_cannot_be_sent_ends_its_call_like_one_that_its_client_cancelled() -> None:
    async def unsent(request: bytes, call: Call) -> None:
        raise ClientGoneError

    # Anything else is logged by gRPC, with a traceback.
    with pytest.raises(asyncio.CancelledError):
        await guard("Query", unsent, KEY_REQUEST)(b"", Call())


async def test_a_client_that_vanishes_frees_the_cursor(start: Any) -> None:
    store = Endless()
    running: Running = await start(store)
    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{running.server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
    )
    call = Running(running.server, channel).stub.Query(everything())
    await call.read()
    await channel.close()
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


@pytest.mark.parametrize("stop_after", [0, None])
async def test_a_deadline_frees_the_cursor(start: Any, stop_after: int | None) -> None:
    store = Endless(stop_after=stop_after)
    running: Running = await start(store)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in running.stub.Query(everything(), timeout=0.3):
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


async def test_a_query_over_its_time_ends_so_that_it_can_be_continued(start: Any) -> None:
    store = Endless(stop_after=3)
    running: Running = await start(store, limits=Limits(query_time_ms=300))
    messages = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in running.stub.Query(everything()):
            messages.append(message)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "continue" in (caught.value.details() or "")
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)
    assert sum(len(message.entries) for message in messages) == 30
    assert messages[-1].resume_token


async def test_a_query_over_its_time_says_how_far_it_has_come_even_if_it_found_nothing(start: Any) -> None:
    running: Running = await start(Scanning(entry_bytes=10), limits=Limits(query_time_ms=100))
    tokens = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in running.stub.Query(everything()):
            tokens.append(message.resume_token)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # Otherwise the client would begin where it began, and never end.
    assert tokens


async def test_a_reader_that_stops_holds_no_cursor_beyond_the_time_of_a_query(start: Any) -> None:
    store = Endless()
    running: Running = await start(store, limits=Limits(query_time_ms=300))
    call = running.stub.Query(everything())
    await call.read()
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            assert await call.read() is not grpc.aio.EOF
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_page_over_its_time_limit_is_abandoned(start: Any) -> None:
    store = Endless(stop_after=1)
    running: Running = await start(store, limits=Limits(query_time_ms=200))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ListEntries(service_pb2.ListEntriesRequest())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


async def test_a_long_scan_lets_other_calls_run_in_between(start: Any) -> None:
    store = Scanning(entry_bytes=10)
    running: Running = await start(store)
    call = running.stub.Query(everything())
    while not store.pulled:
        await asyncio.sleep(0)
    await running.stub.Contains(service_pb2.ContainsRequest(key=value_pb2.Key(text="/k")), timeout=PATIENCE_S)
    call.cancel()


class Slow(aio.DictDatastore):
    """Begins a write and finishes it when told."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.done = asyncio.Event()

    async def put(self, key: Key, value: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().put(key, value)
        self.done.set()

    async def contains(self, key: Key) -> bool:
        return True


@pytest.mark.parametrize("batch", [False, True])
async def test_a_write_whose_client_disconnects_runs_to_completion(start: Any, batch: bool) -> None:
    store = Slow()
    running: Running = await start(store)
    if batch:
        write = service_pb2.BatchWriteRequest.Write(put=entry("/k", 1))
        call = running.stub.BatchWrite(service_pb2.BatchWriteRequest(writes=[write]))
    else:
        call = running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)))
    await store.begun.wait()
    call.cancel()
    await asyncio.sleep(0.05)
    store.go_on.set()
    await asyncio.wait_for(store.done.wait(), PATIENCE_S)
    response = await running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text="/k")))
    assert response.value == value(1)


async def test_no_stream_is_remembered_after_its_end(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    running: Running = await start(Endless())
    service: DatastoreService = running.server._service
    call = running.stub.Query(everything())
    await call.read()
    assert len(service._streams) == 1
    call.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while service._streams:
            await asyncio.sleep(0)


async def test_a_failure_halfway_reaches_the_client(start: Any) -> None:
    class Breaking(Endless):
        async def _batches(self) -> Any:
            async for batch in super()._batches():
                yield batch
                raise UnavailableError("the disk is gone", shard="s1")

    running: Running = await start(Breaking())
    call = running.stub.Query(everything())
    messages = [await call.read()]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            messages.append(await call.read())
    assert 0 < sum(len(message.entries) for message in messages) <= 10
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_disconnects_within_a_message_is_not_logged_as_a_fault(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store = Endless()
    running: Running = await start(store)
    call = running.stub.Query(everything())
    await call.read()
    await settled(store)
    call.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while any("DatastoreService" in task.get_name() for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_write_that_fails_after_its_client_disconnected_is_logged(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Slow):
        async def put(self, key: Key, value: Any) -> None:
            self.begun.set()
            await self.go_on.wait()
            raise StoreFullError("no room")

    store = Full()
    running: Running = await start(store)
    call = running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)))
    await store.begun.wait()
    call.cancel()
    await asyncio.sleep(0.05)
    store.go_on.set()
    await running.server.stop()
    assert "Put failed: no room" in caplog.text
