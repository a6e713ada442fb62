"""Which parts of a query a scan has applied, and what remains to be done. Pure decisions.

A store reports for each part whether it applied it; the rest, the residual, is applied in one place, above the scan.
Parts build on one another (filters, orders, counts, projection), so each can be applied only after those before it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from datastore.model.capability import Support
from datastore.model.query import Query
from datastore.model.trees import Condition

if TYPE_CHECKING:
    from datastore.model.explanation import QueryPart

__all__ = [
    "ALL_FILTERS",
    "COMPLETE",
    "RAW",
    "UNORDERED",
    "WHOLE_VALUES",
    "Applied",
    "Support",
    "is_in_order",
    "narrowed",
    "parts_of",
    "remaining",
]


class Applied(NamedTuple):
    """The parts of one query that a scan has applied to its scope.

    Each of `filters` belongs to the query's filter at the same index; filters beyond its end are not applied. `orders`
    includes `start_after`, and `counts` are offset and limit. Results come in the order of the query if `orders` is
    EXACT, otherwise in key order, or in any order if `by_key` is False. A scan that has not applied all of these may
    still begin after `start_after`, or read no more than the `limit` needs.
    """

    filters: tuple[Support, ...] = ()
    orders: Support = Support.NONE
    counts: Support = Support.NONE
    start_after: Support = Support.NONE
    limit: Support = Support.NONE
    projection: Support = Support.NONE
    by_key: bool = True
    #: Whether all filters are applied, however many there are.
    all_filters: bool = False

    def filter_support(self, place: int) -> Support:
        """How the filter at this index was applied."""
        if self.all_filters:
            return Support.EXACT
        return self.filters[place] if place < len(self.filters) else Support.NONE

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the projection can remain."""
        return self.counts is Support.EXACT

    def residual_filters(self, filters: Sequence[Condition]) -> list[Condition]:
        """The filters of a query that have yet to be applied."""
        if self.all_filters:
            return []
        if not self.filters:
            return list(filters)
        return [part for place, part in enumerate(filters) if self.filter_support(place) is not Support.EXACT]


#: Only the scope, in key order.
RAW = Applied()
#: Only the scope, in any order.
UNORDERED = Applied(by_key=False)
#: The scope and all filters, in key order.
ALL_FILTERS = Applied(all_filters=True)
#: Everything but the projection.
WHOLE_VALUES = Applied(orders=Support.EXACT, counts=Support.EXACT, all_filters=True)
#: Everything.
COMPLETE = WHOLE_VALUES._replace(projection=Support.EXACT)


def narrowed(query: Query, narrows: Callable[[Condition], bool], needed: int) -> Applied:
    """The parts applied by a scan in key order that drops some of the entries that the filters of `narrows` exclude.

    Without orders it begins after `start_after`. It ends after `needed` entries; `sys.maxsize` means all.
    """
    if not query.filters and query.start_after is None and needed == sys.maxsize:
        return RAW
    begins_after = query.start_after is not None and not query.orders
    return Applied(
        filters=tuple(Support.INEXACT if narrows(part) else Support.NONE for part in query.filters),
        start_after=Support.EXACT if begins_after else Support.NONE,
        limit=Support.NONE if needed == sys.maxsize else Support.INEXACT,
    )


def parts_of(query: Query, applied: Applied) -> tuple[QueryPart, ...]:
    """The parts of a query, in the order in which they are applied, and how a scan applied each."""
    parts = [(f"filter {part}", applied.filter_support(place)) for place, part in enumerate(query.filters)]
    parts += [(f"order {str(part).removeprefix('+')}", applied.orders) for part in query.orders]
    if query.start_after is not None:
        is_sorted = applied.orders is Support.EXACT
        parts.append((f"start after {query.start_after.key}", Support.EXACT if is_sorted else applied.start_after))
    if query.offset:
        parts.append((f"offset {query.offset}", applied.counts))
    if query.limit is not None:
        parts.append((f"limit {query.limit}", applied.counts if applied.is_complete else applied.limit))
    if query.keys_only:
        parts.append(("keys only", applied.counts))
    if query.fields is not None:
        parts.append((f"fields {', '.join(query.fields)}", applied.projection))
    if query.metadata:
        # Nothing reads it twice: a store that could not read it has refused the query.
        parts.append(("metadata", Support.EXACT))
    # Loaded only for queries that are explained, as in `aio.scan`.
    from datastore.model.explanation import QueryPart, shortened

    return tuple(QueryPart(shortened(text), support) for text, support in parts)


def remaining(query: Query, applied: Applied) -> Query | None:
    """The query that has yet to be applied to the results of a scan; None if they are final."""
    if applied.is_complete:
        is_left = query.fields is not None and applied.projection is not Support.EXACT
        return query.replaced(filters=(), start_after=None, offset=0, limit=None) if is_left else None
    filters = applied.residual_filters(query.filters)
    if not filters and is_in_order(query, applied) and not _is_cut(query):
        return None
    return query if len(filters) == len(query.filters) else query.replaced(filters=filters)


def _is_cut(query: Query) -> bool:
    """Whether a query leaves out some of the entries that match, or part of what they hold."""
    is_counted = query.limit is not None or query.offset > 0
    return is_counted or not query.returns_whole_values or query.needs_metadata is not query.metadata


def is_in_order(query: Query, applied: Applied) -> bool:
    """Whether results that pass the filters are in their final order and begin where they should."""
    if query.orders:
        return applied.orders is Support.EXACT
    return query.start_after is None or Support.EXACT in (applied.start_after, applied.orders)
