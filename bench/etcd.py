"""etcd as the reference: a server of one member on one core, and its messages, made by hand.

Built by `make build/etcd`, which needs Go. It syncs each write to disk, as it does by default.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.servers import ended, pinned_to_server
from datastore.wire.varints import length_delimited, length_prefix

__all__ = ["KV", "etcd", "is_built", "put_request", "range_request", "txn_request"]

KV = "/etcdserverpb.KV/"
#: A range that ends with its own successor ends nowhere.
TO_THE_END = b"\0"
_BINARY = Path(__file__).parent.parent / "build" / "etcd"
#: How long a server may take to listen.
START_S = 60.0
#: Tags of fields: of bytes and messages by their number, and of the number `limit`.
_FIELD_1, _FIELD_2, _LIMIT = b"\x0a", b"\x12", b"\x18"


def is_built() -> bool:
    """Whether there is a server to compare with."""
    return _BINARY.exists()


@contextmanager
def etcd() -> Iterator[str]:
    """A server with an empty store. Returns its URL, with the scheme of ours."""
    with tempfile.TemporaryDirectory() as directory:
        client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        addresses = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        addresses += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        addresses += [f"--initial-cluster=default={peer}"]
        # One thread that runs Go code, as there is one core.
        environment = {**os.environ, "GOMAXPROCS": "1"}
        command = [str(_BINARY), f"--data-dir={directory}", "--log-level=fatal", *addresses]
        with subprocess.Popen(command, env=environment) as process:
            pinned_to_server(process)
            try:
                url = client.replace("http:", "grpc:")
                _wait(process, int(client.rpartition(":")[2]))
                yield url
            finally:
                ended(process)


def range_request(key: str, *, to: bytes = b"", limit: int = 0) -> bytes:
    """A RangeRequest: of one key, or of all from it `to` another."""
    parts = [length_delimited(_FIELD_1, key.encode())]
    if to:
        parts.append(length_delimited(_FIELD_2, to))
    if limit:
        parts.append(_LIMIT + length_prefix(limit))
    return b"".join(parts)


def put_request(key: str, value: bytes) -> bytes:
    """A PutRequest."""
    return length_delimited(_FIELD_1, key.encode()) + length_delimited(_FIELD_2, value)


def txn_request(requests: Sequence[bytes], *, puts: bool) -> bytes:
    """A TxnRequest without conditions, of RangeRequests or of PutRequests."""
    tag = _FIELD_2 if puts else _FIELD_1
    return b"".join(length_delimited(_FIELD_2, length_delimited(tag, request)) for request in requests)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server listens."""
    ends_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends_at:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("etcd did not start")
