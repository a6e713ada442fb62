"""One RPC as its handler sees it, independent of the transport. Knows no transports, stores or methods.

A transport takes the `ServedMethod`s of the services and makes a `Call` for each RPC; only `transport` knows gRPC's
servers.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.rpc import status_pb2

from datastore import wire
from datastore.model.forwarding import Forwarded

__all__ = ["FORWARDED_CHARACTERS", "Answer", "Call", "ClientGoneError", "Handler", "Serve", "ServedMethod", "at_once"]


class ClientGoneError(Exception):
    """A message could not be sent because the client has disconnected."""


#: The metadata that a call passes on to the calls made on its behalf: its request id and its W3C trace context.
_FORWARDED = frozenset({wire.REQUEST_ID, "traceparent", "tracestate"})
#: The longest value that is passed on, because metadata is limited in size. W3C's own limit.
FORWARDED_CHARACTERS = 512
#: The length of a random request id: 16 hexadecimal digits.
_REQUEST_ID_BYTES = 8


async def _sends_nothing(_: bytes) -> None:
    raise TypeError("this RPC has one response, which its handler returns")


async def _receives_nothing() -> bytes | None:
    raise TypeError("this RPC has one request, which its handler gets")


@dataclass(slots=True, eq=False)
class Call:
    """What a handler may know about an RPC besides its request.

    The transport runs the handler in a task. It cancels that task when the client disconnects and when the deadline
    passes; in both cases nothing more can be sent.
    """

    #: The time until the client's deadline, in seconds, when the RPC began; None if it has no deadline.
    time_left_s: float | None = None
    #: The client's metadata: names in lower case, and values.
    metadata: Iterable[tuple[str, str | bytes]] = ()
    #: The client's address, the same for all RPCs on one connection.
    peer: Callable[[], str] = str
    #: The names in the client's certificate, which was verified: its subject alternative names, or its common name
    #: if it has none. Empty for a client that was not asked for a certificate.
    identities: Callable[[], tuple[str, ...]] = tuple
    #: Sends a message of a stream. Returns when the transport can take another one, so that the client sets the pace.
    #: Raises ClientGoneError if the client has disconnected.
    send: Callable[[bytes], Awaitable[None]] = _sends_nothing
    #: The next message of the client, if the method takes a stream; None after the last one.
    receive: Callable[[], Awaitable[bytes | None]] = _receives_nothing
    #: Entries that the handler has counted and that are not in the metrics yet.
    entries: int = 0
    #: The metadata that continues this call's trace, if it is traced here; otherwise the caller's trace is passed on.
    trace: Forwarded | None = None
    _request_id: str | None = None

    def count(self, entries: int) -> None:
        """Count entries that the handler has read, written or sent."""
        self.entries += entries

    @property
    def request_id(self) -> str:
        """The id of this call in logs and errors: the caller's `x-request-id` if it is well-formed, or a random one.

        It is determined when it is first needed, which for most calls is never.
        """
        if self._request_id is None:
            self._request_id = self._given_request_id() or secrets.token_hex(_REQUEST_ID_BYTES)
        return self._request_id

    def join(self, request_id: str) -> None:
        """Use the id of a call that was made on behalf of this one and failed, unless this one already has an id."""
        if self._request_id is None:
            self._request_id = self._given_request_id() or request_id

    def _given_request_id(self) -> str | None:
        for name, value in self.metadata:
            if name == wire.REQUEST_ID and isinstance(value, str) and wire.is_request_id(value):
                return value
        return None

    def forwarded(self) -> Forwarded:
        """The metadata for calls made on behalf of this one."""
        if self.trace is not None:
            request_id = self._request_id or self._given_request_id()
            return self.trace if request_id is None else ((wire.REQUEST_ID, request_id), *self.trace)
        found = {name: value for name, value in self.metadata if name in _FORWARDED and isinstance(value, str)}
        return tuple((name, value) for name, value in found.items() if len(value) <= FORWARDED_CHARACTERS)


#: What handles an RPC: takes the request's bytes; returns the response's or, after a stream, None. Raises any error.
Handler: TypeAlias = Callable[[bytes, Call], Awaitable[bytes | None]]
#: The end of an RPC: its response, None after a stream, or the status that it fails with.
Answer: TypeAlias = bytes | status_pb2.Status | None
#: A handler that raises nothing but CancelledError, if its task was cancelled or its client has disconnected.
Serve: TypeAlias = Callable[[bytes, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class ServedMethod:
    """One RPC of a server.

    `path` is `/PACKAGE.SERVICE/METHOD`. `answer_now`, if there is one, answers without an event loop and without a
    task, in any thread: None means that the store has to wait, and the RPC must be passed to `serve`. A method that
    `takes_stream` is called with an empty request, and receives the client's messages. A call of a method that
    `is_write` runs to completion: it is not cancelled when its client disconnects or its deadline passes. `refuse` is
    asked before a request is read, in any thread, with the number of calls that are in hand and the time until the
    deadline in seconds (None: no deadline); it returns the status of a call that is refused, or None.
    """

    path: str
    is_stream: bool
    serve: Serve
    answer_now: Callable[[bytes, Call], Answer] | None = None
    takes_stream: bool = False
    is_write: bool = False
    refuse: Callable[[int, float | None], status_pb2.Status | None] | None = None


def at_once(serve: Serve) -> Callable[[bytes, Call], Answer]:
    """The `answer_now` of a method without effects: runs `serve` until it has to wait."""

    def answer_now(request: bytes, call: Call) -> Answer:
        coroutine: Any = serve(request, call)
        try:
            # The deadline is in the context, which must not be that of the next call.
            copy_context().run(coroutine.send, None)
        except StopIteration as done:
            answer: Answer = done.value
            return answer
        finally:
            coroutine.close()
        return None

    return answer_now
