"""Builds and tests the clients in other languages, and runs their suite: `make clients`.

    python tools/clients.py                 all clients
    python tools/clients.py go rust         these
    python tools/clients.py --generate      write their generated code instead

Each folder client/LANG with a Makefile is a client. Its target `ready` says whether its toolchain is installed; a
client whose is not is left out, and listed with the reason. DATASTORE_REQUIRE_ALL=1 makes that a failure. What the
targets do is decided in these Makefiles: this tool knows no language.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Outcome", "failures", "languages", "main", "report"]

ROOT = Path(__file__).resolve().parent.parent
#: What is made of each client, in this order. One that fails does not keep the next from being made.
TARGETS = ("check", "test", "driver")
#: What some tools print even where there is no terminal.
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_printing = threading.Lock()


@dataclass(slots=True)
class Outcome:
    """What was made of one client."""

    language: str
    #: Why the client was left out; empty if its toolchain is installed.
    missing: str = ""
    #: The targets that were made, with their exit codes and seconds.
    made: dict[str, tuple[int, float]] = field(default_factory=dict)


def languages(root: Path = ROOT) -> list[str]:
    """The clients that there are."""
    return sorted(path.parent.name for path in root.glob("client/*/Makefile"))


def report(outcomes: Iterable[Outcome]) -> str:
    """The list at the end of a run: a line for each client. Pure."""
    lines = []
    for outcome in outcomes:
        cells = [
            f"{target} {'FAILED' if code else 'ok'} {seconds:.0f} s" for target, (code, seconds) in outcome.made.items()
        ]
        said = f"left out: {outcome.missing}" if outcome.missing else "   ".join(cells)
        lines.append(f"{outcome.language:<12}{said}")
    return "\n".join(lines)


def failures(outcomes: Iterable[Outcome], *, require_all: bool) -> bool:
    """Whether the run as a whole has failed. Pure."""
    return any(
        (require_all and outcome.missing) or any(code for code, _ in outcome.made.values()) for outcome in outcomes
    )


def _make(language: str, targets: Sequence[str], root: Path) -> Outcome:
    """Make the targets of one client, if it is ready."""
    command = ["make", "--no-print-directory", "-C", f"client/{language}"]
    asked = subprocess.run([*command, "-s", "ready"], cwd=root, capture_output=True, text=True, check=False)
    if asked.returncode:
        # make adds that the target failed, on the other stream.
        return Outcome(language, missing=asked.stdout.strip() or asked.stderr.strip() or "it is not ready")
    outcome = Outcome(language)
    for target in targets:
        outcome.made[target] = _run([*command, target], language, root)
    return outcome


def _run(command: Sequence[str], name: str, root: Path) -> tuple[int, float]:
    """Run a command and print its output, each line after the name. Returns the exit code and the seconds it took."""
    start = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if text := _COLOR.sub("", line).rstrip():
                with _printing:
                    print(f"{name:<12}{text}", flush=True)
    return process.returncode, time.monotonic() - start


def _suite(chosen: Sequence[str], root: Path) -> Outcome:
    """Run the suite with the drivers of the chosen clients, by default all."""
    arguments = " ".join(["tests/clients", *(f"--client {language}" for language in chosen)])
    return Outcome("suite", made={"test": _run(["make", "test", f"ARGS={arguments}"], "suite", root)})


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line. Returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", metavar="LANG")
    parser.add_argument("--generate", action="store_true")
    chosen = parser.parse_args(arguments)
    known = languages(root)
    if unknown := set(chosen.languages) - {*known}:
        parser.error(f"unknown client {', '.join(sorted(unknown))}; valid: {' '.join(known)}")
    targets = ("generate",) if chosen.generate else TARGETS
    # Compilers use all processors, but not all the time.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(lambda language: _make(language, targets, root), chosen.languages or known))
    if not chosen.generate:
        outcomes.append(_suite(chosen.languages, root))
    print(report(outcomes))
    return int(failures(outcomes, require_all=os.environ.get("DATASTORE_REQUIRE_ALL") == "1"))


if __name__ == "__main__":
    raise SystemExit(main())
