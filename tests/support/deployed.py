"""The files of deploy/, and the commands in them run here: with other paths and ports, and nothing else changed."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
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


def exec_start(unit: str) -> str:
    """The command line of a unit of deploy/systemd, of an instance for a template: datastore-node@shard-1."""
    template, _, instance = unit.partition("@")
    settings = RawConfigParser(strict=False)
    settings.read(DEPLOY / "systemd" / f"{template}{'@' if instance else ''}.service")
    return settings["Service"]["ExecStart"].replace("%i", instance)
