"""Where a server listens: every address that a host name stands for, or an error that says which one is taken.

gRPC itself is content with one address of several, and says nothing of the others: a client that tries them in
another order would reach whatever else listens there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from datastore.model.errors import ConfigError
from datastore_server.config import Address

__all__ = ["listen_on", "resolve"]

#: How many free ports are tried that must be free on each address of a name.
FREE_PORT_ATTEMPTS = 20

#: What localhost stands for (RFC 6761), also where the system knows one of them alone: gRPC's clients try both.
_LOOPBACK = ("127.0.0.1", "::1")

#: What binding fails with where this machine lacks an address of the name, e.g. ::1 where IPv6 is switched off.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class _Listener(Protocol):
    def add_insecure_port(self, address: str) -> int: ...


async def resolve(address: Address) -> list[Address]:
    """The addresses that a host stands for, at least one, without repetitions. ConfigError if it is unknown."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(address.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {address}: the host {address.host!r} is not known: {reason}") from error
    hosts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    if address.host.lower() == "localhost":
        hosts |= dict.fromkeys(_LOOPBACK)
    return [Address(host, address.port) for host in hosts]


def listen_on(server: _Listener, address: Address, resolved: Sequence[Address]) -> Address:
    """Have `server` listen on all of `resolved`, which `address` stands for; `address` with the port that it has now.

    Port 0 takes a port that is free on all of them. Addresses that this machine lacks are left out, if it has
    another. Raises ConfigError, with the address and the reason, if one of them cannot be listened on.
    """
    if len(resolved) == 1 and not address.port:
        # Nothing to agree on: the system itself hands out a free port.
        return Address(address.host, _add(server, address, resolved[0]))
    attempts = 1 if address.port else FREE_PORT_ATTEMPTS
    while True:
        attempts -= 1
        here, failures = _probe(resolved)
        taken = [failure for failure in failures if failure[1].errno not in _NOT_HERE]
        if here and not taken:
            break
        if not here or not attempts:
            where, error = (taken or failures)[0]
            raise _cannot(address, where, _reason(error)) from error
    for one in here:
        _add(server, address, one)
    return Address(address.host, here[0].port)


def _add(server: _Listener, address: Address, one: Address) -> int:
    try:
        return server.add_insecure_port(str(one))
    except RuntimeError as error:
        raise _cannot(address, one, "gRPC could not bind it") from error


def _probe(resolved: Sequence[Address]) -> tuple[list[Address], list[tuple[Address, OSError]]]:
    """Which addresses can be listened on, all with the port that the first one gives, and why others cannot."""
    here: list[Address] = []
    failures: list[tuple[Address, OSError]] = []
    with ExitStack() as probes:
        for one in resolved:
            at = Address(one.host, one.port or (here[0].port if here else 0))
            try:
                probe = probes.enter_context(_bound(at))
            except OSError as error:
                failures.append((at, error))
            else:
                here.append(Address(at.host, probe.getsockname()[1]))
    return here, failures


def _bound(address: Address) -> socket.socket:
    """A socket that listens on exactly this address, set up as gRPC sets up its own."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] takes IPv4 too.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(found[0][4])
        # Two sockets may be bound to one address if both allow it to be reused; only one may listen.
        probe.listen(1)
    except BaseException:
        probe.close()
        raise
    return probe


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop the program that listens there, or choose another port (0 for any free one)"
    if error.errno in _NOT_HERE:
        return "it is not an address of this machine"
    if error.errno == errno.EACCES:
        return "ports below 1024 need special rights; choose a higher one"
    return error.strerror or os.strerror(error.errno or 0)


def _cannot(address: Address, where: Address, why: str) -> ConfigError:
    named = f"{address}" if where.host == address.host else f"{address}, which is also {where}"
    return ConfigError(f"cannot listen on {named}: {why}")
