"""Builds the wheel, installs it into an environment of its own, and runs the tests against what was installed.

    python tools/check_wheel.py

Finds what an editable install hides: a file that the wheel lacks, a dependency that is not declared, a package of
someone else's in it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = {"datastore", "datastore_client", "datastore_server"}
#: Tests that need no checkout, and show that every part is there.
TESTS = (
    "tests/unit",
    "tests/conformance/test_dict.py",
    "tests/conformance/test_lmdb.py",
    "tests/server/test_service.py",
)


def main() -> int:
    """Build, look, install, test; the exit code of the tests."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _built(Path(scratch))
        foreign = _top_level(wheel) - OURS
        if foreign:
            print(f"the wheel has top-level names that are not ours: {sorted(foreign)}")
            return 1
        return _tested(wheel, Path(scratch))


def _built(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def _top_level(wheel: Path) -> set[str]:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return {name for name in names if not name.endswith(".dist-info")}


def _tested(wheel: Path, folder: Path) -> int:
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    extras = ["pytest-timeout", "psutil"]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, f"{wheel}[server,testing]", *extras], check=True)
    # -I keeps the checkout off the path: what is imported is what was installed.
    tests = [python, "-Im", "pytest", "-q", f"--rootdir={ROOT}", "-p", "no:cacheprovider"]
    return subprocess.run([*tests, *TESTS], check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main())
