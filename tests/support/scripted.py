"""A real gRPC server with scripted answers, and a wire that breaks where a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status

from datastore import wire
from datastore.model.errors import DatastoreError
from datastore.v1 import query_pb2, service_pb2
from tests.support.relays import relayed
from tests.support.serving import entry
from tests.support.waiting import PATIENCE_S

_SERVICE = "/datastore.v1.DatastoreService/"
_STREAMS = {"Query", "Aggregate", "DeleteMatching", "PatchMatching"}

#: Answers one call: the request's bytes and the call, which it may abort or, for streams, write to.
Answer = Callable[[bytes, Any], Awaitable[Any]]


class Scripted(grpc.GenericRpcHandler):
    """Gives the answers of each method in turn, repeating the last. Records the requests."""

    def __init__(self, **answers: Answer | Sequence[Answer]) -> None:
        self._answers = {name: list(steps) if isinstance(steps, list) else [steps] for name, steps in answers.items()}
        #: The method and request of every call, in order of arrival.
        self.calls: list[tuple[str, bytes]] = []
        #: How many calls were cancelled before they ended, and a waiting place for that.
        self.cancelled = 0
        self._changed = asyncio.Event()
        self.url = ""

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        steps = self._answers.get(name)
        if steps is None:
            return None

        async def handler(request: bytes, context: Any) -> Any:
            self.calls.append((name, request))
            answer = steps.pop(0) if len(steps) > 1 else steps[0]
            try:
                return await answer(request, context)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self._changed.set()

        if name in _STREAMS:
            return grpc.unary_stream_rpc_method_handler(handler)
        return grpc.unary_unary_rpc_method_handler(handler)

    @property
    def queries(self) -> list[service_pb2.QueryRequest]:
        """The requests of all queries."""
        return [service_pb2.QueryRequest.FromString(request) for name, request in self.calls if name == "Query"]

    async def until_cancelled(self, times: int = 1) -> None:
        """Wait until so many calls were cancelled; fail after a while."""
        async with asyncio.timeout(PATIENCE_S):
            while self.cancelled < times:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def scripted(**answers: Any) -> AsyncIterator[Scripted]:
    """A running server with these answers by method, as Get=..., Query=[..., ...]."""
    script = Scripted(**answers)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((script,))
    script.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield script
    finally:
        await server.stop(None)


# Answers


def replies(message: Any) -> Answer:
    """An answer with one message, or its bytes."""

    async def answer(request: bytes, context: Any) -> bytes:
        return message if isinstance(message, bytes) else bytes(message.SerializeToString())

    return answer


def fails(error: DatastoreError | grpc.StatusCode, details: str = "from the test") -> Answer:
    """An answer that is an error of ours, with its details, or a bare code."""
    return sends(error=error, details=details)


def sends(*messages: Any, error: Any = None, details: str = "from the test", hangs: bool = False) -> Answer:
    """A stream of messages, and then its end: normally, by an error, or never."""

    async def answer(request: bytes, context: Any) -> None:
        for message in messages:
            await context.write(message if isinstance(message, bytes) else message.SerializeToString())
        if hangs:
            await asyncio.Event().wait()
        if isinstance(error, grpc.StatusCode):
            await context.abort(error, details)
        elif error is not None:
            await context.abort_with_status(rpc_status.to_status(wire.error_to_status(error)))

    return answer


async def hangs(request: bytes, context: Any) -> None:
    """Never answers."""
    await asyncio.Event().wait()


def results(*numbers: int, token: bytes = b"", skipped: int = 0, last: int | None = None) -> service_pb2.QueryResponse:
    """Entries /K:n with the value n, a token, and a summary if `last`, their number, is given."""
    response = service_pb2.QueryResponse(
        entries=[entry(f"/K:{number}", number) for number in numbers],
        resume_token=token or (b"after %d" % numbers[-1] if numbers else b"start"),
        skipped=skipped,
        scanned=len(numbers),
    )
    if last is not None:
        response.summary.reason = service_pb2.QuerySummary.REASON_EXHAUSTED
        response.summary.entries = last
    return response


def is_bare_scope(query: query_pb2.Query) -> bool:
    """Whether a query asks only for its scope."""
    return not (query.filters or query.orders or query.offset or query.HasField("limit"))


# The wire

_FRAME_HEAD_BYTES = 9
_DATA, _RST_STREAM = 0, 3
#: What a failed HTTP/2 server sends; gRPC turns it into INTERNAL.
_INTERNAL_ERROR = (2).to_bytes(4, "big")


class Wire:
    """A proxy between clients and a server that breaks the given connections, one after the other.

    `breaks` are for each connection in turn after how many bytes of the server's it breaks; later ones hold. With
    `resets` streams are reset instead, each after so many frames of data, and the connection holds. Before `arm` was
    called nothing breaks: what should, stops.
    """

    def __init__(self, port: int, breaks: Sequence[int] = (), resets: Sequence[int] = ()) -> None:
        self._port = port
        self._breaks = list(breaks)
        self._resets = list(resets)
        self._armed = asyncio.Event()
        #: Held here, because the loop does not hold a task that waits for a connection that is gone.
        self._serving: set[asyncio.Task[Any]] = set()
        self.connections = 0
        #: How many connections were broken, or streams reset.
        self.faults = 0

    def arm(self) -> None:
        """Break from now on."""
        self._armed.set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.ensure_future(self._connected(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        await task

    async def end(self) -> None:
        """End all connections."""
        for task in (ending := tuple(self._serving)):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(_copy(reader, server_writer))
        try:
            if self._resets:
                await self._reset(server_reader, writer)
            else:
                await self._break(server_reader, writer, self._breaks[number] if number < len(self._breaks) else None)
        except OSError:
            pass  # One side has left.
        finally:
            up.cancel()
            writer.transport.abort()
            server_writer.transport.abort()

    async def _break(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after: int | None) -> None:
        while data := await reader.read(65536):
            writer.write(data if after is None else data[:after])
            await writer.drain()
            if after is not None:
                after -= len(data)
                if after <= 0:
                    await self._armed.wait()
                    self.faults += 1
                    return

    async def _reset(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        while head := await reader.read(1):
            head += await reader.readexactly(_FRAME_HEAD_BYTES - 1)
            writer.write(head + await reader.readexactly(int.from_bytes(head[:3], "big")))
            seen += head[3] == _DATA
            if self._resets and seen == self._resets[0] and head[3] == _DATA:
                self._resets.pop(0)
                seen = 0
                await self._armed.wait()
                self.faults += 1
                writer.write(bytes([0, 0, 4, _RST_STREAM, 0]) + head[5:] + _INTERNAL_ERROR)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # One side has left.
    finally:
        writer.close()


def broken_wire(port: int, **faults: Any) -> AbstractAsyncContextManager[tuple[str, Wire]]:
    """A URL that leads to the server on `port`, through a Wire."""
    return relayed(Wire(port, **faults))
