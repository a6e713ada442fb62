"""How many bytes of results a caller can use and hold: set by a server, respected by the stores that read for it.

A batch of a thousand keys may select gigabytes, while its answer has room for a few megabytes; an unread stream should
not hold a large batch; and concurrent queries that sort share a server's budget. All follow
tasks and threads, as context variables do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock

from datastore.model.encoded import Encoded, encoded_bytes
from datastore.model.errors import LimitExceededError, OverloadedError
from datastore.model.limits import BATCH_BYTES, SORT_BYTES, SORT_DISK_BYTES, SORT_MEMORY_BYTES
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

#: How long a client is asked to wait before repeating a query for which the sort budget had no room.
SORT_RETRY_AFTER_S = 1.0

_room_bytes: ContextVar[int | None] = ContextVar("datastore.room_bytes", default=None)
_sort_budget: ContextVar[SortBudget | None] = ContextVar("datastore.sort_budget", default=None)
_batch_bytes: ContextVar[Callable[[], int] | None] = ContextVar("datastore.batch_bytes", default=None)


def set_read_room(most_bytes: int) -> None:
    """Let every `batch_get` called from here on read at most so many bytes of values, but at least one value."""
    _room_bytes.set(most_bytes)


def read_room() -> ReadRoom:
    """The room for the values of one `batch_get`; unlimited unless set."""
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
        """Count a result, and return it."""
        value = result.value
        data = value.data if isinstance(value, Encoded) else value
        self._taken_bytes += len(data) if isinstance(data, bytes) else 0
        return result

    def take_all(self, results: list[ReadResult]) -> list[ReadResult]:
        """Count several results, and return them."""
        values = [result.value for result in results]
        self._taken_bytes += encoded_bytes(values) + sum(len(value) for value in values if isinstance(value, bytes))
        return results

    def left_out(self) -> ReadResult:
        """The result of a key that was left unread. It may be requested again."""
        most = self._most_bytes or 0
        return ReadResult(
            error=LimitExceededError(
                f"at most {most:,} bytes of values are read in one batch: request this one again",
                limit="message_bytes",
                maximum=most,
            )
        )


def set_batch_bytes(size: Callable[[], int]) -> None:
    """Let batches of results pulled from here on have about `size()` bytes, evaluated before each batch."""
    _batch_bytes.set(size)


def batch_bytes() -> int:
    """The target size of the next batch of results, in bytes of keys and values."""
    size = _batch_bytes.get()
    return BATCH_BYTES if size is None else size()


class SortBudget:
    """The bytes that all queries sharing it may hold for sorting. Safe for threads.

    Each of them moves serialized values beyond `memory_bytes` to temporary files, of at most `disk_bytes`.
    """

    def __init__(
        self,
        most_bytes: int = SORT_BYTES,
        *,
        memory_bytes: int = SORT_MEMORY_BYTES,
        disk_bytes: int = SORT_DISK_BYTES,
    ) -> None:
        self.memory_bytes = memory_bytes
        self.disk_bytes = disk_bytes
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """How many bytes are held now."""
        return self._held_bytes

    def change(self, held: int, wanted: int) -> None:
        """Hold `wanted` bytes in place of `held`.

        Raises LimitExceededError if that exceeds the whole budget, OverloadedError if others hold too much of it;
        holding less always succeeds.
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
    """The bytes that one query holds for sorting: at most SORT_BYTES, and no more than is left of its shared budget.

    A thread may still be sorting when the query is closed: from then on nothing is held.
    """

    def __init__(self, budget: SortBudget | None, most_bytes: int) -> None:
        #: Beyond this, what is held is moved to files, of at most so many bytes.
        self.memory_bytes = SORT_MEMORY_BYTES if budget is None else budget.memory_bytes
        self.disk_bytes = SORT_DISK_BYTES if budget is None else budget.disk_bytes
        self._budget = budget
        self._most_bytes = most_bytes
        self._held = 0
        self._is_closed = False
        self._lock = Lock()

    def hold(self, wanted: int) -> None:
        """Hold so many bytes from now on. If it raises LimitExceededError or OverloadedError, nothing changes."""
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
        """Release so many bytes."""
        self.hold(max(0, self._held - count))

    def close(self) -> None:
        """Hold nothing, from now on. May be repeated."""
        with self._lock:
            self._hold(0)
            self._is_closed = True


def set_sort_budget(budget: SortBudget) -> None:
    """Let every query created from here on, in this task or thread, share this budget for sorting."""
    _sort_budget.set(budget)


def sort_room(most_bytes: int = SORT_BYTES) -> SortRoom:
    """The room for sorting one query; not shared unless a budget was set."""
    return SortRoom(_sort_budget.get(), most_bytes)


def sort_bytes_exceeded(most_bytes: int) -> LimitExceededError:
    """The error of a query that would have to hold more for sorting."""
    return LimitExceededError(
        f"sorting or grouping these results takes more than {most_bytes:,} bytes; give the query a limit, or filters",
        limit="sort_bytes",
        maximum=most_bytes,
    )
