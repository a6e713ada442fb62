"""Mounts: a store for each key prefix."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.entries import Position, Write
from datastore.model.errors import (
    ConfigError,
    InvalidError,
    InvalidKeyError,
    NoStoresError,
    QueryNotSupportedError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.model.query import Query
from datastore.spec import parse_tree
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.faults import FaultyDatastore
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import InMemory

PREFIXES = ["/", "/a", "/a/b", "/a:b", "/c", "/users"]


def mounted(library: Any) -> Any:
    return library.MountDatastore({prefix: library.DictDatastore() for prefix in PREFIXES})


@pytest.mark.long
class TestMount(InMemory, DatastoreConformance):
    changes = True

    @pytest.fixture
    def store(self) -> Any:
        return mounted(core)


class TestAsyncMount(InMemory, AsyncConformance):
    changes = True

    @pytest.fixture
    async def store(self) -> Any:
        return mounted(aio)


class MountMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return mounted(core)


TestMountMachine = MountMachine.TestCase


@pytest.fixture
def stores() -> dict[str, Any]:
    return {prefix: core.DictDatastore() for prefix in ("/archive", "/archive/2026", "/")}


@pytest.mark.parametrize(
    ("key", "prefix", "inner"),
    [
        ("/archive/a", "/archive", "/a"),
        ("/archive/2026/a:b", "/archive/2026", "/a:b"),
        ("/archive/2026", "/archive/2026", "/"),
        ("/archives/a", "/", "/archives/a"),
        ("/archive:a", "/", "/archive:a"),
        ("/archive", "/archive", "/"),
        ("/", "/", "/"),
    ],
)
def test_a_key_goes_to_the_longest_prefix_without_it(key: str, prefix: str, inner: str, stores: dict[str, Any]):
    store = core.MountDatastore(stores)
    store.put(Key(key), 1)
    assert {name: [entry.key for entry in entries_of(each)] for name, each in stores.items()} == {
        name: [Key(inner)] if name == prefix else [] for name in stores
    }
    assert store.get(Key(key)) == 1
    assert store.contains(Key(key))
    assert [entry.key for entry in entries_of(store)] == [Key(key)]
    store.delete(Key(key))
    assert entries_of(store) == []


def entries_of(store: Any, **query: Any) -> list[Any]:
    return list(store.query(Query(Key("/"), recursive=True, **query)).entries())


def test_entries_hidden_by_a_deeper_store_are_absent(stores: dict[str, Any]):
    stores["/"].put(Key("/archive/a"), "hidden")
    stores["/archive"].put(Key("/2026"), "hidden too")
    store = core.MountDatastore(stores)
    assert store.get(Key("/archive/a")) is None
    assert entries_of(store) == []
    assert list(store.query(Query(Key("/archive")))) == []


@pytest.mark.parametrize("orders", [[], ["-n"]], ids=["by key", "ordered"])
def test_queries_above_at_and_below_mounts_are_those_of_one_store(orders: list[str], stores: dict[str, Any]):
    one, store = core.DictDatastore(), core.MountDatastore(stores)
    keys = [
        *("/", "/a", "/archive", "/archive/a", "/archive/a/b", "/archive:x", "/archive:x/y", "/archive/2026"),
        *("/archive/2026/a", "/archive/2026:x", "/archive/2027", "/b/c", "/z"),
    ]
    for number, key in enumerate(keys):
        for each in (one, store):
            each.put(Key(key), {"n": number % 4})
    scopes = [*keys, "/none", "/archive/2026/a/b"]
    for scope in scopes:
        for recursive in (False, True):
            whole = Query(Key(scope), recursive=recursive)
            for order in orders:
                whole.order(order)
            expected = list(one.query(whole.copy()).entries())
            assert list(store.query(whole.copy()).entries()) == expected, whole
            for place, entry in enumerate(expected):
                sort_key = whole.order_sort_key(entry.key, entry.value) if orders else b""
                rest = whole.copy()
                rest.start_after = Position(sort_key, entry.key)
                assert list(store.query(rest).entries()) == expected[place + 1 :], rest
            part = whole.copy()
            part.offset, part.limit = 1, 3
            assert list(store.query(part).entries()) == expected[1:4]
            for field, value in (("n", 2), ("__key__", Key("/archive/2026"))):
                some = whole.copy().filter(field, ">=", value)
                assert list(store.query(some.copy()).entries()) == list(one.query(some).entries()), some


def test_a_key_below_no_prefix_is_absent_and_cannot_be_written():
    store = core.MountDatastore({"/a": core.DictDatastore(), "/b": core.DictDatastore()})
    assert store.get(Key("/c")) is None
    assert not store.contains(Key("/c"))
    with pytest.raises(InvalidKeyError, match=r"^no store is mounted for /c; the prefixes are /b, /a$"):
        store.put(Key("/c"), 1)
    with pytest.raises(InvalidKeyError, match="no store is mounted for /c"):
        store.delete(Key("/c"))
    results = store.batch_write([Write(Key("/a/x"), 1), Write(Key("/c"), 2)])
    assert [type(result.error) for result in results] == [type(None), InvalidKeyError]
    assert [entry.key for entry in entries_of(store)] == [Key("/a/x")]
    assert list(store.query(Query(Key("/c")))) == []


def test_only_the_stores_that_a_query_concerns_are_asked():
    down = FaultyDatastore(core.DictDatastore())
    down.fail(error=UnavailableError("no connection"))
    store = core.MountDatastore({"/down": down, "/up": core.DictDatastore(), "/": core.DictDatastore()})
    store.put(Key("/up/a"), 1)
    assert list(store.query(Query(Key("/up")))) == [1]
    with pytest.raises(UnavailableError) as raised:
        entries_of(store)
    assert raised.value.shard == "/down"
    assert [entry.key for entry in entries_of(store, allow_partial=True)] == [Key("/up/a")]


def test_a_store_without_queries_serves_the_rest():
    class NoQueries(core.Datastore):
        def get(self, key: Key) -> Any:
            return str(key)

    store = core.MountDatastore({"/a": NoQueries(), "/": core.DictDatastore()})
    assert store.get(Key("/a/b")) == "/b"
    store.put(Key("/b/c"), 1)
    assert list(store.query(Query(Key("/b")))) == [1]
    with pytest.raises(QueryNotSupportedError):
        entries_of(store)


def test_entries_whose_keys_become_too_long_are_left_out():
    child = core.DictDatastore()
    store = core.MountDatastore({"/a": child})
    for size in (KEY_BYTES - 2, KEY_BYTES - 1):
        child.put(Key("/" + "x" * (size - 1)), size)
    assert [entry.value for entry in entries_of(store)] == [KEY_BYTES - 2]


def test_a_mount_is_described_and_closed_with_its_stores():
    closed = []

    class Closing(core.DictDatastore):
        def close(self) -> None:
            closed.append(self)

    stores = {"/a": Closing(), "/": Closing()}
    with core.MountDatastore(stores) as store:
        description = store.describe()
        assert (description.kind, description.text) == ("mount", "/a, /")
        assert [child.kind for child in description.children] == ["dict", "dict"]
    assert closed == list(stores.values())


@pytest.mark.parametrize(
    ("mounts", "kind", "message"),
    [
        ({}, NoStoresError, "mount at least one"),
        ([("/", core.DictDatastore())], UnsupportedTypeError, "mounts must map prefixes to Datastores"),
        ({"/a": 1}, UnsupportedTypeError, "/a mounts a Datastore, got int"),
        ({"/a": core.DictDatastore(), "/a/": core.DictDatastore()}, InvalidError, "/a is given twice"),
    ],
)
def test_wrong_mounts_are_refused(mounts: Any, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        core.MountDatastore(mounts)


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        ('{ "/a" = "memory:", "/b/" = "memory:" }', "store.it.mounts: the prefix '/b/' is written '/b'"),
        ("{ a = 'none' }", "store.it.mounts.a: there is no store 'none'"),
        ("['memory:']", "store.it.mounts: expected a table with a key prefix for each store"),
        ("{}", "`, not an empty dict"),
    ],
)
def test_wrong_tables_are_refused(mounts: str, message: str):
    with pytest.raises(ConfigError) as raised:
        parse_tree(tomllib.loads(f'[store.it]\nkind = "mount"\nmounts = {mounts}\n'), "it")
    assert message in str(raised.value)
