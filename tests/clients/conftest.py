"""The options and fixtures of the clients' suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.clients import tables
from tests.clients.drivers import Client, Driver, clients, unbuilt
from tests.clients.servers import Servers
from tests.clients.suite import FOLDER, all_cases
from tests.support.clusters import background


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clients")
    group.addoption("--client", action="append", help="run only this client, e.g. go; may be repeated")
    group.addoption("--write-tables", action="store_true", help="write what each client supports into its README")
    group.addoption("--topic", action="append", help="run only the cases of this topic, e.g. keys; may be repeated")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-tables", default=False):
        tables.write()


def chosen(config: pytest.Config) -> list[Client]:
    """The clients that the run is about: those of `--client`, or all.

    Raises UsageError for one that is named, or required, and is not built.
    """
    found = {client.name: client for client in clients()}
    required = unbuilt() if os.environ.get("DATASTORE_REQUIRE_ALL") == "1" else []
    wanted = config.getoption("--client", None) or [*found, *required]
    for name in wanted:
        if name not in found:
            raise pytest.UsageError(f"there is no driver of {name}: make -C client/{name} driver")
    return [found[name] for name in wanted]


def is_left_to_its_own_run(client: Client, config: pytest.Config) -> bool:
    """Whether a quick run of all tests leaves out this client, which `make clients` runs."""
    is_quick = settings.get_current_profile_name() == "quick"
    is_about_clients = any(FOLDER in (path := Path(each).resolve(), *path.parents) for each in config.args)
    return client.is_other and is_quick and not is_about_clients


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client" in metafunc.fixturenames:
        others = pytest.mark.long("the suite of the clients, with those in other languages")
        marks = {False: (), True: (others,)}
        clients = [(each, is_left_to_its_own_run(each, metafunc.config)) for each in chosen(metafunc.config)]
        parameters = [pytest.param(each, marks=marks[is_long], id=str(each)) for each, is_long in clients]
        metafunc.parametrize("client", parameters, scope="session")
    if "case" in metafunc.fixturenames:
        topics = metafunc.config.getoption("--topic", None)
        cases = [case for case in all_cases() if not topics or case.topic in topics]
        metafunc.parametrize("case", cases, ids=str)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the clients that were left out."""
    if not config.getoption("--client", None) and (names := unbuilt()):
        terminalreporter.write_line(f"The suite of the clients ran without {', '.join(names)}: make clients")


@pytest.fixture(scope="session")
def all_chosen(pytestconfig: pytest.Config) -> list[Client]:
    """All clients that the run is about."""
    return [client for client in chosen(pytestconfig) if not is_left_to_its_own_run(client, pytestconfig)]


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
