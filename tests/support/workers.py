"""The processes of a server with workers, as the system sees them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["children", "is_alive", "kill"]


def children(pid: int) -> set[int]:
    """The processes that a process has started and that have not ended."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return {child for child in found if is_alive(child)}


def is_alive(pid: int) -> bool:
    """Whether a process runs: not one that has ended and that nobody has waited for."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def kill(pid: int) -> None:
    """End a process by SIGKILL."""
    os.kill(pid, signal.SIGKILL)
