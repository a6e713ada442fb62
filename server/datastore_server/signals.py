"""The signals that ask a process with an event loop to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

__all__ = ["handle_stop_signals", "leave_stop_signals"]

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
    signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)


def leave_stop_signals() -> None:
    """Restore Python's own handling of SIGTERM and SIGINT."""
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
