"""docs/writing-a-client.md: its commands and its first driver, and whether it names all that the suite asks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.drivers import Client, Driver
from tests.clients.runner import Runner
from tests.clients.servers import Servers
from tests.clients.suite import all_cases

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/writing-a-client.md").read_text()
#: What passes after each hour, by the table of the day.
HOURS = {
    int(hour): re.findall("`([a-z_]+)`", topics)
    for hour, topics in re.findall(r"^\| (\d) \|.*\|([^|]*)\|$", PAGE, re.MULTILINE)
}
#: The hours that the first driver has behind it.
WRITTEN = 3


def topics_until(last: int) -> set[str]:
    """What passes after this hour."""
    return {topic for hour, topics in HOURS.items() if hour <= last for topic in topics}


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The first driver, on code that is generated as shown."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("protos", "tests"):
        (checkout / name).symlink_to(ROOT / name)
    generate, start = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    make_driver, run_suite = start.split("python -m pytest")
    assert set(re.findall(r"--topic (\w+)", run_suite)) <= topics_until(WRITTEN)
    commands = generate + make_driver
    subprocess.run(["bash", "-euc", commands], cwd=checkout, env={**os.environ, "PATH": path}, check=True)
    started = f"cd '{checkout}' && PATH='{path}' exec build/clients/sketch/driver"
    driver = Driver(Client("sketch", ("sh", "-c", started)))
    yield driver
    driver.close()


def test_the_page_names_every_topic_once():
    named = [topic for topics in HOURS.values() for topic in topics]
    assert sorted(named) == sorted({case.topic for case in all_cases()})


def test_the_first_driver_passes_what_it_should(minimal: Driver, servers: Servers):
    cases = [case for case in all_cases() if case.topic in topics_until(WRITTEN)]
    assert len(cases) > 100
    for case in cases:
        Runner(minimal, servers).run(case)
