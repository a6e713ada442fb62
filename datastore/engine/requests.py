"""What a store remembers of the writes that it has made, so that a repeated one is answered and not made again. Pure.

A store knows since when it remembers every write with a request id: its horizon. A repeated write that it does not
know was not made if its first attempt was sent after that; otherwise nobody knows, and it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Protocol

from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.errors import DatastoreError, InvalidError, RequestForgottenError, UnavailableError
from datastore.model.metadata import Metadata
from datastore.model.operations import Operation, Patch, WriteResult, attempt, refusal_of

__all__ = ["Outcome", "Requests", "answers_together", "forgotten", "note_together", "outcome_of", "require_within"]

#: How many requests one write forgets at most. More than one, so that they become fewer if the limits are exceeded.
_FORGOTTEN_AT_ONCE = 16


class Outcome(NamedTuple):
    """How the write of a key ended: the entry's metadata, None if it has none any more; or why it was refused."""

    key: str
    metadata: Metadata | None = None
    error: DatastoreError | None = None

    def answer(self, operation: Operation, present: Callable[[], tuple[Any, Metadata | None]]) -> WriteResult:
        """The result of `operation`, which is a later attempt of this write.

        `present` returns the entry's value and metadata now: the value that a patch has made is not remembered, and
        known only if the entry was not written since. Raises InvalidError if it is a write of another key.
        """
        if str(operation.key) != self.key:
            raise InvalidError(
                f"the request id of this write of {operation.key} is that of a write of {self.key}: choose a new one"
                " for each write",
                field="attempt.request_id",
            )
        if self.error is not None:
            raise copy(self.error)
        result = WriteResult(metadata=self.metadata)
        if isinstance(operation, Patch) and self.metadata is not None:
            value, metadata = present()
            if metadata is not None and metadata.version == self.metadata.version:
                result.value = value
        return result


def outcome_of(operation: Operation, result: WriteResult) -> Outcome | None:
    """What to remember of a write with this result; None for nothing.

    A first attempt that is refused changes nothing, and is not remembered. A repeated one is: its caller is told so,
    and an earlier attempt that is still on its way must not be made after that.
    """
    error = None if result.error is None else refusal_of(result.error)
    if error is not None and (isinstance(error, UnavailableError) or not _is_repeat(operation)):
        return None
    return Outcome(str(operation.key), result.metadata, error)


def _is_repeat(operation: Operation) -> bool:
    return operation.attempt is not None and operation.attempt.is_repeat


class Remembered(Protocol):
    """The requests of a store."""

    def find(self, attempt: Attempt) -> Outcome | None:
        """How the write ended; None if it was not made. Raises RequestForgottenError if nobody knows."""

    def note(self, operation: Operation, result: WriteResult) -> None:
        """Remember how a write with an attempt ended."""


def answers_together(
    operations: Sequence[Operation], requests: Remembered, present: Callable[[Operation], tuple[Any, Metadata | None]]
) -> list[WriteResult]:
    """The results of an atomic batch if another attempt of each write has ended, as they were then; otherwise none."""

    def answer(operation: Operation) -> WriteResult | None:
        known = None if operation.attempt is None else attempt(requests.find, operation.attempt).value
        if known is None or known.key != str(operation.key):
            return None
        made = attempt(known.answer, operation, partial(present, operation))
        return made.value if made.error is None else WriteResult(refusal_of(made.error))

    results: list[WriteResult] = []
    for operation in operations:
        result = answer(operation)
        if result is None:
            return []
        results.append(result)
    return results


def note_together(operations: Sequence[Operation], results: Sequence[WriteResult], requests: Remembered) -> None:
    """Remember how the writes of an atomic batch ended, except those of which that is known already, or forgotten."""
    for operation, result in zip(operations, results, strict=True):
        known = None if operation.attempt is None else attempt(requests.find, operation.attempt)
        if known is not None and known.error is None and known.value is None:
            requests.note(operation, result)


def require_within(attempt: Attempt, since_us: int) -> None:
    """Raise RequestForgottenError for an unknown attempt that may have been made before this moment."""
    if attempt.first_us is not None and attempt.first_us <= since_us:
        raise forgotten()


def forgotten() -> RequestForgottenError:
    """The error for a repeated write that may have been made before the store remembered any."""
    return RequestForgottenError(
        "whether this write was made is not known any more, and it is not made again: read the entry to find out"
    )


class Requests:
    """The requests of a store in memory: at most `most`, for `kept_s` seconds. Not safe for threads."""

    def __init__(self, most: int, kept_s: float, *, clock: Callable[[], int] = elapsed_us) -> None:
        self._most = most
        self._kept_us = int(kept_s * 1_000_000)
        self._clock = clock
        self._since_us = clock()
        #: The outcomes and when they were noted, by request id, the earliest first.
        self._noted: dict[bytes, tuple[int, Outcome]] = {}

    def find(self, attempt: Attempt) -> Outcome | None:
        """How the write ended; None if it was not made. Raises RequestForgottenError if nobody knows."""
        found = self._noted.get(attempt.request_id)
        if found is not None:
            return found[1]
        require_within(attempt, self._since_us)
        return None

    def note(self, operation: Operation, result: WriteResult) -> None:
        """Remember how a write with an attempt ended, and forget some that are too old or too many."""
        outcome = None if operation.attempt is None else outcome_of(operation, result)
        if outcome is None or operation.attempt is None:
            return
        now_us = self._clock()
        self._noted[operation.attempt.request_id] = (now_us, outcome)
        for _ in range(_FORGOTTEN_AT_ONCE):
            request_id, (noted_us, _) = next(iter(self._noted.items()))
            if len(self._noted) <= self._most and noted_us >= now_us - self._kept_us:
                break
            del self._noted[request_id]
            self._since_us = max(self._since_us, noted_us)

    def forget_others(self) -> None:
        """Entries have come whose writes another store remembers: refuse repetitions of writes from before now."""
        self._since_us = self._clock()
