"""Query: what to select from a store. Pure data; only calling a query makes a cursor."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, overload

from datastore.model.encoded import decoded
from datastore.model.entries import Entry, Position
from datastore.model.errors import DatastoreError, InvalidQueryError, UnsupportedTypeError
from datastore.model.fields import (
    BESIDE_VALUES,
    METADATA_FIELDS,
    Column,
    Filter,
    Getter,
    Order,
    checked_fields,
    checked_getter,
    column_of,
    object_getattr,
)
from datastore.model.key import Key
from datastore.model.ordering import encode_column
from datastore.model.spellings import is_overridden
from datastore.model.trees import Condition, Tree

if TYPE_CHECKING:
    from datastore.model.metadata import Stamp
    from datastore.sync.cursor import Cursor

__all__ = ["Changes", "Query"]


class Changes(TypedDict, total=False):
    """The attributes that `Query.replaced` changes."""

    key: Key
    limit: int | None
    offset: int
    recursive: bool
    keys_only: bool
    fields: Sequence[str] | None
    metadata: bool
    start_after: Position | None
    allow_partial: bool
    sort_keys: bool
    explain: bool
    filters: Sequence[Condition]
    orders: Sequence[Order]


def _are_instances(scope: str, texts: Sequence[str]) -> bool:
    """Whether all of these keys are instances of `scope` itself, as nearly all keys of a collection are. Exact if True.

    Counted in one text, which takes a fifth of the time of looking at each key: if there are as many instances as keys,
    and no slashes but theirs, then every key begins with one, because every key begins with a slash.
    """
    last = scope.rpartition("/")[2]
    if not last or ":" in last or "\n" in scope:
        return False
    joined = "\n".join(texts)
    return joined.count(f"{scope}:") == len(texts) and joined.count("/") == len(texts) * scope.count("/")


class Query:
    """What to select: `Query(Key('/Airport')).filter('country', '=', 'CH').order('-elevation')`.

    The scope is exactly the collection of `key`: `/a` selects `/a/b`, `/a:b` and `/a:b:c`, but not `/a`, `/a/b/c`,
    `/a/T:x` or `/a:b/q`. With `recursive` it is every key whose text begins with `/a/` or `/a:`; for `/`, every key.
    Then the filters, the orders, `start_after`, `offset` and `limit` are applied. Ties of the orders, and results
    without orders, are sorted by key ascending.

    `object_getattr(obj, field)` is a custom field lookup of filters and orders. `keys_only` leaves values out;
    `fields=['name', 'geo.lat']` returns maps of only those fields of each value; with `metadata` entries are returned
    as StoredEntry, with version and times; `start_after` returns only entries after a Position; `allow_partial` leaves
    out shards that cannot be reached. Filters and orders may also name `__key__`, `__value__` (the whole value),
    `__version__` (an int), and `__create_time__` and `__update_time__` (datetimes); the last three, like `metadata`,
    raise UnsupportedError if the store keeps no versions.
    Every attribute can be assigned, and is checked: UnsupportedTypeError (a TypeError) for a wrong type,
    InvalidQueryError (a ValueError) for a negative number, or for both `keys_only` and `fields`.
    Stores get it frozen, so that none can change another's query: see `frozen`.
    """

    #: The key whose collection, or if `recursive` everything below it, is selected.
    key: Key
    #: The maximum number of results, counted after filters and offset; None for all, 0 for none.
    limit: int | None
    #: How many matching entries are skipped before the first result.
    offset: int
    recursive: bool
    keys_only: bool = False
    #: The fields of each value that are returned; None for whole values. `geo.lat` is the member `lat` of the map
    #: `geo`, and is returned within such a map. A field that a value does not have is left out, and a value that is not
    #: a map becomes {}. `a` includes `a.b`.
    fields: Sequence[str] | None = None
    #: Whether the entries are returned with their version and times.
    metadata: bool = False
    #: The position after which results begin; None for the beginning.
    start_after: Position | None
    allow_partial: bool
    #: Asks stores for each result's sort key, for merging. Between stores only.
    sort_keys: bool
    #: Asks stores how they evaluate the query. Between stores only: callers call `store.explain(query)`.
    explain: bool = False
    #: Lists; in a frozen query, tuples.
    filters: list[Condition]
    orders: list[Order]
    _is_frozen = False
    object_getattr: Any = staticmethod(object_getattr)

    def __init__(
        self,
        key: Key,
        limit: int | None = None,
        offset: int = 0,
        object_getattr: Getter | None = None,
        *,
        recursive: bool = False,
        keys_only: bool = False,
        fields: Sequence[str] | None = None,
        metadata: bool = False,
        start_after: Position | None = None,
        allow_partial: bool = False,
        sort_keys: bool = False,
    ) -> None:
        self.key = key
        self.limit = limit
        self.offset = offset
        self.recursive = recursive
        self.keys_only = keys_only
        if fields is not None:
            self.fields = fields
        if metadata is not False:
            self.metadata = metadata
        self.start_after = start_after
        self.allow_partial = allow_partial
        self.sort_keys = sort_keys
        self.filters = []
        self.orders = []
        if object_getattr is not None:
            self.object_getattr = checked_getter(object_getattr)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_frozen:
            raise _is_read(name)
        check = _CHECKS.get(name)
        if check is not None:
            value = check(value)
        if value and name in _EXCLUDES and getattr(self, _EXCLUDES[name]):
            raise _contradiction()
        object.__setattr__(self, name, value)

    @property
    def returns_whole_values(self) -> bool:
        """Whether results include their values, with all fields."""
        return self.fields is None and not self.keys_only

    @overload
    def filter(self, filter_: Condition, /) -> Self: ...
    @overload
    def filter(self, field: str, op: str, value: Any, object_getattr: Getter | None = None) -> Self: ...
    def filter(self, *arguments: Any, **named: Any) -> Self:
        """Append a Filter, one made from the arguments, or a tree of them (see Q). Returns the query."""
        takes = "a filter must be a condition, e.g. Q('age') >= 18, or field, operator and value"
        if self._is_frozen:
            raise _is_read("filter")
        self.filters.append(_made(Filter, Condition, takes, *arguments, **named))
        return self

    @overload
    def order(self, order: Order, /) -> Self: ...
    @overload
    def order(self, order: str, object_getattr: Getter | None = None) -> Self: ...
    def order(self, *arguments: Any, **named: Any) -> Self:
        """Append an Order, or one made from the argument. Returns the query."""
        if self._is_frozen:
            raise _is_read("order")
        self.orders.append(_made(Order, Order, "an order must be an Order or its text", *arguments, **named))
        return self

    def copy(self) -> Self:
        """An independent copy of the query that can be changed."""
        return self._copied(list, is_frozen=False)

    def frozen(self) -> Self:
        """The query as it is now, in the form that stores get. Changing it raises InvalidQueryError."""
        return self if self._is_frozen else self._copied(tuple, is_frozen=True)

    def _copied(self, sequence: type[list[Any] | tuple[Any, ...]], *, is_frozen: bool) -> Self:
        twin = type(self).__new__(type(self))
        parts = {"filters": sequence(self.filters), "orders": sequence(self.orders), "_is_frozen": is_frozen}
        twin.__dict__.update(self.__dict__, **parts)
        return twin

    def replaced(self, **changes: Unpack[Changes]) -> Self:
        """A frozen copy with these attributes changed and checked."""
        twin = self.copy()
        for name, value in changes.items():
            setattr(twin, name, value)
        twin.__dict__.update(filters=tuple(twin.filters), orders=tuple(twin.orders), _is_frozen=True)
        return twin

    def __copy__(self) -> Self:
        return self.copy()

    # Looking at entries

    def covers(self, key: Key) -> bool:
        """Whether `key` is in the scope of the query. Filters are not considered."""
        return self.covers_each([key])[0]

    def covers_each(self, keys: Sequence[Key]) -> builtins.list[bool]:
        """`covers` of each key."""
        scope = str(self.key)
        if not self.recursive:
            texts = [key._string for key in keys]
            return [True] * len(keys) if _are_instances(scope, texts) else [key._path_text() == scope for key in keys]
        below = "/" if scope == "/" else (f"{scope}/", f"{scope}:")
        return [key._string.startswith(below) for key in keys]

    def entries_needed(self, filters: Sequence[Condition] | None = None, *, started: bool = False) -> int:
        """How many entries of the scope, the first by key, are enough; `sys.maxsize` if all may matter.

        `filters` are those yet to be applied, by default all. `started` means that the entries begin after
        `start_after`.
        """
        left = self.filters if filters is None else filters
        return sys.maxsize if left or self.orders or not (started or self.start_after is None) else self.last_place

    @property
    def last_place(self) -> int:
        """How many matching entries are skipped or returned at most; `sys.maxsize` if all."""
        return sys.maxsize if self.limit is None else min(self.offset + self.limit, sys.maxsize)

    @property
    def comparisons(self) -> builtins.list[Filter]:
        """All comparisons of the filters, including those within trees."""
        return [found for part in self.filters for found in part.comparisons()]

    @property
    def reads_values(self) -> bool:
        """Whether the query needs values at all."""
        parts = (*self.comparisons, *self.orders)
        return not self.keys_only or self.has_custom_code or any(part.field not in BESIDE_VALUES for part in parts)

    @property
    def needs_metadata(self) -> bool:
        """Whether the query returns the metadata of entries, or reads it in its filters or orders."""
        if self.metadata or not (self.filters or self.orders):
            return self.metadata
        return self.sorts_by_metadata or any(part.field in METADATA_FIELDS for part in self.comparisons)

    @property
    def sorts_by_metadata(self) -> bool:
        """Whether the orders read the metadata of entries."""
        return any(order.field in METADATA_FIELDS for order in self.orders)

    @property
    def own_getter(self) -> Getter | None:
        """The query's custom field lookup; None for the library's."""
        return None if self.object_getattr is object_getattr else self.object_getattr

    @property
    def has_custom_code(self) -> bool:
        """Whether the query runs the caller's code, and therefore cannot be sent."""
        parts: tuple[Condition | Order, ...] = (*self.filters, *self.orders)
        return self.own_getter is not None or not all(part.is_plain for part in parts)

    def getter_of(self, part: Filter | Order) -> Getter:
        """How a filter or an order of this query looks up its field: the query's own lookup takes precedence."""
        return self.own_getter or part.own_getter or object_getattr

    def order_columns(
        self,
        keys: builtins.list[Any],
        values: builtins.list[Any],
        metadata: builtins.list[Stamp] | None = None,
    ) -> builtins.list[builtins.list[Any]]:
        """The fields by which entries are sorted: a column for each order."""
        return [self.order_column(order)(keys, values, metadata) for order in self.orders]

    def order_column(self, order: Order) -> Column:
        """A function that reads the sort field of one order from many entries."""
        if is_overridden(order, Order, "keyfn"):
            # A subclass that computes its sort values.
            own = order.looked_up_by(self.own_getter)
            return lambda keys, values, metadata: [own.keyfn(decoded(value)) for value in values]
        return column_of(self.getter_of(order), order.field)

    def sort_keys_of(self, columns: builtins.list[builtins.list[Any]]) -> builtins.list[bytes]:
        """The order-preserving bytes of each entry of these columns, as on the wire, without the keys.

        Raises UnsupportedTypeError or InvalidValueError if a value cannot be sent.
        """
        encoded = [
            encode_column(column, descending=order.descends) for order, column in zip(self.orders, columns, strict=True)
        ]
        return encoded[0] if len(encoded) == 1 else list(map(b"".join, zip(*encoded, strict=True)))

    def order_sort_key(self, key: Key | None, value: Any, metadata: Stamp | None = None) -> bytes:
        """Like `sort_keys_of`, for one result of this query; b'' without orders.

        Raises InvalidQueryError if an order reads a field that results lack because of `keys_only` or `fields`, or
        metadata that is not given.
        """
        for order in self.orders:
            if self.fields is not None and order.field not in (*BESIDE_VALUES, *self.fields):
                raise InvalidQueryError(
                    f"the position of {key} in these orders is not known without {order.field!r}; add it to the fields",
                    field="fields",
                )
        return self.sort_key_of(key, value, metadata)

    def sort_key_of(self, key: Key | None, value: Any, metadata: Stamp | None = None) -> bytes:
        """Like `order_sort_key`, for an entry with its whole value."""
        if value is None and any(order.field not in BESIDE_VALUES for order in self.orders):
            raise InvalidQueryError(
                f"the position of {key} in these orders is not known without its value", field="value"
            )
        if metadata is None and self.sorts_by_metadata:
            raise InvalidQueryError(
                f"the position of {key} in these orders is not known without its metadata", field="metadata"
            )
        columns = self.order_columns([key], [value], None if metadata is None else [metadata])
        return self.sort_keys_of(columns)[0] if self.orders else b""

    # Applying it to given values

    def __call__(self, iterable: Iterable[Any]) -> Cursor:
        """A lazy cursor over the values of `iterable` that match, sorted (stable), limited, and cut to `fields`."""
        cursor = _cursor_class()(self, iterable)
        cursor._apply("filters", "orders", "offset", "limit", "fields")
        return cursor

    def apply(self, entries: Iterable[Entry]) -> Cursor:
        """A lazy cursor that applies the whole query, `start_after` included, to entries of its scope in any order.

        The caller selects the scope; see `covers`. For asyncio there is `aio.Cursor.applied(query, entries)`.
        """
        return _cursor_class().applied(self, entries)

    # As data

    def dict(self) -> builtins.dict[str, Any]:
        """The query as plain data, without defaults: `key limit offset recursive filter order` and our additions."""
        data: builtins.dict[str, Any] = {"key": str(self.key)}
        if self.limit is not None:
            data["limit"] = self.limit
        if self.offset:
            data["offset"] = self.offset
        for name in _WRITTEN_FLAGS:
            if getattr(self, name):
                data[name] = True
        if self.fields is not None:
            data["fields"] = list(self.fields)
        if self.start_after is not None:
            data["start_after"] = [self.start_after.sort_key.hex(), str(self.start_after.key)]
        if self.filters:
            data["filter"] = [part.data() for part in self.filters]
        if self.orders:
            data["order"] = [str(part) for part in self.orders]
        return data

    @classmethod
    def from_dict(cls, dictionary: builtins.dict[str, Any]) -> Self:
        """The query of a dict as made by `dict()`, checked as usual. Unknown names are ignored.

        Raises KeyError without a key, and UnsupportedTypeError (a TypeError) if a part does not have the form that
        `dict()` gives it.
        """
        query = cls(Key(dictionary["key"]), dictionary.get("limit"), dictionary.get("offset", 0))
        for name in _WRITTEN_FLAGS:
            setattr(query, name, dictionary.get(name, False))
        query.fields = dictionary.get("fields")
        if dictionary.get("start_after") is not None:
            sort_key, key = _parts(dictionary["start_after"], "start_after", 2, "[sort key in hexadecimal, key]")
            query.start_after = Position(_unhexed(sort_key), Key(key))
        query.filters = [_condition(part) for part in _parts(dictionary.get("filter", ()), "filter", None, _FILTERS)]
        for order in _parts(dictionary.get("order", ()), "order", None, "a list of orders, e.g. ['+name', '-age']"):
            query.order(order)
        return query

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Query):
            return NotImplemented
        return self._content() == other._content()

    def _content(self) -> tuple[Any, ...]:
        return (list(self.filters), list(self.orders), *(getattr(self, name) for name in _CONTENT))

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        arguments = [repr(self.key)]
        if self.limit is not None:
            arguments.append(f"limit={self.limit}")
        if self.offset:
            arguments.append(f"offset={self.offset}")
        arguments += [f"{name}=True" for name in _WRITTEN_FLAGS if getattr(self, name)]
        if self.fields is not None:
            arguments.append(f"fields={list(self.fields)!r}")
        if self.start_after is not None:
            arguments.append(f"start_after={self.start_after!r}")
        filters = "".join(f".filter({part!r})" for part in self.filters)
        orders = "".join(f".order({part!r})" for part in self.orders)
        return f"{type(self).__name__}({', '.join(arguments)}){filters}{orders}"


