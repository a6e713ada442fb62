"""Makes a server listen on every address of a host name, or fails with the one that is taken.

gRPC itself accepts one address of several and does not report the others: a client that tries them in another order
could reach a different server.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from msgspec.structs import replace

from datastore.model.errors import ConfigError
from datastore_server.config import Address

try:
    import resource
except ImportError:
    # Windows has no such limit.
    resource = None  # type: ignore[assignment]

__all__ = ["Reserved", "listen_on", "listen_together", "open_many_files", "reserve", "resolve"]

#: How many ports to try until one is free on each address of a name.
FREE_PORT_ATTEMPTS = 20

#: The addresses of localhost (RFC 6761), even if the system knows only one: gRPC clients try both.
_LOOPBACK = ("127.0.0.1", "::1")

#: The errors of binding to an address that this machine lacks, e.g. ::1 if IPv6 is disabled.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def open_many_files() -> None:
    """Let this process have as many open files, and so connections, as the system allows it: often 1,024 at first."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):
            # macOS says that there is no limit, and refuses that.
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def resolve(address: Address) -> list[Address]:
    """The addresses of a host, at least one, without duplicates. ConfigError if it is unknown."""
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


def listen_on(add_port: Callable[[str], int], address: Address, resolved: Sequence[Address]) -> Address:
    """Make a server listen on all `resolved` addresses of `address`. Returns `address` with the actual port.

    `add_port` makes it listen at HOST:PORT, and returns the port; it raises RuntimeError if that fails.
    Port 0 selects a port that is free on all of them. Addresses that this machine lacks are skipped if there is
    another. Raises ConfigError, with the address and the reason, if listening on one of them fails.
    """
    if len(resolved) == 1 and not address.port:
        # With one address, the system selects a free port.
        return replace(address, port=_add(add_port, address, resolved[0]))
    here = _free(address, resolved)
    listen_together(add_port, address, here)
    return replace(address, port=here[0].port)


class Reserved(NamedTuple):
    """An address that some processes listen at together: `address` with its port, and the addresses of its host."""

    address: Address
    here: list[Address]
    #: What keeps others away until it is closed.
    held: list[socket.socket]


def reserve(address: Address, resolved: Sequence[Address]) -> Reserved:
    """Find the port like `listen_on`, for processes that `listen_together`. Raises ConfigError like `listen_on`."""
    here = _free(address, resolved)
    with ExitStack() as stack:
        held = [stack.enter_context(_bound(one, shared=True)) for one in here]
        stack.pop_all()
    return Reserved(replace(address, port=here[0].port), here, held)


def listen_together(add_port: Callable[[str], int], address: Address, here: Sequence[Address]) -> None:
    """Make a server listen at these addresses of the host: free ones, or reserved ones that processes share."""
    for one in here:
        _add(add_port, address, one)


def _free(address: Address, resolved: Sequence[Address]) -> list[Address]:
    """Those of the addresses that this machine has, with a port that is free on all of them."""
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
    return here


def _add(add_port: Callable[[str], int], address: Address, one: Address) -> int:
    try:
        return add_port(str(one))
    except RuntimeError as error:
        raise _cannot(address, one, "gRPC could not bind it") from error


def _probe(resolved: Sequence[Address]) -> tuple[list[Address], list[tuple[Address, OSError]]]:
    """Bind addresses to the same port, chosen by the first. Returns the sockets, and errors of the others."""
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


def _bound(address: Address, *, shared: bool = False) -> socket.socket:
    """A socket that listens on exactly this address, with the options that gRPC uses; or is bound beside others."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    found = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] also accepts IPv4.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(found[0][4])
        if not shared:
            # Two sockets can be bound to an address if both allow reuse, but only one can listen.
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
