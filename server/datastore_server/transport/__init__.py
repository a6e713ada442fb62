"""What carries calls between clients and handlers: gRPC, in one of two ways.

`completion_queue` polls gRPC's queue itself, in a thread: it is several times faster, and uses a private interface of
grpcio. `grpc_aio` uses the public one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from typing import Literal, Protocol, TypeAlias

from datastore_client.tls import TlsFiles
from datastore_server.call import ServedMethod
from datastore_server.limits import QUERY_REQUEST, Limits

__all__ = ["TRANSPORTS", "Transport", "TransportName", "new_transport"]

_log = logging.getLogger("datastore.server")

TransportName: TypeAlias = Literal["auto", "queue", "aio"]
#: The transports that a server can be told to use. `auto` is `queue` with the versions of grpcio it is tested with.
TRANSPORTS: tuple[TransportName, ...] = ("auto", "queue", "aio")
#: The first and the last version of grpcio with which `auto` uses the completion queue.
QUEUE_VERSIONS = ((1, 85), (1, 85))

#: How often clients may ping, with or without calls; see the client's keepalive.
MIN_PING_INTERVAL_MS = 10_000
#: Connections are renewed, so that clients find new servers. Streams resume by their tokens.
MAX_CONNECTION_AGE_MS = 30 * 60 * 1000
MAX_CONNECTION_AGE_GRACE_MS = 5 * 60 * 1000


class Transport(Protocol):
    """A gRPC server of some methods. For one event loop."""

    def add_insecure_port(self, address: str) -> int:
        """Listen at HOST:PORT, before `start`. Returns the port. Raises RuntimeError if that fails."""

    def add_secure_port(self, address: str, files: TlsFiles) -> int:
        """The same over TLS, with the server's certificate.

        If the files name a `ca`, clients must show a certificate that it has signed.
        """

    async def start(self) -> None:
        """Accept calls."""

    async def stop(self, grace: float | None) -> None:
        """Accept no more calls, and cancel those that have not ended within `grace` seconds.

        Returns when all have ended, for their clients and in this process.
        """


def new_transport(
    name: TransportName, limits: Limits, methods: Iterable[ServedMethod], *, shares_port: bool = False
) -> Transport:
    """The transport of this name, not started, for the running event loop.

    With `shares_port` other processes may listen at the same address, and each connection is to one of them.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_says_no_metadata)
    if name == "auto":
        grpcio = version("grpcio")
        name = "queue" if _knows_queue(grpcio) else "aio"
        if name == "aio":
            _log.info("the faster transport, queue, is not tested with grpcio %s: aio serves (--transport)", grpcio)
    # Loaded when it is needed: the queue's module fails to load with a grpcio that lacks it.
    if name == "queue":
        server = import_module("datastore_server.transport.completion_queue").QueueServer
    else:
        server = import_module("datastore_server.transport.grpc_aio").AioServer
    transport: Transport = server(methods, _options(limits, shares_port=shares_port), limits)
    return transport


def _knows_queue(grpcio: str) -> bool:
    first, last = QUEUE_VERSIONS
    major, minor = grpcio.split(".")[:2]
    return first <= (int(major), int(minor)) <= last


def _says_no_metadata(record: logging.LogRecord) -> bool:
    """Drops the traceback that grpcio logs, with the value, when a client's metadata is not UTF-8."""
    return record.msg != "Invalid encoding on %s"


def _options(limits: Limits, *, shares_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", QUERY_REQUEST.maximum),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_concurrent_streams", limits.calls_per_connection + limits.open_streams_per_client),
        # Between the two gRPC refuses at random, so they are the same.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        # On by default: ended calls count until they are freed, and a client within the limit above is refused with a
        # bare UNAVAILABLE.
        ("grpc.http.overload_protection", 0),
        ("grpc.server.max_pending_requests", limits.pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * limits.pending_calls),
        ("grpc.server_handshake_timeout_ms", limits.handshake_time_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_age_ms", MAX_CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", MAX_CONNECTION_AGE_GRACE_MS),
        # On by default: a second server could share the port, and calls would reach either.
        ("grpc.so_reuseport", int(shares_port)),
    ]
