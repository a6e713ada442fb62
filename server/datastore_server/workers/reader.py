"""A process that reads beside a writer: `python -m datastore_server.workers.reader`, started by its writer alone.

It reads its assignment from standard input, and writes messages to standard output.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from datastore import wire
from datastore.aio import SerializerShimDatastore
from datastore.aio.lift import lift
from datastore.lmdb.reader import LMDBReader
from datastore.model.errors import DatastoreError
from datastore_server import logs
from datastore_server.app import Server, run_until_stopped
from datastore_server.config import parse_address
from datastore_server.limits import limits_of
from datastore_server.tracing import tracing_of
from datastore_server.workers.beside import Beside
from datastore_server.workers.fleet import socket_url
from datastore_server.workers.messages import Assignment, Failed, Ready
from datastore_server.workers.node import FollowedNode
from datastore_server.workers.passing import PassingDatastore, WriterLink
from datastore_server.workers.reports import report_of

__all__ = ["main"]

#: The option of prctl(2) that sets the signal a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1
#: How often a reader reports, in seconds.
REPORT_S = 1.0


def main() -> None:
    """Serve until SIGTERM, or until the writer ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    assignment = msgspec.json.decode(line, type=Assignment)
    if os.getppid() != assignment.writer_pid:
        # It had ended before.
        return
    # Like the writer: a page of the map that is gone ends the process.
    faulthandler.enable(2, all_threads=False)
    with logs.to_stderr(assignment.log.level, assignment.log.format):
        asyncio.run(_run(assignment))


async def _run(assignment: Assignment) -> None:
    send = await _sender()
    try:
        server = _server(assignment)
        async with server:
            send(Ready())
            reporting = asyncio.create_task(_report(server, send))
            await run_until_stopped(server)
            reporting.cancel()
            send(report_of(await server.observe()))
    except DatastoreError as error:
        send(Failed(str(error)))
        raise SystemExit(1) from None


def _server(assignment: Assignment) -> Server:
    engine = LMDBReader(Path(assignment.directory), max_map_bytes=assignment.max_map_bytes)
    writer = WriterLink(socket_url(os.open(assignment.sockets, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
    node = FollowedNode(SerializerShimDatastore(lift(engine), wire.lazy), engine)
    return Server(
        PassingDatastore(node.datastore, writer),
        listen=assignment.listen,
        insecure=assignment.insecure,
        tls=assignment.tls.files(),
        limits=limits_of(assignment.limits),
        tokens=None if assignment.tokens is None else Path(assignment.tokens),
        drain_s=assignment.drain_s,
        transport=assignment.transport,
        slow_call_s=assignment.log.slow_call_ms / 1000,
        tracing=tracing_of(os.environ),
        beside=Beside(assignment.number, node, writer, list(map(parse_address, assignment.addresses))),
    )


async def _sender() -> Callable[[object], None]:
    """What sends a message to the writer, or leaves it out while the writer does not read."""
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, sys.stdout)

    def send(message: object) -> None:
        if not transport.get_write_buffer_size():
            transport.write(msgspec.json.encode(message) + b"\n")

    return send


async def _report(server: Server, send: Callable[[object], None]) -> None:
    while True:
        await asyncio.sleep(REPORT_S)
        send(report_of(await server.observe()))


if __name__ == "__main__":
    main()
