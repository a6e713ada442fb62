"""Writes rows to a store in concurrent batches, and tracks up to which row all are acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from datastore.model.errors import DatastoreError, InvalidError, LimitExceededError, UnsupportedTypeError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.operations import Put, WriteResult
from datastore.sync.base import Datastore
from datastore_server.cli.progress import Progress
from datastore_server.cli.transfer.batches import Batches
from datastore_server.cli.transfer.distinct import DistinctKeys
from datastore_server.cli.transfer.reading import Refusal, Row

__all__ = ["BATCHES_IN_FLIGHT", "Importer"]

#: The number of concurrent batches. More are not faster on two cores.
BATCHES_IN_FLIGHT = 4
#: After an interruption: how long batches in progress may take to be answered, in seconds.
LAST_ANSWERS_S = 5.0

#: The errors that concern one row, and do not affect others.
_REFUSALS = (InvalidError, UnsupportedTypeError, LimitExceededError)


class Importer:
    """Writes the rows of a file.

    `acknowledged` is the number of the last row up to which all were stored, or refused and passed to `refuse`: a
    resumed import may skip these. Rows with the same key are written in order. Entries expire as their row says,
    otherwise as `expiry` does. `stored` counts rows, `keys` their keys; `has_sent` is whether any row was sent to the
    store.
    """

    def __init__(
        self,
        store: Datastore,
        progress: Progress,
        source: str,
        *,
        skipped: int = 0,
        position: Callable[[], int | None] = lambda: None,
        refuse: Callable[[Refusal], None] | None = None,
        expiry: Expiry | None = None,
    ) -> None:
        self.acknowledged = skipped
        self.stored = 0
        self.has_sent = False
        self.keys = DistinctKeys()
        self.batches = Batches(self._write, self._settle_all)
        self._store = store
        self._progress = progress
        self._source = source
        self._position = position
        self._refuse = refuse
        self._expiry = expiry
        self._pool = ThreadPoolExecutor(BATCHES_IN_FLIGHT)
        self._pending: deque[tuple[list[Row], int | None, Future[list[WriteResult]]]] = deque()
        self._keys_under_way: dict[Key, int] = {}
        self._has_gap = False

    def run(self, rows: Iterable[Row]) -> None:
        """Write all rows. Raises the first error, after waiting for the batches in progress.

        Rows before one that cannot be read are written; after an interruption, rows that were not sent yet are not.
        """
        try:
            try:
                for row in rows:
                    self.batches.add(row)
            except DatastoreError:
                if not self._has_gap:
                    self.batches.flush()
                raise
            self.batches.flush()
            self._settle_all()
        except BaseException:
            self._count_last_answers()
            raise
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _write(self, batch: list[Row]) -> None:
        while len(self._pending) >= BATCHES_IN_FLIGHT or (
            self._pending and any(row.key in self._keys_under_way for row in batch)
        ):
            self._settle()
        for row in batch:
            self._keys_under_way[row.key] = self._keys_under_way.get(row.key, 0) + 1
        writes = [Put(row.key, row.value, expiry=row.expiry or self._expiry) for row in batch]
        self.has_sent = True
        self._pending.append((batch, self._position(), self._pool.submit(self._store.batch_write, writes)))

    def _settle_all(self) -> None:
        while self._pending:
            self._settle()

    def _settle(self) -> None:
        """Wait for the answer to the oldest batch. Raises the error of its first row that failed."""
        batch, position, answer = self._pending[0]
        try:
            outcomes = answer.result()
        except DatastoreError:
            self._has_gap = True
            raise
        self._pending.popleft()
        for row in batch:
            self._keys_under_way[row.key] -= 1
            if not self._keys_under_way[row.key]:
                del self._keys_under_way[row.key]
        before = self.stored
        try:
            self._count(batch, outcomes)
        finally:
            self._progress.advance(self.stored - before, position)

    def _count(self, batch: Sequence[Row], outcomes: Sequence[WriteResult]) -> None:
        for row, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is None:
                self.stored += 1
                self.keys.add(row.key)
            elif self._refuse is not None and isinstance(outcome.error, _REFUSALS):
                self._refuse(Refusal(row.line, row.number, row.text, outcome.error))
            else:
                self._has_gap = True
                outcome.error.args = (f"{self._source}, line {row.line} ({row.key}): {outcome.error}",)
                raise outcome.error
            self.acknowledged = row.number

    def _count_last_answers(self) -> None:
        wait([answer for *_, answer in self._pending], timeout=LAST_ANSWERS_S)
        # The first error is already being raised; only the count, which ends at the first gap, matters here.
        with suppress(DatastoreError):
            while not self._has_gap and self._pending and self._pending[0][-1].done():
                self._settle()
