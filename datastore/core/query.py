"""Queries under their documented path: Query, Filter, Order, Cursor and their helpers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datastore.core.batch import Entry, Position
from datastore.core.cursor import Cursor, chain_gen, is_iterable, limit_gen, offset_gen
from datastore.core.description import QueryDescription
from datastore.core.fields import Filter, Order, object_getattr

__all__ = [
    "Cursor",
    "Entry",
    "Filter",
    "Order",
    "Position",
    "Query",
    "chain_gen",
    "is_iterable",
    "limit_gen",
    "object_getattr",
    "offset_gen",
]

_object_getattr = object_getattr


class Query(QueryDescription):
    """What to look for: `Query(Key('/Airport')).filter('country', '=', 'CH').order('-elevation')`.

    The scope is exactly the collection of `key`: `/a` selects `/a/b`, `/a:b` and `/a:b:c`, but not `/a`, `/a/b/c`,
    `/a/T:x` or `/a:b/q`. With `recursive` it is every key whose text begins with `/a/` or `/a:`; for `/`, every key.
    Then the filters, the orders, `start_after`, `offset` and `limit` are applied. Ties of the orders, and results
    without orders, are sorted by key ascending.

    `object_getattr(obj, field)` is a custom field lookup. `keys_only` leaves values out; `start_after` returns only
    entries after a Position; `allow_partial` leaves out shards that cannot be reached.
    Every attribute can be assigned, and is checked: UnsupportedTypeError (a TypeError) for a wrong type,
    InvalidQueryError (a ValueError) for a negative number.
    """

    def __call__(self, iterable: Iterable[Any]) -> Cursor:
        """A lazy cursor over the values of `iterable` that match, sorted (stable) and limited."""
        cursor = Cursor(self, iterable)
        cursor._apply("filters", "orders", "offset", "limit")
        return cursor

    def apply(self, entries: Iterable[Entry]) -> Cursor:
        """A lazy cursor that applies the whole query, `start_after` included, to entries of its scope in any order.

        The caller selects the scope; see `covers`. For asyncio there is `aio.Cursor.applied(query, entries)`.
        """
        return Cursor.applied(self, entries)
