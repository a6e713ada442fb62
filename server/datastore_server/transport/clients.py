"""Who the client of a call is: its address, or what it calls itself where clients have none. Knows no gRPC."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["client_of"]

#: The address of all clients of a socket of this machine.
_AT_SOCKET = "unix:"


def client_of(peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The address that gRPC has, `peer`; at a socket with the end of the client's user agent, e.g. `unix:pid/17`.

    The user agent is that of `datastore_client.channel.Target`. Pure.
    """
    if peer != _AT_SOCKET:
        return peer
    agent = next((str(value) for name, value in metadata if name == "user-agent"), "")
    return peer + agent.rpartition(" ")[2]
