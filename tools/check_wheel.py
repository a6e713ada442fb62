"""Builds the wheel, installs it into a fresh environment, and runs tests against the installed packages.

    python tools/check_wheel.py

Finds what an editable install hides: a file that the wheel lacks, an undeclared dependency, someone else's package in
it. Needs a package index. tools/release.py does the same with the wheel of a release.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("datastore", "server/datastore_server", "client/python/datastore_client")
OURS = {Path(folder).name for folder in FOLDERS}
#: What the tests need in addition to the extras of the wheel.
TEST_PACKAGES = ("pytest-timeout", "psutil")
#: Tests that need no checkout, and together show that every part is installed.
TESTS = (
    "tests/unit",
    "tests/conformance/test_dict.py",
    "tests/conformance/test_remote.py",
    "tests/server/test_service.py",
)
#: Folders that tests read, and that hold none of the packages.
READ_BY_TESTS = ("docs", "protos")
NEEDS_CHECKOUT = tuple(f"tests/unit/test_{name}.py" for name in ("unasync", "release", "clients_tool", "client_pages"))
BARE = "import datastore, datastore.aio, sys; assert not {'grpc', 'google', 'lmdb'} & set(sys.modules)"


def main(wheel: Path | None = None) -> int:
    """Build, unless a wheel is given, inspect, install, run, test. Returns 1 if anything is wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if wheel is None:
            _run(sys.executable, "-m", "build", "--quiet", "--outdir", str(folder), str(ROOT), quiet=True)
            wheel = next(folder.glob("*.whl"))
        faults = _faults(wheel)
        if faults:
            print("\n".join(faults))
            return 1
        python = _environment(folder / "environment")
        _run(*python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
        # The library alone, without extras.
        _run(*python, "-c", BARE, cwd=folder)
        extras = f"{wheel}[server,testing,mongodb,redis,memcached]"
        _run(*python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", extras, *TEST_PACKAGES)
        _smoke(str(folder / "environment/bin/datastore"))
        _test(python, folder / "tests-alone")
    return 0


def _faults(wheel: Path) -> list[str]:
    """The files that the wheel should not have, and those in git that it lacks."""
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    foreign = {name.split("/")[0] for name in found} - OURS
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True)
    parents = {folder: Path(folder).parent for folder in FOLDERS}
    expected = {
        Path(path).relative_to(parent).as_posix()
        for path in listed.stdout.splitlines()
        for folder, parent in parents.items()
        if path.startswith(f"{folder}/")
    }
    return [
        *(f"the wheel has a top-level name that is not ours: {name}" for name in sorted(foreign)),
        *(f"the wheel lacks {name}" for name in sorted(expected - found)),
    ]


def _environment(folder: Path) -> tuple[str, ...]:
    venv.create(folder, with_pip=True)
    # -I keeps the current folder off the path, so that the installed packages are imported.
    return str(folder / "bin" / "python"), "-I"


def _smoke(datastore: str) -> None:
    """Serve, write and read with the installed command."""
    command = [datastore, "serve", "memory:", "--listen", "127.0.0.1:0", "--json", "--stop-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        _run(datastore, "put", "/smoke:test", "1", "--server", url)
        _run(datastore, "get", "/smoke:test", "--server", url, quiet=True)
        server.stdin.close()
    if server.returncode:
        raise subprocess.CalledProcessError(server.returncode, command)


def _test(python: tuple[str, ...], folder: Path) -> None:
    """Run the tests from a copy, because beside the checkout its packages would be found first."""
    for name in ("tests", *READ_BY_TESTS):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (ROOT / "pyproject.toml", *ROOT.glob("*.md")):
        shutil.copy(path, folder)
    left_out = [f"--ignore={path}" for path in NEEDS_CHECKOUT]
    # A few random examples are enough to show that the parts are installed.
    environment = os.environ | {"DATASTORE_HYPOTHESIS": "quick", "DATASTORE_REQUIRE_ALL": "0"}
    command = [*python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *left_out, *TESTS]
    _run(*command, cwd=folder, environment=environment)


def _run(*command: str, cwd: Path = ROOT, quiet: bool = False, environment: Mapping[str, str] | None = None) -> None:
    stdout = subprocess.DEVNULL if quiet else None
    subprocess.run(command, check=True, cwd=cwd, stdout=stdout, env=environment)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"failed: {' '.join(error.cmd)}") from None
