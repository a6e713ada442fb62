"""Graceful shutdown: health first, then streams with their tokens, writes to completion, and the store."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from datastore import aio
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore_server.app import run_until_stopped, serve
from tests.support.serving import Endless, Running, entry, everything
from tests.support.waiting import PATIENCE_S


class Watched(aio.DictDatastore):
    """Records when it is closed, and puts when released."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def put(self, key: Key, value: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        await super().put(key, value)
        self.events.append("put")

    async def aclose(self) -> None:
        self.events.append("closed")


async def test_health_turns_not_serving_before_calls_are_refused(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(), drain_s=0.3)
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="datastore.v1.DatastoreService"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    stopping = asyncio.create_task(running.server.stop())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await running.put("/k", 1)
    await stopping


async def test_an_open_health_watch_does_not_delay_shutdown(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(), grace_s=30.0)
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    await asyncio.wait_for(running.server.stop(), PATIENCE_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            await watch.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("stop_after", [2, None], ids=["backend hangs", "reader lags"])
async def test_streams_end_unavailable_with_a_token_that_continues(start: Any, stop_after: int | None) -> None:
    store = Endless(stop_after=stop_after, entry_bytes=1000)
    running: Running = await start(store)
    call = running.stub.Query(everything())
    messages = [await call.read()]
    if stop_after is not None:
        await store.waiting.wait()
    stopping = asyncio.create_task(running.server.stop())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            messages.append(await call.read())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "token" in (caught.value.details() or "")
    await asyncio.wait_for(stopping, PATIENCE_S)
    assert store.closed.is_set()
    keys = [entry.key.text for message in messages for entry in message.entries]
    assert keys == [f"/k{index:09}" for index in range(len(keys))]
    assert stop_after is None or len(keys) == stop_after * 10


async def test_a_reader_that_has_stopped_does_not_delay_shutdown(start: Any) -> None:
    store = Endless()
    running: Running = await start(store)
    call = running.stub.Query(everything())
    await call.read()
    await asyncio.wait_for(running.server.stop(), PATIENCE_S)
    assert store.closed.is_set()


async def test_writes_in_progress_are_done_before_the_store_is_closed(start: Any) -> None:
    store = Watched()
    running: Running = await start(store)
    call = running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)))
    await store.begun.wait()
    stopping = asyncio.create_task(running.server.stop())
    await asyncio.sleep(0.05)
    assert store.events == []
    store.go_on.set()
    await call
    await stopping
    assert store.events[:2] == ["put", "closed"]


async def test_writes_whose_clients_disconnected_are_done_before_the_store_is_closed(start: Any) -> None:
    store = Watched()
    running: Running = await start(store)
    call = running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)))
    await store.begun.wait()
    call.cancel()
    stopping = asyncio.create_task(running.server.stop())
    await asyncio.sleep(0.05)
    store.go_on.set()
    await stopping
    assert store.events[:2] == ["put", "closed"]


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_write_that_takes_longer_than_the_grace_period_is_ended(start: Any, leaves: bool) -> None:
    store = Watched()
    running: Running = await start(store, grace_s=0.1)
    call = running.stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)))
    await store.begun.wait()
    if leaves:
        call.cancel()
    await asyncio.wait_for(running.server.stop(), PATIENCE_S)
    assert store.events == ["closed"]
    if not leaves:
        with pytest.raises(grpc.aio.AioRpcError, match="stopped before this call was done") as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_stopping_twice_is_stopping_once(start: Any) -> None:
    store = Watched()
    running: Running = await start(store)
    await asyncio.gather(running.server.stop(), running.server.stop())
    assert store.events == ["closed"]


async def test_the_port_is_free_afterwards() -> None:
    async with serve(aio.DictDatastore()) as server:
        port = server.port
    async with serve(aio.DictDatastore(), listen=f"127.0.0.1:{port}") as again:
        assert again.port == port


async def test_a_store_is_closed_also_when_the_server_cannot_start() -> None:
    store = Watched()
    async with serve(aio.DictDatastore()) as server:
        with pytest.raises(ValueError, match="in use"):
            async with serve(store, listen=server.address.__str__()):
                pass
    assert store.events == ["closed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_a_signal_stops_the_server_gracefully(number: int) -> None:
    store = Watched()
    server = serve(store)
    await server.start()
    frozen = []

    def ready() -> None:
        frozen.append(gc.get_freeze_count())
        os.kill(os.getpid(), number)

    await asyncio.wait_for(run_until_stopped(server, ready), PATIENCE_S)
    assert store.events == ["closed"]
    # Loaded modules are not scanned for garbage while it serves; afterwards everything is as before.
    assert frozen[0] > 1000
    assert gc.get_freeze_count() == 0


async def test_a_signal_that_arrives_while_the_loop_is_busy_is_not_lost() -> None:
    store = Watched()
    server = serve(store)
    await server.start()
    loop = asyncio.get_running_loop()

    def signal_amid_wake_ups() -> None:
        # More than fit into the pipe that wakes the loop.
        for _ in range(100_000):
            loop.call_soon_threadsafe(int)
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(run_until_stopped(server, signal_amid_wake_ups), PATIENCE_S)
    assert store.events == ["closed"]


PROGRAM = """
import asyncio
from datastore import aio
from datastore_server.app import run_until_stopped, serve

async def main():
    async with serve(aio.DictDatastore()) as server:
        await run_until_stopped(server, lambda: print(server.port, flush=True))

asyncio.run(main())
"""


@pytest.mark.long
async def test_a_server_process_exits_cleanly_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert int(await process.stdout.readline())
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0
    assert errors == b""
