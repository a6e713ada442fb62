"""How a query was evaluated: what each store applied of it, examined and returned. Pure data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from datastore.model.capability import Support

__all__ = ["PART_CHARACTERS", "Explanation", "QueryPart", "shortened"]

#: The longest text of a part of a query, in characters: filters may hold values of any size.
PART_CHARACTERS = 200

_HEADINGS = {Support.EXACT: "applied", Support.INEXACT: "applied in part", Support.NONE: "applied after reading"}


@dataclass(frozen=True, slots=True)
class QueryPart:
    """A part of a query as text, e.g. `filter country = CH`, and how much of it a store applied while it read."""

    text: str
    support: Support


@dataclass(slots=True)
class Explanation:
    """How one store, and those below it, evaluated a query. `str()` shows it for people.

    `kind` and `text` are as in the store's Description; `shard` is its name if it is a shard. `parts` are the parts of
    what it was asked; a composed store may ask less of its children. `scanned` and `returned` count the entries that
    were examined, there or below, and that it returned; `remaining` is how many of these were left when the rest of the
    query had been applied to them, None if nothing was left to do. `time_s` is the time spent waiting for its entries,
    its children's included. `note` says what is missing here and why. The counts grow until the query has ended.
    """

    kind: str
    text: str = ""
    parts: tuple[QueryPart, ...] = ()
    shard: str = ""
    scanned: int = 0
    returned: int = 0
    remaining: int | None = None
    time_s: float = 0.0
    note: str = ""
    children: list[Explanation] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        shard = f"shard {self.shard}: " if self.shard else ""
        name = f"{self.kind} ({self.text})" if self.text else self.kind
        yield f"{shard}{name}: scanned {self.scanned:,}, returned {self.returned:,}, {self.time_s * 1000:.1f} ms"
        for support, heading in _HEADINGS.items():
            texts = [part.text for part in self.parts if part.support is support]
            if texts:
                yield f"  {heading}: {', '.join(texts)}"
        if self.remaining is not None:
            yield f"  left after that: {self.remaining:,}"
        if self.note:
            yield f"  note: {self.note}"
        for child in self.children:
            yield from (f"  {line}" for line in child._lines())


def shortened(text: str) -> str:
    """The text on one line, cut to PART_CHARACTERS."""
    cut = text if len(text) <= PART_CHARACTERS else f"{text[: PART_CHARACTERS - 1]}…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
