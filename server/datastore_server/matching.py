"""One change of many entries, for one client: its progress as messages. Knows runs and messages, but no stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from datastore.aio.matching import MatchingRun
from datastore.model.errors import DatastoreError
from datastore.model.matching import FAILURES, MatchingProgress, MatchingStep
from datastore.v1 import service_pb2
from datastore_server.interceptors import item_status
from datastore_server.streaming import expired

__all__ = ["MatchingStream"]


class MatchingStream:
    """One change of many entries in progress, at the pace at which its client reads the progress.

    Once interrupted, it finishes the entries in hand, sends their progress and ends.
    """

    def __init__(
        self,
        run: MatchingRun,
        response: type[service_pb2.DeleteMatchingResponse | service_pb2.PatchMatchingResponse],
        send: Callable[[bytes], Awaitable[None]],
        count: Callable[[int], None],
    ) -> None:
        self._run = run
        self._response = response
        self._send = send
        self._count = count
        self._error: DatastoreError | None = None

    async def run(self, time_limit_s: float) -> None:
        """Send the progress and the summary.

        Raises DeadlineExceededError at the time limit; the client can continue by its last token.
        """
        expiry = asyncio.get_running_loop().call_later(time_limit_s, self.interrupt, expired(time_limit_s))
        has_worked = False
        try:
            async with aclosing(self._run) as run:
                while (step := await run.next_step()) is not None:
                    self._count(step.changed)
                    response = self._response(progress=_progress(step), resume_token=step.position)
                    await self._send(response.SerializeToString())
                    # Every call gets some work done; otherwise a change that is always continued would never end.
                    if self._error is not None and has_worked:
                        raise self._error
                    has_worked = True
                    await asyncio.sleep(0)
                done = run.progress
            summary = _progress(done._replace(failures=()))
            await self._send(self._response(summary=summary, resume_token=done.token or b"").SerializeToString())
        finally:
            expiry.cancel()
            # Once raised, the error references this stream, which would be a cycle.
            self._error = None

    def interrupt(self, error: DatastoreError) -> None:
        """End with this error after the step in progress."""
        self._error = self._error or error


def _progress(counted: MatchingStep | MatchingProgress) -> service_pb2.MatchingProgress:
    progress = service_pb2.MatchingProgress(
        total=counted.total, changed=counted.changed, passed_over=counted.passed_over, failed=counted.failed
    )
    for key, error in counted.failures[:FAILURES]:
        shown = progress.failures.add()
        shown.key.text = str(key)
        shown.status.CopyFrom(item_status(error, "BatchWrite"))
    return progress
