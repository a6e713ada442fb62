"""Ending a transfer early: which signals do, and the command that goes on afterwards."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datastore_server.cli.output import Terminated

__all__ = ["same_command", "terminable"]

_SIGNALS = ("SIGTERM", "SIGHUP")


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated where SIGTERM or SIGHUP would end the process; signals that are ignored stay so (nohup)."""

    def end(number: int, _frame: object) -> None:
        raise Terminated(number)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    caught = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def same_command(more: Sequence[str], *, without: str) -> str:
    """The command line that is running, for a shell, with other options at its end in place of `without`."""
    kept, words = [], iter(sys.argv[1:])
    for word in words:
        if word == without and more[1:]:
            next(words, None)
        elif word != without and not word.startswith(f"{without}="):
            kept.append(word)
    return shlex.join(["datastore", *kept, *more])
