"""The calls that a server is handling: admits them, and ends them when the server has to stop.

Knows tasks and admission, but no requests, transports or stores.
"""

from __future__ import annotations

import asyncio
from typing import Any

from datastore.model.errors import UnavailableError
from datastore_server.admission import Admission
from datastore_server.call import Call, Handler

__all__ = ["RETRY_AFTER_S", "CallsUnderWay"]

#: How long a client is asked to wait before it retries after a shutdown, in seconds.
RETRY_AFTER_S = 0.5


class CallsUnderWay:
    """The active calls, each in its own task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False
        self._held: asyncio.Future[None] | None = None
        #: How many calls have arrived since the start.
        self.seen = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def admitted(self, handler: Handler, admission: Admission | None = None, *, is_write: bool = False) -> Handler:
        """The handler with its active calls counted; with `admission`, it handles only calls that are admitted.

        A call that `end` cancels raises UnavailableError, for reads with a retry delay.
        """

        async def handle(request: bytes, call: Call) -> bytes | None:
            self.seen += 1
            task: Any = asyncio.current_task()
            self._tasks.add(task)
            try:
                if self._held is not None:
                    await asyncio.shield(self._held)
                if admission is None:
                    return await handler(request, call)
                number = admission.enter(call.time_left_s)
                try:
                    return await handler(request, call)
                finally:
                    admission.leave(number)
            except asyncio.CancelledError:
                if not self._is_ending:
                    raise
                # Cancelled by `end`: the client is still there and needs an answer.
                task.uncancel()
                raise UnavailableError(
                    "the server stopped before this call was done", retry_after_s=None if is_write else RETRY_AFTER_S
                ) from None
            finally:
                self._tasks.discard(task)

        return handle

    async def finish(self, timeout_s: float) -> None:
        """Wait until the calls that are active now have been answered, but no longer than this."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def end(self) -> None:
        """Cancel all active calls."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()

    @property
    def is_held(self) -> bool:
        """Whether calls that arrive now wait until `release`."""
        return self._held is not None and not self._held.done()

    def hold(self) -> None:
        """Make calls that arrive from now on wait until `release`."""
        self._held = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Continue the calls that were held."""
        if self._held is not None and not self._held.done():
            self._held.set_result(None)
