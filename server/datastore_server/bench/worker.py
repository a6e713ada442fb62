"""A process that makes calls and measures them: `python -m datastore_server.bench.worker`.

It speaks lines of JSON. From stdin it reads its Assignment, and then its Start; when stdin ends, it makes no more
calls. To stdout it writes Ready, then a Sample each second, and at last Ended.
"""

from __future__ import annotations

import asyncio
import gc
import math
import selectors
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import count
from random import Random
from typing import Any

import msgspec

from datastore import wire
from datastore.model.errors import DatastoreError
from datastore_client.aio._connection import Connection
from datastore_client.tls import Credentials
from datastore_server.bench.plan import Assignment, Target
from datastore_server.bench.requests import SERVICE, Outcome, QueryAnswer, Request, RequestMaker, outcome_of
from datastore_server.bench.samples import Sample
from datastore_server.bench.schedule import Schedule, second_of, share

__all__ = ["UNANSWERED", "UNSENT", "Ended", "Ready", "Start", "main"]

#: Why a call failed that has no answer, besides the reasons of errors: it waited for others until its deadline; the
#: benchmark was interrupted.
UNSENT = "UNSENT"
UNANSWERED = "UNANSWERED"
#: The most calls of one worker in progress in an open loop, as many as servers accept on a connection. Others are made
#: later; their latency counts from when they were due, too.
IN_FLIGHT = 1_000
#: How long an interrupted worker waits for answers, in seconds.
INTERRUPTED_S = 1.0
#: How long before it is due a call may be made, in seconds: timers wake a process late, by up to so much. Such a call
#: counts from when it was made.
EARLY_S = 0.0005
#: How often a worker of a closed loop measures how late it is, in seconds.
_LAG_INTERVAL_S = 0.01
#: How many calls a worker that is late makes before it looks at answers.
_CALLS_IN_A_ROW = 16


class Ready(msgspec.Struct, tag=True):
    """The worker has reached the server, and waits for its Start."""


class Ended(msgspec.Struct, tag=True):
    """The worker has sent its last Sample. `error` has the reason and the text if it did not reach the server."""

    error: tuple[str, str] | None = None


class Start(msgspec.Struct):
    """When the measurement begins, by the monotonic clock, which all processes of a machine share."""

    measure_at: float


