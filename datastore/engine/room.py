"""How much of what is read the caller can use, and may hold: set by a server, heeded by the stores that read for it.

A batch of a thousand keys may select gigabytes, while its answer has room for a few megabytes; a stream that nobody
reads should not hold a large batch; and many queries that sort at once share what the server has for that. All follow
tasks and threads as context variables do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock

from datastore.model.encoded import Encoded
from datastore.model.errors import LimitExceededError, OverloadedError
from datastore.model.limits import BATCH_BYTES, SORT_BYTES
from datastore.model.operations import ReadResult

__all__ = [
    "ReadRoom",
    "SortBudget",
    "SortRoom",
    "batch_bytes",
    "read_room",
    "set_batch_bytes",
    "set_read_room",
    "set_sort_budget",
    "sort_room",
]

#: What a client is asked to wait before it repeats a query that did not fit among those that sort.
SORT_RETRY_AFTER_S = 1.0

_room_bytes: ContextVar[int | None] = ContextVar("datastore.room_bytes", default=None)
_sort_budget: ContextVar[SortBudget | None] = ContextVar("datastore.sort_budget", default=None)
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

    def take(self, result: ReadResult) -> ReadResult:
        """Count what was read, and give it back."""
        value = result.value
        data = value.data if isinstance(value, Encoded) else value
        self._taken_bytes += len(data) if isinstance(data, bytes) else 0
        return result

    def left_out(self) -> ReadResult:
        """The result of a key that was left unread. It may be asked for again."""
        most = self._most_bytes or 0
        return ReadResult(
            error=LimitExceededError(
                f"at most {most:,} bytes of values are read in one batch: request this one again",
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


class SortBudget:
    """How many bytes all the queries that share it may hold together to sort. For any threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """How many bytes are held now."""
        return self._held_bytes

    def change(self, held: int, wanted: int) -> None:
        """Hold `wanted` bytes in place of `held`.

        Raises LimitExceededError where that is more than there are, OverloadedError where others hold too many of
        them; less is always possible.
        """
        with self._lock:
            total = self._held_bytes + wanted - held
            if wanted > held and total > self._most_bytes:
                raise self._refusal(wanted)
            self._held_bytes = total

    def _refusal(self, wanted: int) -> LimitExceededError | OverloadedError:
        if wanted > self._most_bytes:
            return sort_bytes_exceeded(self._most_bytes)
        return OverloadedError(
            f"all sorted queries here hold {self._held_bytes:,} bytes, of at most {self._most_bytes:,}"
            " (all_sort_bytes): try again, give the query a limit, or read others to their ends",
            retry_after_s=SORT_RETRY_AFTER_S,
        )


class SortRoom:
    """What one query holds to sort: at most SORT_BYTES, and no more than is left of the budget that it shares.

    A thread may still be sorting when the query is closed: from then on nothing is held.
    """

    def __init__(self, budget: SortBudget | None, most_bytes: int) -> None:
        self._budget = budget
        self._most_bytes = most_bytes
        self._held = 0
        self._is_closed = False
        self._lock = Lock()

    def hold(self, wanted: int) -> None:
        """Hold so many bytes from now on. Raises LimitExceededError or OverloadedError, and holds what it held."""
        with self._lock:
            if not self._is_closed:
                self._hold(wanted)

    def _hold(self, wanted: int) -> None:
        if wanted > self._most_bytes:
            raise sort_bytes_exceeded(self._most_bytes)
        if self._budget is not None:
            self._budget.change(self._held, wanted)
        self._held = wanted

    def give_back(self, count: int) -> None:
        """Hold so many bytes less."""
        self.hold(max(0, self._held - count))

    def close(self) -> None:
        """Hold nothing, from now on. May be repeated."""
        with self._lock:
            self._hold(0)
            self._is_closed = True


def set_sort_budget(budget: SortBudget) -> None:
    """Note that every query made from here on shares this budget for what it sorts."""
    _sort_budget.set(budget)


def sort_room(most_bytes: int = SORT_BYTES) -> SortRoom:
    """The room for what one query sorts; shared with nobody where no budget was set."""
    return SortRoom(_sort_budget.get(), most_bytes)


def sort_bytes_exceeded(most_bytes: int) -> LimitExceededError:
    """The error of one query that would have to hold more to sort."""
    return LimitExceededError(
        f"sorting these results takes more than {most_bytes:,} bytes; give the query a limit, or filters",
        limit="sort_bytes",
        maximum=most_bytes,
    )
