"""Which parts of a query a scan has applied, and what remains to be done. Pure decisions.

A store says for each part whether it applied it; what remains, the residual, is applied in one place, above the
scan. Parts build on one another (filters, orders, offset, limit), so one can be applied only after those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from datastore.model.query import Query
from datastore.model.trees import Condition

__all__ = ["ALL_FILTERS", "COMPLETE", "RAW", "UNORDERED", "Applied", "Support", "remaining"]


class Support(Enum):
    """How a scan has applied a part of a query."""

    #: Not at all.
    NONE = "none"
    #: Some entries that it excludes may still be there, and none is missing.
    INEXACT = "inexact"
    #: Completely.
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Applied:
    """The parts of one query that a scan has applied to its scope.

    Each of `filters` belongs to the filter at its place; those beyond are not applied. `orders` includes
    `start_after`, and `counts` are offset, limit and projection. Results come in the order of the query if `orders` is
    EXACT; else in key order, or with `by_key` False in any.
    """

    filters: tuple[Support, ...] = ()
    orders: Support = Support.NONE
    counts: Support = Support.NONE
    by_key: bool = True
    #: Whether all filters are applied, however many there are.
    all_filters: bool = False

    def filter_support(self, place: int) -> Support:
        """How the filter at one place was applied."""
        if self.all_filters:
            return Support.EXACT
        return self.filters[place] if place < len(self.filters) else Support.NONE

    @property
    def is_complete(self) -> bool:
        """Whether nothing remains."""
        return self.counts is Support.EXACT

    def residual_filters(self, filters: Sequence[Condition]) -> list[Condition]:
        """Those of a query's filters that have yet to be applied."""
        return [part for place, part in enumerate(filters) if self.filter_support(place) is not Support.EXACT]


#: The scope alone, in key order.
RAW = Applied()
#: The scope alone, in any order.
UNORDERED = Applied(by_key=False)
#: The scope and all filters, in key order.
ALL_FILTERS = Applied(all_filters=True)
#: Everything.
COMPLETE = Applied(orders=Support.EXACT, counts=Support.EXACT, all_filters=True)


def remaining(query: Query, applied: Applied) -> Query | None:
    """The query that has yet to be applied to the results of a scan; None if they are final."""
    if applied.is_complete:
        return None
    left = query.copy()
    left.filters = applied.residual_filters(query.filters)
    return left
