"""Shared by the services: handlers for methods, parsing of requests, and work that runs to completion.

Knows messages, but no transport, services or stores.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from datastore import wire
from datastore.model.errors import InvalidError
from datastore_server.auth.gate import Gate
from datastore_server.call import Handler, ServedMethod
from datastore_server.calls import CallLog
from datastore_server.interceptors import guard
from datastore_server.limits import RequestLimit

__all__ = ["Completion", "admin_methods", "checked", "handlers_of", "method_name", "parse_request"]

_log = logging.getLogger("datastore.server")

_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)

#: Requests up to this size are parsed on the event loop: the smallest parts have two bytes and take 2 µs each.
_INLINE_BYTES = 16 * 1024

_WORDS = re.compile("(?<!^)(?=[A-Z])")


def handlers_of(descriptor: ServiceDescriptor, service: object) -> Iterator[tuple[MethodDescriptor, Handler]]:
    """Each RPC of a service with its handler: BatchGet with `service.batch_get`.

    Raises AttributeError for an RPC that `service` has no method for.
    """
    for method in descriptor.methods:
        yield method, getattr(service, method_name(method))


def method_name(method: MethodDescriptor) -> str:
    """The name of the method that handles an RPC."""
    return _WORDS.sub("_", method.name).lower()


def admin_methods(
    descriptor: ServiceDescriptor,
    service: object,
    limit_of: Callable[[str], RequestLimit],
    *,
    calls: CallLog | None,
    gate: Gate | None,
) -> list[ServedMethod]:
    """Every RPC of a service for operators; `limit_of` returns the limit of its requests.

    With a `gate` only callers that may administer the server are served.
    """

    def admitted(method: MethodDescriptor, handler: Handler) -> Handler:
        return handler if gate is None else gate.admitting(handler, is_stream=method.server_streaming, admin=True)

    return [
        ServedMethod(
            f"/{descriptor.full_name}/{method.name}",
            method.server_streaming,
            guard(method.name, admitted(method, handler), limit_of(method.name), calls),
        )
        for method, handler in handlers_of(descriptor, service)
    ]


async def checked(check: Callable[[bytes], _T], request: bytes, executor: Executor | None = None) -> _T:
    """The result of `check(request)`. Large requests are checked in a thread, so that other calls continue.

    `executor` provides the thread; None is that of asyncio.
    """
    if len(request) <= _INLINE_BYTES:
        return check(request)
    return await asyncio.get_running_loop().run_in_executor(executor, check, request)


def parse_request(kind: type[_M], data: bytes) -> _M:
    """Parse a request. Raises InvalidError if it is malformed, LimitExceededError if it has too many parts."""
    wire.check_parts(data, kind.DESCRIPTOR)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise InvalidError(f"the request cannot be read as a {kind.DESCRIPTOR.name}") from error


class Completion:
    """Runs work to completion even if the client disconnects. For one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` in its own task, which continues if this call is cancelled. Returns its result."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        finally:
            # An exception of the task references this frame, and would form a cycle with the task.
            del task

    async def finish(self, timeout_s: float) -> None:
        """Wait for at most `timeout_s` until all work is done."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            if late:
                _log.warning("%d writes did not finish within %g s of shutting down", len(late), timeout_s)


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Log a failure that no client is waiting for."""
    if not task.cancelled() and task.exception() is not None:
        _log.warning("a write failed after its client had disconnected", exc_info=task.exception())
