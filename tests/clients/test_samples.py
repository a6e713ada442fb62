"""The sample programs of every client.

The twelve operations print the same everywhere; the other program imports airports, queries and watches them.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import airportsdata
import pytest

from tests.clients.drivers import ROOT, Client, clients
from tests.clients.servers import Servers

PRINTED = """\
put /Airport:LSZS
get Samedan
delete false
batch_write 3
batch_get LSZH EDDF -
query /Airport:LSZH /Airport:EDDF
condition CONDITION_FAILED
patch 5601
expiry true
aggregate CH=2 DE=1
watch PUT /Airport:LSZS
"""
#: How many airports are imported: more than a message has writes.
AIRPORTS = 1_200
#: Both colours of Python's client are one client, whose samples are for threads. The others are built first.
SAMPLED = [
    pytest.param(
        client, marks=() if client.name == "python" else pytest.mark.long("samples of other languages"), id=str(client)
    )
    for client in clients()
    if client.name != "python-aio"
]


def run(client: Client, target: str, address: str, *table: Path) -> str:
    """What a sample prints."""
    python = [sys.executable, f"client/python/samples/{_FILES[target]}", address, *map(str, table)]
    given = [f"ADDRESS={address}", *(f"CSV={path}" for path in table)]
    other = ["make", "--no-print-directory", "-s", "-C", f"client/{client}", target, *given]
    command = python if client.name == "python" else other
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


_FILES = {"operations": "operations.py", "sample": "airports.py"}


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the airports, with all of those in Switzerland."""
    path = tmp_path_factory.mktemp("airports") / "airports.csv"
    whole = Path(airportsdata.__file__).with_name("airports.csv")
    with whole.open(encoding="utf-8", newline="") as source, path.open("w", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(source))
        writer = csv.DictWriter(file, rows[0], quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["country"] != "CH")[:AIRPORTS])
    return path


@pytest.mark.parametrize("sampled", SAMPLED)
def test_the_twelve_operations_print_the_same(sampled: Client, servers: Servers) -> None:
    with servers.empty() as address:
        assert run(sampled, "operations", address) == PRINTED


@pytest.mark.parametrize("sampled", SAMPLED)
def test_airports_are_imported_queried_and_watched(sampled: Client, servers: Servers, table: Path) -> None:
    with servers.empty() as address:
        lines = run(sampled, "sample", address, table).splitlines()
    assert str(AIRPORTS) in lines[0]
    assert all("/Airport:" in line for line in (lines[1], lines[-1])), lines
