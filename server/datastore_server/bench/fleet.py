"""The workers of a benchmark: starts their processes, and collects what they measured."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeAlias, cast

import msgspec

from datastore.model.errors import InternalError, UnavailableError
from datastore_server.bench.plan import Assignment, Plan, Target
from datastore_server.bench.report import Collected
from datastore_server.bench.samples import Sample
from datastore_server.bench.worker import Ended, Ready, Start

__all__ = ["Measurement", "measured"]

#: From when all workers have reached the server until their first call is due, in seconds.
START_S = 0.1
#: The longest line of a worker, in bytes: a sample of every operation with latencies in most buckets.
_LINE_BYTES = 4 * 1024 * 1024

_Message: TypeAlias = Ready | Sample | Ended
_decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


class Measurement(NamedTuple):
    """What was measured, and when it was interrupted, in seconds after it began; None if it was not."""

    collected: Collected
    interrupted_s: float | None = None


async def measured(plan: Plan, target: Target, root: str, progress: Callable[[Collected, int], None]) -> Measurement:
    """Let the workers of a plan make their calls for the entries below `root`.

    `progress` gets what there is so far, and the seconds measured. If the caller is cancelled, the workers stop, and
    what they have measured until then is returned; before the measurement it is cancelled like any other.
    Raises UnavailableError if a worker does not reach the server.
    """
    assignments = [Assignment(plan=plan, target=target, root=root, worker=number) for number in range(plan.workers)]
    collected = Collected()

    def take(sample: Sample) -> None:
        collected.take(sample)
        progress(collected, sample.second)

    async with _workers(assignments) as processes:
        for process in processes:
            await _message(process)
        measure_at = time.monotonic() + START_S + plan.warm_up_s
        for process in processes:
            _stdin(process).write(msgspec.json.encode(Start(measure_at)) + b"\n")
        reading = asyncio.gather(*(_take_all(process, take) for process in processes))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            interrupted_s = time.monotonic() - measure_at
            for process in processes:
                _stdin(process).close()
            await reading
            if interrupted_s <= 0:
                raise
            return Measurement(collected, min(interrupted_s, plan.duration_s))
    return Measurement(collected)


@asynccontextmanager
async def _workers(assignments: Sequence[Assignment]) -> AsyncIterator[list[Process]]:
    """A process for each, which ends with the block."""
    processes: list[Process] = []
    try:
        for assignment in assignments:
            # -P: modules in the current directory are not the worker's. A session of its own: a terminal sends Ctrl-C
            # to all processes of one.
            command = [sys.executable, "-P", "-m", "datastore_server.bench.worker"]
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES, start_new_session=True
            )
            processes.append(process)
            _stdin(process).write(msgspec.json.encode(assignment) + b"\n")
        yield processes
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _take_all(process: Process, take: Callable[[Sample], None]) -> None:
    while isinstance(message := await _message(process), Sample):
        take(message)


async def _message(process: Process) -> _Message:
    """The next message of a worker."""
    line = await cast("asyncio.StreamReader", process.stdout).readline()
    if not line:
        raise InternalError(f"a worker of the benchmark ended early, with code {await process.wait()}")
    message = _decoder.decode(line)
    if isinstance(message, Ended) and message.error is not None:
        raise UnavailableError(message.error[1])
    return message


def _stdin(process: Process) -> asyncio.StreamWriter:
    return cast("asyncio.StreamWriter", process.stdin)
