"""The calls that a server has in hand: admitted, and ended when the server has to stop.

Knows tasks and admission; knows no request and no store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from datastore.model.errors import InternalError, UnavailableError
from datastore_server.admission import Admission
from datastore_server.interceptors import Handler

__all__ = ["RETRY_AFTER_S", "CallsUnderWay"]

#: What a client is asked to wait before it continues after a server shut down.
RETRY_AFTER_S = 0.5


class CallsUnderWay:
    """The calls under way, each a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False
        self._held: asyncio.Future[None] | None = None
        #: How many calls have come, ever.
        self.seen = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def admitted(self, handler: Handler, admission: Admission | None = None, *, is_write: bool = False) -> Handler:
        """The handler, whose calls are counted while they run; with `admission`, only calls that it admits."""

        async def call(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with self._one_more(is_write=is_write):
                if self._held is not None:
                    await asyncio.shield(self._held)
                if admission is None:
                    return await handler(request, context)
                admission.enter(context.time_remaining())
                try:
                    return await handler(request, context)
                finally:
                    admission.leave()

        return call

    async def finish(self, timeout_s: float) -> None:
        """Wait until the calls that are under way now have been answered, but no longer than this."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def end(self) -> None:
        """End all calls under way: with UnavailableError, and for reads a time to try again after."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()

    def hold(self) -> None:
        """Let calls that come from now on wait until `release`."""
        self._held = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Let the calls that were held go on."""
        if self._held is not None and not self._held.done():
            self._held.set_result(None)

    @contextmanager
    def _one_more(self, *, is_write: bool) -> Iterator[None]:
        self.seen += 1
        task = asyncio.current_task()
        if task is None:
            raise InternalError("a call runs outside a task")
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
            # Cancelled by `end`, and not because the client left: there is someone to tell.
            task.uncancel()
            raise UnavailableError(
                "the server stopped before this call was done", retry_after_s=None if is_write else RETRY_AFTER_S
            ) from None
        finally:
            self._tasks.discard(task)
