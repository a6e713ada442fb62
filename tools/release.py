"""Builds the release that the last commit is, and checks it: `make release`.

The version must be the same in pyproject.toml, in the changelog, which must have its date, in the manifests of deploy/
and, if the commit has one, in its tag. Wheel and source distribution are built from the commit alone, twice, and
must be the same bytes. What is in dist/ afterwards is published by the one command that is printed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tools import check_wheel

__all__ = ["disagreements", "main"]

ROOT = check_wheel.ROOT
DIST = ROOT / "dist"


def main() -> int:
    """Check, build, check what was built. Returns 1, and writes nothing, if anything is wrong."""
    version = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    faults = disagreements(
        version,
        (ROOT / "CHANGELOG.md").read_text(),
        _git("tag", "--points-at", "HEAD").split(),
        [path.read_text() for path in sorted((ROOT / "deploy").rglob("*.yaml"))],
    )
    if _git("status", "--porcelain"):
        faults.append("there are changes that are not committed")
    if faults:
        print("\n".join(faults))
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        built = _built(folder)
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], check=True)
        (wheel,) = (path for path in built if path.suffix == ".whl")
        if check_wheel.main(wheel):
            return 1
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        for path in built:
            shutil.copy(path, DIST)
    print(f"dist/ has release {version}. Publish it, and its tag:")
    print(f"  git tag v{version} && python -m twine upload dist/* && git push origin v{version}")
    return 0


def disagreements(version: str, changelog: str, tags: Iterable[str], manifests: Iterable[str]) -> list[str]:
    """What says something else than this version. Pure."""
    newest = re.search(r"^## (.*)$", changelog, re.MULTILINE)
    heading = newest[1] if newest else "nothing"
    found = []
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", heading):
        found.append(f"CHANGELOG.md begins with {heading!r}: expected '{version} - YYYY-MM-DD'")
    versions = [tag for tag in tags if re.match(r"v\d", tag)]
    if versions not in ([], [f"v{version}"]):
        found.append(f"the commit has the tag {', '.join(versions)}: expected v{version}")
    images = {image for text in manifests for image in re.findall(r"image: (datastore:\S+)", text)}
    found += [
        f"deploy/ names the image {image}: expected datastore:{version}"
        for image in sorted(images - {f"datastore:{version}"})
    ]
    return found


def _built(folder: Path) -> list[Path]:
    """The wheel and the source distribution of the last commit, built twice and compared."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct").strip()}
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    builds = []
    for name in ("first", "second"):
        source, out = folder / name, folder / f"{name}-built"
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(source, filter="data")
        command = [sys.executable, "-m", "build", "--quiet", "--outdir", str(out), str(source)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        builds.append(sorted(out.iterdir()))
    for one, other in zip(*builds, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise SystemExit(f"{one.name} differs from one build to the next")
    return builds[0]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
