"""What the conformance suite tries: tricky keys and values, contents, generated queries, and repeated writes.

Pure data and hypothesis strategies, shared by both colours of the suite. Knows no stores.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from datastore.model.attempts import elapsed_us
from datastore.model.entries import StoredEntry
from datastore.model.fields import Filter, Order
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.model.operations import Operation
from datastore.model.query import Query
from datastore.model.trees import Condition, Tree

__all__ = [
    "AWKWARD_KEYS",
    "AWKWARD_VALUES",
    "CONTENTS",
    "FALSY_VALUES",
    "FILTERS",
    "JSON_VALUES",
    "NOT_KEYS",
    "ORDERS",
    "PROJECTIONS",
    "QUERY_KEYS",
    "RICH_CONTENTS",
    "Steps",
    "comparisons",
    "conditions",
    "contents",
    "json_values",
    "key_of_bytes",
    "keys",
    "many_entries",
    "metadata_filters",
    "metadata_orders",
    "plain_values",
    "queries",
    "query_grid",
    "query_of",
    "repeated",
    "wire_values",
    "writes",
]

#: Keys that a store, or something between it and its caller, might confuse or change.
AWKWARD_KEYS = [
    "/",
    "/a",
    "/a/b",
    "/a:b",
    "/a:b:c",
    "/a:",
    "/:b",
    "/.",
    "/..",
    "/a/../b",
    "/a.b",
    "/a/b.c:d.e",
    "/A",
    "/a b",
    "/ a ",
    "/a\\b",
    "/a%2Fb",
    "/é",
    "/e\u0301",
    "/日本/東京:駅",
    "/\U0001f600",
    "/\uffff",
    "/a'b\"c",
    "/*?[]{}$",
    "/datastore_link",
    "/None",
    "/0",
]

#: Not keys: TypeError from every operation.
NOT_KEYS: list[Any] = ["/a", b"/a", None, 7]

#: Values that are stored although `bool()` of them is False.
FALSY_VALUES: list[Any] = ["", 0, 0.0, False, [], {}]

#: Values that every serializer of plain data can keep.
JSON_VALUES: list[Any] = [
    *FALSY_VALUES,
    True,
    1,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    1.0,
    -0.0,
    0.1,
    5e-324,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    "text",
    "é e\u0301 日本 \U0001f600",
    "with\x00nul\r\nand lines",
    "null",
    [None],
    {"": None},
    [1, 1.0, True, "1", None],
    {"a": {"b": {"c": [[], {}, ""]}}},
    {"a.b": 1, "a": {"b": 2}},
]

#: Plain values that some serializers cannot preserve: they must come back unchanged, or be refused.
AWKWARD_VALUES: list[Any] = [
    b"",
    b"\x00\xff",
    datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2026, 2, 3),
    Key("/a:b/é"),
    Key("/"),
    2**63,
    -(2**63) - 1,
    10**400,
    "\ud800",
    {"\ud800": 1},
    {1: "a"},
    {"a": object},
    [b"", {"k": Key("/x"), "d": datetime(2026, 1, 1, tzinfo=UTC)}],
    {"a", "b"},
    1j,
    (1, "two", (3,)),
]


def _keyed(texts: Mapping[str, Any]) -> dict[Key, Any]:
    return {Key(text): value for text, value in texts.items()}


#: The contents to query: every kind of neighbour of the collection /a, and fields of mixed types.
CONTENTS: dict[Key, Any] = _keyed(
    {
        "/": {"n": 0, "s": "root"},
        "/a": {"n": 1, "s": "a"},
        "/a-b": {"n": 2},
        "/a.b": {"n": 3},
        "/ab": {"n": 4},
        "/ab/x": {"n": 5},
        "/a:": {"n": 6, "s": "colon"},
        "/:a": {"n": 7},
        "/a/b": {"n": 3, "s": "x", "m": {"x": 1}},
        "/a/c": {"n": 1, "s": "y", "m": {"x": 2}},
        "/a/d": {"n": 3.0, "s": "x"},
        "/a/e": {"n": "3", "s": "é"},
        "/a/f": {"n": None, "s": ""},
        "/a/g": {"s": "z", "m": {"x": None}},
        "/a/h": {"n": True, "m.x": 9},
        "/a/i": {"n": math.nan, "s": "x"},
        "/a/j": {"n": -0.0, "s": "X"},
        "/a/k": {"n": [1, 2], "s": "x"},
        "/a/l": {"n": {"x": 1}, "m": "flat"},
        "/a/m": 3,
        "/a/n": "text",
        "/a/é": {"n": 10, "s": "x"},
        "/a:b": {"n": 2, "s": "y"},
        "/a:b:c": {"n": -5, "s": "x"},
        "/a/b/c": {"n": 8},
        "/a/T:x": {"n": 9, "s": "x"},
        "/a/T:y": {"n": 1},
        "/a:b/q": {"n": 2},
        "/a:b/q/r": {"n": 3},
        "/T:x": {"n": 4},
        "/T:x/a/b": {"n": 5},
    }
)

#: The same with values of every plain type.
RICH_CONTENTS: dict[Key, Any] = CONTENTS | _keyed(
    {
        "/a/r1": {"n": b"\x00", "s": b""},
        "/a/r2": {"n": datetime(2026, 1, 1, tzinfo=UTC), "s": "x"},
        "/a/r3": {"n": datetime(2025, 12, 31, 23, 59, tzinfo=timezone(-timedelta(hours=2))), "s": "x"},
        "/a/r4": {"n": Key("/a/b"), "s": "x"},
        "/a/r5": {"n": [b"", Key("/")], "s": "y"},
        "/a/r6": {"n": 2**63 - 1, "s": "x"},
        "/a/r7": {"n": float(2**63), "s": "x"},
        "/a/r8": {"n": -(2**63), "s": "x"},
    }
)

#: The root, a collection, an instance with and without a collection, prefixes of names, the missing.
QUERY_KEYS = ["/", "/a", "/a:b", "/a/T", "/a/b", "/T", "/T:x", "/ab", "/a/", "/a:b:c", "/missing", "/:a"]

#: Filters that drop nothing, some and everything, by fields, keys, missing fields and other types.
FILTERS: list[list[tuple[str, str, Any] | Condition]] = [
    [],
    [("n", ">", 1)],
    [("n", "<=", 3), ("s", "=", "x")],
    [("n", "=", 3)],
    [("n", "!=", 3)],
    [("n", "=", None)],
    [("n", "!=", None)],
    [("n", "<", "a")],
    [("n", "=", True)],
    [("n", "=", math.nan)],
    [("n", "!=", math.nan)],
    [("m.x", ">=", 1)],
    [("s", "<", "y"), ("s", ">", "")],
    [("n", ">=", [1])],
    [("n", "=", {"x": 1})],
    [("missing", "=", 1)],
    [("__key__", ">", Key("/a/c"))],
    [("__key__", "<=", Key("/a/k")), ("__key__", ">=", Key("/a/d")), ("n", "!=", 3)],
    [("__key__", "=", Key("/a/b"))],
    [("__key__", "!=", Key("/a/b"))],
    [("__key__", "<", "text")],
    [("n", "in", [3, "3", None, math.nan])],
    [("n", "not in", [3, True, [1, 2]])],
    [("s", "starts_with", "x")],
    [("n", "contains", 2), ("s", "contains", "")],
    [("m.x", "exists", True)],
    [("n", "exists", False)],
    [("__key__", "starts_with", Key("/a/b"))],
    [("__key__", "in", [Key("/a/b"), Key("/a:b"), Key("/missing"), "text"]), ("n", "!=", 2)],
    [("__key__", "not in", [Key("/a/b")])],
    [("__value__", "in", [3, "text", {"n": 2}])],
    [Filter("n", ">", 1) & ~Filter("s", "=", "x")],
    [Filter("n", "in", [1, 2]) | (Filter("s", "exists", True) & Filter("__key__", ">", Key("/a/e")))],
    [Filter("__key__", "<", Key("/a/c")) | Filter("__key__", "starts_with", Key("/a/m"))],
    [~(Filter("__key__", "<", Key("/a/c")) | Filter("__value__", "contains", "x"))],
]

#: Projections: of some members, of nested and of dotted ones, of what includes another, and of what is missing.
PROJECTIONS: list[list[str] | None] = [
    None,
    ["n"],
    ["s", "m.x"],
    ["m.x", "m", "n.x"],
    ["m.x.y", "n.", "missing"],
]

ORDERS: list[list[str]] = [
    [],
    ["n"],
    ["-n"],
    ["s", "-n"],
    ["-s", "n"],
    ["m.x"],
    ["-missing"],
    ["__key__"],
    ["-__key__"],
    ["-s", "-__key__"],
]


class Steps(NamedTuple):
    """One query of a grid, as data."""

    key: str
    recursive: bool
    keys_only: bool
    filters: list[tuple[str, str, Any] | Condition]
    orders: list[str]
    offset: int
    limit: int | None
    fields: list[str] | None = None


def query_of(steps: Steps) -> Query:
    """The query of these steps."""
    query = Query(
        Key(steps.key),
        limit=steps.limit,
        offset=steps.offset,
        recursive=steps.recursive,
        keys_only=steps.keys_only,
        fields=steps.fields,
    )
    for condition in steps.filters:
        query.filters.append(condition if isinstance(condition, Condition) else Filter(*condition))
    for order in steps.orders:
        query.order(order)
    return query


def query_grid(size: int) -> list[Steps]:
    """`size` queries, the same every time: all keys with all orders, then a sample of every combination."""
    count = len(CONTENTS)
    scopes = [
        Steps(key, recursive, keys_only, [], orders, 0, None)
        for key, recursive, keys_only, orders in product(QUERY_KEYS, (False, True), (False, True), ORDERS[:3])
    ]
    lengths = [0, 1, 2, 7, count, count + 5]
    cuts = [
        Steps("/a", False, False, filters, orders, offset, limit)
        for offset, limit, filters, orders in product(lengths, [None, *lengths], FILTERS[:3], ORDERS[:4])
    ]
    conditions = [
        Steps("/a", recursive, False, filters, orders, 0, None)
        for recursive, filters, orders in product((False, True), FILTERS, ORDERS)
    ]
    projections = [
        Steps("/a", False, False, filters, orders, 1, limit, fields)
        for fields, filters, orders, limit in product(PROJECTIONS[1:], FILTERS[:3], ORDERS, (None, 3))
    ]
    random = Random(2026)
    everything = [
        Steps(
            random.choice(QUERY_KEYS[:4]),
            random.random() < 0.5,
            random.random() < 0.3,
            random.choice(FILTERS),
            random.choice(ORDERS),
            random.choice(lengths),
            random.choice([None, *lengths]),
        )
        for _ in range(size)
    ]
    parts: list[Sequence[Steps]] = [scopes, cuts, conditions, projections, everything]
    share = max(1, size // len(parts))
    return [steps for part in parts for steps in random.sample(list(part), min(share, len(part)))]


def key_of_bytes(length: int, above: str = "") -> Key:
    """A key whose text is exactly `length` bytes of UTF-8, some of them not ASCII."""
    text = f"{above}/é"
    return Key(text + "x" * (length - len(text.encode())))


def repeated(operation: Operation, sent_us: int | None = None) -> Operation:
    """The next attempt of a write, after one that may have been made was sent: at `sent_us`, or just now."""
    assert operation.attempt is not None
    again = copy(operation)
    again.attempt = operation.attempt.followed(elapsed_us() if sent_us is None else sent_us)
    return again


def many_entries(count: int, above: str = "/many", filler: int = 40) -> dict[Key, Any]:
    """Entries enough for several batches, in one collection: `n` counts up, `group` repeats."""
    return {
        Key(f"{above}/{index:06}"): {"n": index, "group": index % 7, "filler": "x" * filler} for index in range(count)
    }


# Generated

_KEY_POOL = sorted(
    {
        *("/", "/a", "/b", "/a:x", "/a:y", "/a:x:y", "/a/b", "/a/c", "/a/b:x", "/a/T:x", "/a/T:y", "/a/b/c"),
        *("/a:x/b", "/ab", "/ab/c", "/a-b", "/a.b", "/a/é", "/a:x/b:y", "/b/a", "/T:a", "/T:a/b", "/:a", "/a:"),
    }
)
_SCOPE_POOL = ["/a", "/", "/a", "/a:x", "/a/b", "/b", "/T", "/ab", "/a/T", "/none"]
_FIELDS = ["n", "s", "m.x", "m", "missing", "__key__", "__value__"]
_projections = st.lists(st.sampled_from(["n", "s", "m", "m.x", "n.x", "n.a.b", "missing"]), min_size=1, max_size=4)
_OPERATORS = ["<", "<=", "=", "!=", ">=", ">", "in", "not in", "starts_with", "contains", "exists"]

_int64 = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1]))
_text = st.one_of(st.sampled_from(["", "a", "b", "ab", "é"]), st.text(st.characters(codec="utf-8"), max_size=5))
_json_scalars = st.one_of(st.none(), st.booleans(), _int64, st.floats(), st.sampled_from([0.0, -0.0, 1.0, 3.0]), _text)
_keys = st.sampled_from(_KEY_POOL).map(Key)
_aware = st.datetimes(
    min_value=datetime(1900, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
)
_wire_scalars = st.one_of(_json_scalars, st.binary(max_size=4), _aware, _keys)


def _nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["x", "y", "a.b", ""]), inner, max_size=3),
        ),
        max_leaves=5,
    )


def keys() -> st.SearchStrategy[Key]:
    """A few closely related keys: parents, children, instances, prefixes of one another's names."""
    return _keys


