"""Reads snapshots of a node's directory in separate processes. Knows processes, but not what is read."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, cast

from google.rpc import status_pb2

from datastore import wire
from datastore.model.errors import DatastoreClosedError, OverloadedError, StoreError
from datastore_server.limits import SNAPSHOTS
from datastore_server.maintenance.reader import FAILED, LENGTH_BYTES

__all__ = ["SnapshotReaders"]

#: Retry delay in seconds for a snapshot beyond these.
SNAPSHOT_RETRY_S = 5.0
#: The maximum output of a process that is buffered, in bytes.
_BUFFER_BYTES = 1024 * 1024


class SnapshotReaders:
    """The snapshots of one directory, which this process has open as a store.

    `forget_readers` is called when a process has ended, perhaps by a kill in the middle of its read.
    """

    def __init__(self, directory: Path, forget_readers: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._forget_readers = forget_readers
        self._reading = 0

    async def read(self, what: Literal["snapshot", "checks"], request: bytes) -> AsyncGenerator[bytes]:
        """The messages that `reader` writes for a request. The caller must close the generator.

        Raises OverloadedError beyond SNAPSHOTS at once, StoreError if the process ends early, and what it reports.
        """
        if self._reading == SNAPSHOTS:
            raise OverloadedError(
                f"{SNAPSHOTS} snapshots of this node are being read already, which is the most",
                retry_after_s=SNAPSHOT_RETRY_S,
            )
        self._reading += 1
        try:
            # -P: modules in the current directory are not the reader's.
            command = [sys.executable, "-P", "-m", "datastore_server.maintenance.reader", what, str(self._directory)]
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_BUFFER_BYTES)
            try:
                requests = cast("asyncio.StreamWriter", process.stdin)
                requests.write(request)
                requests.close()
                while (message := await _next_message(process)) is not None:
                    yield message
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                with suppress(DatastoreClosedError):
                    self._forget_readers()
        finally:
            self._reading -= 1


async def _next_message(process: Process) -> bytes | None:
    """The next message of a process, None after the last one."""
    output = cast("asyncio.StreamReader", process.stdout)
    try:
        length = int.from_bytes(await output.readexactly(LENGTH_BYTES))
        if length == FAILED:
            length = int.from_bytes(await output.readexactly(LENGTH_BYTES))
            raise wire.status_to_error(status_pb2.Status.FromString(await output.readexactly(length)))
        return await output.readexactly(length)
    except asyncio.IncompleteReadError as error:
        code = await process.wait()
        if code == 0 and not error.partial:
            return None
        raise StoreError(f"the process that read the snapshot ended early, with code {code}: try again") from None
