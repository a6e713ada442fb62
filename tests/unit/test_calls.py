"""Calls and streams of gRPC for asyncio, without its leaks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest

from datastore_client.aio._calls import answered, messages


class Call:
    """A streaming call whose reads wait until they are answered, or until the call is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.read_was_cancelled = False
        self.reading = asyncio.Event()
        self.answers: asyncio.Queue[object] = asyncio.Queue()

    async def read(self):
        self.reading.set()
        try:
            answer = await self.answers.get()
        except asyncio.CancelledError:
            self.read_was_cancelled = True
            raise
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self):
        self.cancelled = True
        self.answers.put_nowait(grpc.aio.EOF)


async def test_messages_come_until_the_end():
    call = Call()
    for answer in (b"a", b"b", grpc.aio.EOF):
        call.answers.put_nowait(answer)
    assert [message async for message in messages(call)] == [b"a", b"b"]


async def test_a_cancelled_reader_ends_the_call_and_never_cancels_the_read():
    call = Call()
    reader = asyncio.create_task(anext(messages(call)))
    await call.reading.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert call.cancelled
    assert not call.read_was_cancelled


async def test_an_abandoned_stream_ends_the_call():
    call = Call()
    call.answers.put_nowait(b"a")
    async with aclosing(messages(call)) as received:
        assert await anext(received) == b"a"
    assert call.cancelled


async def test_the_error_of_a_stream_reaches_its_reader():
    call = Call()
    call.answers.put_nowait(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await anext(messages(call))
    assert call.cancelled


async def test_an_ended_stream_may_be_closed_again():
    call = Call()
    call.answers.put_nowait(grpc.aio.EOF)
    received = messages(call)
    assert await anext(received, None) is None
    await received.aclose()
    await received.aclose()


class UnaryCall:
    """A call that is answered on request, or ends when only its RPC is cancelled."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiter = asyncio.ensure_future(self._wait())
        self.rpc_was_cancelled = False

    async def _wait(self):
        return await self.answer

    def add_done_callback(self, callback):
        self.answer.add_done_callback(lambda _: callback(self))

    def _cancel(self, details):
        self.rpc_was_cancelled = True
        self.answer.set_exception(RuntimeError(details))

    def __await__(self):
        return self.waiter.__await__()


async def test_a_response_reaches_the_caller():
    call = UnaryCall()
    waiting = asyncio.create_task(answered(call))
    call.answer.set_result(b"a")
    assert await waiting == b"a"


async def test_the_error_of_a_unary_call_reaches_the_caller():
    call = UnaryCall()
    call.answer.set_exception(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await answered(call)


async def test_a_cancelled_caller_ends_the_call_and_never_cancels_what_waits_for_it():
    call = UnaryCall()
    caller = asyncio.create_task(answered(call))
    while not caller.get_coro().cr_await:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert call.rpc_was_cancelled
    with pytest.raises(RuntimeError):
        await call.waiter
