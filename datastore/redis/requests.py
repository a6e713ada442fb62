"""The requests of writes, which the server remembers in the step that makes the write: as scripts take and answer them.

The horizon is a time by the clock of the server. Until the first request, it is when this store was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datastore.engine.requests import Outcome
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.errors import BatchAbortedError, DatastoreError, InvalidValueError
from datastore.model.key import Key
from datastore.model.operations import WriteResult
from datastore.redis.scripts import ABORTED, UNFIT

__all__ = ["RequestTexts", "outcome_of_answer"]


class RequestTexts:
    """What a store says of its requests, of which the server keeps `most`.

    `server_us` asks the server for its time. It is asked before each repeated request, and the answer takes a while to
    arrive: so a time is never taken to be later than it was, and a write that may have been forgotten is never taken
    for one that was not made.
    """

    def __init__(self, most: int, server_us: Callable[[], int], *, clock: Callable[[], int] = elapsed_us) -> None:
        self._most = most
        self._server_us = server_us
        self._clock = clock
        self._opened_us = clock()
        #: The same by the clock of the server.
        self._opened_there_us: int | None = None

    def of(self, attempts: Sequence[Attempt | None]) -> list[bytes]:
        """The texts of the requests of some writes, empty without one."""
        ahead_us = 0
        if self._opened_there_us is None or any(each is not None and each.is_repeat for each in attempts):
            ahead_us = self._server_us() - self._clock()
            if self._opened_there_us is None:
                self._opened_there_us = max(0, self._opened_us + ahead_us)
        return [b"" if each is None else self._text(each, ahead_us, self._opened_there_us) for each in attempts]

    def _text(self, attempt: Attempt, ahead_us: int, opened_us: int) -> bytes:
        first = "" if attempt.first_us is None else str(max(0, attempt.first_us + ahead_us))
        return f"{attempt.request_id.hex()} {first} {opened_us} {self._most}".encode()


def outcome_of_answer(key: Key, answer: bytes, result_of: Callable[[bytes], WriteResult]) -> Outcome:
    """The outcome of a write with this remembered answer; `result_of` reads those that the scripts give themselves."""
    error: DatastoreError
    details = answer[1:].decode("utf-8", "replace")
    if answer[:1] == UNFIT:
        error = InvalidValueError(details)
    elif answer[:1] == ABORTED:
        error = BatchAbortedError("another write of its atomic batch failed", index=int(details))
    else:
        result = result_of(answer)
        return Outcome(str(key), result.metadata, result.error)  # type: ignore[arg-type]
    return Outcome(str(key), error=error)
