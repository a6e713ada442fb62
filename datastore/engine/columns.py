"""The fields of many entries, as the filters and orders of a query read them: each field when it is asked for. Pure."""

from __future__ import annotations

from itertools import compress
from typing import Any

from datastore.model.encoded import views
from datastore.model.entries import Batch
from datastore.model.fields import KEY_FIELD, Filter, Order, column_of, is_member
from datastore.model.query import Query

__all__ = ["Columns"]


class Columns:
    """The columns of a batch.

    Of serialized values only the members that are asked for are read, where that is faster than reading the values. The
    caller's code gets the values themselves, which are decoded on access.
    """

    __slots__ = ("_query", "_values", "batch")

    def __init__(self, batch: Batch, query: Query, values: list[Any] | None = None) -> None:
        self.batch = batch
        self._query = query
        self._values = batch.values if query.has_custom_code else values

    @property
    def values(self) -> list[Any]:
        """The values in the form that filters read."""
        if self._values is None:
            found = self.batch.serialized()
            self._values = views(self.batch.values) if found is None else found[0].views(found[1])
        return self._values

    def of(self, part: Filter | Order) -> list[Any]:
        """The field of a filter or an order."""
        getter, field = self._query.getter_of(part), part.field
        if self._values is None and is_member(getter, field) and (found := self.batch.serialized()) is not None:
            kind, datas = found
            members = kind.members(datas, [field])
            if members is not None:
                return members[0]
        keys = self.batch.keys if field == KEY_FIELD else []
        return column_of(getter, field)(keys, self.values, self.batch.metadata)

    def holding(self, part: bytes) -> list[bool]:
        """Whether each value may have a text or bytes with this part in it. Costs little if they are serialized."""
        found = self.batch.serialized()
        return [True] * len(self.batch) if found is None else found[0].holding(found[1], part)

    def selected(self, held: list[bool]) -> Columns:
        """The columns of the marked entries."""
        values = None if self._values is None else list(compress(self._values, held))
        return Columns(self.batch.selected(held), self._query, values)
