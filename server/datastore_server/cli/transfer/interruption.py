"""Ending a long command early: by which signals, and the command that continues it."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from datastore_server.cli.output import Terminated

__all__ = ["run_terminable", "same_command", "terminable"]

T = TypeVar("T")

_SIGNALS = ("SIGTERM", "SIGHUP")


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated when SIGTERM or SIGHUP would end the process; ignored signals stay ignored (nohup)."""

    def end(number: int, _frame: object) -> None:
        raise Terminated(number)

    with _handling(end):
        yield


def run_terminable(work: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, but SIGTERM and SIGHUP cancel the work like Ctrl-C, and then raise Terminated."""
    received: list[int] = []

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.create_task(work)

        def cancel(number: int, _frame: object) -> None:
            received.append(number)
            loop.call_soon_threadsafe(task.cancel)

        with _handling(cancel):
            return await task

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if received:
            raise Terminated(received[0]) from None
        raise


@contextmanager
def _handling(handler: Callable[[int, Any], object]) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    caught = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def same_command(more: Sequence[str], *, without: str) -> str:
    """The running command line, quoted for a shell, with further options at its end and without `without`."""
    kept, words = [], iter(sys.argv[1:])
    for word in words:
        if word == without and more[1:]:
            next(words, None)
        elif word != without and not word.startswith(f"{without}="):
            kept.append(word)
    return shlex.join(["datastore", *kept, *more])
