"""A process that reads a snapshot for a node: `python -m datastore_server.maintenance.reader WHAT DIRECTORY`.

It reads the request from stdin, and writes the responses to stdout, each preceded by its length. LMDB allows a long
read transaction only outside of the process that enlarges the map, and a separate process does not slow down the node's
calls. It exits when its output is closed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from datastore import wire
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import DatastoreError
from datastore.v1 import maintenance_pb2
from datastore_server.maintenance.checks import check_messages
from datastore_server.maintenance.snapshots import snapshot_messages

__all__ = ["FAILED", "LENGTH_BYTES", "main"]

#: The size of the length before each message, in bytes, big-endian. The length FAILED announces an error, the last.
LENGTH_BYTES = 4
FAILED = 2**32 - 1

_READ: dict[str, Callable[[Snapshot, bytes], Iterator[bytes]]] = {
    "snapshot": lambda snapshot, request: snapshot_messages(
        snapshot, maintenance_pb2.ReadSnapshotRequest.FromString(request)
    ),
    "checks": lambda snapshot, _: check_messages(snapshot, is_served=True),
}


def main(what: str, directory: str) -> None:
    """Write all messages to stdout, and after them the error if there was one."""
    # The node ends this process; Ctrl-C is for the node.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = sys.stdout.buffer
    request = sys.stdin.buffer.read()
    try:
        with Snapshot(Path(directory)) as snapshot:
            for message in _READ[what](snapshot, request):
                out.write(len(message).to_bytes(LENGTH_BYTES) + message)
                out.flush()
    except DatastoreError as error:
        status = wire.error_to_status(error).SerializeToString()
        out.write(FAILED.to_bytes(LENGTH_BYTES) + len(status).to_bytes(LENGTH_BYTES) + status)
    except BrokenPipeError:
        # The call has ended.
        signal.raise_signal(signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
