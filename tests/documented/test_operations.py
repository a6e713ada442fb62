"""docs/operations.md as an operator types it. Its machine is a folder with free ports.

The test does what systemd does with the units.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.documented.test_docs import blocks
from tests.support.commands import COMMAND
from tests.support.deployed import DEPLOY, exec_start, moved
from tests.support.earlier import ROOT
from tests.support.waiting import PATIENCE_S

PAGE = ROOT / "docs/operations.md"
#: What changes the machine itself. Units and user are tested in tests/deploy, the installation by `make release`.
INSTALLATION = re.compile(
    r"sudo (python3 -m venv|/opt/datastore-0.4.0/|ln |cp |systemd-sysusers|systemctl daemon-reload|chown |install -D )"
    "|export PATH="
)


class Machine:
    """Runs the commands of the page, and the units that they start and stop."""

    def __init__(self, folder: Path, ports: dict[str, str], stack: ExitStack) -> None:
        self.folder = folder
        self._places = {
            "/etc/datastore": str(folder / "etc"),
            "/var/lib/datastore": str(folder / "lib"),
            "/opt/datastore/bin": str(Path(sys.executable).parent),
            "sudo -u datastore ": "",
            "sudo ": "",
            "-o datastore ": "",
            **ports,
        }
        path = os.pathsep.join([self._places["/opt/datastore/bin"], os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path}
        self._units: dict[str, subprocess.Popen[str]] = {}
        self._stack = stack

    def write(self, name: str, text: str) -> None:
        """Write a file that the page shows."""
        (self.folder / name).write_text(self._moved(text))

    def type(self, text: str) -> list[str]:
        """Run each line of a block. Returns what each printed."""
        return [self._line(line) for line in text.splitlines() if not INSTALLATION.match(line)]

    def _line(self, line: str) -> str:
        words = shlex.split(line)
        match words:
            case ["sudo", "systemctl", "enable", "--now", *units]:
                for unit in units:
                    self._start(unit)
            case ["sudo", "systemctl", "restart", unit]:
                self._stop(unit)
                self._start(unit)
            case ["sudo", "systemctl", "reload", unit]:
                self._units[unit].send_signal(signal.SIGHUP)
            case ["export", *assignments]:
                self._environment |= dict(self._moved(word).split("=", 1) for word in assignments)
            case ["cd", target]:
                self.folder /= target
            case _:
                return self._run(self._moved(line))
        return ""

    def _moved(self, text: str) -> str:
        return moved([text], self._places)[0]

    def _run(self, line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, unit: str) -> None:
        """Start a unit as systemd does, and wait until it is ready."""
        options = Path(self._moved(f"/etc/datastore/{unit}.env")).read_text().partition("=")[2]
        words = shlex.split(self._moved(exec_start(unit)).replace("$DATASTORE_OPTIONS", options))
        process = subprocess.Popen([*COMMAND, *words[1:], "--json"], stdout=subprocess.PIPE, text=True)
        self._units[unit] = self._stack.enter_context(process)
        self._stack.callback(self._stop, unit)
        assert process.stdout is not None
        assert '"ready":true' in process.stdout.readline()

    def _stop(self, unit: str) -> None:
        if (process := self._units[unit]).poll() is None:
            process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.long("docs/operations.md, typed by an operator")
def test_an_operator_who_types_the_page_has_a_cluster(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    config, shard = blocks(PAGE, "toml")
    ports = {
        f":{port}": f":{unused_tcp_port_factory()}" for port in sorted(set(re.findall(r":(\d{4})\b", PAGE.read_text())))
    }
    install, units, secure, configure, start, watch, backup, grow, reload, upgrade, containers = blocks(PAGE, "sh")
    with ExitStack() as stack:
        machine = Machine(tmp_path, ports, stack)
        machine.type(install)
        machine.type(units)
        machine.type(secure)
        machine.write("cluster.toml", config)
        *_, node, proxy, shown = machine.type(configure)
        assert "is valid; nothing was opened" in node and "is valid; nothing was opened" in proxy
        assert 'name = "shard-2"' in shown
        _, _, status, _, found = machine.type(start)
        assert status.count("serving") == 3
        assert found == '{"items":3}\n'
        machine.type(watch)
        assert "datastore_" in (machine.folder / "metrics.txt").read_text()
        machine.type(backup)
        machine.write("cluster.toml", f"{config}\n{shard}")
        *_, plan, _, _ = machine.type(grow)
        assert "shard-2   shard-3" in plan
        machine.type(reload)
        assert all(printed.count("serving") == 4 for printed in machine.type(upgrade) if printed)
        assert machine.type("datastore get /shop/Cart:7") == ['{"items":3}\n']
        (machine.folder / "deploy/compose").mkdir(parents=True)
        machine.type(containers)


def test_the_files_that_the_page_names_exist() -> None:
    named = re.findall(r"`?(deploy/[\w./-]+\w)", PAGE.read_text())
    assert len(named) > 5
    for name in named:
        assert list(ROOT.glob(f"{name}*")) or name == "deploy/compose/secrets", name


@pytest.mark.parametrize("unit", ["datastore-node@shard-1", "datastore-proxy", "datastore-server"])
def test_the_units_that_the_page_names_exist(unit: str) -> None:
    assert f"datastore-{unit.removeprefix('datastore-').replace('shard-1', 'SHARD')}`" in PAGE.read_text()
    assert (DEPLOY / "systemd" / f"{unit.replace('shard-1', '')}.service").exists()
