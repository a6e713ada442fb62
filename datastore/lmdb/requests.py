"""The requests of writes, in the environment of the entries: noted in the transaction that makes the write.

The database has a head, the moment after which no request was forgotten; for each request its outcome, by its id; and
its id, by the moment of its write. Moments are by a clock that stops while the store is closed: so nothing is
ever taken to be older than it is, and a write that may have been forgotten is never taken for one that was not made.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

import lmdb

from datastore.engine.requests import Outcome, outcome_of, require_within
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.errors import BatchAbortedError, ConditionFailedError, DatastoreError, InvalidValueError
from datastore.model.limits import REQUESTS_KEPT_S
from datastore.model.metadata import Metadata
from datastore.model.operations import Operation, WriteResult

__all__ = ["CommitRequests", "RequestClock", "begin_requests", "opened_requests"]

#: The keys of the head, of the outcomes and of the moments. The moments are last, so that new ones are appended.
_HEAD, _ID, _MOMENT = b"a", b"i", b"t"
_TIME = Struct(">Q")
#: The kind of an outcome, its moment, the length of the text of its key, which follows, and then its details.
_OUTCOME = Struct(">BQH")
_GONE, _KEPT, _CONDITION_FAILED, _REFUSED, _ABORTED = range(5)
_METADATA = Struct(">QQQQ")
#: The first moment of a new directory: writes that were first sent so long before it was opened again were certainly
#: not made before it was created.
_FIRST_US = int(REQUESTS_KEPT_S * 1_000_000)
#: How many requests a commit forgets beyond twice those that it notes.
_FORGOTTEN = 16


class RequestClock:
    """The moments of one store: they go on, in microseconds, where they ended when it was last open."""

    __slots__ = ("_base_us", "_clock", "_last")

    def __init__(self, last: int, *, clock: Callable[[], int] = elapsed_us) -> None:
        self._clock = clock
        self._base_us = last - clock()
        self._last = last

    def now(self) -> int:
        """This moment."""
        return self._base_us + self._clock()

    def take(self) -> int:
        """The moment of a write: now, or later if another write has that one."""
        self._last = max(self._last + 1, self.now())
        return self._last

    def of(self, local_us: int) -> int:
        """A moment of `elapsed_us`."""
        return self._base_us + local_us


def begin_requests(transaction: lmdb.Transaction[bytes], database: lmdb._Database) -> None:
    """Make the database of a new directory, in which no writes have been made."""
    transaction.put(_HEAD, _TIME.pack(0), db=database)


def opened_requests(environment: lmdb.Environment, name: bytes) -> tuple[lmdb._Database, RequestClock]:
    """The database and its clock. That of a directory without one remembers from now on."""
    database = environment.open_db(name)
    with environment.begin(database) as transaction, transaction.cursor() as cursor:
        if cursor.last():
            last = _TIME.unpack_from(cursor.key(), 1)[0] if cursor.key().startswith(_MOMENT) else _FIRST_US
            return database, RequestClock(max(last, _since(transaction.get(_HEAD))))
    with environment.begin(database, write=True) as transaction:
        transaction.put(_HEAD, _TIME.pack(_FIRST_US))
    return database, RequestClock(_FIRST_US)


class CommitRequests:
    """The requests within one write transaction, whose cursor on their database it uses."""

    def __init__(self, cursor: lmdb.Cursor[bytes], clock: RequestClock, count: Callable[[], int]) -> None:
        self._cursor = cursor
        self._clock = clock
        #: The items of the database.
        self._count = count
        self._noted = 0

    def find(self, attempt: Attempt) -> Outcome | None:
        """How the write ended; None if it was not made. Raises RequestForgottenError if nobody knows."""
        if self._cursor.set_key(_ID + attempt.request_id):
            return _unpacked(self._cursor.value())
        if attempt.first_us is not None:
            since = _since(self._cursor.get(_HEAD))
            require_within(attempt._replace(first_us=self._clock.of(attempt.first_us)), since)
        return None

    def note(self, operation: Operation, result: WriteResult) -> None:
        """Remember how a write with an attempt ended."""
        outcome = outcome_of(operation, result)
        if outcome is None or operation.attempt is None:
            return
        request_id, moment = operation.attempt.request_id, self._clock.take()
        self._cursor.put(_ID + request_id, _packed(moment, outcome))
        self._cursor.put(_MOMENT + _TIME.pack(moment), request_id)
        self._noted += 1

    def trim(self, most: int, kept_us: int) -> None:
        """Forget the earliest of those beyond `most`, and those that are older than `kept_us`; some in each commit."""
        cursor, oldest, since = self._cursor, self._clock.now() - kept_us, 0
        for _ in range(2 * self._noted + _FORGOTTEN if self._noted else 0):
            if not cursor.set_range(_MOMENT):
                break
            (moment,) = _TIME.unpack_from(cursor.key(), 1)
            # Each has two items, and there is the head.
            if moment >= oldest and self._count() <= 2 * most + 1:
                break
            request_id = cursor.value()
            cursor.delete()
            if cursor.set_key(_ID + request_id):
                cursor.delete()
            since = moment
        if since:
            self._raise_since(since)

    def forget_others(self) -> None:
        """Refuse repetitions of writes from before now that are not noted."""
        self._raise_since(self._clock.take())

    def _raise_since(self, moment: int) -> None:
        self._cursor.put(_HEAD, _TIME.pack(max(moment, _since(self._cursor.get(_HEAD)))))


def _since(head: bytes | None) -> int:
    moment: int = 0 if head is None else _TIME.unpack(head)[0]
    return moment


def _packed(moment: int, outcome: Outcome) -> bytes:
    text = outcome.key.encode()
    if outcome.error is None:
        kind, details = _GONE, b""
        if outcome.metadata is not None:
            kind, details = _KEPT, _METADATA.pack(*outcome.metadata)
    elif isinstance(outcome.error, ConditionFailedError):
        kind, details = _CONDITION_FAILED, _TIME.pack(outcome.error.version) + str(outcome.error).encode()
    elif isinstance(outcome.error, BatchAbortedError):
        kind, details = _ABORTED, _TIME.pack(outcome.error.index) + str(outcome.error).encode()
    else:
        kind, details = _REFUSED, str(outcome.error).encode("utf-8", "replace")
    return b"".join((_OUTCOME.pack(kind, moment, len(text)), text, details))


def _unpacked(data: bytes) -> Outcome:
    kind, _, text_bytes = _OUTCOME.unpack_from(data)
    details_at = _OUTCOME.size + text_bytes
    key, details = data[_OUTCOME.size : details_at].decode(), data[details_at:]
    if kind == _KEPT:
        return Outcome(key, Metadata._make(_METADATA.unpack(details)))
    if kind == _GONE:
        return Outcome(key)
    error: DatastoreError
    if kind == _CONDITION_FAILED:
        error = ConditionFailedError(details[_TIME.size :].decode(), version=_TIME.unpack_from(details)[0])
    elif kind == _ABORTED:
        error = BatchAbortedError(details[_TIME.size :].decode(), index=_TIME.unpack_from(details)[0])
    else:
        error = InvalidValueError(details.decode())
    return Outcome(key, error=error)
