"""The options and fixtures of the clients' suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.clients.drivers import Client, Driver, clients
from tests.clients.servers import Servers
from tests.clients.suite import all_cases
from tests.support.clusters import background


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clients")
    group.addoption("--client", action="append", help="run only this client, e.g. go; may be repeated")
    group.addoption("--topic", action="append", help="run only the cases of this topic, e.g. keys; may be repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--client")
        found = [client for client in clients() if not wanted or client.name in wanted]
        metafunc.parametrize("client", found, ids=str, scope="session")
    if "case" in metafunc.fixturenames:
        topics = metafunc.config.getoption("--topic")
        cases = [case for case in all_cases() if not topics or case.topic in topics]
        metafunc.parametrize("case", cases, ids=str)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of all cases."""
    with background() as loop, ExitStack() as stack:
        yield Servers(loop, tmp_path_factory.mktemp("servers"), stack)


@pytest.fixture(scope="session")
def driver_of() -> Iterator[Callable[[Client], Driver]]:
    """The running driver of a client: one for all cases, and another one after it has ended."""
    drivers: dict[str, Driver] = {}

    def driver_of(client: Client) -> Driver:
        driver = drivers.get(client.name)
        if driver is not None and not driver.runs:
            driver.kill()
        if driver is None or not driver.runs:
            drivers[client.name] = Driver(client)
        return drivers[client.name]

    yield driver_of
    for driver in drivers.values():
        try:
            driver.close()
        finally:
            driver.kill()


@pytest.fixture
def driver(client: Client, driver_of: Any) -> Driver:
    """The running driver of this client."""
    return driver_of(client)