def _cursor_class() -> type[Cursor]:
    """The class of cursors, imported only when a query is called: a query is data, and knows no stores."""
    cursor_class: type[Cursor] = import_module("datastore.sync.cursor").Cursor
    return cursor_class


def _is_read(name: str) -> InvalidQueryError:
    return InvalidQueryError(
        f"a store is reading this query, so its {name!r} cannot be changed; change a `copy()`", field="query"
    )


def _contradiction() -> InvalidQueryError:
    return InvalidQueryError(
        "a query can have either keys_only, which omits values, or fields, which returns parts of them",
        field="fields",
    )


def _count(number: Any, name: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        valid = "an int or None, for all results" if name == "limit" else "an int"
        raise UnsupportedTypeError(f"a query's {name} must be {valid}, got {type(number).__name__}", path=name)
    if number < 0:
        raise InvalidQueryError(f"a query's {name} must be at least 0, got {number}", field=f"query.{name}")
    return number


def _typed(name: str, kind: type, valid: str, given: Any) -> Any:
    if not isinstance(given, kind):
        raise UnsupportedTypeError(f"a query's {name} must be {valid}, got {type(given).__name__}", path=name)
    return given


#: The flags that are part of a query's `dict()` and `repr()`.
_WRITTEN_FLAGS = ("recursive", "keys_only", "metadata", "allow_partial")
_FLAGS = (*_WRITTEN_FLAGS, "sort_keys", "explain")
#: What makes queries equal, beside filters and orders.
_CONTENT = ("key", "limit", "offset", "fields", "start_after", *_WRITTEN_FLAGS)

#: Checks of what is assigned. Not properties: stores read a query's attributes often.
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "key": partial(_typed, "key", Key, "a Key"),
    "limit": lambda limit: None if limit is None else _count(limit, "limit"),
    "offset": lambda offset: _count(offset, "offset"),
    "fields": lambda fields: None if fields is None else checked_fields(fields),
    "start_after": lambda after: None if after is None else _typed("start_after", Position, "a Position", after),
    **{name: partial(_typed, name, bool, "True or False") for name in _FLAGS},
}

