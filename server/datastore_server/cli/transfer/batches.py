"""Rows gathered into batches, each as large as one call should be. Pure, but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from datastore_server.cli.transfer.reading import Row

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "WAIT_S", "Batches"]

#: One batch holds at most so many rows, and about so many bytes: half of what servers take, at least.
BATCH_ROWS = 500
BATCH_BYTES = 256 * 1024
#: How long, in seconds, a row waits for others to fill its batch while the input pauses.
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
        """One more row."""
        if not self._held:
            self._since = time.monotonic()
        elif len(self._held) >= BATCH_ROWS or self._bytes + row.size > BATCH_BYTES:
            self.flush()
            self._since = time.monotonic()
        self._held.append(row)
        self._bytes += row.size

    def flush(self) -> None:
        """Pass on what is held."""
        if self._held:
            batch, self._held, self._bytes = self._held, [], 0
            self._write(batch)

    def due_s(self) -> float | None:
        """How long the rows held may still wait; None if none are held."""
        return self._since + WAIT_S - time.monotonic() if self._held else None

    def send(self) -> None:
        """Pass on what is held, and wait until it is answered: there is nothing else to do."""
        self.flush()
        self._settle()
