"""Where a server listens: on every address of a name, or not at all, with the reason."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from datastore import aio
from datastore.model.errors import ConfigError
from datastore_server import listening
from datastore_server.app import serve
from datastore_server.config import Address
from tests.support.waiting import PATIENCE_S

LOCALHOST = [Address("127.0.0.1", 0), Address("::1", 0)]


@contextmanager
def taken(host: str, port: int = 0) -> Iterator[int]:
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as holder:
        yield holder.getsockname()[1]


def has_ipv6() -> bool:
    try:
        with taken("::1"):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize("holder", ["127.0.0.1", "::1"])
async def test_localhost_is_refused_where_either_of_its_addresses_is_taken(holder: str) -> None:
    with taken(holder) as port:
        named = f"localhost:{port}, which is also {Address(holder, port)}: the port is in use".replace("[", r"\[")
        with pytest.raises(ConfigError, match=named):
            async with serve(aio.DictDatastore(), listen=f"localhost:{port}"):
                pass


@needs_ipv6
async def test_localhost_is_listened_on_at_both_addresses_with_one_free_port() -> None:
    async with serve(aio.DictDatastore(), listen="localhost:0") as server:
        assert server.url == f"grpc://localhost:{server.port}"
        assert accepts("127.0.0.1", server.port)
        assert accepts("::1", server.port)


async def test_an_unknown_host_name_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.invalid:1: the host 'nowhere\.invalid' is not known"):
        async with serve(aio.DictDatastore(), listen="nowhere.invalid:1"):
            pass


async def test_an_address_of_another_machine_is_named_as_such() -> None:
    # TEST-NET-1: no machine has it.
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:7420: it is not an address of this machine"):
        async with serve(aio.DictDatastore(), listen="192.0.2.1:7420", insecure=True):
            pass


class FakeServer:
    def __init__(self) -> None:
        self.ports: list[str] = []

    def add_insecure_port(self, address: str) -> int:
        self.ports.append(address)
        return int(address.rpartition(":")[2]) or 7


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, *hosts: str, times: int = 10**6) -> list[Address]:
    """Make the next binds of `hosts` fail. Returns the addresses that were requested."""
    asked: list[Address] = []

    def bound(address: Address) -> socket.socket:
        asked.append(address)
        if address.host in hosts and sum(one.host == address.host for one in asked) <= times:
            raise OSError(number, "refused")
        return socket.create_server(("127.0.0.1", 0))

    monkeypatch.setattr(listening, "_bound", bound)
    return asked


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_an_address_of_the_name_that_this_machine_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, number, "::1")
    server = FakeServer()
    at = listening.listen_on(server.add_insecure_port, Address("localhost", 0), LOCALHOST)
    assert server.ports == [f"127.0.0.1:{at.port}"]


def test_a_port_that_is_free_on_only_one_address_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = refuse(monkeypatch, errno.EADDRINUSE, "::1", times=1)
    listening.listen_on(FakeServer().add_insecure_port, Address("localhost", 0), LOCALHOST)
    assert [one.host for one in asked] == ["127.0.0.1", "::1"] * 2


def test_looking_for_a_port_that_is_free_on_all_addresses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = refuse(monkeypatch, errno.EADDRINUSE, "::1")
    with pytest.raises(ConfigError, match=r"localhost:0, which is also \[::1\]:[0-9]+: the port is in use"):
        listening.listen_on(FakeServer().add_insecure_port, Address("localhost", 0), LOCALHOST)
    assert len(asked) == 2 * listening.FREE_PORT_ATTEMPTS


def test_with_one_address_the_system_selects_a_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = refuse(monkeypatch, errno.EADDRINUSE, "127.0.0.1")
    server = FakeServer()
    assert listening.listen_on(server.add_insecure_port, Address("127.0.0.1", 0), LOCALHOST[:1]) == Address(
        "127.0.0.1", 7
    )
    assert (asked, server.ports) == ([], ["127.0.0.1:0"])


def test_a_privileged_port_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EACCES, "127.0.0.1")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:80: ports below 1024"):
        listening.listen_on(FakeServer().add_insecure_port, Address("127.0.0.1", 80), [Address("127.0.0.1", 80)])


def test_a_failure_of_grpc_to_bind_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(FakeServer):
        def add_insecure_port(self, address: str) -> int:
            raise RuntimeError("no")

    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:0: gRPC could not bind it"):
        listening.listen_on(Failing().add_insecure_port, Address("127.0.0.1", 0), LOCALHOST[:1])


def test_a_probe_holds_its_port_until_all_addresses_are_tried() -> None:
    with ExitStack() as stack:
        probe = stack.enter_context(listening._bound(Address("127.0.0.1", 0)))
        with pytest.raises(OSError, match="in use"):
            listening._bound(Address("127.0.0.1", probe.getsockname()[1]))
