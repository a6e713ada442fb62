"""The calls that a server has in hand: admitted, and ended when the server has to stop.

Knows tasks and admission; knows no request and no store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from datastore.core.errors import DatastoreError
from datastore_server.admission import Admission
from datastore_server.interceptors import Handler

__all__ = ["CallsUnderWay"]


class CallsUnderWay:
    """The calls under way, each a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended_by: DatastoreError | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def admitted(self, handler: Handler, admission: Admission | None = None) -> Handler:
        """The handler, whose calls are counted while they run; with `admission`, only calls that it admits."""

        async def call(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with self._one_more():
                if admission is None:
                    return await handler(request, context)
                admission.enter(context.time_remaining())
                try:
                    return await handler(request, context)
                finally:
                    admission.leave()

        return call

    def end(self, error: DatastoreError) -> None:
        """End all calls under way: they raise this error."""
        self._ended_by = error
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if self._ended_by is None:
                raise
            # Cancelled by `end`, and not because the client left: there is someone to tell.
            task.uncancel()
            raise self._ended_by from None
        finally:
            self._tasks.discard(task)
