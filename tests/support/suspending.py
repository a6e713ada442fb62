"""Suspending a process, so that it accepts connections but does not respond."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["suspended"]


@contextmanager
def suspended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Suspend a child process by SIGSTOP while the block runs."""
    process.send_signal(signal.SIGSTOP)
    # Its threads stop one by one, and may still answer a call. The system reports the process once all have stopped.
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
