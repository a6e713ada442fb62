"""Fields of values: how to look one up, filter by it and sort by it. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cmp_to_key, partial
from typing import Any, ClassVar, Self

from datastore.model.encoded import Encoded, decoded
from datastore.model.errors import InvalidQueryError, UnsupportedError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.metadata import Stamp, times_of
from datastore.model.operators import OPERATORS, all_of, value_predicate
from datastore.model.ordering import is_nan, is_plain_type, order_key
from datastore.model.spellings import TwoNames, definer_of, is_overridden, place_of
from datastore.model.trees import Condition

__all__ = [
    "KEY_FIELD",
    "METADATA_FIELDS",
    "VALUE_FIELD",
    "Filter",
    "Order",
    "checked_field",
    "checked_fields",
    "field_of",
    "object_getattr",
]

#: The field that is the entry's own key.
KEY_FIELD = "__key__"
#: The field that is the entry's whole value.
VALUE_FIELD = "__value__"
#: The fields that are parts of the entry's metadata, with the place of each in it.
METADATA_FIELDS = {"__version__": 0, "__create_time__": 1, "__update_time__": 2}
#: The fields that are not part of the value.
BESIDE_VALUES = frozenset({KEY_FIELD, *METADATA_FIELDS})

Getter = Callable[[Any, str], Any]
#: A function of the keys, the values and, if they were read, the metadata of many entries.
Column = Callable[[list[Any], list[Any], "list[Stamp] | None"], list[Any]]


def object_getattr(obj: Any, field: str) -> Any:
    """The field of an object, or None: an item of a map, or of maps within it for a dotted name.

    Objects that are neither maps nor of a plain type are read by attribute (except names that begin with `_`), then as
    `obj[field]`. If an object or a map raises anything, the field is missing. Maps and plain values are never read by
    attribute.
    """
    if issubclass(type(obj), Encoded):
        obj = obj.view()
    if issubclass(type(obj), Mapping):
        return _item(obj, field)
    if is_plain_type(type(obj)):
        return None
    return _member(obj, field)


def _item(obj: Mapping[Any, Any], field: str) -> Any:
    try:
        while True:
            value = obj.get(field)
            if value is not None or field in obj:
                return value
            head, dot, rest = field.partition(".")
            inner: Any = obj.get(head) if dot else None
            if not issubclass(type(inner), Mapping):
                return None
            obj, field = inner, rest
    except Exception:  # noqa: BLE001 - a map of a custom class may raise anything
        return None


def _member(obj: Any, field: str) -> Any:
    try:
        if not field.startswith("_"):
            return getattr(obj, field)
    except Exception:  # noqa: BLE001, S110 - likewise
        pass
    try:
        return obj[field]
    except Exception:  # noqa: BLE001 - likewise
        return None


def field_of(getter: Getter, key: Key | None, obj: Any, field: str) -> Any:
    """A field of an entry: the key for `__key__`, the value for `__value__`, otherwise what `getter` finds, or None.

    None also for the fields of its metadata, which is not known here.
    """
    if field == KEY_FIELD:
        return key
    if field in METADATA_FIELDS:
        return None
    if field == VALUE_FIELD:
        return obj
    if getter is object_getattr:
        return object_getattr(obj, field)
    try:
        return getter(decoded(obj), field)
    except (LookupError, AttributeError, TypeError):
        return None


def column_of(getter: Getter, field: str) -> Column:
    """The field of many entries, given their keys, values and metadata: the field of each, in their order.

    Only the field `__key__` reads the keys, only those of the metadata read the metadata, and only the others read the
    values. Entries whose metadata was not read raise UnsupportedError.
    """
    if field == KEY_FIELD:
        return lambda keys, values, metadata: list(keys)
    if field in METADATA_FIELDS:
        return partial(_metadata_column, field)
    if field == VALUE_FIELD:
        return lambda keys, values, metadata: values
    if getter is not object_getattr:
        return lambda keys, values, metadata: [field_of(getter, None, value, field) for value in values]
    if "." in field:
        return lambda keys, values, metadata: [object_getattr(value, field) for value in values]
    item = operator.itemgetter(field)

    def column(keys: list[Any], values: list[Any], metadata: list[Stamp] | None) -> list[Any]:
        if all_of(dict, values):
            # Usually all are maps, and all have the field. Names of a custom class may raise anything.
            with suppress(Exception):
                return list(map(item, values))
            with suppress(Exception):
                return [value.get(field) for value in values]
        elif all(issubclass(kind, Mapping) for kind in set(map(type, values))):
            with suppress(Exception):
                return [value.get(field) for value in values]
        return [object_getattr(value, field) for value in values]

    return column


def is_member(getter: Getter, field: str) -> bool:
    """Whether a field of a map can only be its member of that very name."""
    return getter is object_getattr and "." not in field and field != VALUE_FIELD and field not in BESIDE_VALUES


def _metadata_column(field: str, keys: list[Any], values: list[Any], metadata: list[Stamp] | None) -> list[Any]:
    if metadata is None and values:
        raise UnsupportedError(f"{field} is part of an entry's metadata, which these entries do not have")
    place = METADATA_FIELDS[field]
    column = [stamp[place] for stamp in metadata or ()]
    return times_of(column) if place else column


def checked_getter(getter: Any) -> Getter:
    """`getter` itself; UnsupportedTypeError (a TypeError) if it is not callable."""
    if not callable(getter):
        raise UnsupportedTypeError(
            f"object_getattr must be callable with an object and a field, got {type(getter).__name__}",
            path="object_getattr",
        )
    return getter  # type: ignore[no-any-return]


#: The regular instance attributes of filters and orders; any other attribute is the caller's code.
_DATA = {"field", "op", "value"}


class _Fielded(TwoNames):
    """What filters and orders share: a field, and how it is looked up."""

    field: str

    @staticmethod
    def object_getattr(obj: Any, field: str) -> Any:
        """Looks up a field; a class or an instance may have its own."""
        return object_getattr(obj, field)

    @property
    def own_getter(self) -> Getter | None:
        """The getter given to the instance or defined by a subclass; None for the library's."""
        getter = self.object_getattr
        return None if getter is _Fielded.object_getattr else getter

    @property
    def is_plain(self) -> bool:
        """Whether it behaves exactly like the library's own, so that a storage engine or a server can evaluate it."""
        return type(self) in (Filter, Order) and vars(self).keys() <= _DATA and self.own_getter is None

    def looked_up_by(self, getter: Getter | None) -> Self:
        """The same, with its field looked up by `getter` if there is one."""
        if getter is None:
            return self
        twin = copy(self)
        twin.object_getattr = getter  # type: ignore[assignment]
        return twin


