"""What a store remembers of its writes, so that a repeated write is answered instead of made again. Pure.

A store knows its horizon: the time since when it remembers every write with a request id. A repeated write that it does
not find was never made if its first attempt was sent after the horizon; otherwise that is unknown, and it is refused.
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

#: The maximum number of requests that one write forgets. More than one, so that a store over its limits shrinks.
_FORGOTTEN_AT_ONCE = 16


class Outcome(NamedTuple):
    """The outcome of a write: the new metadata of the entry, None if it was removed; or why the write was refused."""

    key: str
    metadata: Metadata | None = None
    error: DatastoreError | None = None

    def answer(self, operation: Operation, present: Callable[[], tuple[Any, Metadata | None]]) -> WriteResult:
        """The result of `operation`, which is a later attempt of this write.

        `present` returns the current value and metadata of the entry. The value that a patch produced is not
        remembered, so it is returned only if the entry has not been written since. Raises InvalidError for a write of
        another key.
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

    A refused first attempt changed nothing, so it is not remembered. A refused repeat is: the caller learns that the
    write was not made, so an earlier attempt that is still in flight must not be made afterwards.
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
        """The outcome of the write; None if it was not made. Raises RequestForgottenError if that is unknown."""

    def note(self, operation: Operation, result: WriteResult) -> None:
        """Remember the outcome of a write with an attempt."""


def answers_together(
    operations: Sequence[Operation], requests: Remembered, present: Callable[[Operation], tuple[Any, Metadata | None]]
) -> list[WriteResult]:
    """The results of an atomic batch as remembered, if they are for each of its writes; otherwise an empty list."""

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
    """Remember the outcomes of an atomic batch, except for writes whose outcome is already known, or was forgotten."""
    for operation, result in zip(operations, results, strict=True):
        known = None if operation.attempt is None else attempt(requests.find, operation.attempt)
        if known is not None and known.error is None and known.value is None:
            requests.note(operation, result)


def require_within(attempt: Attempt, since_us: int) -> None:
    """Raise RequestForgottenError if an attempt that was not found may have been made before this time."""
    if attempt.first_us is not None and attempt.first_us <= since_us:
        raise forgotten()


def forgotten() -> RequestForgottenError:
    """The error for a repeated write that may have been made before the store's horizon."""
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
        """The outcome of the write; None if it was not made. Raises RequestForgottenError if that is unknown."""
        found = self._noted.get(attempt.request_id)
        if found is not None:
            return found[1]
        require_within(attempt, self._since_us)
        return None

    def note(self, operation: Operation, result: WriteResult) -> None:
        """Remember the outcome of a write with an attempt, and forget some that are too old or too many."""
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
        """Refuse repeats of earlier writes that are not found here: entries came from a store that knows theirs."""
        self._since_us = self._clock()
