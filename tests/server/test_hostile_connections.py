"""Whatever is sent to the port, the server answers others, logs no traceback, and returns the memory."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from h2.exceptions import ProtocolError
from hypothesis import settings

from datastore.v1 import service_pb2, service_pb2_grpc, value_pb2
from datastore_server.limits import Limits
from tests.support.http2 import GET, Http2, dial, framed
from tests.support.processes import ServerProcess
from tests.support.serving import entry
from tests.support.waiting import PATIENCE_S, until

KINDS = ["queue", pytest.param("aio", marks=pytest.mark.long("the same over the other transport"))]
MB = 1_000_000
IS_QUICK = settings.get_current_profile_name() == "quick"
#: How often an attack is repeated.
MANY = 300 if IS_QUICK else 10_000
REQUEST = service_pb2.GetRequest(key=value_pb2.Key(text="/k"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Of Python, grpcio, and gRPC's core.
TRACES = ("Traceback", "ERROR", "Unexpected", "Assertion", "*** ")


class Attacked:
    """A server of one entry, in a process."""

    def __init__(self, process: ServerProcess, log: Path) -> None:
        self.port = int(process.url.rpartition(":")[2])
        self.log = log
        self._process = psutil.Process(process.pid)

    def memory_bytes(self) -> int:
        return int(self._process.memory_info().rss)

    def connections(self) -> int:
        return len([one for one in self._process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED])


@contextmanager
def serving(log: Path, *arguments: str) -> Iterator[Attacked]:
    process = ServerProcess("serve", "memory:", *arguments, log=log)
    process.start()
    try:
        yield Attacked(process, log)
    finally:
        process.stop()
    assert not [trace for trace in TRACES if trace in log.read_text()], log.read_text()


@pytest.fixture(scope="module", params=KINDS)
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    log = tmp_path_factory.mktemp("attacked") / "log"
    limits = ["--limit", "handshake_time_ms=1000", "--limit", "request_time_ms=1000"]
    with serving(log, "--transport", request.param, *limits) as attacked:
        yield attacked


@pytest.fixture
async def port(attacked: Attacked) -> AsyncIterator[int]:
    """The port of the server, which serves others afterwards, with little more memory, and nothing in its log."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{attacked.port}") as channel:
        stub: Any = service_pb2_grpc.DatastoreServiceStub(channel)
        # On a busy machine a connection may be too late, and is made again.
        await stub.Put(service_pb2.PutRequest(entry=entry("/k", 1)), wait_for_ready=True)
        before = attacked.memory_bytes()
        yield attacked.port
        assert (await stub.Get(REQUEST, timeout=PATIENCE_S, wait_for_ready=True)).value.int64_value == 1
        await until(lambda: connections(attacked), 1)
        await until(lambda: has_returned(attacked, before + 40 * MB), True)
    assert not [trace for trace in TRACES if trace in attacked.log.read_text()], attacked.log.read_text()


async def connections(attacked: Attacked) -> int:
    return attacked.connections()


async def has_returned(attacked: Attacked, most_bytes: int) -> bool:
    return attacked.memory_bytes() <= most_bytes


def tls_hello() -> bytes:
    sent = ssl.MemoryBIO()
    handshake = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 1000,
        bytes(range(256)) * 100,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /datastore.v1.DatastoreService/Get HTTP/1.1\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
        tls_hello(),
        PREFACE[:10],
        PREFACE,
        PREFACE + b"\0" * 1000,
        PREFACE + b"\xff" * 1000,
    ],
    ids=["nothing", "zeros", "bytes", "get", "post", "tls", "half-preface", "preface", "zero-frames", "wrong-frames"],
)
async def test_what_is_not_http2_is_disconnected(port: int, data: bytes) -> None:
    async with dial(port) as client:
        await client.send(data)
        await client.closed()


async def test_a_connection_that_sends_a_byte_now_and_then_is_disconnected(port: int) -> None:
    async with dial(port) as client:
        with pytest.raises(ConnectionError):
            while True:
                for byte in PREFACE:
                    await client.send(bytes([byte]))
                    await asyncio.sleep(0.05)


async def test_a_request_that_comes_byte_by_byte_is_not_waited_for(port: int) -> None:
    async with dial(port) as client:
        stream = client.begin()
        ended = asyncio.create_task(client.ended(stream))
        for byte in framed(b"x" * 100):
            if ended.done():
                break
            client.h2.send_data(stream, bytes([byte]))
            await client.flush()
            await asyncio.sleep(0.05)
        assert (await ended)[b"grpc-status"] == b"4"


