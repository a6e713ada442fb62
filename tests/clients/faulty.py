"""A server that does what a scenario says: answers, errors, and the faults of networks and of other servers.

It speaks gRPC over HTTP/2 frame by frame, because no server of gRPC resets a stream, closes a connection in the middle
of one, or ends one without its status. It records every request, and what clients did with its answers.

A scenario is JSON: for each method the answers to its calls, in turn; the last one is repeated. README.md has the form.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

from datastore.v1 import service_pb2
from tests.support.http2 import framed

__all__ = ["Faulty", "status_of"]

_METHODS = service_pb2.DESCRIPTOR.services_by_name["DatastoreService"].methods_by_name
_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
#: How often a client that reads nothing more must answer a ping before it counts as one that waits for its reader.
_PINGS = 25
#: What a server answers that the scenario does not say anything else of.
_DESCRIPTION = {
    "server_version": "0.4.0",
    "features": ["FEATURE_VERSIONS", "FEATURE_EXPIRY", "FEATURE_CHANGES", "FEATURE_ATOMIC"],
    "limits": {"batch_items": "1000", "message_bytes": "4194304", "entry_bytes": "3145728"},
}
_TIMEOUT_UNITS_MS = {"H": 3_600_000, "M": 60_000, "S": 1000, "m": 1, "u": 0.001, "n": 0.000001}


class Faulty:
    """One such server. `address` is where it listens."""

    def __init__(self, scenario: dict[str, Any], tls: ssl.SSLContext | None = None) -> None:
        self._answers = {method: list(answers) for method, answers in scenario.items()}
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self._released = asyncio.Semaphore(0)
        self.address = ""
        #: The requests of each method, as the JSON of protobuf, with `metadata` and `timeout_ms` of the call: that is
        #: rounded by gRPC, by three per cent at most.
        self.requests: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        #: How many `connections` there were, `cancelled` calls, `messages` sent, and times that a client was `full`.
        self.counts: Counter[str] = Counter()

    async def start(self) -> Faulty:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for connection in (ending := tuple(self._connections)):
            connection.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def until(self, name: str, number: int) -> None:
        """Wait until a count has reached a number."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.counts[name] >= number)

    async def release(self) -> None:
        """Let an answer that `waits` go on."""
        self._released.release()

    async def released(self) -> None:
        """Wait until an answer may go on."""
        await self._released.acquire()

    async def count(self, name: str) -> None:
        """Count something that happened."""
        async with self._changed:
            self.counts[name] += 1
            self._changed.notify_all()

    def next_answer(self, method: str) -> dict[str, Any]:
        """What the next call of a method gets."""
        answers = self._answers.get(method)
        if answers is None:
            unknown = {"then": {"code": "UNIMPLEMENTED", "message": f"unknown method {method}"}}
            return {"messages": [_DESCRIPTION]} if method == "DescribeStore" else unknown
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(self, reader, writer)
        try:
            await self.count("connections")
            with suppress(OSError, ProtocolError, asyncio.CancelledError):
                await connection.serve()
        finally:
            self._connections.discard(task)
            await connection.end()


