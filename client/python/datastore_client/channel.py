"""How a client connects, as data: targets and channel options. Does not open channels."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from datastore.model.errors import ConfigError
from datastore.model.limits import MESSAGE_BYTES, QUERY_REQUEST_BYTES
from datastore.model.urls import shown

__all__ = [
    "CHANNEL_OPTIONS",
    "DEFAULT_PORT",
    "MESSAGE_BYTES",
    "STREAM_OPTIONS",
    "Target",
    "parse_target",
    "parse_targets",
]

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", QUERY_REQUEST_BYTES),
    # Otherwise gRPC probes the bandwidth, lets a server send far ahead of its reader, and buffers 5 to 10 MB of an
    # unread stream.
    ("grpc.http2.bdp_probe", 0),
    # Otherwise gRPC sends calls through the proxy in `http_proxy`, even those to this machine.
    ("grpc.enable_http_proxy", 0),
    # If a connection dies silently, or its server stops responding, calls waiting on it fail after 17 s.
    # Servers allow a ping every 10 s. The last of the three options is the actual ping timeout, which defaults to a
    # minute.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that is back is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # The limit for a server that accepts connections but does not respond, e.g. a suspended process.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Otherwise the channels of a process share a connection and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
)

#: The options of the channel for streams. A server may send only these few bytes ahead of its reader, because a proxy
#: holds them for each shard of each open query; a message that a reader waits for still arrives whole. gRPC's own
#: retries, which keep 8 kB per stream, are off: the client resumes streams itself.
STREAM_OPTIONS: tuple[tuple[str, Any], ...] = (
    *CHANNEL_OPTIONS,
    ("grpc.http2.lookahead_bytes", 1024),
    ("grpc.enable_retries", 0),
)

#: The default port of servers.
DEFAULT_PORT = 7420

_SOCKET = "unix:/"
_URL = re.compile(r"(?P<scheme>grpcs?)://(?P<servers>[^\s/]+)/?")
_SERVER = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]]+)(:(?P<port>[0-9]{1,5}))?")


class Target(NamedTuple):
    """A server: its `HOST:PORT`, or `unix:` and the path of its socket, and whether it is reached over TLS."""

    address: str
    is_secure: bool

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket of this machine."""
        return self.address.startswith(_SOCKET)

    @property
    def url(self) -> str:
        """The URL of this server alone."""
        return self.address if self.is_socket else f"{'grpcs' if self.is_secure else 'grpc'}://{self.address}"

    @property
    def name(self) -> str:
        """What gRPC resolves."""
        # Without `dns:`, a host named like one of gRPC's schemes, e.g. `unix`, would be taken for the scheme.
        return self.address if self.is_socket else f"dns:///{self.address}"

    @property
    def options(self) -> tuple[tuple[str, Any], ...]:
        """The channel options that this server needs, besides others."""
        # The clients of a socket have no addresses by which it could tell them apart.
        return (("grpc.secondary_user_agent", f"pid/{os.getpid()}"),) if self.is_socket else ()


def parse_target(url: str) -> Target:
    """The server at `grpc://HOST:PORT`, or over TLS `grpcs://HOST:PORT`; without a port it is DEFAULT_PORT.

    Raises ConfigError for anything else.
    """
    target, *others = parse_targets(url)
    if others:
        raise _not_an_address(url)
    return target


def parse_targets(url: str) -> tuple[Target, ...]:
    """The servers at `grpc://HOST:PORT,HOST:PORT`, in this order: at least one, each as for `parse_target`.

    `unix:/PATH` is the socket of another process of the same server. Raises ConfigError for anything else.
    """
    if url.startswith(_SOCKET):
        return (Target(url, is_secure=False),)
    match = _URL.fullmatch(url)
    if match is None:
        raise _not_an_address(url)
    addresses = [_address(server) for server in match["servers"].split(",")]
    if None in addresses:
        raise _not_an_address(url)
    return tuple(Target(address, match["scheme"] == "grpcs") for address in addresses if address is not None)


def _address(server: str) -> str | None:
    """`HOST:PORT` of a server; None if it is not one."""
    match = _SERVER.fullmatch(server)
    port = DEFAULT_PORT if match is None or match["port"] is None else int(match["port"])
    # The resolver would take a port alone for a host: 17650 for 0.0.68.242.
    if match is None or not 0 < port < 65536 or match["host"].isdigit():
        return None
    return f"{match['host']}:{port}"


def _not_an_address(url: str) -> ConfigError:
    return ConfigError(
        f"{shown(url)} is not the address of a server; write grpc://HOST:PORT, or grpcs://HOST:PORT for TLS,"
        f" e.g. grpc://127.0.0.1:{DEFAULT_PORT}"
    )