async def test_connections_that_are_reset_at_any_time_leave_nothing(port: int) -> None:
    for count in range(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Http2(reader, writer)
        client.call(GET, REQUEST)
        writer.write(client.h2.data_to_send()[: count * 5])
        # Closes by RST, not by FIN.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_thousand_connections_are_served_and_one_more_is_closed(tmp_path: Path, kind: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Some files are open otherwise, here and there.
    most = min(MANY, hard - 500)
    patient = {"connections": most, "handshake_time_ms": 3_600_000, "request_time_ms": 3_600_000}
    limits = [word for name, value in patient.items() for word in ("--limit", f"{name}={value}")]
    with serving(tmp_path / "log", "--transport", kind, *limits) as attacked:
        before = attacked.memory_bytes()
        async with AsyncExitStack() as stack:
            clients = []
            for _ in range(most):
                client = await stack.enter_async_context(dial(attacked.port))
                client.call(GET, REQUEST)
                await client.flush()
                clients.append(client)
            for client in clients:
                assert (await client.ended(1))[b"grpc-status"] == b"0"
            async with dial(attacked.port) as one_more:
                assert await one_more.closed() == b""
            for client in clients:
                await client.ping()
            most_bytes = attacked.memory_bytes()
            assert most_bytes - before < most * 60_000
        await until(lambda: connections(attacked), 0)
        async with dial(attacked.port) as client:
            await client.ping()
        if not IS_QUICK:
            # That takes until memory is trimmed.
            await until(lambda: has_returned(attacked, (before + most_bytes) // 2), True)


LIMIT = Limits().metadata_bytes
#: What gRPC counts of the metadata that every call has.
OTHER_BYTES = 400


@pytest.mark.parametrize(
    ("metadata", "is_refused"),
    [
        ([(b"x", b"x" * (LIMIT - OTHER_BYTES))], False),
        ([(b"x", b"x" * (LIMIT + 1))], True),
        ([(b"x", b"x" * 20_000)], True),
        ([(b"x-%d" % number, b"") for number in range(100)], False),
        ([(b"x-%d" % number, b"") for number in range(LIMIT // 32)], True),
        ([(b"x-%d" % number, b"") for number in range(20_000)], True),
    ],
    ids=["below", "above", "far above", "some keys", "many keys", "very many keys"],
)
async def test_metadata_beyond_its_limit_is_refused(
    port: int, metadata: list[tuple[bytes, bytes]], is_refused: bool
) -> None:
    async with dial(port) as client:
        # The limit holds from when the client has acknowledged it.
        await client.ping()
        stream = client.call(GET, REQUEST, metadata)
        await client.flush()
        assert (await client.ended(stream))[b"grpc-status"] == (b"8" if is_refused else b"0")


@pytest.mark.parametrize(
    ("path", "metadata"),
    [
        (b"/\xff\xfe", []),
        (b"", []),
        (b"/" + b"x" * 6000, []),
        (b"/datastore.v1.DatastoreService/\xff", []),
        (GET.encode(), [(b"x-a", b"\xff\xfe\x80")]),
        (GET.encode(), [(b"authorization", b"Bearer \xff\xfe")]),
        (GET.encode(), [(b"grpc-timeout", b"\xff")]),
        (GET.encode(), [(b"grpc-timeout", b"99999999999H")]),
        (GET.encode(), [(b"grpc-encoding", b"\xff")]),
        (GET.encode(), [(b"x-bin", b"!!!not base64!!!")]),
        (GET.encode(), [(b"X-UPPER", b"a")]),
        (GET.encode(), [(b":path", b"/again")]),
        (GET.encode(), [(b"content-type", b"text/html")]),
        (GET.encode(), [(b"", b"")]),
    ],
)
async def test_odd_methods_and_metadata_end_only_their_call(
    port: int, path: bytes, metadata: list[tuple[bytes, bytes]]
) -> None:
    async with dial(port) as client:
        # gRPC's core closes the connection for what is not HTTP/2.
        with suppress(ConnectionError):
            stream = client.call(path, REQUEST, metadata)
            await client.flush()
            await client.ended(stream)


async def test_streams_that_are_opened_and_reset_cost_nothing(port: int) -> None:
    async with dial(port) as client:
        for number in range(MANY):
            stream = client.call(GET, REQUEST) if number % 2 else client.begin()
            client.h2.reset_stream(stream)
            if number % 100 == 99:
                await client.flush()
        await survived(client.ping)


@pytest.mark.parametrize("flood", ["ping", "settings", "window", "priority", "empty-data", "unknown"])
async def test_floods_of_frames_end_their_connection_or_nothing(port: int, flood: str) -> None:
    async with dial(port) as client:
        stream = client.begin()
        frames = {
            "ping": b"\0\0\x08\x06\0\0\0\0\0" + b"\0" * 8,
            "settings": b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff",
            "window": b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
            "priority": b"\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\x10",
            "empty-data": b"\0\0\0\0\0" + stream.to_bytes(4, "big"),
            "unknown": b"\0\0\x04\xbb\0\0\0\0\0abcd",
        }
        await client.flush()
        await survived(lambda: client.send(frames[flood] * MANY * 10))
        await survived(client.ping)


async def test_headers_without_end_are_not_collected(port: int) -> None:
    async with dial(port) as client:
        await client.flush()
        fragment = b"\0\x0b" + b"x-something" + b"\x05" + b"value"
        length = len(fragment).to_bytes(3, "big")
        await survived(lambda: client.send(length + b"\x01\0\0\0\0\x01" + fragment))
        for _ in range(10):
            await survived(lambda: client.send((length + b"\x09\0\0\0\0\x01" + fragment) * MANY))


@pytest.mark.parametrize("length", [1 << 31, (1 << 32) - 1, 100 * MB])
async def test_a_message_that_claims_to_be_huge_is_refused(port: int, length: int) -> None:
    async with dial(port) as client:
        stream = client.begin("/datastore.v1.DatastoreService/Put")
        client.h2.send_data(stream, b"\0" + length.to_bytes(4, "big") + b"x" * 1000)
        await client.flush()
        assert (await client.ended(stream))[b"grpc-status"] == b"8"


@pytest.mark.parametrize("data", [zlib.compress(b""), b"\0", b"not compressed"])
async def test_a_message_that_is_said_to_be_compressed_ends_its_call(port: int, data: bytes) -> None:
    async with dial(port) as client:
        for metadata in ([], [(b"grpc-encoding", b"gzip")], [(b"grpc-encoding", b"deflate")]):
            stream = client.begin("/datastore.v1.DatastoreService/Put", metadata)
            client.h2.send_data(stream, b"\1" + len(data).to_bytes(4, "big") + data, end_stream=True)
            await client.flush()
            assert (await client.ended(stream)).get(b"grpc-status") != b"0"


async def test_a_small_message_that_decompresses_to_a_gigabyte_is_refused(attacked: Attacked, port: int) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [compressor.compress(b"\0" * MB) for _ in range(30 if IS_QUICK else 1000)]
    data = b"".join([*parts, compressor.flush()])
    before = attacked.memory_bytes()
    async with dial(port) as client:
        stream = client.begin("/datastore.v1.DatastoreService/Put", [(b"grpc-encoding", b"gzip")])
        body = b"\1" + len(data).to_bytes(4, "big") + data
        while body:
            room = min(16_384, client.h2.local_flow_control_window(stream))
            if room:
                client.h2.send_data(stream, body[:room], end_stream=len(body) <= room)
                body = body[room:]
                await client.flush()
            else:
                await client.read()
        assert (await client.ended(stream))[b"grpc-status"] == b"8"
    assert attacked.memory_bytes() - before < 100 * MB


async def test_calls_whose_clients_stop_in_the_middle_end(port: int) -> None:
    """Half-open: the client is gone, and the server is not told."""
    async with AsyncExitStack() as stack:
        for _ in range(MANY // 10):
            client = await stack.enter_async_context(dial(port))
            stream = client.begin()
            client.h2.send_data(stream, framed(REQUEST)[:5])
            await client.flush()
        # Each of their calls has ended before the connections do.
        assert (await client.ended(stream))[b"grpc-status"] == b"4"


async def survived(attack: Callable[[], Awaitable[object]]) -> None:
    """Do something on a connection that the server may have closed."""
    with suppress(ConnectionError, ProtocolError):
        await attack()
