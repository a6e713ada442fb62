"""Gathers rows into batches, each as large as one call should be. Pure, except for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from datastore_server.cli.transfer.reading import Row

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "WAIT_S", "Batches"]

#: The maximum number of rows in a batch, and about how many bytes: at most half of what servers accept.
BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024
#: The maximum time that a row waits for others to fill its batch while the input pauses, in seconds.
WAIT_S = 1.0


class Batches:
    """Gathers rows, and passes each batch on once it is full or, if the input pauses, has waited for WAIT_S."""

    def __init__(self, write: Callable[[list[Row]], None], settle: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self._settle = settle
        self._held: list[Row] = []
        self._bytes = 0
        self._since = 0.0

    def add(self, row: Row) -> None:
        """Add a row."""
        if not self._held:
            self._since = time.monotonic()
        elif len(self._held) >= BATCH_ROWS or self._bytes + row.size > BATCH_BYTES:
            self.flush()
            self._since = time.monotonic()
        self._held.append(row)
        self._bytes += row.size

    def flush(self) -> None:
        """Pass on the rows held."""
        if self._held:
            batch, self._held, self._bytes = self._held, [], 0
            self._write(batch)

    def due_s(self) -> float | None:
        """How long the rows held may still wait; None if none are held."""
        return self._since + WAIT_S - time.monotonic() if self._held else None

    def send(self) -> None:
        """Pass on the rows held, and wait for the answer: there is nothing else to do."""
        self.flush()
        self._settle()
