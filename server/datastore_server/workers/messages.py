"""What a writer and its readers say to each other, as lines of JSON: pure data.

The writer sends one Assignment. The reader answers with Ready or Failed, and then reports once a second.
"""

from __future__ import annotations

from typing import Any

import msgspec

from datastore_server.operating import LogConfig
from datastore_server.tls_config import TlsConfig
from datastore_server.transport import TransportName

__all__ = ["Assignment", "Failed", "MethodReport", "Ready", "Report"]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one reader serves, and where. Paths are absolute."""

    number: int = 0
    #: The process that has sent this, and the directory with its socket.
    writer_pid: int = 0
    sockets: str = ""
    #: The store.
    directory: str = ""
    max_map_bytes: int = 0
    #: The address of the server, HOST:PORT, and the addresses of its host, at which all readers listen.
    listen: str = ""
    addresses: list[str] = []
    insecure: bool = False
    tls: TlsConfig = TlsConfig()
    tokens: str | None = None
    #: By name.
    limits: dict[str, Any] = {}
    transport: TransportName = "auto"
    drain_s: float = 0.0
    log: LogConfig = LogConfig()


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The reader serves."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The reader cannot start."""

    error: str


class MethodReport(msgspec.Struct, frozen=True, array_like=True):
    """The calls of one method since the reader started, see `calls.Totals`."""

    calls: int
    errors: dict[str, int]
    durations: list[int]
    total_s: float
    received_bytes: int
    sent_bytes: int
    entries: int
    open_streams: int
    oldest_stream_s: float


class Report(msgspec.Struct, frozen=True, tag=True):
    """What a reader measures, see `observation.Observation`."""

    methods: dict[str, MethodReport] = {}
    calls_in_hand: int = 0
    lag_s: float = 0.0
