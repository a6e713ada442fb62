"""The readers of a writer: starts their processes, starts those that end again, and collects what they measure."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, cast

import msgspec

from datastore.model.errors import ConfigError, DatastoreError
from datastore_server.config import Address
from datastore_server.listening import Reserved, reserve
from datastore_server.observation import Observation
from datastore_server.supervisor import NOTIFY_SOCKET
from datastore_server.workers.messages import Assignment, Failed, Ready, Report
from datastore_server.workers.reports import combined, ended, summed

__all__ = ["SOCKETS", "Fleet", "socket_url"]

_log = logging.getLogger("datastore.server")

#: A reader that ends is started again at once, or, if it has served for less than STEADY_S, after a pause: the first
#: and the longest one, in seconds.
STEADY_S = 10.0
PAUSES_S = (0.1, 5.0)
#: How long a reader may take to stop beyond the time of its calls, in seconds, before it is killed.
STOP_S = 5.0
#: How long the readers of a writer that was killed may take to end, in seconds: milliseconds.
ENDING_S = 1.0
#: The longest line of a reader, in bytes.
_LINE_BYTES = 1024 * 1024
#: The directory of the writer's socket, in that of the store.
SOCKETS = ".workers"
_SOCKET = "writer.sock"

_Message: TypeAlias = Ready | Failed | Report
_decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


def socket_url(directory: int) -> str:
    """The URL of the writer's socket in an open directory, whose path may be longer than that of a socket can be."""
    return f"unix:/proc/self/fd/{directory}/{_SOCKET}"


class Fleet:
    """The readers of this process: `count` of them, each with this assignment, apart from numbers and addresses.

    `forget_readers` is called when one has ended, perhaps by a kill in the middle of its read. The readers end when the
    thread that calls `start` does, however that ends.
    """

    def __init__(self, count: int, assignment: Assignment, forget_readers: Callable[[], None]) -> None:
        self._assignment = assignment
        self._forget_readers = forget_readers
        self._count = count
        self._processes: dict[int, Process] = {}
        #: The latest reports of those that run, and the sum of those of others.
        self._reports: dict[int, Report] = {}
        self._ended = Report()
        self._serving: set[int] = set()
        self._keeping: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._sockets: int | None = None
        self._held: list[socket.socket] = []

    def open_socket(self) -> str:
        """Where the writer must listen before `start`: at a socket that only its user can reach."""
        sockets = Path(self._assignment.sockets)
        # One of a writer that was killed.
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(mode=0o700)
        self._sockets = os.open(sockets, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return socket_url(self._sockets)

    async def start(self, address: Address, resolved: Sequence[Address]) -> Address:
        """Have readers listen at all `resolved` addresses of `address`. Returns it with the actual port.

        Returns when all of them serve. Raises ConfigError if one cannot.
        """
        reserved = await _reserved(address, resolved)
        self._held = reserved.held
        self._assignment = msgspec.structs.replace(
            self._assignment,
            writer_pid=os.getpid(),
            listen=str(reserved.address),
            addresses=[str(one) for one in reserved.here],
        )
        started = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
        self._keeping = [
            asyncio.create_task(self._keep(number, first)) for number, first in enumerate(started, start=1)
        ]
        await asyncio.gather(*started)
        return reserved.address

    async def stop(self, within_s: float) -> None:
        """Have the readers finish their calls, and end. Kills those that take longer. May be repeated."""
        self._is_stopping = True
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        if self._keeping:
            _, late = await asyncio.wait(self._keeping, timeout=within_s + STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._keeping, return_exceptions=True)
        for held in self._held:
            held.close()
        if self._sockets is not None:
            os.close(self._sockets)
            self._sockets = None
            shutil.rmtree(self._assignment.sockets, ignore_errors=True)

    def reload(self) -> None:
        """Have the readers read changed files again."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    def observed(self, seen: Observation) -> Observation:
        """What is known of the server, given what the writer knows."""
        return combined(seen, summed([self._ended, *self._reports.values()]), len(self._serving))

    # One reader

    async def _keep(self, number: int, started: asyncio.Future[None]) -> None:
        """Run a reader, again and again. `started` is done when the first one serves, or has failed."""
        pause_s = PAUSES_S[0]
        while not self._is_stopping:
            began = time.monotonic()
            failure = await self._run(number, started)
            if self._is_stopping:
                break
            if not started.done():
                started.set_exception(failure or ConfigError(f"worker {number} ended before it served; see the log"))
                return
            if time.monotonic() - began >= STEADY_S:
                pause_s = PAUSES_S[0]
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSES_S[1])
        if not started.done():
            started.cancel()

    async def _run(self, number: int, started: asyncio.Future[None]) -> DatastoreError | None:
        """Run a reader until it ends. Returns why it could not serve, if it says so."""
        process = await self._spawn(number)
        failure: DatastoreError | None = None
        try:
            async for message in _messages(process):
                if isinstance(message, Report):
                    self._reports[number] = message
                elif isinstance(message, Failed):
                    failure = ConfigError(message.error)
                else:
                    self._serving.add(number)
                    if not started.done():
                        started.set_result(None)
        except BaseException:
            # Not one that has ended by itself: it would be waited for twice, and its code be lost.
            with suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            code = await process.wait()
            del self._processes[number]
            self._serving.discard(number)
            self._ended = summed([self._ended, ended(self._reports.pop(number, Report()))])
            with suppress(DatastoreError):
                self._forget_readers()
        if not self._is_stopping:
            why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            _log.error("worker %d (pid %d) %s%s", number, process.pid, why, f": {failure}" if failure else "")
        return failure

    async def _spawn(self, number: int) -> Process:
        # The service manager hears from this process alone.
        environment = {name: value for name, value in os.environ.items() if name != NOTIFY_SOCKET}
        # -P: modules in the current directory are not the reader's. A session of its own: a terminal sends Ctrl-C to
        # all processes of one, but readers end after this process has told them to.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "datastore_server.workers.reader"),
            stdin=PIPE,
            stdout=PIPE,
            limit=_LINE_BYTES,
            env=environment,
            start_new_session=True,
        )
        self._processes[number] = process
        assignment = msgspec.structs.replace(self._assignment, number=number)
        cast("asyncio.StreamWriter", process.stdin).write(msgspec.json.encode(assignment) + b"\n")
        if self._is_stopping:
            process.terminate()
        return process


async def _reserved(address: Address, resolved: Sequence[Address]) -> Reserved:
    """The address; readers of a writer that was killed a moment ago may still be there."""
    ends_at = time.monotonic() + ENDING_S
    while True:
        try:
            return reserve(address, resolved)
        except ConfigError:
            if time.monotonic() >= ends_at:
                raise
        await asyncio.sleep(ENDING_S / 20)


async def _messages(process: Process) -> AsyncIterator[_Message]:
    output = cast("asyncio.StreamReader", process.stdout)
    while line := await output.readline():
        yield _decoder.decode(line)
