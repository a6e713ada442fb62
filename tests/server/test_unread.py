"""Clients that do not read their answers, or send no requests, take little memory, and delay nobody else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, wire
from datastore.model.key import Key
from datastore.v1 import service_pb2, value_pb2
from datastore_client.aio._calls import open_channel
from datastore_client.channel import Target
from datastore_client.tls import Credentials
from datastore_server.call import Answer, Call, ServedMethod
from datastore_server.limits import Limits
from datastore_server.transport import new_transport
from datastore_server.unread import Unread, UnreadAnswers
from tests.support.http2 import GET, dial
from tests.support.serving import Running
from tests.support.waiting import PATIENCE_S, until

KINDS = ("queue", "aio")
MB = 1_000_000
LARGE = service_pb2.GetRequest(key=value_pb2.Key(text="/large"))


@pytest.fixture(params=KINDS)
async def running(start: Any, request: pytest.FixtureRequest) -> Running:
    """A server of an entry of 3 MB."""
    store = aio.DictDatastore()
    await store.put(Key("/large"), wire.encode_value(b"x" * 3 * MB))
    return await start(store, transport=request.param)


async def held_bytes(running: Running) -> int:
    transport: Any = running.server._server
    return (transport.unread if hasattr(transport, "unread") else transport._unread).held_bytes


async def test_a_hundred_unread_answers_of_3_megabytes_take_a_few_and_others_are_answered(running: Running) -> None:
    process = psutil.Process()
    await running.stub.Get(LARGE)
    before = process.memory_info().rss
    async with dial(running.server.port) as client:
        for _ in range(100):
            client.call(GET, LARGE)
        await client.ping()
        for _ in range(10):
            assert len((await running.stub.Get(LARGE)).value.bytes_value) == 3 * MB
        assert 0 < await held_bytes(running) <= 64 * 1024**2
        # Without a limit these are 600 MB.
        assert process.memory_info().rss - before < 120 * MB
    await until(lambda: held_bytes(running), 0)


async def test_a_client_that_reads_late_gets_all_answers(running: Running) -> None:
    async with dial(running.server.port) as client:
        streams = [client.call(GET, LARGE) for _ in range(30)]
        await client.ping()
        client.h2.increment_flow_control_window(2**31 - 1 - client.h2.inbound_flow_control_window)
        for stream in streams:
            client.h2.increment_flow_control_window(2**30, stream)
        await client.flush()
        for stream in streams:
            assert (await client.ended(stream))[b"grpc-status"] == b"0"


async def test_a_client_with_many_calls_at_once_is_answered_as_without_a_limit(running: Running) -> None:
    answers = await asyncio.gather(*(running.stub.Get(LARGE) for _ in range(50)))
    assert {len(answer.value.bytes_value) for answer in answers} == {3 * MB}


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_of_calls_that_began_together_are_dropped_beyond_the_limit(kind: Any) -> None:
    """The calls of a store that waits: they begin before the first is answered."""
    go_on = asyncio.Event()
    begun = 0

    async def large(_: bytes, call: Call) -> Answer:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return b"x" * MB

    async def count() -> int:
        return begun

    async with asyncio.timeout(PATIENCE_S):
        server: Any = new_transport(kind, Limits(unread_bytes=10 * MB), [ServedMethod("/t.T/Large", False, large)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with dial(port) as hostile, dial(port) as other:
            for _ in range(20):
                hostile.call("/t.T/Large", service_pb2.GetRequest())
            await hostile.ping()
            await until(count, 20)
            go_on.set()
            statuses = [await hostile.ended(1 + 2 * place) for place in range(5, 20)]
            assert {status[b"grpc-status"] for status in statuses} == {b"14"}
            stream = other.call("/t.T/Large", service_pb2.GetRequest())
            other.h2.increment_flow_control_window(2**30)
            other.h2.increment_flow_control_window(2**30, stream)
            await other.flush()
            assert (await other.ended(stream))[b"grpc-status"] == b"0"
        await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_does_not_read_delays_no_other_at_the_same_socket(kind: Any, tmp_path: Path) -> None:
    async def large(_: bytes, call: Call) -> Answer:
        return b"x" * MB

    async def small(_: bytes, call: Call) -> Answer:
        return call.peer().encode()

    methods = [ServedMethod("/t.T/Large", False, large), ServedMethod("/t.T/Small", False, small)]
    server: Any = new_transport(kind, Limits(unread_bytes=10 * MB), methods)
    socket = tmp_path / "socket"
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    async with dial(socket) as hostile:
        for _ in range(20):
            hostile.call("/t.T/Large", service_pb2.GetRequest(), [(b"user-agent", b"grpc-c/1 (linux) pid/0")])
        await hostile.ping()
        target = Target(f"unix:{socket}", is_secure=False)
        async with open_channel(target, Credentials()) as channel:
            answer = await channel.unary_unary("/t.T/Small")(b"", timeout=PATIENCE_S)
    assert answer == f"unix:pid/{os.getpid()}".encode()
    await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_stops_while_calls_wait_for_their_clients_to_read(kind: Any) -> None:
    async def large(_: bytes, call: Call) -> Answer:
        return b"x" * MB

    server: Any = new_transport(kind, Limits(unread_bytes=4 * MB), [ServedMethod("/t.T/Large", False, large)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dial(port) as client:
        for _ in range(20):
            client.call("/t.T/Large", service_pb2.GetRequest())
        await client.ping()
        await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_without_a_request_ends_after_a_time(start: Any, kind: str) -> None:
    running: Running = await start(aio.DictDatastore(), transport=kind, limits=Limits(request_time_ms=200))
    async with dial(running.server.port) as client:
        for method in ("Get", "Put", "Query", "DescribeStore"):
            stream = client.begin(f"/datastore.v1.DatastoreService/{method}")
            # The beginning of a message is not one.
            client.h2.send_data(stream, b"\0\0\0\1")
            await client.flush()
            trailers = await client.ended(stream)
            assert trailers[b"grpc-status"] == b"4"
            assert b"request_time_ms" in trailers[b"grpc-message"]
        # Calls with requests are not late, however long they take.
        stream = client.call(GET, LARGE)
        await client.flush()
        assert (await client.ended(stream))[b"grpc-status"] == b"0"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_that_ends_without_a_request_is_refused(start: Any, kind: str) -> None:
    running: Running = await start(aio.DictDatastore(), transport=kind)
    async with dial(running.server.port) as client:
        stream = client.begin()
        client.h2.end_stream(stream)
        await client.flush()
        trailers = await client.ended(stream)
        assert trailers[b"grpc-status"] == b"3"
        assert b"no request" in trailers[b"grpc-message"]


# The decisions


def test_a_client_may_leave_as_much_unread_as_is_left() -> None:
    unread = UnreadAnswers(100)
    begun: list[str] = []
    first = [unread.hold("a", 10, None) for _ in range(2)]
    assert not unread.when_read("a", lambda: begun.append("early"))
    first.append(unread.hold("a", 10, None))
    assert unread.may_be_full
    assert unread.when_read("a", lambda: begun.append("a"))
    assert not unread.when_read("b", lambda: begun.append("b"))
    assert first[0] is not None
    unread.give_back(first[0])
    assert begun == ["a"]


def test_the_newest_answer_of_the_client_with_the_most_is_dropped() -> None:
    unread = UnreadAnswers(100)
    dropped: list[int] = []
    held = [unread.hold("a", 10, lambda place=place: dropped.append(place)) for place in range(5)]
    assert None not in held
    assert unread.hold("a", 10, lambda: dropped.append(5)) is None
    assert unread.hold("b", 10, lambda: dropped.append(6)) is not None
    assert dropped == [4]


@given(st.data(), st.integers(1, 60), st.booleans())
def test_little_is_held_and_clients_that_read_are_answered(data: Any, total: int, can_drop: bool) -> None:
    unread = UnreadAnswers(total)
    held: list[Unread] = []
    dropped: list[int] = []
    begun: list[int] = []
    waiting: list[int] = []
    for number in range(30):
        client = data.draw(st.sampled_from("abc"))
        has_others = any(answer.client == client for answer in held)
        if held and data.draw(st.booleans()):
            unread.give_back(held.pop(data.draw(st.integers(0, len(held) - 1))))
        elif unread.when_read(client, lambda number=number: begun.append(number)):
            waiting.append(number)
            assert has_others
        else:
            drop = (lambda number=number: dropped.append(number)) if can_drop else None
            answer = unread.hold(client, data.draw(st.integers(1, 20)), drop)
            assert answer is not None or has_others
            before = len(held)
            held = [one for one in [*held, answer] if one is not None and one in unread._answers.get(one.client, ())]
            assert len(dropped) == before + (answer is not None) - len(held)
            dropped.clear()
        assert unread.held_bytes == sum(answer.held_bytes for answer in held)
        if can_drop:
            assert unread.held_bytes <= total or len(held) == 1
        else:
            first_of_others = {answer.client: answer.held_bytes for answer in reversed(held)}
            assert unread.held_bytes <= total + sum(first_of_others.values())
    for answer in held:
        unread.give_back(answer)
    assert unread.held_bytes == 0
    assert sorted(begun) == waiting
