"""Queries under their documented path: Query, Filter, Order, Cursor and their helpers."""

from __future__ import annotations

from datastore.model.entries import Entry, Position
from datastore.model.fields import Filter, Order, object_getattr
from datastore.model.query import Query
from datastore.sync.cursor import Cursor, chain_gen, is_iterable, limit_gen, offset_gen

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
