"""What threads need and tasks do not, under the names that both colours share.

The generated classes of `datastore.sync` use these; `datastore.aio._concurrency` has the same names for
tasks. Knows nothing of keys, queries or stores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import GeneratorType
from typing import Any, TypeVar

__all__ = [
    "Background",
    "Event",
    "KeyLocks",
    "Lock",
    "Signal",
    "close_iterator",
    "fan_out",
    "give_way",
    "in_thread",
    "iterate",
    "run_to_completion",
    "sleep",
    "was_closed",
    "within",
]

T = TypeVar("T")

Event = threading.Event
Lock = threading.Lock
#: A thread cannot be interrupted: a blocking store must limit its own calls.
within = nullcontext


class KeyLocks:
    """A lock for each key in use; keys out of use cost nothing."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[Hashable, tuple[threading.Lock, list[None]]] = {}

    @contextmanager
    def hold(self, key: Hashable) -> Iterator[None]:
        """Hold the lock of `key` while the block runs."""
        with self._guard:
            lock, users = self._held.setdefault(key, (threading.Lock(), []))
            users.append(None)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                users.pop()
                if not users:
                    del self._held[key]

    def hold_all(self, keys: Iterable[Any]) -> AbstractContextManager[None]:
        """Hold the locks of several keys: taken in the keys' order, so that no two blocks wait for each other."""
        ordered = sorted(set(keys), key=str)
        return self.hold(ordered[0]) if len(ordered) == 1 else self._hold_several(ordered)

    @contextmanager
    def _hold_several(self, keys: list[Any]) -> Iterator[None]:
        with ExitStack() as stack:
            for key in keys:
                stack.enter_context(self.hold(key))
            yield


class Signal:
    """Wakes the thread that waits for it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """End the wait in progress, or the next one."""
        if not self._event.is_set():
            self._event.set()

    def clear(self) -> None:
        """Let the next wait last until the signal is set again."""
        self._event.clear()

    def wait(self, timeout_s: float | None) -> None:
        """Wait until the signal is set, or for this many seconds."""
        self._event.wait(timeout_s)


class Background:
    """A call in progress in another thread. It must not raise, and must end before it is forgotten."""

    def __init__(self, call: Callable[[], None]) -> None:
        # An interpreter that exits does not wait for it.
        self._thread = threading.Thread(target=call, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Do nothing: a thread cannot be interrupted."""

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()


def fan_out(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make every call, one after the other; results in the order of the calls.

    The first error is raised, and the calls after it are not made.
    """
    return [call() for call in calls]


def run_to_completion(call: Callable[[], T]) -> T:
    """Make a call."""
    return call()


def in_thread(call: Callable[[], T]) -> T:
    """Make a call, in this thread."""
    return call()


def give_way() -> None:
    """Do nothing: threads have their turns anyway."""


def sleep(seconds: float) -> None:
    """Suspend this thread."""
    time.sleep(seconds)


def iterate(iterable: Iterable[T]) -> Iterator[T]:
    """The iterator of an iterable."""
    return iter(iterable)


def was_closed(iterator: Any) -> bool:
    """Whether a generator has ended or was closed."""
    return isinstance(iterator, GeneratorType) and iterator.gi_frame is None


def close_iterator(iterator: Any) -> None:
    """Stop a producer of items: a generator, or one of ours that has `close`. Others (a file) are the caller's."""
    if isinstance(iterator, GeneratorType) or getattr(iterator, "closes_with_cursor", False):
        iterator.close()
