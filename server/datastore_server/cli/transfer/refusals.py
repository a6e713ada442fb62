"""`--skip-errors FILE`: the rows that an import leaves out, each with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from datastore_server.cli.output import reason_of
from datastore_server.cli.transfer.reading import Refusal

__all__ = ["Refusals", "refusals_in"]


class Refusals:
    """Writes rows that are left out as lines `{"line": ..., "row": ..., "reason": ..., "error": ..., "text": ...}`."""

    def __init__(self, out: TextIO) -> None:
        self.count = 0
        self._out = out

    def add(self, refusal: Refusal) -> None:
        """Write this row; it is in the file when this returns."""
        record = {
            "line": refusal.line,
            "row": refusal.number,
            "reason": reason_of(refusal.error),
            "error": str(refusal.error),
            "text": refusal.text.rstrip("\r\n"),
        }
        # Escapes everything but ASCII, including bytes that are not text.
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()
        self.count += 1


@contextmanager
def refusals_in(path: str | None, *, source: str, goes_on: bool) -> Iterator[Refusals | None]:
    """Writes refusals to a file, appending if an import is resumed; None without a path."""
    if path is None:
        yield None
        return
    target = Path(path)
    if source != "-" and target.exists() and target.samefile(source):
        raise click.UsageError(f"--skip-errors {path} is the file to import")
    with target.open("a" if goes_on else "w", encoding="utf-8") as out:
        yield Refusals(out)
