"""The Dockerfile: lint, what it copies, and the commands in it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.commands import server_process
from tests.support.deployed import DEPLOY, checked, moved, tool
from tests.support.earlier import ROOT

FILE = DEPLOY / "Dockerfile"
BIN = Path(sys.executable).parent
#: The instructions, each with its lines joined.
STEPS = [
    tuple(step.split(maxsplit=1))
    for step in re.sub(r"^#.*\n|\\\n", "", FILE.read_text(), flags=re.MULTILINE).splitlines()
    if step.strip()
]


def values(instruction: str) -> list[str]:
    return [value for name, value in STEPS if name == instruction]


def copied() -> list[str]:
    """What is copied from the checkout."""
    sources = [value.split()[:-1] for value in values("COPY") if not value.startswith("--from")]
    return [source for words in sources for source in words]


def test_hadolint_finds_no_fault() -> None:
    done = tool(BIN / "hadolint", FILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_context_is_what_is_copied() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert ignored[1] == "*"
    assert kept == sorted(copied(), key=kept.index)


@pytest.mark.long("that the image has all files that it needs")
def test_what_is_copied_is_enough_to_install(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in copied():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(ROOT / name)
    (install,) = (step for step in values("RUN") if "pip install" in step)
    words = moved(install.split(), {"/opt/datastore/bin/": f"{BIN}/", '".[${EXTRAS}]"': str(source)})
    # The dependencies are installed already.
    done = tool(*words, "--no-deps", "--no-build-isolation", "--target", tmp_path / "installed")
    assert done.returncode == 0, done.stderr
    installed = {path.name for path in (tmp_path / "installed").iterdir() if not path.name.endswith(".dist-info")}
    assert installed == {"bin", "datastore", "datastore_client", "datastore_server"}


def test_it_runs_as_a_user_without_rights_that_has_the_data_directory() -> None:
    user, (made,) = values("USER")[-1], [step for step in values("RUN") if "useradd" in step]
    assert user == "7420:7420"
    assert "--uid 7420 " in made
    assert "--owner=datastore --group=datastore /var/lib/datastore" in made


def test_the_command_is_valid(tmp_path: Path) -> None:
    assert values("ENTRYPOINT") == ['["datastore"]']
    done = checked(json.loads(values("CMD")[0]), {"/var/lib/datastore": str(tmp_path / "data")})
    assert (done.code, done.err) == (0, "")


def test_the_health_check_says_whether_the_command_serves(tmp_path: Path) -> None:
    places = {"/var/lib/datastore": str(tmp_path / "data"), "127.0.0.1:9420": "127.0.0.1:0"}
    words = moved(json.loads(values("CMD")[0]), places)
    with server_process(*words, "--listen", "127.0.0.1:0") as ready:
        served = urlsplit(ready["metrics_url"])
        (check,) = re.findall(r"CMD (\[.*\])", values("HEALTHCHECK")[0])
        command = moved(json.loads(check), {"127.0.0.1:9420": served.netloc})
        assert tool(sys.executable, *command[1:]).returncode == 0
    assert tool(sys.executable, *command[1:]).returncode == 1
