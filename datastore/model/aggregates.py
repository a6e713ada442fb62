"""Aggregates: what to compute of the entries of a query, by group. Pure data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datastore.model.arguments import check_query
from datastore.model.errors import InvalidQueryError, UnsupportedTypeError
from datastore.model.fields import BESIDE_VALUES, METADATA_FIELDS, Order, checked_field
from datastore.model.limits import GROUPS
from datastore.model.query import Query

__all__ = ["AGGREGATIONS", "Aggregate", "Aggregation", "Avg", "Count", "Max", "Min", "Sum"]


class Aggregation:
    """One value to compute of the entries of a group: a Count, Sum, Avg, Min or Max. Treat it as frozen."""

    __slots__ = ("field",)

    def __init__(self, field: str) -> None:
        #: The field that it is computed from; None for entries as such.
        self.field: str | None = checked_field(field, type(self).__name__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Aggregation):
            return NotImplemented
        return type(self) is type(other) and self.field == other.field

    def __hash__(self) -> int:
        return hash((type(self), self.field))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.field is None else repr(self.field)})"


class Count(Aggregation):
    """How many entries there are; with a field, how many have it: it is not missing and not None."""

    __slots__ = ()

    def __init__(self, field: str | None = None) -> None:
        if field is None:
            self.field = None
        else:
            super().__init__(field)


class Sum(Aggregation):
    """The exact sum of the numbers in a field, rounded once; 0 without any.

    An int if all of them are ints and it fits in 64 bits, otherwise a float. A bool is not a number here; other values
    are left out. Infinities and NaN add up as in IEEE 754: NaN if there is one, or both infinities.
    """

    __slots__ = ()


class Avg(Aggregation):
    """The exact mean of the numbers in a field, rounded once to a float; None without any. Numbers as in Sum."""

    __slots__ = ()


class Min(Aggregation):
    """The first value of a field in the total order, missing and None left out; None without any."""

    __slots__ = ()


class Max(Aggregation):
    """The last value of a field in the total order, missing and None left out; None without any."""

    __slots__ = ()


AGGREGATIONS: tuple[type[Aggregation], ...] = (Count, Sum, Avg, Min, Max)


class Aggregate(NamedTuple):
    """What to compute: `aggregations` by name, for each group of the entries that `query`, which is frozen, selects.

    Entries with equal values in all fields of `group_by` are one group. `orders` and `limit` are those of the rows;
    more than `most_groups` groups are refused.
    """

    query: Query
    aggregations: Mapping[str, Aggregation]
    group_by: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    limit: int | None = None
    most_groups: int = GROUPS

    @classmethod
    def checked(
        cls,
        query: Any,
        aggregations: Any,
        *,
        group_by: Any = (),
        orders: Any = (),
        limit: Any = None,
        most_groups: int = GROUPS,
    ) -> Aggregate:
        """The aggregate of these arguments.

        Raises UnsupportedTypeError (a TypeError) or InvalidQueryError (a ValueError), which name what is valid.
        """
        check_query(query)
        _check_query(query)
        named = _checked_aggregations(aggregations)
        paths = _checked_paths(group_by, named)
        ordered = _checked_orders(orders, [*paths, *named])
        _check_limit(limit)
        return cls(query.frozen(), named, paths, ordered, limit, most_groups)

    @property
    def is_divisible(self) -> bool:
        """Whether the entries of several stores can be aggregated separately: no counts depend on their order."""
        return self.query.limit is None and not self.query.offset

    @property
    def scan_query(self) -> Query:
        """The query that reads the entries."""
        fields = (*self.group_by, *(part.field for part in self.aggregations.values()))
        is_sorted = not self.is_divisible or self.query.start_after is not None
        return self.query.replaced(
            keys_only=all(field is None or field in BESIDE_VALUES for field in fields),
            metadata=any(field in METADATA_FIELDS for field in fields),
            orders=self.query.orders if is_sorted else (),
        )


def _check_query(query: Query) -> None:
    if query.keys_only or query.fields is not None or query.metadata:
        raise InvalidQueryError(
            "the query of an aggregate returns no entries: leave out keys_only, fields and metadata", field="query"
        )
    if query.allow_partial:
        raise InvalidQueryError(
            "an aggregate is never partial: leave out allow_partial, and repeat it once all shards can be reached",
            field="allow_partial",
        )


def _checked_aggregations(aggregations: Any) -> dict[str, Aggregation]:
    if not isinstance(aggregations, Mapping):
        raise UnsupportedTypeError(
            'aggregations must be a dict of names, e.g. {"n": Count(), "mean": Avg("elevation")}, got'
            f" {type(aggregations).__name__}",
            path="aggregations",
        )
    if not aggregations:
        raise InvalidQueryError('name at least one aggregation, e.g. {"n": Count()}', field="aggregations")
    for name, part in aggregations.items():
        checked_field(name, "an aggregation's result")
        if type(part) not in AGGREGATIONS:
            valid = ", ".join(kind.__name__ for kind in AGGREGATIONS)
            raise UnsupportedTypeError(
                f"the aggregation {name!r} must be one of {valid}, e.g. Count(), got {part!r}", path="aggregations"
            )
    return dict(aggregations)


def _checked_paths(group_by: Any, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(group_by, (str, bytes)) or not isinstance(group_by, Sequence):
        raise UnsupportedTypeError(
            f"group_by must be a list of fields, e.g. ['country'], got {type(group_by).__name__}", path="group_by"
        )
    taken = set(names)
    for path in group_by:
        if checked_field(path, "a group") in taken:
            raise InvalidQueryError(
                f"{path!r} would be in each row twice; name each field of group_by once, and aggregations differently",
                field="group_by",
            )
        taken.add(path)
    return tuple(group_by)


def _checked_orders(orders: Any, names: Sequence[str]) -> tuple[Order, ...]:
    if isinstance(orders, (str, bytes)) or not isinstance(orders, Sequence):
        raise UnsupportedTypeError(
            f"orders must be a list of names, e.g. ['-n'], got {type(orders).__name__}", path="orders"
        )
    ordered = tuple(order if isinstance(order, Order) else Order(order) for order in orders)
    for order in ordered:
        if order.field not in names:
            raise InvalidQueryError(
                f"rows cannot be sorted by {order.field!r}; they have {', '.join(map(repr, names))}", field="orders"
            )
    return ordered


def _check_limit(limit: Any) -> None:
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise UnsupportedTypeError(
            f"the limit of an aggregate must be an int or None, for all rows, got {type(limit).__name__}", path="limit"
        )
    if limit < 0:
        raise InvalidQueryError(f"the limit of an aggregate must be at least 0, got {limit}", field="limit")