def checked_field(field: Any, what: str) -> str:
    """`field` itself. Raises UnsupportedTypeError (a TypeError) unless a str, InvalidQueryError if it is empty."""
    if not isinstance(field, str):
        raise UnsupportedTypeError(f"the field of {what} must be a str, got {type(field).__name__}", path="field")
    if not field:
        raise InvalidQueryError(f"the field of {what} is empty; name a field, e.g. 'age' or '__key__'", field="field")
    return field


#: The fields that a projection cannot name, and why.
_NOT_RETURNED = {
    KEY_FIELD: "keys are always returned; leave it out, or use keys_only",
    VALUE_FIELD: "it is the whole value, which a query without fields returns",
    **dict.fromkeys(METADATA_FIELDS, "it is part of the metadata, which a query with metadata=True returns"),
}


def checked_fields(fields: Any) -> tuple[str, ...]:
    """The fields of a projection, each once.

    Raises UnsupportedTypeError (a TypeError) unless they are a sequence of str, and InvalidQueryError (a ValueError) if
    there are none, or if one is empty, `__key__`, `__value__` or a field of the metadata.
    """
    if isinstance(fields, (str, bytes)) or not isinstance(fields, Sequence):
        raise UnsupportedTypeError(
            f"a query's fields must be a list of names, e.g. ['name', 'geo.lat'], got {type(fields).__name__}",
            path="fields",
        )
    for field in fields:
        _check_field(field)
    if not fields:
        raise InvalidQueryError(
            "a query's fields must name at least one; None returns whole values, keys_only none", field="fields"
        )
    return tuple(dict.fromkeys(fields))


