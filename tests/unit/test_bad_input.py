"""Bad input to the library: which error each gives, what its text names, and that nothing was stored.

One row for each rule of the library that names an error. What a backend refuses besides is in its own tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from datastore import core
from datastore.core import errors
from datastore.core.batch import Write
from datastore.core.key import Key, Namespace
from datastore.core.query import Cursor, Filter, Order, Query
from datastore.core.serialize import Serializer, SerializerShimDatastore, Stack
from datastore.testing.faults import FaultyDatastore


class Row(NamedTuple):
    """A call that must fail: with this class, which is this builtin too, and with a text that says so."""

    call: Callable[[], Any]
    kind: type[Exception]
    builtin: type[Exception]
    says: str


def started(query: Query) -> Cursor:
    """A cursor that has given an item."""
    cursor = Cursor(query, [1, 2, 3])
    next(cursor)
    return cursor


def twice(cursor: Cursor) -> None:
    """Iterate over a cursor again."""
    iter(cursor)
    iter(cursor)


def assigned(thing: Any, name: str, value: Any) -> None:
    """Set an attribute."""
    setattr(thing, name, value)


KEY, QUERY = Key("/a"), Query(Key("/a"))
LONG = "é" * 513

KEYS = {
    **{
        f"{wrong!r} as a key": Row(lambda wrong=wrong: Key(wrong), errors.UnsupportedTypeError, TypeError, name)
        for wrong, name in [(None, "NoneType"), (True, "bool"), (1.5, "float"), (b"/a", "bytes"), ({}, "dict")]
    },
    "None as a part": Row(lambda: Key(["a", None]), errors.UnsupportedTypeError, TypeError, "NoneType"),
    "a list as a part": Row(lambda: Key(["a", ["b"]]), errors.UnsupportedTypeError, TypeError, "list"),
    "bytes as a child": Row(lambda: KEY.child(b"b"), errors.UnsupportedTypeError, TypeError, "bytes"),
    "NUL": Row(lambda: Key("/a\0b"), errors.InvalidKeyError, ValueError, r"x00. .a control character"),
    "a control character": Row(
        lambda: Key("/a\x9fb"), errors.InvalidKeyError, ValueError, r"x9f. .a control character"
    ),
    "a lone surrogate": Row(lambda: Key("/a\udc80"), errors.InvalidKeyError, ValueError, "lone surrogate"),
    "a long key": Row(lambda: Key(LONG), errors.InvalidKeyError, ValueError, "at most 1,024 bytes"),
    "a long child": Row(lambda: KEY.child(LONG), errors.InvalidKeyError, ValueError, "at most 1,024 bytes"),
    "a long instance": Row(lambda: KEY.instance(LONG), errors.InvalidKeyError, ValueError, "at most 1,024 bytes"),
    "a slash in an instance": Row(lambda: KEY.instance("b/c"), errors.InvalidKeyError, ValueError, "b/c"),
    "None as an instance": Row(lambda: KEY.instance(None), errors.UnsupportedTypeError, TypeError, "NoneType"),
    "text as a descendant": Row(lambda: KEY.is_ancestor_of("/a/b"), errors.UnsupportedTypeError, TypeError, "str"),
    "text as an ancestor": Row(lambda: KEY.is_descendant_of("/"), errors.UnsupportedTypeError, TypeError, "str"),
    "a namespace as an ancestor": Row(
        lambda: KEY.is_descendant_of(Namespace("a")), errors.UnsupportedTypeError, TypeError, "Namespace"
    ),
}

QUERIES = {
    "text as a query's key": Row(lambda: Query("/a"), errors.UnsupportedTypeError, TypeError, "key"),
    "text assigned as its key": Row(
        lambda: assigned(Query(KEY), "key", "/a"), errors.UnsupportedTypeError, TypeError, "key"
    ),
    "a limit of text": Row(lambda: Query(KEY, limit="1"), errors.UnsupportedTypeError, TypeError, "limit"),
    "a limit of True": Row(lambda: Query(KEY, limit=True), errors.UnsupportedTypeError, TypeError, "limit"),
    "a negative limit": Row(lambda: Query(KEY, limit=-1), errors.InvalidQueryError, ValueError, "limit"),
    "a negative limit assigned": Row(
        lambda: assigned(Query(KEY), "limit", -1), errors.InvalidQueryError, ValueError, "limit"
    ),
    "an offset of None": Row(lambda: Query(KEY, offset=None), errors.UnsupportedTypeError, TypeError, "offset"),
    "a fractional offset": Row(lambda: Query(KEY, offset=1.0), errors.UnsupportedTypeError, TypeError, "offset"),
    "a negative offset": Row(lambda: Query(KEY, offset=-1), errors.InvalidQueryError, ValueError, "offset"),
    "a negative offset assigned": Row(
        lambda: assigned(Query(KEY), "offset", -1), errors.InvalidQueryError, ValueError, "offset"
    ),
    "a negative limit in a dict": Row(
        lambda: Query.from_dict({"key": "/a", "limit": -1}), errors.InvalidQueryError, ValueError, "limit"
    ),
    "an empty field": Row(lambda: Filter("", "=", 1), errors.InvalidQueryError, ValueError, "field"),
    "a field of bytes": Row(lambda: Filter(b"n", "=", 1), errors.UnsupportedTypeError, TypeError, "field"),
    "an unknown operator": Row(lambda: Filter("n", "==", 1), errors.InvalidQueryError, ValueError, "<= = != >= >"),
    "an operator on a query": Row(
        lambda: Query(KEY).filter("n", "like", 1), errors.InvalidQueryError, ValueError, "like"
    ),
    "an order without a field": Row(lambda: Order("-"), errors.InvalidQueryError, ValueError, "field"),
    "an empty order": Row(lambda: Query(KEY).order(""), errors.InvalidQueryError, ValueError, "field"),
    "an order of None": Row(lambda: Order(None), errors.UnsupportedTypeError, TypeError, "order"),
}

CURSORS = {
    "a cursor without a query": Row(lambda: Cursor("/a", []), errors.InvalidError, ValueError, "a Query, got str"),
    "a cursor over a number": Row(lambda: Cursor(QUERY, 3), errors.InvalidError, ValueError, "iterate over, got int"),
    "a second iteration": Row(
        lambda: twice(Cursor(QUERY, [])), errors.CursorReuseError, RuntimeError, "once|already|again"
    ),
    **{
        f"{name} after the start": Row(
            lambda name=name: getattr(started(QUERY), name)(), errors.CursorRunningError, AssertionError, "first item"
        )
        for name in ("apply_filter", "apply_order", "apply_offset", "apply_limit", "_ensure_modification_is_safe")
    },
    "a new source after the start": Row(
        lambda: assigned(started(QUERY), "_iterable", []), errors.CursorRunningError, AssertionError, "first item"
    ),
}


class _Service:
    """Has `get`, `set` and `delete`, and refuses to set."""

    def get(self, key: str) -> None:
        raise KeyError(key)

    delete = get

    def set(self, key: str, value: Any) -> bool:
        return False


def mapped() -> Any:
    """A store over that service."""
    return core.InterfaceMappingDatastore(_Service(), put="set")


STORES = {
    "a refused put": Row(lambda: mapped().put(KEY, 1), errors.DatastoreError, Exception, "_Service.*/a"),
    "a query of a service": Row(
        lambda: mapped().query(QUERY), errors.QueryNotSupportedError, NotImplementedError, "InterfaceMapping"
    ),
    "a shim over a dict": Row(lambda: core.ShimDatastore({}), errors.UnsupportedTypeError, TypeError, "dict"),
    "a namespace over nothing": Row(
        lambda: core.NamespaceDatastore("/n", None), errors.UnsupportedTypeError, TypeError, "NoneType"
    ),
    "a namespace of None": Row(
        lambda: core.NamespaceDatastore(None, core.DictDatastore()), errors.UnsupportedTypeError, TypeError, "NoneType"
    ),
    "a collection of one store, bare": Row(
        lambda: core.TieredDatastore(core.DictDatastore()),
        errors.UnsupportedTypeError,
        TypeError,
        "list.*DictDatastore",
    ),
    "a collection of dicts": Row(
        lambda: core.DatastoreCollection([{}]), errors.UnsupportedTypeError, TypeError, "Datastores, got dict"
    ),
    "a dict appended": Row(
        lambda: core.TieredDatastore().append_datastore({}), errors.UnsupportedTypeError, TypeError, "dict"
    ),
    "a stranger removed": Row(
        lambda: core.TieredDatastore().remove_datastore(core.DictDatastore()),
        errors.DatastoreError,
        ValueError,
        "not in the collection",
    ),
    "a shardingfn that is none": Row(
        lambda: core.ShardedDatastore([core.DictDatastore()], 3), errors.UnsupportedTypeError, TypeError, "shardingfn"
    ),
    "a shardingfn that answers text": Row(
        lambda: core.ShardedDatastore([core.DictDatastore()], str).get(KEY),
        errors.UnsupportedTypeError,
        TypeError,
        "shardingfn.*int.*str",
    ),
    "a serializer without dumps": Row(
        lambda: SerializerShimDatastore(core.DictDatastore(), object()), errors.UnsupportedTypeError, TypeError, "dumps"
    ),
    **{
        f"{name} of no {kind.__name__}": Row(
            lambda name=name, kind=kind: getattr(kind(), name)(
                *(QUERY,) if name == "query" else (KEY, 1)[: 1 + (name == "put")]
            ),
            errors.NoStoresError,
            ValueError,
            "append",
        )
        for kind in (core.TieredDatastore, core.ShardedDatastore)
        for name in ("get", "put", "delete", "contains", "query")
    },
}


def over(shim: Callable[..., Any], *arguments: Any) -> Any:
    """A shim over an empty dict."""
    return shim(core.DictDatastore(), *arguments)


def linked_in_a_circle() -> Any:
    """Links that lead from one to another and back, as two programs may leave them."""
    links = core.SymlinkDatastore(core.DictDatastore())
    links.child_datastore.put(Key("/a"), "/b/datastore_link")
    links.child_datastore.put(Key("/b"), "/a/datastore_link")
    return links


NOT_IMPLEMENTED = {
    f"{name} of a plain {kind.__name__}": Row(
        lambda name=name, kind=kind: getattr(kind(), name)(
            *(QUERY,) if name == "query" else (KEY, 1)[: 1 + (name == "put")]
        ),
        NotImplementedError,
        NotImplementedError,
        rf"{kind.__name__} does not (implement {name}|support queries)",
    )
    for kind in (core.Datastore, core.DatastoreCollection)
    for name in ("get", "put", "delete", "query")
}

SHIMS = {
    "a cache that is none": Row(
        lambda: core.CacheShimDatastore(core.DictDatastore(), cache={}), errors.UnsupportedTypeError, TypeError, "cache"
    ),
    "a transform that is none": Row(
        lambda: over(core.KeyTransformDatastore, "lower"), errors.UnsupportedTypeError, TypeError, "keytransform.*str"
    ),
    "an inverse that is none": Row(
        lambda: core.KeyTransformDatastore(core.DictDatastore(), inverse=3),
        errors.UnsupportedTypeError,
        TypeError,
        "inverse.*int",
    ),
    "a transform that answers text": Row(
        lambda: over(core.KeyTransformDatastore, str).put(KEY, 1), errors.UnsupportedTypeError, TypeError, "a Key.*str"
    ),
    "a query through a transform": Row(
        lambda: over(core.KeyTransformDatastore, lambda key: key.reverse).query(QUERY),
        errors.QueryNotSupportedError,
        NotImplementedError,
        "prefix_preserving",
    ),
    "a query of nested paths": Row(
        lambda: over(core.NestedPathDatastore).query(QUERY),
        errors.QueryNotSupportedError,
        NotImplementedError,
        "NestedPathDatastore.*spreads every collection",
    ),
    "a depth of text": Row(
        lambda: over(core.NestedPathDatastore, "3"), errors.UnsupportedTypeError, TypeError, "depth.*int.*str"
    ),
    "a depth of 0": Row(
        lambda: over(core.NestedPathDatastore, 0), errors.InvalidError, ValueError, "depth.*at least 1"
    ),
    "a length of -1": Row(
        lambda: over(core.NestedPathDatastore, 1, -1), errors.InvalidError, ValueError, "length.*at least 1"
    ),
    "a keyfn that is none": Row(
        lambda: over(core.NestedPathDatastore, 1, 1, "name"), errors.UnsupportedTypeError, TypeError, "keyfn.*str"
    ),
    "a keyfn with slashes": Row(
        lambda: over(core.NestedPathDatastore, 1, 1, str).put(KEY, 1), errors.InvalidKeyError, ValueError, "'/a'"
    ),
    "a link to itself": Row(
        lambda: over(core.SymlinkDatastore).link(KEY, KEY), errors.CircularLinkError, AssertionError, "/a"
    ),
    "a get in a circle of links": Row(
        lambda: linked_in_a_circle().get(KEY), errors.CircularLinkError, AssertionError, "/a|/b"
    ),
    "a put in a circle of links": Row(
        lambda: linked_in_a_circle().put(KEY, 1), errors.CircularLinkError, AssertionError, "/a|/b"
    ),
    "a link from text": Row(
        lambda: over(core.SymlinkDatastore).link("/a", KEY), errors.UnsupportedTypeError, TypeError, "Key.*str"
    ),
    "a put where a directory's list lies": Row(
        lambda: over(core.DirectoryDatastore).put(Key("/a:directory"), 1),
        errors.InvalidKeyError,
        ValueError,
        "/a:directory.*kept for directories",
    ),
    "an LRU of text": Row(
        lambda: core.LRUCacheDatastore("9"), errors.UnsupportedTypeError, TypeError, "size.*int.*str"
    ),
    "an LRU of nothing": Row(lambda: core.LRUCacheDatastore(0), errors.InvalidError, ValueError, "size.*at least 1"),
    **{
        f"{name} of the plain Serializer": Row(
            lambda name=name: getattr(Serializer, name)("1"), NotImplementedError, NotImplementedError, name
        )
        for name in ("loads", "dumps")
    },
    "a stack of what does not serialize": Row(
        lambda: over(SerializerShimDatastore, Stack([object()])).put(KEY, 1),
        errors.UnsupportedTypeError,
        TypeError,
        "dumps",
    ),
}


@pytest.mark.parametrize(
    "row", (rows := {**KEYS, **QUERIES, **CURSORS, **STORES, **NOT_IMPLEMENTED, **SHIMS}).values(), ids=rows.keys()
)
def test_bad_input_gives_its_error(row: Row) -> None:
    with pytest.raises(row.kind, match=row.says) as raised:
        row.call()
    assert isinstance(raised.value, row.builtin)


def test_keys_and_other_things_have_no_order() -> None:
    for compare in (lambda: KEY < "/b", lambda: KEY >= 3, lambda: KEY <= None, lambda: KEY > b"/"):
        with pytest.raises(TypeError, match="Key"):
            compare()


def test_a_query_in_a_dict_needs_its_key() -> None:
    with pytest.raises(KeyError, match="key"):
        Query.from_dict({"limit": 3})


def test_a_service_needs_its_methods() -> None:
    with pytest.raises(AttributeError, match="put"):
        core.InterfaceMappingDatastore(_Service())


def stores() -> dict[str, tuple[Any, core.Datastore]]:
    """Stores, each with the one that holds its entries."""
    plain = core.DictDatastore()
    json = core.DictDatastore()
    inner = core.DictDatastore()
    upper, last = core.DictDatastore(), core.DictDatastore()
    shards = [core.DictDatastore() for _ in range(3)]
    return {
        "dict": (plain, plain),
        "json": (core.SerializerShimDatastore(json), json),
        "namespace": (core.NamespaceDatastore("/n" * 256, inner), inner),
        "tiered": (core.TieredDatastore([upper, last]), last),
        "sharded": (core.ShardedDatastore(shards), core.ShardedDatastore(shards)),
    }


def everything(store: core.Datastore) -> list[Any]:
    """All entries of a store."""
    return list(store.query(Query(Key("/"), recursive=True)).entries())


@pytest.mark.parametrize("name", stores())
@pytest.mark.parametrize("key", ["/a", b"/a", None, 7, ("a",)], ids=repr)
def test_what_is_no_key_is_refused_by_every_store_and_stores_nothing(name: str, key: Any) -> None:
    store, holder = stores()[name]
    store.put(KEY, {"n": 1})
    before = everything(holder)
    for call in (store.get, store.delete, store.contains, lambda key: store.put(key, 2)):
        with pytest.raises(errors.UnsupportedTypeError, match=f"Key.*{type(key).__name__}") as raised:
            call(key)
        assert isinstance(raised.value, TypeError)
    assert everything(holder) == before


@pytest.mark.parametrize("name", stores())
@pytest.mark.parametrize("query", ["/a", KEY, None], ids=repr)
def test_what_is_no_query_is_refused_by_every_store(name: str, query: Any) -> None:
    store, _ = stores()[name]
    with pytest.raises(errors.UnsupportedTypeError, match=f"Query.*{type(query).__name__}"):
        store.query(query)


def test_a_key_that_grows_too_long_leaves_the_store_below_alone() -> None:
    store, holder = stores()["namespace"]
    long = Key("x" * 600)
    for call in (store.get, store.delete, store.contains, lambda key: store.put(key, 1)):
        with pytest.raises(errors.InvalidKeyError, match="at most 1,024 bytes"):
            call(long)
    assert everything(holder) == []


@pytest.mark.parametrize(
    "shim",
    [
        lambda child: core.KeyTransformDatastore(child, lambda key: key.child("x" * 1020)),
        lambda child: core.KeyTransformDatastore(child, str),
        lambda child: core.NestedPathDatastore(child, keyfn=str),
        lambda child: core.NestedPathDatastore(child, depth=200, length=6),
        lambda child: core.NestedPathDatastore(child, keyfn=lambda key: 7),
    ],
    ids=["grows", "answers text", "has slashes", "nests too deep", "is no text"],
)
def test_a_transform_that_fails_leaves_the_store_below_alone(shim: Callable[..., Any]) -> None:
    child = FaultyDatastore(core.DictDatastore())
    store = shim(child)
    for call in (store.get, store.delete, store.contains, lambda key: store.put(key, 1)):
        with pytest.raises((errors.InvalidKeyError, errors.UnsupportedTypeError)):
            call(Key("/abc/def"))
    deep = Key("/abc/def")
    outcomes = [*store.batch_get([deep]), *store.batch_write([Write(deep, 1)])]
    assert all(outcome.error is not None for outcome in outcomes)
    assert not any(child.calls.get(name) for name in ("get", "put", "delete", "contains"))
    assert everything(child) == []


def test_a_link_that_would_close_a_circle_stores_nothing() -> None:
    links = core.SymlinkDatastore(core.DictDatastore())
    links.link(Key("/a"), Key("/b"))
    links.link(Key("/b"), Key("/c"))
    before = everything(links.child_datastore)
    for target in ("/a", "/b"):
        with pytest.raises(errors.CircularLinkError, match="/c"):
            links.link(Key("/c"), Key(target))
    assert everything(links.child_datastore) == before


@pytest.mark.parametrize("value", [object(), {1, 2}, {"a": b"x"}], ids=["object", "set", "bytes"])
def test_a_value_that_cannot_be_serialized_leaves_the_old_one(value: Any) -> None:
    store, holder = stores()["json"]
    store.put(KEY, "old")
    with pytest.raises(TypeError, match=r"JSON"):
        store.put(KEY, value)
    assert [outcome.error is None for outcome in store.batch_write([Write(KEY, value)])] == [False]
    assert everything(holder) == [(KEY, '"old"')]


def test_what_cannot_be_deserialized_raises_and_stays() -> None:
    store, holder = stores()["json"]
    holder.put(KEY, "{no json")
    for read in (lambda: store.get(KEY), lambda: store.contains(KEY), lambda: list(store.query(Query(Key("/"))))):
        with pytest.raises(ValueError, match="Expecting"):
            read()
    assert everything(holder) == [(KEY, "{no json")]
