"""How much of what is read the caller can use: set by a server, heeded by the stores that read for it.

A batch of a thousand keys may select gigabytes, while its answer has room for a few megabytes; and a stream that
nobody reads should not hold a large batch. Both follow tasks and threads as context variables do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from datastore.core.batch import Outcome
from datastore.core.encoded import Encoded
from datastore.core.errors import LimitExceededError
from datastore.core.limits import BATCH_BYTES

__all__ = ["ReadRoom", "batch_bytes", "read_room", "set_batch_bytes", "set_read_room"]

_room_bytes: ContextVar[int | None] = ContextVar("datastore.room_bytes", default=None)
_batch_bytes: ContextVar[Callable[[], int] | None] = ContextVar("datastore.batch_bytes", default=None)


def set_read_room(most_bytes: int) -> None:
    """Note that every `batch_get` called from here on can use so many bytes of values, and one value in any case."""
    _room_bytes.set(most_bytes)


def read_room() -> ReadRoom:
    """The room for the values of one `batch_get`; without end where nobody set it."""
    return ReadRoom(_room_bytes.get())


class ReadRoom:
    """The room for the values of one `batch_get`, as it fills up."""

    def __init__(self, most_bytes: int | None) -> None:
        self._most_bytes = most_bytes
        self._taken_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether to leave the remaining keys unread: their outcome is `left_out`."""
        return self._most_bytes is not None and self._taken_bytes >= self._most_bytes

    def take(self, outcome: Outcome) -> Outcome:
        """Count what was read, and give it back."""
        value = outcome.value
        data = value.data if isinstance(value, Encoded) else value
        self._taken_bytes += len(data) if isinstance(data, bytes) else 0
        return outcome

    def left_out(self) -> Outcome:
        """The outcome of a key that was left unread. It may be asked for again."""
        most = self._most_bytes or 0
        return Outcome(
            error=LimitExceededError(
                f"at most {most:,} bytes of values are read at once: ask for this one again",
                limit="message_bytes",
                maximum=most,
            )
        )


def set_batch_bytes(size: Callable[[], int]) -> None:
    """Note that batches of results pulled from here on should have about `size()` bytes, asked before each."""
    _batch_bytes.set(size)


def batch_bytes() -> int:
    """How many bytes of keys and values the next batch of results should be filled to."""
    size = _batch_bytes.get()
    return BATCH_BYTES if size is None else size()
