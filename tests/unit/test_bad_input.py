"""Bad input to the library: which error each gives, what its text names, and that nothing was stored.

One row for each rule of the library that names an error. What a backend refuses besides is in its own tests.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, Callable, Generator
from inspect import isawaitable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from datastore import aio, core
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore
from datastore.model import errors
from datastore.model.entries import Write
from datastore.model.fields import Filter, Order
from datastore.model.key import Key, Namespace
from datastore.model.query import Query
from datastore.sync.cursor import Cursor
from datastore.sync.serialize import Serializer, Stack
from datastore.testing.faults import FaultyDatastore
from tests.support.colours import Tasks, Threads


class Row(NamedTuple):
    """A call that must fail with this class, which is also this builtin, and with this text.

    Calls of stores are given the library of a colour.
    """

    call: Callable[..., Any]
    kind: type[Exception]
    builtin: type[Exception]
    says: str


def started(query: Query) -> Cursor:
    """A cursor that has returned an item."""
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
    "a long int": Row(lambda: Key(10**5000), errors.InvalidKeyError, ValueError, "at most 1,024 bytes.*int"),
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
    "an unknown operator": Row(
        lambda: Filter("n", "==", 1), errors.InvalidQueryError, ValueError, "<, <=, =, !=, >=, >, in, not in"
    ),
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
    """Has `get`, `set` and `delete`, and refuses to set; its `size` is not a method."""

    def get(self, key: str) -> None:
        raise KeyError(key)

    delete = get
    size = 3

    def set(self, key: str, value: Any) -> bool:
        return False


def mapped(library: Any, **named: Any) -> Any:
    """A store over that service."""
    return library.InterfaceMappingDatastore(_Service(), **{"put": "set", **named})


#: The calls, with their arguments.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "get": (KEY,),
    "put": (KEY, 1),
    "delete": (KEY,),
    "contains": (KEY,),
    "query": (QUERY,),
    "batch_get": ([KEY],),
    "batch_write": ([Write(KEY, 1)],),
    "shard": (KEY,),
    "shard_datastore": (KEY,),
    "shardDatastore": (KEY,),
    "shard_query_generator": (QUERY,),
}

STORES = {
    "a refused put": Row(
        lambda library: mapped(library).put(KEY, 1), errors.DatastoreError, Exception, "_Service refused .*/a"
    ),
    "a query of a service": Row(
        lambda library: mapped(library).query(QUERY),
        errors.QueryNotSupportedError,
        NotImplementedError,
        "InterfaceMapping.*cannot list its keys",
    ),
    **{
        f"{argument}={name!r} of a service": Row(
            lambda library, argument=argument, name=name: mapped(library, **{argument: name}),
            AttributeError,
            AttributeError,
            f"^{argument}={name!r}: _Service has no such method; name the one that does it",
        )
        for argument, name in [
            ("get", "fetch"),
            ("put", "put"),
            ("delete", "size"),
            ("delete", ""),
            ("get", None),
            ("put", 3),
        ]
    },
    **{
        f"a key of {key!r} for a service": Row(
            lambda library, key=key: mapped(library, key=key),
            errors.UnsupportedTypeError,
            TypeError,
            f"key must be callable with a Key, got {type(key).__name__}",
        )
        for key in ("str", None, 3)
    },
    "a shim over a dict": Row(
        lambda library: library.ShimDatastore({}), errors.UnsupportedTypeError, TypeError, "dict"
    ),
    "a namespace over nothing": Row(
        lambda library: library.NamespaceDatastore("/n", None), errors.UnsupportedTypeError, TypeError, "NoneType"
    ),
    "a namespace of None": Row(
        lambda library: library.NamespaceDatastore(None, library.DictDatastore()),
        errors.UnsupportedTypeError,
        TypeError,
        "namespace must be a str or a Key, e.g. '/users', got NoneType; it comes first",
    ),
    "a collection of one store, bare": Row(
        lambda library: library.TieredDatastore(library.DictDatastore()),
        errors.UnsupportedTypeError,
        TypeError,
        "list.*DictDatastore",
    ),
    "a collection of dicts": Row(
        lambda library: library.DatastoreCollection([{}]),
        errors.UnsupportedTypeError,
        TypeError,
        "Datastores, got dict",
    ),
    "a dict appended": Row(
        lambda library: library.TieredDatastore().append_datastore({}), errors.UnsupportedTypeError, TypeError, "dict"
    ),
    "a stranger removed": Row(
        lambda library: library.TieredDatastore([library.NullDatastore()]).remove_datastore(library.DictDatastore()),
        errors.InvalidError,
        ValueError,
        "DictDatastore is not in the collection, which holds NullDatastore",
    ),
    "a dict removed": Row(
        lambda library: library.TieredDatastore().remove_datastore({}), errors.UnsupportedTypeError, TypeError, "dict"
    ),
    "a store inserted at text": Row(
        lambda library: library.TieredDatastore().insert_datastore("0", library.DictDatastore()),
        errors.UnsupportedTypeError,
        TypeError,
        "index must be an int, got str",
    ),
    "a logger that is text": Row(
        lambda library: library.LoggingDatastore(library.DictDatastore(), "mine"),
        errors.UnsupportedTypeError,
        TypeError,
        r"logger must be a logging\.Logger, e\.g\. logging\.getLogger\('name'\), got str",
    ),
    "a shardingfn that is none": Row(
        lambda library: library.ShardedDatastore([library.DictDatastore()], 3),
        errors.UnsupportedTypeError,
        TypeError,
        "shardingfn must be callable with a Key and return an int, got int",
    ),
    "a shardingfn that answers text": Row(
        lambda library: library.ShardedDatastore([library.DictDatastore()], str).get(KEY),
        errors.UnsupportedTypeError,
        TypeError,
        "shardingfn must return an int, got str for /a",
    ),
    "a serializer without dumps": Row(
        lambda library: library.SerializerShimDatastore(library.DictDatastore(), object()),
        errors.UnsupportedTypeError,
        TypeError,
        "a serializer needs callable loads and dumps; object has not",
    ),
    **{
        f"{name} of no {kind}": Row(
            lambda library, name=name, kind=kind: getattr(getattr(library, kind)(), name)(*ARGUMENTS[name]),
            errors.NoStoresError,
            ValueError,
            f"{kind} has no stores; append one first",
        )
        for kind in ("TieredDatastore", "ShardedDatastore")
        for name in ARGUMENTS
        if hasattr(getattr(core, kind), name)
    },
}


def over(library: Any, shim: str, *arguments: Any, **named: Any) -> Any:
    """A shim over an empty dict."""
    return getattr(library, shim)(library.DictDatastore(), *arguments, **named)


def linked_in_a_circle(library: Any) -> Any:
    """Links that refer to each other, as two programs may leave them."""
    links = over(library, "SymlinkDatastore")
    links.child_datastore._items["/"] = {Key("/a"): "/b/datastore_link", Key("/b"): "/a/datastore_link"}
    return links


NOT_IMPLEMENTED = {
    f"{name} of a plain {kind}": Row(
        lambda library, name=name, kind=kind: getattr(getattr(library, kind)(), name)(*ARGUMENTS[name]),
        NotImplementedError,
        NotImplementedError,
        rf"{kind} does not (implement {name}|support queries)",
    )
    for kind in ("Datastore", "DatastoreCollection")
    for name in ("get", "put", "delete", "query")
}

SHIMS = {
    "a cache that is none": Row(
        lambda library: library.CacheShimDatastore(library.DictDatastore(), cache={}),
        errors.UnsupportedTypeError,
        TypeError,
        "cache must be a Datastore, got dict",
    ),
    "a transform that is none": Row(
        lambda library: over(library, "KeyTransformDatastore", "lower"),
        errors.UnsupportedTypeError,
        TypeError,
        "keytransform must be callable, got str",
    ),
    "an inverse that is none": Row(
        lambda library: library.KeyTransformDatastore(library.DictDatastore(), inverse=3),
        errors.UnsupportedTypeError,
        TypeError,
        "inverse must be callable, got int",
    ),
    "a transform that answers text": Row(
        lambda library: over(library, "KeyTransformDatastore", str).put(KEY, 1),
        errors.UnsupportedTypeError,
        TypeError,
        "a Key.*str",
    ),
    "a query through a transform": Row(
        lambda library: over(library, "KeyTransformDatastore", lambda key: key.reverse).query(QUERY),
        errors.QueryNotSupportedError,
        NotImplementedError,
        "prefix_preserving",
    ),
    "a query of nested paths": Row(
        lambda library: over(library, "NestedPathDatastore").query(QUERY),
        errors.QueryNotSupportedError,
        NotImplementedError,
        "NestedPathDatastore.*spreads every collection",
    ),
    "a depth of text": Row(
        lambda library: over(library, "NestedPathDatastore", "3"),
        errors.UnsupportedTypeError,
        TypeError,
        "depth must be an int, got str",
    ),
    "a depth of 0": Row(
        lambda library: over(library, "NestedPathDatastore", 0),
        errors.InvalidError,
        ValueError,
        "depth must be at least 1, got 0",
    ),
    "a length of -1": Row(
        lambda library: over(library, "NestedPathDatastore", 1, -1),
        errors.InvalidError,
        ValueError,
        "length must be at least 1, got -1",
    ),
    "a keyfn that is none": Row(
        lambda library: over(library, "NestedPathDatastore", 1, 1, "name"),
        errors.UnsupportedTypeError,
        TypeError,
        "keyfn must be callable, got str",
    ),
    "a keyfn with slashes": Row(
        lambda library: over(library, "NestedPathDatastore", 1, 1, str).put(KEY, 1),
        errors.InvalidKeyError,
        ValueError,
        "'/a'",
    ),
    "a link to itself": Row(
        lambda library: over(library, "SymlinkDatastore").link(KEY, KEY), errors.CircularLinkError, AssertionError, "/a"
    ),
    "a get in a circle of links": Row(
        lambda library: linked_in_a_circle(library).get(KEY), errors.CircularLinkError, AssertionError, "/a|/b"
    ),
    "a put in a circle of links": Row(
        lambda library: linked_in_a_circle(library).put(KEY, 1), errors.CircularLinkError, AssertionError, "/a|/b"
    ),
    "a link from text": Row(
        lambda library: over(library, "SymlinkDatastore").link("/a", KEY),
        errors.UnsupportedTypeError,
        TypeError,
        "Key.*str",
    ),
    "a put where a directory's list lies": Row(
        lambda library: over(library, "DirectoryDatastore").put(Key("/a:directory"), 1),
        errors.InvalidKeyError,
        ValueError,
        "/a:directory.*kept for directories",
    ),
    "an LRU of text": Row(
        lambda library: library.LRUCacheDatastore("9"),
        errors.UnsupportedTypeError,
        TypeError,
        "size must be an int, got str",
    ),
    "an LRU of nothing": Row(
        lambda library: library.LRUCacheDatastore(0), errors.InvalidError, ValueError, "size must be at least 1, got 0"
    ),
    **{
        f"{name} of the plain Serializer": Row(
            lambda _, name=name: getattr(Serializer, name)("1"), NotImplementedError, NotImplementedError, name
        )
        for name in ("loads", "dumps")
    },
    "a stack of what does not serialize": Row(
        lambda library: over(library, "SerializerShimDatastore", Stack([object()])).put(KEY, 1),
        errors.UnsupportedTypeError,
        TypeError,
        "dumps",
    ),
}


OTHER = {core: aio, aio: core}

MIXED = {
    name: Row(
        lambda library, make=make: make(library, OTHER[library].DictDatastore()),
        errors.UnsupportedTypeError,
        TypeError,
        r"datastore\.\w+\.memory\.DictDatastore: async and blocking stores do not mix; `datastore\.aio\.lift\.lift`",
    )
    for name, make in {
        **{
            f"the other colour below {shim}": lambda library, store, shim=shim: getattr(library, shim)(store)
            for shim in (
                "ShimDatastore",
                "LoggingDatastore",
                "KeyTransformDatastore",
                "LowercaseKeyDatastore",
                "NestedPathDatastore",
                "SymlinkDatastore",
                "DirectoryDatastore",
                "SerializerShimDatastore",
            )
        },
        **{
            f"the other colour in {kind}": lambda library, store, kind=kind: getattr(library, kind)([store])
            for kind in ("DatastoreCollection", "TieredDatastore", "ShardedDatastore")
        },
        "the other colour below a namespace": lambda library, store: library.NamespaceDatastore("/n", store),
        "the other colour as a cache": lambda library, store: over(library, "CacheShimDatastore", cache=store),
        "the other colour below a cache": lambda library, store: library.CacheShimDatastore(
            store, cache=library.DictDatastore()
        ),
        "the other colour appended": lambda library, store: library.TieredDatastore().append_datastore(store),
        "the other colour inserted": lambda library, store: library.TieredDatastore().insert_datastore(0, store),
        "the other colour removed": lambda library, store: library.TieredDatastore().remove_datastore(store),
    }.items()
}


@pytest.mark.parametrize("row", (rows := {**KEYS, **QUERIES, **CURSORS}).values(), ids=rows.keys())
def test_bad_input_gives_its_error(row: Row) -> None:
    with pytest.raises(row.kind, match=row.says) as raised:
        row.call()
    assert isinstance(raised.value, row.builtin)


@pytest.mark.parametrize("library", [core, aio], ids=["threads", "tasks"])
@pytest.mark.parametrize(
    "row", (store_rows := {**STORES, **NOT_IMPLEMENTED, **SHIMS, **MIXED}).values(), ids=store_rows.keys()
)
async def test_bad_input_to_a_store_gives_its_error(row: Row, library: Any) -> None:
    with pytest.raises(row.kind, match=row.says) as raised:
        answer = row.call(library)
        if isinstance(answer, AsyncGenerator):
            await anext(answer)
        elif isinstance(answer, Generator):
            next(answer)
        elif isawaitable(answer):
            await answer
    assert isinstance(raised.value, row.builtin)


def test_keys_and_other_things_have_no_order() -> None:
    for compare in (lambda: KEY < "/b", lambda: KEY >= 3, lambda: KEY <= None, lambda: KEY > b"/"):
        with pytest.raises(TypeError, match="Key"):
            compare()


def test_a_query_in_a_dict_needs_its_key() -> None:
    with pytest.raises(KeyError, match="key"):
        Query.from_dict({"limit": 3})


def plain(store: Any) -> tuple[Any, Any]:
    """A store that holds its entries itself."""
    return store, store


def shim_of(name: str, *first: Any, **named: Any) -> Callable[..., tuple[Any, Any]]:
    """A shim over a dict, which holds the entries."""

    def make(library: Any, _: Path) -> tuple[Any, Any]:
        store = getattr(library, name)(*first, library.DictDatastore(), **named)
        return store, store.child_datastore

    return make


def in_files(library: Any, path: Path) -> tuple[Any, Any]:
    return plain(FileSystemDatastore(path) if library is core else lift(FileSystemDatastore(path)))


def in_lmdb(library: Any, path: Path) -> tuple[Any, Any]:
    lmdb = LMDBDatastore(path, durability="async")
    store = library.SerializerShimDatastore(lmdb if library is core else lift(lmdb), pickle)
    return store, store.child_datastore


def in_tiers(library: Any, _: Path) -> tuple[Any, Any]:
    tiers = [library.DictDatastore(), library.DictDatastore()]
    return library.TieredDatastore(tiers), library.ShardedDatastore(tiers)


def cached(library: Any, _: Path) -> tuple[Any, Any]:
    child, cache = library.DictDatastore(), library.DictDatastore()
    return library.CacheShimDatastore(child, cache=cache), library.ShardedDatastore([child, cache])


#: Stores, each with the one that holds its entries.
HOLDERS: dict[str, Callable[[Any, Path], tuple[Any, Any]]] = {
    "dict": lambda library, _: plain(library.DictDatastore()),
    "lru": lambda library, _: plain(library.LRUCacheDatastore(9)),
    "file": in_files,
    "lmdb": in_lmdb,
    "json": shim_of("SerializerShimDatastore"),
    "namespace": shim_of("NamespaceDatastore", "/n" * 256),
    "lowercase": shim_of("LowercaseKeyDatastore"),
    "nested path": shim_of("NestedPathDatastore"),
    "logging": shim_of("LoggingDatastore"),
    "symlink": shim_of("SymlinkDatastore"),
    "directory": shim_of("DirectoryDatastore"),
    "cache": cached,
    "tiered": in_tiers,
    "sharded": lambda library, _: plain(library.ShardedDatastore([library.DictDatastore() for _ in range(3)])),
}
COLOURS = [Threads(), Tasks()]
LIBRARIES = {"threads": core, "tasks": aio}


async def everything_in(colour: Any, store: Any) -> list[Any]:
    """All entries of a store of a colour."""
    return await colour.read(store.query(Query(Key("/"), recursive=True)))


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
@pytest.mark.parametrize("name", HOLDERS)
async def test_every_store_refuses_anything_but_a_key_and_stores_nothing(
    name: str, colour: Any, tmp_path: Path
) -> None:
    store, holder = HOLDERS[name](LIBRARIES[colour.name], tmp_path)
    await colour.call(store.put, KEY, "text")
    before = await everything_in(colour, holder)
    assert before
    for key in ("/a", b"/a", None, 7, ("a",)):
        for call, *arguments in [
            (store.get, key),
            (store.delete, key),
            (store.contains, key),
            (store.put, key, "other"),
            (store.put, key, None),
        ]:
            with pytest.raises(errors.UnsupportedTypeError, match=f"Key.*{type(key).__name__}") as raised:
                await colour.call(call, *arguments)
            assert isinstance(raised.value, TypeError)
        for call, items in [
            (store.batch_get, [key]),
            (store.batch_write, [Write(key, "other"), Write(key, None)]),
        ]:
            for outcome in await colour.call(call, items):
                assert isinstance(outcome.error, errors.UnsupportedTypeError)
    assert await everything_in(colour, holder) == before
    await colour.close(store)


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
@pytest.mark.parametrize("name", HOLDERS)
async def test_every_store_refuses_anything_but_a_query(name: str, colour: Any, tmp_path: Path) -> None:
    store, _ = HOLDERS[name](LIBRARIES[colour.name], tmp_path)
    for query in ("/a", KEY, None):
        with pytest.raises(errors.UnsupportedTypeError, match=f"Query.*{type(query).__name__}"):
            store.query(query)
    await colour.close(store)


def stores() -> dict[str, tuple[Any, core.Datastore]]:
    """Stores, each with the one that holds its entries."""
    json, inner = core.DictDatastore(), core.DictDatastore()
    return {
        "json": (core.SerializerShimDatastore(json), json),
        "namespace": (core.NamespaceDatastore("/n" * 256, inner), inner),
    }


def everything(store: core.Datastore) -> list[Any]:
    """All entries of a store."""
    return list(store.query(Query(Key("/"), recursive=True)).entries())


def test_a_key_that_becomes_too_long_does_not_reach_the_store_below() -> None:
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
    ids=["grows", "answers text", "has slashes", "nests too deep", "is not text"],
)
def test_a_transform_that_fails_does_not_reach_the_store_below(shim: Callable[..., Any]) -> None:
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


def test_a_link_that_would_close_a_cycle_stores_nothing() -> None:
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


def test_a_value_that_cannot_be_deserialized_raises_and_stays() -> None:
    store, holder = stores()["json"]
    holder.put(KEY, "{no json")
    for read in (lambda: store.get(KEY), lambda: store.contains(KEY), lambda: list(store.query(Query(Key("/"))))):
        with pytest.raises(ValueError, match="Expecting"):
            read()
    assert everything(holder) == [(KEY, "{no json")]
