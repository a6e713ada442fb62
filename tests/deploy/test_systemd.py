"""The units for systemd: its own checks, and the commands that they start."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.documented.test_docs import SERVING, blocks
from tests.support.deployed import DEPLOY, checked, exec_start, tool
from tests.support.earlier import ROOT

UNITS = DEPLOY / "systemd"
NAMES = ["datastore-server.service", "datastore-node@shard-1.service", "datastore-proxy.service"]
#: Of 10: beyond it, systemd calls a service exposed.
EXPOSURE = 2.0

if shutil.which("systemd-analyze") is None:
    pytest.skip("no systemd-analyze: apt install systemd", allow_module_level=True)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The units where systemd finds them, with the command where it is on this machine."""
    target = tmp_path / "units"
    shutil.copytree(UNITS, target)
    for path in target.glob("*.service"):
        path.write_text(path.read_text().replace("/opt/datastore/bin", str(Path(sys.executable).parent)))
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{target}{os.pathsep}")
    return target


@pytest.mark.parametrize("name", NAMES)
def test_systemd_accepts_the_unit(name: str, installed: Path) -> None:
    done = tool("systemd-analyze", "verify", "--man=no", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_is_confined(name: str, installed: Path) -> None:
    done = tool("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", name)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_starts_a_command_with_a_valid_configuration(name: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(blocks(ROOT / "docs/configuration.md", "toml")[0])
    (tmp_path / "server.toml").write_text(blocks(SERVING, "toml")[0])
    command = exec_start(name.removesuffix(".service"))
    words = shlex.split(command.replace("$DATASTORE_OPTIONS", "--metrics 127.0.0.1:9420"))
    assert words[0] == "/opt/datastore/bin/datastore"
    done = checked(words[1:], {"/etc/datastore": str(tmp_path)})
    assert (done.code, done.err) == (0, "")


def test_systemd_makes_the_user_of_the_units(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = tool("systemd-sysusers", f"--root={tmp_path}", "-", stdin=(UNITS / "datastore.sysusers").read_text())
    assert done.returncode == 0, done.stderr
    name, _, _, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home, shell) == ("datastore", "/var/lib/datastore", "/usr/sbin/nologin")