class _Connection:
    """One connection of a client, and the calls on it."""

    def __init__(self, faulty: Faulty, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._faulty, self._reader, self._writer = faulty, reader, writer
        self._h2: Any = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._headers: dict[int, dict[str, str]] = {}
        self._received: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._calls: dict[int, asyncio.Task[None]] = {}
        #: Set when the client has read something, and when it has answered a ping.
        self._room, self._ponged = asyncio.Event(), asyncio.Event()

    async def serve(self) -> None:
        """Answer calls until the client or the scenario closes the connection."""
        self._h2.initiate_connection()
        await self._flush()
        while data := await self._reader.read(1 << 16):
            for event in self._h2.receive_data(data):
                self._take(event)
            await self._flush()

    async def end(self) -> None:
        """Close it without a word."""
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        self._writer.transport.abort()

    def _take(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self._headers[event.stream_id] = dict(event.headers)
        elif isinstance(event, DataReceived):
            self._received[event.stream_id] += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded) and event.stream_id in self._headers:
            self._calls[event.stream_id] = asyncio.ensure_future(self._serve(event.stream_id))
        elif isinstance(event, StreamReset):
            if event.stream_id in self._calls:
                self._calls.pop(event.stream_id).cancel()
        elif isinstance(event, WindowUpdated):
            self._room.set()
        elif isinstance(event, PingAckReceived):
            self._ponged.set()

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()

    async def _serve(self, stream: int) -> None:
        """Answer a call, unless the client cancels it, or closes the connection."""
        try:
            await self._answer(stream)
        except asyncio.CancelledError:
            await self._faulty.count("cancelled")
            raise

    async def _answer(self, stream: int) -> None:
        headers = self._headers[stream]
        method = headers[":path"].rpartition("/")[2]
        with suppress(OSError, ProtocolError):
            if method not in _METHODS:
                await self._end_stream(stream, {"code": "UNIMPLEMENTED"})
                return
            descriptor = _METHODS[method]
            request = GetMessageClass(descriptor.input_type).FromString(bytes(self._received[stream][5:]))
            self._faulty.requests[method].append(_recorded(request, headers))
            answer = self._faulty.next_answer(method)
            await self._faulty.count(method)
            response_type = GetMessageClass(descriptor.output_type)
            self._h2.send_headers(stream, _HEADERS)
            for message in answer.get("messages", ()):
                # `raw` is the hex of a message that may not be one.
                sent = framed(bytes.fromhex(message["raw"]) if "raw" in message else _response(response_type, message))
                for _ in range(message.get("times", 1)):
                    await self._send(stream, sent)
            if answer.get("waits"):
                await self._faulty.released()
            await self._end(stream, answer.get("then", "ok"))

    async def _send(self, stream: int, data: bytes) -> None:
        """Send a message as far as the client lets it."""
        while data:
            await self._flush()
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(data))
            if room > 0:
                self._h2.send_data(stream, data[:room])
                data = data[room:]
            else:
                await self._until_read(stream)
        await self._flush()
        await self._faulty.count("messages")

    async def _until_read(self, stream: int) -> None:
        """Wait until there is room again; a client that has none while it answers pings waits for its reader."""
        self._room.clear()
        for number in range(_PINGS):
            self._ponged.clear()
            self._h2.ping(number.to_bytes(8, "big"))
            await self._flush()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._ponged, self._room)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in waits:
                each.cancel()
            if self._h2.local_flow_control_window(stream) > 0:
                return
        await self._faulty.count("full")
        while self._h2.local_flow_control_window(stream) <= 0:
            self._room.clear()
            await self._room.wait()

    async def _end(self, stream: int, how: Any) -> None:
        if isinstance(how, dict) or how == "ok":
            await self._end_stream(stream, {"code": "OK"} if how == "ok" else how)
        else:
            await _ENDS[how](self, stream)

    async def _end_stream(self, stream: int, status: dict[str, Any]) -> None:
        found = status_of(status)
        trailers = [("grpc-status", str(found.code)), ("grpc-message", _percent_encoded(found.message))]
        if found.details:
            found.code = status.get("code_in_details", found.code)
            details = base64.b64encode(found.SerializeToString()).rstrip(b"=").decode()
            trailers.append(("grpc-status-details-bin", status.get("details_text", details)))
        if self._h2.streams[stream].state_machine.headers_sent:
            self._h2.send_headers(stream, trailers, end_stream=True)
        else:
            self._h2.send_headers(stream, [*_HEADERS, *trailers], end_stream=True)
        await self._flush()

    async def _reset(self, stream: int, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """Reset the stream as a server that failed does."""
        self._h2.reset_stream(stream, code)
        await self._flush()

    async def _go_away(self, stream: int) -> None:
        """Announce that no further streams are served, and close the connection before this one has ended."""
        self._h2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=stream)
        await self._flush()
        self._writer.close()

    async def _drain(self, stream: int) -> None:
        """End the stream, and then the connection, as a server that stops."""
        await self._end_stream(stream, {"code": "OK"})
        await self._go_away(stream)

    async def _cut(self, stream: int) -> None:
        """Close the connection."""
        self._writer.close()

    async def _hang(self, stream: int) -> None:
        """Never end it."""
        await asyncio.Event().wait()

    async def _without_status(self, stream: int) -> None:
        """End the stream without its trailers, as a broken proxy does."""
        self._h2.end_stream(stream)
        await self._flush()