def _check_field(field: Any) -> None:
    if not isinstance(field, str):
        raise UnsupportedTypeError(f"a field to return must be a str, got {type(field).__name__}", path="fields")
    if not field:
        raise InvalidQueryError("a field to return is empty; name one, e.g. 'age' or 'geo.lat'", field="fields")
    if field in _NOT_RETURNED:
        raise InvalidQueryError(f"{field} cannot be among the fields to return: {_NOT_RETURNED[field]}", field="fields")


#: A subclass that overrides any of these may give operators another meaning or accept other values.
_JUDGING = ("generator", "__call__", "value_passes")


class Filter(_Fielded, Condition):
    """One condition on a field: `Filter('age', '>=', 18)`.

    Values are compared in the total order without coercion; those of different kinds match only `!=`. A missing
    field is None: `= None` matches it, and `<`, `<=`, `>=`, `>` never match None. NaN matches only `!=`. `in` and `not
    in` take a list, and match if `=` matches for one or for none of its items; `starts_with` and `contains` match text,
    bytes, keys and lists; `exists` takes True or False. Never raises while filtering.
    Raises InvalidQueryError (a ValueError) for an empty field, an unknown operator, or a value that the operator does
    not take.
    """

    conditional_operators: ClassVar[list[str]] = list(OPERATORS)
    two_names: ClassVar = {"valuePasses": "value_passes"}

    def __init__(self, field: str, op: str, value: Any, object_getattr: Getter | None = None) -> None:
        self.field = checked_field(field, "a filter")
        if op not in self.conditional_operators:
            raise InvalidQueryError(
                f"{op!r} is not a filter operator; use one of {', '.join(self.conditional_operators)}", field="op"
            )
        fault = OPERATORS[op].fault_of(value) if op in OPERATORS else None
        if fault is not None and not any(is_overridden(self, Filter, name) for name in _JUDGING):
            raise InvalidQueryError(fault, field="value")
        self.op = op
        self.value = value
        if object_getattr is not None:
            self.object_getattr = checked_getter(object_getattr)  # type: ignore[assignment]

    def __call__(self, obj: Any) -> bool:
        """Whether an object passes."""
        return self.value_passes(field_of(self.own_getter or object_getattr, None, obj, self.field))

    def value_passes(self, value: Any) -> bool:
        """Whether a value of the field passes."""
        return value_predicate(self.op, self.value)(value)

    valuePasses = value_passes  # noqa: N815 - the documented name

    def generator(self, iterable: Iterable[Any]) -> Iterator[Any]:
        return (obj for obj in iterable if self(obj))

    def comparisons(self) -> tuple[Filter, ...]:
        return (self,)

    def mapped(self, change: Callable[[Filter], Filter]) -> Filter:
        return change(self)

    def judged(self, judge_of: Callable[[Filter], Callable[..., list[bool]]]) -> Callable[..., list[bool]]:
        """The filter as a function of many entries."""
        return judge_of(self)

    def data(self) -> Any:
        return [self.field, self.op, self.value]

    @classmethod
    def filter(cls, filters: Condition | Iterable[Condition], iterable: Iterable[Any]) -> Iterator[Any]:
        """The objects that pass the filter, or all of several filters."""
        if isinstance(filters, Condition):
            filters = [filters]
        for filter_ in filters:
            iterable = filter_.generator(iterable)
        return iter(iterable)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Filter):
            return NotImplemented
        return (
            type(self) is type(other)
            and (self.field, self.op) == (other.field, other.op)
            and same_typed(self.value, other.value)
        )

    def __hash__(self) -> int:
        return hash((self.field, self.op))

    def __str__(self) -> str:
        return f"{self.field} {self.op} {self.value}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.field!r}, {self.op!r}, {self.value!r})"


