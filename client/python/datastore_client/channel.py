"""How a client connects, as data: targets and channel options. Opens nothing."""

from __future__ import annotations

import re
from typing import Any

from datastore.core.errors import ConfigError
from datastore.core.limits import MESSAGE_BYTES, QUERY_REQUEST_BYTES

__all__ = ["CHANNEL_OPTIONS", "DEFAULT_PORT", "MESSAGE_BYTES", "STREAM_OPTIONS", "parse_target"]

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", QUERY_REQUEST_BYTES),
    # gRPC would probe for how far a server may send ahead of its reader, and hold 5 to 10 MB of a stream that nobody
    # reads.
    ("grpc.http2.bdp_probe", 0),
    # gRPC would send calls through the proxy that `http_proxy` names, those to this machine too.
    ("grpc.enable_http_proxy", 0),
    # A connection that died without a word, or whose server was stopped, fails the calls that wait on it after 17 s.
    # Servers allow a ping every 10 s. It is the last of the three that says how long a ping is waited for; without
    # it that is a minute.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that is back is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # And one that takes connections but does not speak, as a stopped process does, is given up after so long.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Channels of one process would else share a connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
)

#: Those of the channel for streams: a server sends so few bytes ahead of its reader, as a proxy holds them for each
#: shard of each open query. A message that is waited for comes whole. And gRPC keeps 8 kB for each stream that it might
#: start again, which the client does itself.
STREAM_OPTIONS: tuple[tuple[str, Any], ...] = (
    *CHANNEL_OPTIONS,
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.enable_retries", 0),
)

#: Where servers listen unless they are told otherwise.
DEFAULT_PORT = 7420

_TARGET = re.compile(r"grpc://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(:(?P<port>[0-9]{1,5}))?/?")


def parse_target(url: str) -> str:
    """The `HOST:PORT` of a URL `grpc://HOST:PORT`, without a port DEFAULT_PORT; ConfigError for anything else."""
    match = _TARGET.fullmatch(url)
    port = DEFAULT_PORT if match is None or match["port"] is None else int(match["port"])
    # The resolver would take a lone port for a host: 17650 for 0.0.68.242.
    if match is None or not 0 < port < 65536 or match["host"].isdigit():
        raise ConfigError(
            f"{url!r} is not the address of a server; write grpc://HOST:PORT, e.g. grpc://127.0.0.1:{DEFAULT_PORT}"
        )
    return f"{match['host']}:{port}"