#: Attributes of which only one may be set.
_EXCLUDES = {"keys_only": "fields", "fields": "keys_only"}


def _made(kind: Any, given: type, takes: str, *arguments: Any, **named: Any) -> Any:
    if len(arguments) == 1 and not named and isinstance(arguments[0], given):
        return arguments[0]
    try:
        return kind(*arguments, **named)
    except DatastoreError:
        raise
    except TypeError as error:
        raise UnsupportedTypeError(f"{takes}: {error}", path=kind.__name__.lower()) from error


def _parts(data: Any, name: str, count: int | None, form: str) -> Any:
    """The items of a list or tuple, of the required length if there is one."""
    if not isinstance(data, (list, tuple)) or (count is not None and len(data) != count):
        raise UnsupportedTypeError(f"{name} in a query's dict must be {form}, got {data!r}", path=name)
    return data


#: The form of the filters of a query's dict.
_FILTERS = 'a list of [field, operator, value], {"and": [...]}, {"or": [...]} or {"not": ...}'


def _condition(data: Any) -> Condition:
    """The condition with this `Condition.data`."""
    if not isinstance(data, dict):
        return Filter(*_parts(data, "filter", 3, _FILTERS))
    if len(data) != 1:
        raise UnsupportedTypeError(f"filter in a query's dict must be {_FILTERS}, got {data!r}", path="filter")
    [(op, parts)] = data.items()
    return Tree(
        op, [_condition(part) for part in ([parts] if op == "not" else _parts(parts, "filter", None, _FILTERS))]
    )


def _unhexed(text: Any) -> bytes:
    try:
        return bytes.fromhex(text)
    except (ValueError, TypeError):
        kind = InvalidQueryError if isinstance(text, str) else UnsupportedTypeError
        raise kind(f"the sort key in a query's start_after must be a str of hexadecimal digits, got {text!r}") from None
