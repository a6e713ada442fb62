"""etcd as the reference: a server of one member on one core, and its messages, made by hand.

Built by `make build/etcd`, which needs Go. It syncs each write to disk, as it does by default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.servers import free_ports, listening
from datastore.wire.varints import length_delimited, length_prefix

__all__ = ["KV", "etcd", "is_built", "put_request", "range_request", "txn_request"]

KV = "/etcdserverpb.KV/"
#: A range that ends with its own successor ends nowhere.
TO_THE_END = b"\0"
_BINARY = Path(__file__).parent.parent / "build" / "etcd"
#: Tags of fields: of bytes and messages by their number, and of the number `limit`.
_FIELD_1, _FIELD_2, _LIMIT = b"\x0a", b"\x12", b"\x18"


def is_built() -> bool:
    """Whether there is a server to compare with."""
    return _BINARY.exists()


@contextmanager
def etcd() -> Iterator[str]:
    """A server with an empty store. Returns its URL, with the scheme of ours."""
    with tempfile.TemporaryDirectory() as directory:
        ports = free_ports(2)
        client, peer = (f"http://127.0.0.1:{port}" for port in ports)
        addresses = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        addresses += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        addresses += [f"--initial-cluster=default={peer}"]
        # One thread that runs Go code, as there is one core.
        command = [str(_BINARY), f"--data-dir={directory}", "--log-level=fatal", *addresses]
        with listening(command, ports[0], GOMAXPROCS="1"):
            yield client.replace("http:", "grpc:")


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
