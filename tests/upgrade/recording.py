"""Conversations of a client with a server, as the bytes of their messages: recorded, repeated, and answered again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

from tests.support.waiting import PATIENCE_S


class Recorded(NamedTuple):
    """A call: its method, its one request, and the answers; each call succeeded."""

    method: str
    request: bytes
    answers: list[bytes]

    def as_json(self) -> dict[str, Any]:
        """The same in types that JSON has."""
        return {"method": self.method, "request": _text(self.request), "answers": list(map(_text, self.answers))}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Recorded:
        """The opposite of `as_json`."""
        return cls(given["method"], _bytes(given["request"]), list(map(_bytes, given["answers"])))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def call(channel: grpc.Channel, method: str, request: bytes) -> list[bytes]:
    """The answers to one request. To a channel, calls with one answer and with several are the same."""
    return list(channel.unary_stream(method)(request, timeout=PATIENCE_S))


@contextmanager
def recording(url: str) -> Iterator[tuple[str, list[Recorded]]]:
    """A server that passes all calls on to the server at `url`. Yields its own URL, and the calls so far."""
    calls: list[Recorded] = []
    with grpc.insecure_channel(url.removeprefix("grpc://")) as channel:

        def answer(method: str, request: bytes) -> Iterator[bytes]:
            answers = call(channel, method, request)
            calls.append(Recorded(method, request, answers))
            yield from answers

        with _server(answer) as address:
            yield address, calls


@contextmanager
def answering(calls: list[Recorded]) -> Iterator[str]:
    """A server that gives the recorded answers, each method's in turn. Yields its URL."""
    left = list(calls)

    def answer(method: str, request: bytes) -> Iterator[bytes]:
        found = next(one for one in left if one.method == method)
        left.remove(found)
        yield from found.answers

    with _server(answer) as url:
        yield url
    assert left == []


class _Any(grpc.GenericRpcHandler):
    """Handles every method with one function."""

    def __init__(self, answer: Callable[[str, bytes], Iterator[bytes]]) -> None:
        self._answer = answer

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        return grpc.unary_stream_rpc_method_handler(lambda request, _: self._answer(method, request))


@contextmanager
def _server(answer: Callable[[str, bytes], Iterator[bytes]]) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[_Any(answer)], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