_ENDS: dict[str, Callable[[_Connection, int], Any]] = {
    "rst": _Connection._reset,
    "rst_without_error": partial(_Connection._reset, code=ErrorCodes.NO_ERROR),
    "rst_by_calm": partial(_Connection._reset, code=ErrorCodes.ENHANCE_YOUR_CALM),
    "goaway": _Connection._go_away,
    "drain": _Connection._drain,
    "cut": _Connection._cut,
    "hang": _Connection._hang,
    "no_status": _Connection._without_status,
}


def _recorded(request: Message, headers: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    for name in ("resume_token", "page_token"):
        if name in found:
            found[name] = getattr(request, name)
            found[name] = found[name].decode("latin-1") if isinstance(found[name], bytes) else found[name]
    amount = re.fullmatch("([0-9]+)([HMSmun])", headers.get("grpc-timeout", ""))
    if amount is not None:
        found["timeout_ms"] = str(round(int(amount[1]) * _TIMEOUT_UNITS_MS[amount[2]]))
    found["metadata"] = {
        name: value for name, value in headers.items() if name in ("authorization", "datastore-placement")
    }
    return found


def _response(kind: Any, written: dict[str, Any]) -> Message:
    """A message from the JSON of protobuf, with the abbreviations of scenarios."""
    content = {name: part for name, part in written.items() if name not in ("numbers", "times", "value_bytes")}
    if isinstance(content.get("resume_token"), str):
        content["resume_token"] = base64.b64encode(content["resume_token"].encode()).decode()
    message: Message = json_format.ParseDict(_with_statuses(content), kind())
    for number in written.get("numbers", ()):
        entry = message.entries.add()  # type: ignore[attr-defined]
        entry.key.text = f"/K:{number:06}"
        if "value_bytes" in written:
            entry.value.bytes_value = bytes(written["value_bytes"])
        else:
            entry.value.int64_value = number
    return message


def _with_statuses(part: Any) -> Any:
    """The same with each status as protobuf writes it."""
    if isinstance(part, list):
        return [_with_statuses(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: json_format.MessageToDict(status_of(inner)) if name == "status" else _with_statuses(inner)
        for name, inner in part.items()
    }


def status_of(written: dict[str, Any]) -> status_pb2.Status:
    """A status: `code`, `message`; with a `reason` as our servers send it, with `details`; `retry_after_ms`.

    Where it is sent as the end of a call, `code_in_details` and `details_text` are such as a broken proxy sends.
    """
    code = grpc.StatusCode[written["code"]]
    status = status_pb2.Status(code=code.value[0], message=written.get("message", "from the scenario"))
    if "reason" in written:
        info = error_details_pb2.ErrorInfo(
            reason=written["reason"], domain="datastore", metadata=written.get("details", {})
        )
        status.details.add().Pack(info)
    if "retry_after_ms" in written:
        delay = Duration()
        delay.seconds, milliseconds = divmod(written["retry_after_ms"], 1000)
        delay.nanos = 1_000_000 * milliseconds
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _percent_encoded(text: str) -> str:
    """A text as gRPC puts it into a header."""
    return "".join(chr(byte) if 32 <= byte <= 126 and byte != 37 else f"%{byte:02X}" for byte in text.encode())