class Worker:
    """Makes the calls of one Assignment. `send` takes what was measured, each second."""

    def __init__(self, assignment: Assignment, connection: Connection, send: Callable[[Sample], None]) -> None:
        self._plan = assignment.plan
        self._number = assignment.worker
        self._timeout_s = _timeout_s(assignment.target)
        self._connection = connection
        self._send = send
        # Each worker draws other keys, and the same ones in each run.
        self._requests = RequestMaker(assignment.plan, assignment.root, Random(assignment.worker))
        self._sample = Sample()
        self._measure_at = self._busy_s = 0.0
        self._duration_s = assignment.plan.duration_s
        self._is_interrupted = False

    async def run(self, measure_at: float, interruption: Coroutine[Any, Any, Any]) -> None:
        """Make the calls of the warm-up and of the measurement, which begins at this time, and wait for their answers.

        After the `interruption` it makes no more calls, and waits for INTERRUPTED_S at most.
        """
        self._measure_at = measure_at
        rate = self._plan.rate
        reporting = asyncio.create_task(self._report())
        waiting = asyncio.create_task(interruption)
        making = asyncio.create_task(self._make_in_turn() if rate is None else self._make_at(rate))
        await asyncio.wait({making, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            self._is_interrupted = True
            self._duration_s = min(self._duration_s, time.monotonic() - measure_at)
            await asyncio.wait({making}, timeout=INTERRUPTED_S)
            making.cancel()
            await asyncio.wait({making})
        for task in (reporting, waiting):
            task.cancel()
        self._next_sample(0)
        if not making.cancelled():
            making.result()

    # Making calls

    async def _make_at(self, rate: float) -> None:
        """Make each call when it is due: an open loop."""
        schedule = Schedule(rate, self._plan.workers, self._number)
        room = asyncio.Semaphore(IN_FLIGHT)
        waits_for_room = False
        async with asyncio.TaskGroup() as calls:
            for number in count(schedule.first(self._plan.warm_up_s)):
                due_s = schedule.due_s(number)
                if due_s >= self._plan.duration_s:
                    break
                request, due_at = self._requests.next(), self._measure_at + due_s
                left_s = due_at - time.monotonic()
                if left_s > EARLY_S:
                    await asyncio.sleep(left_s - EARLY_S)
                    waits_for_room = False
                elif number % _CALLS_IN_A_ROW == 0:
                    await asyncio.sleep(0)
                waits_for_room = waits_for_room or room.locked()
                if number >= 0 and not waits_for_room:
                    self._sample.lags.add(max(time.monotonic() - due_at, 0.0))
                await room.acquire()
                if self._is_interrupted:
                    break
                call = calls.create_task(self._call(request, due_at, is_measured=number >= 0))
                call.add_done_callback(lambda _: room.release())

    async def _make_in_turn(self) -> None:
        """Make each call when another has ended: a closed loop."""
        end_at = self._measure_at + self._plan.duration_s

        async def caller() -> None:
            while (now := time.monotonic()) < end_at and not self._is_interrupted:
                await self._call(self._requests.next(), now, is_measured=now >= self._measure_at)

        async with asyncio.TaskGroup() as tasks:
            lagging = tasks.create_task(self._measure_lag())
            async with asyncio.TaskGroup() as callers:
                for _ in range(share(self._plan.in_flight, self._plan.workers, self._number)):
                    callers.create_task(caller())
            lagging.cancel()

    async def _call(self, request: Request, due_at: float, *, is_measured: bool) -> None:
        made_at = time.monotonic()
        outcome = Outcome(0, UNANSWERED)
        try:
            outcome = await self._outcome(request) if made_at - due_at < self._timeout_s else Outcome(0, UNSENT)
        except DatastoreError as error:
            outcome = Outcome(0, wire.reason_of(type(error)))
        finally:
            self._note(request, outcome, min(due_at, made_at) if is_measured else None)

    async def _outcome(self, request: Request) -> Outcome:
        if request.operation != "query":
            return outcome_of(request.operation, await self._connection.once(request.path, request.data))
        answer = QueryAnswer()
        stream = await self._connection.stream(request.path, request.data, self._connection.policy())
        try:
            while (message := await stream.read()) is not None:
                answer.take(message)
        finally:
            await stream.aclose()
        return answer.outcome()

    # Measuring them

    def _note(self, request: Request, outcome: Outcome, counts_from: float | None) -> None:
        """Note the end of a call whose latency counts from this time; None for one of the warm-up."""
        now = time.monotonic()
        if now < self._measure_at:
            return
        second = second_of(now - self._measure_at, self._duration_s)
        if second != self._sample.second:
            self._next_sample(second)
        measured = self._sample.of(request.operation)
        if outcome.failure is None:
            measured.succeed(outcome.items, None if counts_from is None else now - counts_from)
        elif counts_from is not None:
            measured.fail(outcome.failure)

    async def _measure_lag(self) -> None:
        """Measure how late the loop is, as calls have no time at which they are due."""
        while True:
            due_at = time.monotonic() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            if due_at > self._measure_at:
                self._sample.lags.add(time.monotonic() - due_at)

    async def _report(self) -> None:
        """Send a sample after each second of the measurement."""
        await asyncio.sleep(self._measure_at - time.monotonic())
        self._busy_s = time.thread_time()
        for second in count(1):
            await asyncio.sleep(self._measure_at + second - time.monotonic())
            self._next_sample(second)

    def _next_sample(self, second: int) -> None:
        """Send what was measured so far, and begin with another second."""
        before, self._busy_s = self._busy_s, time.thread_time()
        self._sample.busy_s = self._busy_s - before
        self._send(self._sample)
        self._sample = Sample(second)


def main() -> None:
    """Do the work that stdin says."""
    # The command ends its workers; Ctrl-C is for the command.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Others wait for whole milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        _write(Ended(runner.run(_work())))


async def _work() -> tuple[str, str] | None:
    """Returns the reason and the text of the error if the server cannot be reached."""
    lines = await _stdin()
    assignment = msgspec.json.decode(await lines.readline(), type=Assignment)
    connection = _connection(assignment.target)
    try:
        await connection.once(f"{SERVICE}DescribeStore", b"")
        _write(Ready())
        start = msgspec.json.decode(await lines.readline(), type=Start)
        gc.freeze()
        await Worker(assignment, connection, _write).run(start.measure_at, lines.read())
    except DatastoreError as error:
        return wire.reason_of(type(error)), str(error)
    finally:
        await connection.aclose()
    return None


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _connection(target: Target) -> Connection:
    files = {name: getattr(target, name) for name in ("ca", "cert", "key", "token_file")}
    credentials = Credentials(insecure=target.insecure, **files)
    return Connection(target.url, name=None, timeout_s=_timeout_s(target), retry=False, credentials=credentials)


def _timeout_s(target: Target) -> float:
    return math.inf if target.timeout_s is None else target.timeout_s


def _write(message: Ready | Sample | Ended) -> None:
    try:
        sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The command was killed.
        signal.raise_signal(signal.SIGKILL)


if __name__ == "__main__":
    main()