def json_values() -> st.SearchStrategy[Any]:
    """Values that JSON keeps; ints of 64 bits."""
    return _nested(_json_scalars)


def wire_values() -> st.SearchStrategy[Any]:
    """Values that can be sent: every plain type, ints of 64 bits, aware datetimes."""
    return _nested(_wire_scalars)


def plain_values() -> st.SearchStrategy[Any]:
    """Every plain value: any int, naive datetimes and tuples too."""
    scalars = st.one_of(_wire_scalars, st.integers(), st.datetimes())
    return st.one_of(_nested(scalars), st.lists(scalars, max_size=3).map(tuple))


def _records(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    maps = st.fixed_dictionaries(
        {}, optional={"n": values, "s": _text, "m": st.fixed_dictionaries({}, optional={"x": values})}
    )
    return st.one_of(maps, maps, values.filter(lambda value: value is not None))


def contents(values: st.SearchStrategy[Any], *, max_size: int = 16) -> st.SearchStrategy[dict[Key, Any]]:
    """Contents of a store: a few closely related keys, values mostly maps of the same fields."""
    return st.dictionaries(_keys, _records(values), max_size=max_size)


def writes(values: st.SearchStrategy[Any], *, max_size: int = 30) -> st.SearchStrategy[list[tuple[Key, Any]]]:
    """Puts and deletes (None) of a few keys."""
    value = st.one_of(_records(values), _records(values), st.none())
    return st.lists(st.tuples(_keys, value), max_size=max_size)


@st.composite
def comparisons(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Filter:
    """Any comparison of a field of such contents."""
    field, op = draw(st.sampled_from(_FIELDS)), draw(st.sampled_from(_OPERATORS))
    wanted = st.one_of(_keys, values) if field == "__key__" else values
    if op in ("in", "not in"):
        wanted = st.lists(wanted, max_size=3)
    elif op == "starts_with":
        wanted = _keys if field == "__key__" else _text
    elif op == "exists":
        wanted = st.booleans()
    return Filter(field, op, draw(wanted))


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
    """Comparisons, and trees of up to four."""
    return st.recursive(
        comparisons(values),
        lambda inner: st.one_of(
            st.builds(Tree, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
            inner.map(operator.invert),
        ),
        max_leaves=4,
    )


@st.composite
def queries(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Query:
    """Any query over such contents, except for `start_after`, which needs an entry."""
    view = draw(st.sampled_from(["whole", "whole", "fields", "keys"]))
    query = Query(
        Key(draw(st.sampled_from(_SCOPE_POOL))),
        limit=draw(st.one_of(st.none(), st.integers(0, 8))),
        offset=draw(st.one_of(st.just(0), st.integers(0, 8))),
        recursive=draw(st.booleans()),
        keys_only=view == "keys",
        fields=draw(_projections) if view == "fields" else None,
    )
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        query.filter(draw(conditions(values)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        query.order(draw(st.sampled_from(["", "-", "+"])) + draw(st.sampled_from(_FIELDS)))
    return query


_METADATA_FIELDS = ["__version__", "__create_time__", "__update_time__"]


@st.composite
def metadata_filters(draw: st.DrawFn, known: Iterable[Metadata]) -> list[Filter]:
    """A few comparisons of metadata, mostly with values of entries that have this metadata."""
    filters = []
    for field in draw(st.lists(st.sampled_from(_METADATA_FIELDS), max_size=2)):
        values = [1, *(StoredEntry.read(None, None, metadata) for metadata in known)]
        wanted = draw(st.sampled_from(values))
        value = getattr(wanted, field.strip("_")) if isinstance(wanted, StoredEntry) else wanted
        filters.append(Filter(field, draw(st.sampled_from(["<", "<=", "=", "!=", ">=", ">"])), value))
    return filters


def metadata_orders() -> st.SearchStrategy[list[tuple[int, Order]]]:
    """A few orders by metadata, with their places among other orders."""
    texts = st.tuples(st.sampled_from(["", "-"]), st.sampled_from(_METADATA_FIELDS)).map("".join)
    return st.lists(st.tuples(st.integers(0, 1), texts.map(Order)), max_size=2)
