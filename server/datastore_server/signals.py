"""The signals that a process with an event loop handles: those that ask it to stop, and the one to read files again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

__all__ = ["handle_reload_signal", "handle_stop_signals", "leave_signals"]

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def handle_stop_signals(stop: Callable[[], object]) -> None:
    """Call `stop` on the running loop for each SIGTERM and SIGINT from now on, possibly twice for one signal.

    The loop's own handler alone would lose a signal while the pipe that wakes the loop is full, e.g. when hundreds of
    half-read cursors are garbage-collected at once.
    """
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        # Wakes the loop if another thread receives the signal.
        loop.add_signal_handler(number, stop)
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    _allow_full_pipe()


def handle_reload_signal(reload: Callable[[], object], stop: Callable[[], object]) -> None:
    """Call `reload` on the running loop for each SIGHUP from now on; `stop` if the terminal is gone."""
    had_terminal = _has_terminal()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: stop() if had_terminal and not _has_terminal() else reload()
    )
    _allow_full_pipe()


def leave_signals() -> None:
    """Restore Python's own handling of all these signals."""
    for number in (*_STOP_SIGNALS, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)


def _allow_full_pipe() -> None:
    """Have Python not print a warning when the pipe that wakes the loop is full."""
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)


def _has_terminal() -> bool:
    """Whether the process has a terminal that may send it signals."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
