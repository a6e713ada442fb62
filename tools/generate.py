"""Generates from protos datastore/v1 and the descriptors for other languages; checks for breaking changes.

    python tools/generate.py              write datastore/v1 and protos/clients.binpb
    python tools/generate.py --check      fail if they are not what the protos give
    python tools/generate.py --lint       buf's lint, and its search for breaks against protos/baseline.binpb
    python tools/generate.py --baseline   make today's protocol the baseline, which later ones must not break

The versions of the generators are the floors of what the generated code runs with: pyproject.toml pins both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUTPUT = ROOT / "datastore" / "v1"
BASELINE = PROTOS / "baseline.binpb"
#: What clients call, with Google's errors and the comments: the clients in other languages are generated from it.
CLIENTS = PROTOS / "clients.binpb"
#: The protos to generate and lint. `google/rpc/status.proto` is for users who generate code in another language; in
#: Python its code comes with the package googleapis-common-protos.
SOURCES = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "datastore").rglob("*.proto"))
BIN = Path(sys.executable).parent
INIT = '"""Generated from protos/datastore/v1 by tools/generate.py; do not edit."""\n'


def _protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *arguments]
    # The plugins are beside this interpreter, whose folder need not be on the path.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run([*command, *SOURCES], check=True, cwd=PROTOS, env=environment)


def generate(target: Path) -> None:
    """Write the generated package into `target`, a folder in place of `datastore/v1`."""
    with tempfile.TemporaryDirectory() as scratch:
        _protoc(*(f"--{kind}_out={scratch}" for kind in ("python", "grpc_python")))
        _protoc(*(f"--{kind}_out=quiet:{scratch}" for kind in ("mypy", "mypy_grpc")))
        made = Path(scratch) / "datastore" / "v1"
        (made / "__init__.py").write_text(INIT)
        for path in made.glob("*_pb2_grpc.py*"):
            if not path.name.startswith(("service_", "placement_", "maintenance_")):
                path.unlink()  # Of a file that defines no service.
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)


def client_image(path: Path) -> None:
    """Write the descriptors that clients in other languages are generated from."""
    includes = [f"-I{PROTOS}", f"-I{sysconfig.get_path('purelib')}"]
    sources = ["datastore/v1/service.proto", "google/rpc/error_details.proto"]
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *sources], check=True, cwd=PROTOS)


def check() -> int:
    """Compare the generated files with what the protos give. Returns 1, after a message, if they differ."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh, clients = Path(scratch) / "v1", Path(scratch) / CLIENTS.name
        generate(fresh)
        client_image(clients)
        if clients.read_bytes() != CLIENTS.read_bytes():
            print("protos/clients.binpb is not what the protos give; run python tools/generate.py")
            return 1
        names = {path.name for folder in (fresh, OUTPUT) for path in folder.iterdir() if path.is_file()}
        stale = sorted(name for name in names if _text(fresh / name) != _text(OUTPUT / name))
    if stale:
        print(f"datastore/v1 is not what the protos give: {', '.join(stale)}; run python tools/generate.py")
    return int(bool(stale))


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def image(path: Path, *, comments: bool) -> None:
    """Write the descriptors of all protos and their imports."""
    _protoc("--include_imports", *(["--include_source_info"] if comments else []), f"--descriptor_set_out={path}")


def lint() -> int:
    """Run buf's lint and breaking-change detection. Returns the first exit code that is not 0."""
    buf = str(BIN / "buf")
    with tempfile.TemporaryDirectory() as scratch:
        today = Path(scratch) / "today.binpb"
        image(today, comments=True)
        # Only our files are checked, not their imports.
        ours = ["--path", "datastore/v1"]
        for command in (["lint", str(today)], ["breaking", str(today), "--against", str(BASELINE)]):
            done = subprocess.run([buf, *command, *ours], check=False, cwd=ROOT)
            if done.returncode:
                return done.returncode
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    for name in ("check", "lint", "baseline"):
        choice.add_argument(f"--{name}", action="store_true")
    chosen = parser.parse_args()
    if chosen.check:
        return check()
    if chosen.lint:
        return lint()
    if chosen.baseline:
        image(BASELINE, comments=False)
        return 0
    generate(OUTPUT)
    client_image(CLIENTS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