def same_typed(a: Any, b: Any) -> bool:
    """Whether two values are equal and of the same types throughout: 1 is neither 1.0 nor True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        names = {name: name for name in b}
        return a.keys() == b.keys() and all(
            same_typed(name, names[name]) and same_typed(a[name], b[name]) for name in a
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same_typed, a, b))
    return bool(a == b) or (is_nan(a) and is_nan(b))


class Order(_Fielded):
    """One order: `Order('+name')` or `Order('name')` ascending, `Order('-age')` descending.

    Only the first character is an operator. Raises InvalidQueryError (a ValueError) for an empty field.
    """

    order_operators: ClassVar[list[str]] = ["-", "+"]
    two_names: ClassVar = {
        "isAscending": "is_ascending",
        "isDescending": "is_descending",
        "multipleOrderComparison": "multiple_order_comparison",
    }

    def __init__(self, order: str, object_getattr: Getter | None = None) -> None:
        text = checked_field(order, "an order")
        self.op = text[0] if text[0] in self.order_operators else "+"
        self.field = checked_field(text[1:] if text[0] in self.order_operators else text, "an order")
        if object_getattr is not None:
            self.object_getattr = checked_getter(object_getattr)  # type: ignore[assignment]

    def is_ascending(self) -> bool:
        """Whether the smallest value comes first."""
        return self.op == "+"

    def is_descending(self) -> bool:
        """Whether the largest value comes first."""
        return self.op == "-"

    isAscending = is_ascending  # noqa: N815 - the documented name
    isDescending = is_descending  # noqa: N815 - the documented name

    @property
    def descends(self) -> bool:
        """Whether results are sorted in descending order. A subclass may override either of the two methods above."""
        if place_of(self, "is_descending") < place_of(self, "is_ascending"):
            return bool(self.is_descending())
        return not self.is_ascending()

    def keyfn(self, obj: Any) -> Any:
        """The value of the field, which is only compared in the total order."""
        return field_of(self.own_getter or object_getattr, None, obj, self.field)

    @classmethod
    def multiple_order_comparison(cls, orders: Iterable[Order]) -> Callable[[Any, Any], int]:
        """A function of two objects: negative, 0 or positive if the first sorts before, with or after the second."""
        ordered = list(orders)

        def comparison(a: Any, b: Any) -> int:
            for order in ordered:
                first = order_key(order.keyfn(a), descending=order.descends)
                second = order_key(order.keyfn(b), descending=order.descends)
                if first < second:
                    return -1
                if second < first:
                    return 1
            return 0

        return comparison

    multipleOrderComparison = multiple_order_comparison  # noqa: N815 - the documented name

    @classmethod
    def sorted(cls, items: Iterable[Any], orders: Iterable[Order]) -> list[Any]:
        """The items in order; ties stay in their original order."""
        if definer_of(cls, "multiple_order_comparison") < cls.__mro__.index(Order):
            return sorted(items, key=cmp_to_key(cls.multiple_order_comparison(orders)))
        ordered = list(items)
        # Sorting is stable, so sort by the last order first.
        for order in reversed(list(orders)):
            keys = [order_key(order.keyfn(item)) for item in ordered]
            places = sorted(range(len(keys)), key=keys.__getitem__, reverse=order.descends)
            ordered = [ordered[i] for i in places]
        return ordered

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Order):
            return NotImplemented
        return type(self) is type(other) and (self.field, self.op) == (other.field, other.op)

    def __hash__(self) -> int:
        return hash((self.field, self.op))

    def __str__(self) -> str:
        return self.op + self.field

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"
