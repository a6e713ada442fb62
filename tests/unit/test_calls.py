"""Reading streams of gRPC for asyncio without what leaks there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest

from datastore_client.aio._calls import messages


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


async def test_the_error_of_a_call_is_the_readers():
    call = Call()
    call.answers.put_nowait(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        await anext(messages(call))
    assert call.cancelled
