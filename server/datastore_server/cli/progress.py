"""Progress of long jobs on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datastore_server.cli.output import say
from datastore_server.counting import counted

__all__ = ["Progress", "progress"]

#: How often a line is written if stderr is not a terminal, in seconds.
LINE_INTERVAL_S = 3.0
_BAR_CHARACTERS = 20


class Progress:
    """Counts rows, and the part done of a known total."""

    def __init__(self, what: str, total: int | None, unit: str = "rows") -> None:
        self.rows = 0
        self._what = what
        self._total = total
        self._unit = unit
        self._done = 0
        self._began = self._reported_at = time.monotonic()

    def advance(self, rows: int, done: int | None = None) -> None:
        """Count more rows; `done` is the part of the total reached, without it all rows so far."""
        self.rows += rows
        self._done = self.rows if done is None else done
        self._report()

    @property
    def seconds(self) -> float:
        """The time taken so far."""
        return time.monotonic() - self._began

    def summary(self) -> str:
        """A summary, e.g. `28,298 rows in 3.1 s (9,128/s)`."""
        return f"{self._counted()} in {self.seconds:.1f} s ({self._rate():,.0f}/s)"

    def _counted(self) -> str:
        return counted(self.rows, self._unit)

    def _rate(self) -> float:
        return self.rows / max(self.seconds, 1e-9)

    def _left(self) -> str:
        """The part done and the estimated time left, if the total is known."""
        if not self._total or not self._done:
            return ""
        part = min(self._done / self._total, 1.0)
        return f", {part:.0%}, {self.seconds * (1 - part) / part:.0f} s left"

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported_at >= LINE_INTERVAL_S:
            self._reported_at = now
            say(f"{self._what}: {self._counted()}, {self._rate():,.0f}/s{self._left()}")


class _Bar(Progress):
    """The same, drawn in place on a terminal."""

    def __init__(self, what: str, total: int | None, unit: str, bar: Any) -> None:
        super().__init__(what, total, unit)
        self._bar = bar
        self._task = bar.add_task(what, total=total, reported="")

    def _report(self) -> None:
        reported = f"{self._counted()}, {self._rate():,.0f}/s{self._left()}"
        self._bar.update(self._task, completed=self._done, reported=reported)


@contextmanager
def progress(what: str, total: int | None = None, *, unit: str = "rows") -> Iterator[Progress]:
    """Report the progress of a job. `total` has the same unit as `done` of `advance`.

    `unit` is what `advance` counts, in the plural.
    """
    if not sys.stderr.isatty():
        yield Progress(what, total, unit)
        return
    # Imported only for a terminal, because importing rich takes longer than a small job.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(_BAR_CHARACTERS), TextColumn("{task.fields[reported]}"))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(what, total, unit, bar)
