"""The files of deploy/, and the commands in them run here: with other paths and ports, and nothing else changed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.commands import Done, run_here
from tests.support.earlier import ROOT
from tests.support.waiting import PATIENCE_S

DEPLOY = ROOT / "deploy"


def moved(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The words of a command with some texts in them replaced."""
    for place, ours in places.items():
        words = [word.replace(place, ours) for word in words]
    return list(words)


def checked(words: Sequence[str], places: Mapping[str, str]) -> Done:
    """How `serve` or `proxy` with these words ends when it only checks its settings."""
    return run_here(*moved(words, places), "--check-config")


def tool(*command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """How another program ends, with its output."""
    return subprocess.run(
        list(map(str, command)), input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
