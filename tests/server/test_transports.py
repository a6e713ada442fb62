"""Both transports carry calls alike, however these end, and hold nothing of them afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio
from datastore.v1 import service_pb2, value_pb2
from datastore_server import transport
from datastore_server.call import Answer, Call, ClientGoneError, ServedMethod
from datastore_server.limits import Limits
from datastore_server.transport import completion_queue
from tests.support.serving import entry, everything
from tests.support.waiting import PATIENCE_S, until

KINDS = ("queue", "aio")
Serving = Callable[..., Awaitable[grpc.aio.Channel]]


class Methods:
    """Methods without a store, which remember what happened to them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.peers: list[str] = []
        self.ends: list[str] = []
        self.go_on = asyncio.Event()

    def served(self) -> list[ServedMethod]:
        return [
            ServedMethod("/t.T/Echo", False, self.echo),
            ServedMethod("/t.T/EchoNow", False, self.echo_now, lambda request, _: b"now " + request),
            ServedMethod("/t.T/Later", False, self.echo, lambda *_: None),
            ServedMethod("/t.T/Fail", False, self.fail),
            ServedMethod("/t.T/Wait", False, self.wait),
            ServedMethod("/t.T/Write", False, self.wait, is_write=True),
            ServedMethod("/t.T/Stream", True, self.stream),
            ServedMethod("/t.T/Refused", False, self.echo, refuse=self.refuse),
            ServedMethod("/t.T/Both", True, self.both, takes_stream=True),
        ]

    async def echo(self, request: bytes, call: Call) -> Answer:
        self.calls.append(call)
        self.peers.append(call.peer())
        return request

    async def echo_now(self, request: bytes, call: Call) -> Answer:
        return b"now " + request

    async def fail(self, request: bytes, call: Call) -> Answer:
        return status_pb2.Status(code=code_pb2.NOT_FOUND, message="nöt here")

    async def wait(self, request: bytes, call: Call) -> Answer:
        self.ends.append("begun")
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        # A handler may ask for its client, e.g. for the log, after it has left.
        assert call.peer() is not None
        assert call.identities() == ()
        self.ends.append("waited")
        return b"waited"

    async def stream(self, request: bytes, call: Call) -> Answer:
        try:
            for number in range(int(request)):
                await call.send(b"x" * number)
            return None if request != b"3" else status_pb2.Status(code=code_pb2.ABORTED)
        except (ClientGoneError, asyncio.CancelledError) as error:
            self.ends.append(type(error).__name__)
            raise asyncio.CancelledError from None

    async def both(self, request: bytes, call: Call) -> Answer:
        while (message := await call.receive()) is not None:
            await call.send(message.upper())
        return None

    @staticmethod
    def refuse(in_hand: int, time_left_s: float | None) -> status_pb2.Status | None:
        return None if time_left_s is None else status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED)


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture(params=KINDS)
async def channel(request: pytest.FixtureRequest, methods: Methods) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the methods."""
    server = transport.new_transport(request.param, Limits(), methods.served())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel
    await server.stop(0)


async def test_a_call_is_answered_at_once_or_by_the_event_loop(channel: grpc.aio.Channel, methods: Methods) -> None:
    assert await channel.unary_unary("/t.T/Echo")(b"a") == b"a"
    assert await channel.unary_unary("/t.T/Later")(b"") == b""
    assert await channel.unary_unary("/t.T/EchoNow")(b"b") == b"now b"


async def test_a_handler_knows_metadata_deadline_and_peer(channel: grpc.aio.Channel, methods: Methods) -> None:
    await channel.unary_unary("/t.T/Echo")(b"", metadata=(("name", "text"), ("name-bin", b"\x00\xff")))
    await channel.unary_unary("/t.T/Echo")(b"", timeout=PATIENCE_S)
    first, second = methods.calls
    assert {("name", "text"), ("name-bin", b"\x00\xff")} <= {tuple(pair) for pair in first.metadata}
    assert first.time_left_s is None
    assert second.time_left_s is not None
    # gRPC rounds deadlines up.
    assert 0 < second.time_left_s < PATIENCE_S + 1
    assert len(set(methods.peers)) == 1, methods.peers
    assert methods.peers[0].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize(
    ("method", "code"),
    [("Fail", grpc.StatusCode.NOT_FOUND), ("Unknown", grpc.StatusCode.UNIMPLEMENTED)],
)
async def test_a_failure_has_its_status(channel: grpc.aio.Channel, method: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(f"/t.T/{method}")(b"")
    assert caught.value.code() is code
    if method == "Fail":
        assert caught.value.details() == "nöt here"


async def test_a_request_that_is_too_large_is_refused(channel: grpc.aio.Channel, methods: Methods) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/t.T/Echo")(b"x" * (transport.QUERY_REQUEST.maximum + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert methods.calls == []


async def test_messages_of_a_stream_arrive_in_order_and_then_the_status(channel: grpc.aio.Channel) -> None:
    assert [len(message) async for message in channel.unary_stream("/t.T/Stream")(b"100")] == list(range(100))
    stream = channel.unary_stream("/t.T/Stream")(b"3")
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in stream:
            received.append(len(message))
    assert received == [0, 1, 2]
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_both_sides_of_a_call_stream(channel: grpc.aio.Channel) -> None:
    call = channel.stream_stream("/t.T/Both")(iter([b"a", b"b", b"c"]))
    assert [message async for message in call] == [b"A", b"B", b"C"]


async def test_the_handler_is_cancelled_when_the_client_leaves_or_its_deadline_passes(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    call = channel.unary_unary("/t.T/Wait")(b"")
    await until(lambda: ends(methods), ["begun"])
    call.cancel()
    await until(lambda: ends(methods), ["begun", "cancelled"])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/t.T/Wait")(b"", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: ended(methods), True)


async def test_a_write_runs_to_completion_when_the_client_leaves_or_its_deadline_passes(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    call = channel.unary_unary("/t.T/Write")(b"")
    await until(lambda: ends(methods), ["begun"])
    call.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/t.T/Write")(b"", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    methods.go_on.set()
    await until(lambda: completed(methods), True)


async def completed(methods: Methods) -> bool:
    """Whether every call that has begun was completed; the deadline may have passed before it began."""
    return methods.ends.count("begun") == methods.ends.count("waited") and "cancelled" not in methods.ends


async def ends(methods: Methods) -> list[str]:
    return list(methods.ends)


async def ended(methods: Methods) -> bool:
    """Whether every call that has begun was cancelled too; the deadline may have passed before it began."""
    return methods.ends.count("begun") == methods.ends.count("cancelled")


async def test_a_stream_whose_client_leaves_ends(channel: grpc.aio.Channel, methods: Methods) -> None:
    stream = channel.unary_stream("/t.T/Stream")(b"1000000")
    await stream.read()
    stream.cancel()
    async with asyncio.timeout(PATIENCE_S):
        while not methods.ends:
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_stopping_waits_for_calls_and_then_cancels_them(kind: Any, methods: Methods) -> None:
    for grace_s, end in ((PATIENCE_S, b"waited"), (0, None)):
        server = transport.new_transport(kind, Limits(), methods.served())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        methods.ends.clear()
        methods.go_on.clear()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/t.T/Wait")(b"")
            await until(lambda: ends(methods), ["begun"])
            stopping = asyncio.create_task(server.stop(grace_s))
            await asyncio.sleep(0)
            if end is not None:
                methods.go_on.set()
                assert await call == end
            else:
                with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                    await call
            await stopping


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_stops_after_handlers_that_take_long_to_be_cancelled(kind: Any) -> None:
    begun, cancelled, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def clean_up(_: bytes, call: Call) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            await go_on.wait()

    server = transport.new_transport(kind, Limits(), [ServedMethod("/t.T/CleanUp", False, clean_up)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/t.T/CleanUp")(b"")
        await begun.wait()
        stopping = asyncio.create_task(server.stop(0))
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        await cancelled.wait()
    # All connections have ended by now.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(stopping), 0.1)
    go_on.set()
    await stopping


async def test_a_call_that_is_cancelled_before_its_task_runs_does_not_count_for_ever(
    methods: Methods, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue: Any = transport.new_transport("queue", Limits(), methods.served())
    monkeypatch.setattr(import_module(type(queue).__module__)._Rpc, "watch", lambda _, task: task.cancel())
    monkeypatch.setattr(queue._unwatched, "begin", lambda _, watch: watch())
    port = queue.add_insecure_port("127.0.0.1:0")
    await queue.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await channel.unary_unary("/t.T/Refused")(b"")
    async with asyncio.timeout(PATIENCE_S):
        while queue._tasks or queue._handed_calls != queue._ended_calls:
            await asyncio.sleep(0)
    assert not methods.calls
    await queue.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_port_that_is_taken_cannot_be_taken_again(kind: Any, methods: Methods) -> None:
    first, second = (transport.new_transport(kind, Limits(), methods.served()) for _ in range(2))
    port = first.add_insecure_port("127.0.0.1:0")
    await first.start()
    with pytest.raises(RuntimeError):
        second.add_insecure_port(f"127.0.0.1:{port}")
    await first.stop(0)


async def test_the_queue_refuses_a_call_before_it_reads_the_request(methods: Methods) -> None:
    server = transport.new_transport("queue", Limits(), methods.served())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary("/t.T/Refused")(b"a") == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/t.T/Refused")(b"a", timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(methods.calls) == 1
    await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_health_and_reflection_answer(start: Any, kind: str) -> None:
    running = await start(aio.DictDatastore(), transport=kind)
    health: Any = health_pb2_grpc.HealthStub(running.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="no.such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = [answer async for answer in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answer.list_services_response.service}
    assert {"datastore.v1.DatastoreService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_and_streams_that_ended_in_any_way_hold_nothing(start: Any, kind: str) -> None:
    running = await start(aio.DictDatastore(), transport=kind)
    await running.put_all({f"/k{number}": "x" * 1000 for number in range(500)})
    get = service_pb2.GetRequest(key=value_pb2.Key(text="/k1"))
    put = service_pb2.PutRequest(entry=entry("/k1", 1))
    for _ in range(10):
        await asyncio.gather(*(running.stub.Get(get) for _ in range(50)), *(running.stub.Put(put) for _ in range(50)))
        left = [running.stub.Put(put) for _ in range(20)]
        streams = [running.stub.Query(everything()) for _ in range(10)]
        await asyncio.gather(*(stream.read() for stream in streams))
        for call in (*left, *streams):
            call.cancel()
    server = running.server
    async with asyncio.timeout(PATIENCE_S):
        while server._service._streams or len(server._service._under_way):
            await asyncio.sleep(0)
    if kind == "queue":
        queue: Any = server._server
        async with asyncio.timeout(PATIENCE_S):
            while queue._tasks or queue._handed_calls != queue._ended_calls:
                await asyncio.sleep(0)


async def test_more_calls_than_the_thread_asks_for_at_a_time_are_all_answered(
    channel: grpc.aio.Channel, methods: Methods
) -> None:
    echo = channel.unary_unary("/t.T/Echo")
    sent = [str(number).encode() for number in range(500)]
    assert await asyncio.gather(*map(echo, sent)) == sent


async def test_calls_wait_in_grpc_while_the_event_loop_has_enough_to_do(methods: Methods) -> None:
    server: Any = transport.new_transport("queue", Limits(), methods.served())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    most = completion_queue.MOST_WAITING + 2 * completion_queue.REQUESTED_CALLS
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls: list[Any] = []
        # This blocks the event loop. Calls of which the request has not come yet do not count, so all of the first
        # have to be there before the others come.
        gives_up_at = time.monotonic() + PATIENCE_S
        for count, handed in ((completion_queue.MOST_WAITING, completion_queue.MOST_WAITING), (3 * most, most)):
            calls += [channel.unary_unary("/t.T/Echo").future(b"x") for _ in range(count)]
            while len(server._handed) < handed:
                assert time.monotonic() < gives_up_at
        for _ in range(1000):
            time.sleep(0)  # noqa: ASYNC251 - the event loop is to be blocked
            assert len(server._handed) == most
        answers = await asyncio.to_thread(lambda: [call.result() for call in calls])
    assert answers == [b"x"] * len(calls)
    await server.stop(0)


@pytest.mark.parametrize(
    ("version", "known"),
    [("1.84.9", False), ("1.85.0", True), ("1.85.3", True), ("1.86.0rc1", False), ("2.0.0", False)],
)
def test_the_queue_is_used_with_known_versions_of_grpcio(version: str, known: bool) -> None:
    assert transport._knows_queue(version) is known


async def test_another_version_of_grpcio_is_served_by_its_public_server_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, methods: Methods
) -> None:
    monkeypatch.setattr(transport, "version", lambda _: "1.90.0")
    with caplog.at_level("INFO", logger="datastore.server"):
        server = transport.new_transport("auto", Limits(), methods.served())
    assert type(server).__name__ == "AioServer"
    assert "grpcio 1.90.0" in caplog.text
    await server.stop(0)


@given(st.lists(st.sampled_from(["Echo", "Later", "EchoNow", "Fail"]), max_size=30))
def test_mixed_calls_end_as_they_would_alone(names: list[str]) -> None:
    async def outcomes() -> list[Any]:
        async with AsyncExitStack() as stack:
            methods = Methods()
            server = transport.new_transport("queue", Limits(), methods.served())
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            calls = [channel.unary_unary(f"/t.T/{name}")(b"x") for name in names]
            return [await call.code() for call in calls]

    expected = [grpc.StatusCode.NOT_FOUND if name == "Fail" else grpc.StatusCode.OK for name in names]
    assert asyncio.run(outcomes()) == expected
