"""Promises of single shims beyond the suite: links, directories, caches, logs, key transforms, the LRU."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, core
from datastore.model import errors
from datastore.model.entries import Position, Write
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.sync.lru import LRUCacheDatastore
from datastore.testing._parallel import together
from datastore.testing.faults import FaultyDatastore
from tests.support.clocks import Clock

A, B, C = Key("/A"), Key("/B"), Key("/C")
EVERYTHING = Query(Key("/"), recursive=True)
NESTED = json.loads((Path(__file__).parent.parent / "vectors/nested_paths.json").read_text())


def contents(store: Any) -> dict[Key, Any]:
    """All entries of a store."""
    return dict(store.query(EVERYTHING).entries())


@pytest.fixture
def log() -> list[tuple[str, Key]]:
    """The calls of the stores of `noting`."""
    return []


@pytest.fixture
def noting(library: Any, log: list[tuple[str, Key]]) -> Any:
    """A dict that records its reads and writes."""

    class Noting(library.DictDatastore):
        def get(self, key: Key) -> Any:
            log.append(("get", key))
            return super().get(key)

        def put(self, key: Key, value: Any) -> Any:
            log.append(("put", key))
            return super().put(key, value)

        def delete(self, key: Key) -> Any:
            log.append(("delete", key))
            return super().delete(key)

    return Noting()


# Shims


SHIMS: dict[str, Any] = {
    "shim": lambda library: library.ShimDatastore,
    "logging": lambda library: library.LoggingDatastore,
    "transform": lambda library: library.KeyTransformDatastore,
    "lowercase": lambda library: library.LowercaseKeyDatastore,
    "nested path": lambda library: library.NestedPathDatastore,
    "serializer": lambda library: library.SerializerShimDatastore,
    "symlink": lambda library: library.SymlinkDatastore,
    "directory": lambda library: library.DirectoryDatastore,
    "cache": lambda library: library.CacheShimDatastore,
    "tiered": lambda library: library.TieredDatastore,
    "sharded": lambda library: library.ShardedDatastore,
}


@pytest.mark.parametrize("name", SHIMS)
async def test_putting_none_deletes_even_if_a_class_overrides_delete(name: str, colour: Any, library: Any, noting: Any):
    class Deleting(SHIMS[name](library)):  # type: ignore[misc]
        def delete(self, key: Key) -> Any:
            deleted.append(key)
            return super().delete(key)

    deleted: list[Key] = []
    if name == "cache":
        store = Deleting(noting, cache=library.DictDatastore())
    else:
        store = Deleting([noting] if name in ("tiered", "sharded") else noting)
    for key in (A, B):
        await colour.call(store.put, key, "x")
    await colour.call(store.put, A, None)
    await colour.call(store.batch_write, [Write(B, None)])
    assert deleted == [A, B]
    assert len(noting) == 0


# Links


@pytest.fixture
def links() -> core.SymlinkDatastore:
    return core.SymlinkDatastore(core.DictDatastore())


def test_a_link_is_stored_as_text(links: core.SymlinkDatastore):
    links.link(A, B)
    links.link(Key("/"), C)
    assert contents(links.child_datastore) == {B: "/A/datastore_link", C: "/datastore_link"}
    links.put(Key("/"), "root")
    assert links.get(C) == "root"


def test_links_are_followed_to_their_end(links: core.SymlinkDatastore):
    for number in range(50):
        links.link(Key(f"/{number}"), Key(f"/{number + 1}"))
    links.put(Key("/50"), "x")
    assert links.child_datastore.get(Key("/0")) == "x"
    assert links.get(Key("/50")) == links.get(Key("/25")) == "x"
    assert links.batch_get([Key("/7")])[0].value == "x"


@pytest.mark.parametrize("source", [A, B, C])
def test_a_cycle_is_refused_and_nothing_is_stored(links: core.SymlinkDatastore, source: Key):
    links.link(A, B)
    links.link(B, C)
    before = contents(links.child_datastore)
    with pytest.raises(errors.CircularLinkError, match="/A") as raised:
        links.link(source, A)
    assert isinstance(raised.value, AssertionError)
    assert contents(links.child_datastore) == before


def test_a_stored_cycle_raises_and_never_loops(links: core.SymlinkDatastore):
    links.child_datastore.put(A, "/B/datastore_link")
    links.child_datastore.put(B, "/A/datastore_link")
    links.put(C, 1)
    for call in (lambda: links.get(A), lambda: links.put(B, 1), lambda: links.contains(A), lambda: links.link(A, C)):
        with pytest.raises(errors.CircularLinkError):
            call()
    assert isinstance(links.batch_get([A])[0].error, errors.CircularLinkError)
    assert contents(links) == {C: 1}
    links.delete(A)
    links.put(B, 2)
    assert contents(links) == {A: 2, C: 1} | ({B: 2} if links.get(B) == 2 else {})


@pytest.mark.parametrize(
    "text",
    [
        "/A/datastore_link",
        "/datastore_link",
        "//datastore_link",
        "A/datastore_link",
        "/A//datastore_link",
        "/A/datastore_link/",
        "@datastore_link:text:",
        "@datastore_link:text:/A/datastore_link",
    ],
)
def test_text_that_looks_like_a_link_is_text(links: core.SymlinkDatastore, text: str):
    links.put(A, "not this")
    links.put(B, text)
    assert links.get(B) == text
    assert contents(links)[B] == text
    assert [entry.key for entry in links.query(Query(Key("/")).filter("__key__", "=", B)).entries()] == [B]


def test_a_query_follows_before_it_filters(links: core.SymlinkDatastore):
    links.put(Key("/else/x"), {"n": 1})
    links.put(Key("/c/a"), {"n": 2})
    links.link(Key("/else/x"), Key("/c/b"))
    links.link(Key("/nowhere"), Key("/c/d"))
    found = links.query(Query(Key("/c")).filter("n", "<", 2)).entries()
    assert list(found) == [(Key("/c/b"), {"n": 1})]
    assert list(links.query(Query(Key("/c")).order("n"))) == [{"n": 1}, {"n": 2}]


class Text(str):
    __slots__ = ()


async def test_text_comes_back_as_the_same_object(colour: Any, library: Any):
    links = library.SymlinkDatastore(library.DictDatastore())
    value = Text("value")
    await colour.call(links.put, A, value)
    await colour.call(links.link, A, B)
    for key in (A, B):
        assert await colour.call(links.get, key) is value
        assert (await colour.call(links.batch_get, [key]))[0].value is value
    assert [entry.value is value for entry in await colour.read(links.query(EVERYTHING))] == [True, True]


async def test_a_class_may_override_the_sentinel_of_links(colour: Any, library: Any):
    class Pointing(library.SymlinkDatastore):
        sentinel = "points_here"

    links = Pointing(library.DictDatastore())
    await colour.call(links.link, A, B)
    await colour.call(links.put, B, {"n": 1})
    for key, text in [(C, "/A/points_here"), (Key("/D"), "/A/datastore_link")]:
        await colour.call(links.put, key, text)
        assert await colour.call(links.get, key) == text
    assert dict(await colour.read(links.child_datastore.query(EVERYTHING))) == {
        A: {"n": 1},
        B: "/A/points_here",
        C: "@datastore_link:text:/A/points_here",
        Key("/D"): "/A/datastore_link",
    }
    found = await colour.read(links.query(Query(Key("/")).filter("n", "=", 1)))
    assert [key for key, _ in found] == [A, B]


async def test_a_class_may_store_its_links_in_another_form(colour: Any, library: Any):
    class Mapped(library.SymlinkDatastore):
        def _link_value_for_key(self, key: Key) -> Any:
            return {"see": str(key)}

        def _link_for_value(self, value: Any) -> Key | None:
            return Key(value["see"]) if isinstance(value, dict) and "see" in value else None

    links = Mapped(library.DictDatastore())
    await colour.call(links.link, A, B)
    await colour.call(links.link, B, C)
    await colour.call(links.link, Key("/nowhere"), Key("/D"))
    assert await colour.call(links.contains, C) is False
    await colour.call(links.put, C, {"n": 1})
    assert await colour.call(links.child_datastore.get, A) == {"n": 1}
    assert await colour.call(links.get, C) == {"n": 1}
    assert [outcome.value for outcome in await colour.call(links.batch_get, [A, B, C])] == [{"n": 1}] * 3
    with pytest.raises(errors.CircularLinkError):
        await colour.call(links.link, C, A)
    found = await colour.read(links.query(Query(Key("/")).filter("n", "=", 1)))
    assert found == [(key, {"n": 1}) for key in (A, B, C)]


async def test_stored_values_are_followed_one_by_one(colour: Any, library: Any):
    links = library.SymlinkDatastore(library.DictDatastore())
    await colour.call(links.put, A, "value")
    await colour.call(links.link, A, B)
    await colour.call(links.child_datastore.put, C, "/C/datastore_link")
    stored = ["/B/datastore_link", "/C/datastore_link", 0, "/none/datastore_link", "@datastore_link:text:/A", ""]
    followed = links._follow_link_gen(iter(stored))
    values = list(followed) if library is core else [value async for value in followed]
    assert values == ["value", 0, "/A", ""]


def test_links_to_the_longest_keys_work(links: core.SymlinkDatastore):
    long = Key("x" * 1023)
    links.link(long, A)
    links.put(A, "x")
    assert links.child_datastore.get(long) == "x"


def test_a_put_through_links_that_another_program_changes_ends():
    class Changing(core.DictDatastore):
        def get(self, key: Key) -> Any:
            value = super().get(key)
            if key == A and value == "/B/datastore_link":
                self.put(A, "plain")
            return value

    links = core.SymlinkDatastore(child := Changing())
    for key, stored in ((B, "/C/datastore_link"), (C, "/B/datastore_link"), (A, "/B/datastore_link")):
        child.put(key, stored)
    links.put(A, 2)
    assert child.get(A) == 2
    assert child.get(B) == "/C/datastore_link"


async def test_links_that_change_while_being_followed_are_not_a_cycle():
    reading, go_on = asyncio.Event(), asyncio.Event()

    class Slow(aio.DictDatastore):
        async def get(self, key: Key) -> Any:
            value = await super().get(key)
            task = asyncio.current_task()
            if key == B and not reading.is_set() and task is not None and task.get_name() == "reader":
                reading.set()
                await go_on.wait()
            return value

    links = aio.SymlinkDatastore(Slow())
    await links.put(C, 1)
    await links.link(C, B)
    await links.link(B, A)
    reader = asyncio.create_task(links.get(A), name="reader")
    await reading.wait()
    await links.delete(B)
    await links.put(B, 2)
    await links.link(B, C)
    go_on.set()
    assert await reader == 2


# Directories


@pytest.fixture
def directories() -> core.DirectoryDatastore:
    return core.DirectoryDatastore(core.DictDatastore())


def test_a_directory_lists_in_order_of_arrival_once(directories: core.DirectoryDatastore):
    for text in ("/A/c", "/A/b", "/A/T:x", "/A/c", "/A/b/deep", "/"):
        directories.put(Key(text), text)
    assert directories.get(A) == ["/A/c", "/A/b", "/A/T:x"]
    assert directories.get(Key("/A/b")) == "/A/b"
    assert directories.directory(Key("/A/b")) == ["/A/b/deep"]
    assert directories.directory(Key("/")) == []
    assert directories.get(Key("/")) == "/"
    assert list(directories.directory_values_generator(A)) == ["/A/c", "/A/b", "/A/T:x"]
    assert directories.contains(A) is False


def test_lists_are_stored_beside_the_key_and_removed_when_empty(directories: core.DirectoryDatastore):
    directories.put(Key("/A/b"), 1)
    directories.put(B, 2)
    held = contents(directories.child_datastore)
    assert held == {Key("/A/b"): 1, B: 2, Key("/A:directory"): ["/A/b"], Key("/:directory"): ["/B"]}
    assert contents(directories) == {Key("/A/b"): 1, B: 2}
    directories.delete(Key("/A/b"))
    directories.put(B, None)
    assert contents(directories.child_datastore) == {}


def test_a_list_belongs_to_the_caller(directories: core.DirectoryDatastore):
    directories.put(Key("/A/b"), 1)
    directories.get(A).append("/A/wrong")
    directories.directory(A).clear()
    assert directories.get(A) == ["/A/b"]


def test_reserved_keys_are_refused_and_never_seen(directories: core.DirectoryDatastore):
    directories.put(Key("/A/b"), 1)
    reserved = Key("/A:directory")
    with pytest.raises(errors.InvalidKeyError, match=r"/A:directory.*kept for directories"):
        directories.put(reserved, 1)
    assert directories.get(reserved) == []
    assert directories.contains(reserved) is False
    directories.delete(reserved)
    assert directories.get(A) == ["/A/b"]
    assert [outcome.error is None for outcome in directories.batch_write([Write(reserved, 1), Write(B, 1)])] == [
        False,
        True,
    ]


def test_a_value_refused_below_is_not_listed():
    directories = core.DirectoryDatastore(core.SerializerShimDatastore(core.DictDatastore()))
    with pytest.raises(TypeError):
        directories.put(Key("/A/b"), object())
    assert directories.get(A) == []


async def test_a_value_refused_below_leaves_the_key_listed_where_it_was(colour: Any, library: Any):
    directories = library.DirectoryDatastore(library.SerializerShimDatastore(library.DictDatastore()))
    for key in ("/A/b", "/A/c"):
        await colour.call(directories.put, Key(key), "old")
    with pytest.raises(TypeError):
        await colour.call(directories.put, Key("/A/b"), object())
    assert await colour.call(directories.directory, A) == ["/A/b", "/A/c"]
    assert await colour.call(directories.get, Key("/A/b")) == "old"


async def test_a_key_is_listed_before_its_value_is_stored_and_for_longer(
    colour: Any, library: Any, noting: Any, log: list[tuple[str, Key]]
):
    directories = library.DirectoryDatastore(noting)
    names, b, c = Key("/A:directory"), Key("/A/b"), Key("/A/c")
    await colour.call(directories.put, b, 1)
    await colour.call(directories.put, c, 1)
    assert [call for call in log if call[0] != "get"] == [("put", names), ("put", b), ("put", names), ("put", c)]
    log.clear()
    await colour.call(directories.put, b, 2)
    assert [call for call in log if call[0] != "get"] == [("put", b)]
    log.clear()
    await colour.call(directories.delete, b)
    assert [call for call in log if call[0] != "get"] == [("delete", b), ("put", names)]


async def test_a_refused_put_of_a_reserved_key_changes_nothing(
    colour: Any, library: Any, noting: Any, log: list[tuple[str, Key]]
):
    directories = library.DirectoryDatastore(noting)
    for text in ("/A:directory", "/:directory", "/A/b:directory", "/A:directory:directory"):
        with pytest.raises(errors.InvalidKeyError, match=f"{text}.*kept for directories"):
            await colour.call(directories.put, Key(text), 1)
        await colour.call(directories.put, Key(text), None)
    assert log == []


async def test_a_key_whose_parent_is_too_long_to_be_listed_is_refused(
    colour: Any, library: Any, noting: Any, log: list[tuple[str, Key]]
):
    directories = library.DirectoryDatastore(noting)
    # "/", 1,013 bytes, and ":directory" are the most that a key may have.
    fits, long = Key("x" * 1013).child("y"), Key("x" * 1014).child("y")
    with pytest.raises(errors.InvalidKeyError, match="exceeds 1,024 bytes; use a shorter parent"):
        await colour.call(directories.put, long, 1)
    await colour.call(directories.delete, long)
    assert log == []
    assert await colour.call(directories.directory, long.parent) == []
    assert await colour.call(directories.contains, long) is False
    await colour.call(directories.put, fits, 1)
    assert await colour.read(directories.query(Query(fits.parent))) == [(fits, 1)]


async def test_a_query_reads_no_value_outside_its_collection(
    colour: Any, library: Any, noting: Any, log: list[tuple[str, Key]]
):
    directories = library.DirectoryDatastore(noting)
    inside = [Key("/A/5/b"), Key("/A/5:x")]
    for key in [Key(f"/A/{number}") for number in range(20)] + inside:
        await colour.call(directories.put, key, 1)
    log.clear()
    found = await colour.read(directories.query(Query(Key("/A/5"))))
    assert [key for key, _ in found] == inside
    lists = {Key("/A/5:directory"), Key("/A:directory")}
    assert {key for _, key in log} == {*lists, *inside}


def test_names_without_a_value_are_skipped(directories: core.DirectoryDatastore):
    directories.put(Key("/A/b"), 1)
    directories.put(Key("/A/c"), 2)
    directories.child_datastore.delete(Key("/A/b"))
    assert list(directories.directory_values_generator(A)) == [2]
    assert list(directories.query(Query(A))) == [2]


def test_a_query_works_over_a_child_without_queries():
    held: dict[str, Any] = {}
    service = type("Service", (), {"get": held.get, "put": held.__setitem__, "delete": held.pop})
    directories = core.DirectoryDatastore(core.InterfaceMappingDatastore(service))
    for text in ("/a/b", "/a:x", "/a:x:y", "/a/b/c", "/", "/b"):
        directories.put(Key(text), text)
    assert list(directories.query(Query(Key("/a")))) == ["/a/b", "/a:x", "/a:x:y"]
    assert list(directories.query(Query(Key("/")))) == ["/", "/b"]
    with pytest.raises(errors.QueryNotSupportedError):
        directories.query(EVERYTHING)


# Caches and logs


def test_a_cache_is_read_first_and_filled():
    child, cache = core.DictDatastore(), core.DictDatastore()
    store = core.CacheShimDatastore(child, cache=cache)
    assert (store.child_datastore, store.cache_datastore) == (child, cache)
    child.put(A, 1)
    assert store.contains(A)
    assert cache.get(A) is None
    assert store.get(A) == 1
    assert cache.get(A) == 1
    cache.put(A, "cached")
    assert store.get(A) == "cached"
    store.put(A, 2)
    assert (child.get(A), cache.get(A)) == (2, 2)
    store.delete(A)
    assert (child.get(A), cache.get(A)) == (None, None)


def test_a_failing_cache_does_not_fail_calls():
    child = core.DictDatastore()
    cache = FaultyDatastore(core.DictDatastore())
    cache.fail("get", "put", "delete", "contains", error=errors.UnavailableError("gone"))
    store = core.CacheShimDatastore(child, cache=cache)
    store.put(A, 1)
    assert store.get(A) == 1
    assert store.contains(A)
    store.delete(A)
    assert store.get(A) is None


@pytest.mark.parametrize("wrong", [None, {}, 3])
def test_a_cache_is_a_datastore(wrong: Any):
    with pytest.raises(errors.UnsupportedTypeError, match="cache must be a Datastore"):
        core.CacheShimDatastore(core.DictDatastore(), cache=wrong)


def test_a_log_has_no_values_unless_asked(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    for log_values in (False, True):
        caplog.clear()
        store = core.LoggingDatastore(core.DictDatastore(), log_values=log_values)
        store.put(A, "secret")
        store.get(A)
        store.contains(A)
        list(store.query(Query(Key("/"))))
        store.batch_write([Write(B, "secret"), Write(C, None)])
        store.batch_get([B])
        store.delete(A)
        assert ("secret" in caplog.text) is log_values
        said = [record.getMessage() for record in caplog.records]
        for expected in (
            "put /A",
            "get /A",
            "contains /A",
            "query Query(Key('/'))",
            "put /B",
            "delete /C",
            "delete /A",
        ):
            assert any(line.startswith(expected) for line in said), expected
        assert {(record.name, record.levelname) for record in caplog.records} == {("datastore", "INFO")}


def test_a_log_goes_to_the_given_logger(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "mine")
    core.LoggingDatastore(core.DictDatastore(), logging.getLogger("mine")).get(A)
    assert [record.name for record in caplog.records] == ["mine"]


async def test_a_log_line_is_formatted_only_if_it_is_shown(colour: Any, library: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    query = Query(Key("/"))
    store = library.LoggingDatastore(library.DictDatastore(), log_values=True)
    await colour.call(store.put, A, 5)
    assert await colour.call(store.get, A) == 5
    await colour.call(store.contains, A)
    await colour.call(store.delete, A)
    store.query(query)
    assert [(record.msg, record.args) for record in caplog.records] == [
        ("put %s: %r", (A, 5)),
        ("get %s", (A,)),
        ("got %s: %r", (A, 5)),
        ("contains %s", (A,)),
        ("delete %s", (A,)),
        ("query %r", (query,)),
    ]


async def test_putting_none_is_logged_as_a_delete(colour: Any, library: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    store = library.LoggingDatastore(library.DictDatastore())
    await colour.call(store.put, A, None)
    assert [record.getMessage() for record in caplog.records] == ["delete /A"]


@pytest.mark.parametrize("log_values", [False, True])
async def test_values_that_filters_look_for_are_values(
    log_values: bool, colour: Any, library: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    store = library.LoggingDatastore(library.DictDatastore(), log_values=log_values)
    await colour.call(store.put, A, {"name": "me"})
    query = Query(Key("/"), limit=3).filter("name", "!=", "secret").order("-age")
    caplog.clear()
    assert [key for key, _ in await colour.read(store.query(query))] == [A]
    assert ("secret" in caplog.text) is log_values
    for part in ("Query(Key('/'), limit=3)", "name", "!=", "-age"):
        assert part in caplog.text


@pytest.mark.parametrize("wrong", ["mine", 0, object()], ids=["str", "int", "object"])
def test_an_object_that_cannot_log_is_refused_at_once(wrong: Any, library: Any):
    with pytest.raises(errors.UnsupportedTypeError, match=rf"logger must be a logging\.Logger.*{type(wrong).__name__}"):
        library.LoggingDatastore(library.DictDatastore(), wrong)


async def test_a_logger_may_be_false(colour: Any, library: Any):
    class Lines(list[str]):
        name = "lines"

        def info(self, message: str, *arguments: Any) -> None:
            self.append(message % arguments)

    lines = Lines()
    store = library.LoggingDatastore(library.DictDatastore(), lines)
    await colour.call(store.get, A)
    assert lines == ["get /A"]


# The LRU


async def test_putting_again_counts_as_use(colour: Any, library: Any):
    store = library.LRUCacheDatastore(2)
    for key in (A, B, A, C):
        await colour.call(store.put, key, 1)
    assert [key for key, _ in await colour.read(store.query(EVERYTHING))] == [A, C]


async def test_being_found_by_a_query_does_not_count_as_use(colour: Any, library: Any):
    store = library.LRUCacheDatastore(2)
    await colour.call(store.put, A, 1)
    await colour.call(store.put, B, 1)
    assert len(await colour.read(store.query(Query(Key("/")).filter("__key__", "=", A)))) == 1
    await colour.call(store.put, C, 1)
    assert [key for key, _ in await colour.read(store.query(EVERYTHING))] == [B, C]


def test_the_least_recently_used_entry_is_evicted():
    store = LRUCacheDatastore(2)
    store.put(A, 1)
    store.put(B, 2)
    assert store.get(A) == 1
    assert store.contains(B)
    assert list(store.query(EVERYTHING)) == [1, 2]
    store.put(C, 3)
    assert contents(store) == {A: 1, C: 3}
    store.put(A, None)
    store.delete(B)
    assert len(store) == 1
    store.clear()
    assert (len(store), contents(store)) == (0, {})


def test_misses_cost_no_memory():
    store = LRUCacheDatastore(2)
    for number in range(100):
        assert store.get(Key(f"/{number}")) is None
    assert (len(store), store._used, store._held._items) == (0, {}, {})


@pytest.mark.parametrize(("size", "kind"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("2", TypeError)])
def test_a_size_is_a_number_of_entries(size: Any, kind: type[Exception]):
    with pytest.raises(kind, match="size must be"):
        LRUCacheDatastore(size)


@pytest.mark.parametrize(("length", "kept"), [(48, [A, B]), (49, [B])], ids=["at the bound", "one above"])
async def test_an_lru_stays_within_its_bytes(length: int, kept: list[Key], colour: Any, library: Any):
    store = library.LRUCacheDatastore(max_bytes=100)
    assert store.describe().text == "at most 100B"
    await colour.call(store.put, A, b"x" * 48)
    await colour.call(store.put, B, b"x" * length)
    assert [key for key, _ in await colour.read(store.query(EVERYTHING))] == kept


@pytest.mark.parametrize(("length", "found"), [(97, True), (98, True), (99, False)])
async def test_an_entry_larger_than_the_bytes_is_not_kept(length: int, found: bool, colour: Any, library: Any):
    store = library.LRUCacheDatastore(max_bytes=100)
    await colour.call(store.put, B, b"old")
    await colour.call(store.put, B, b"x" * length)
    assert await colour.call(store.contains, B) is found
    await colour.call(store.delete, B)
    assert (len(store), store._bytes) == (0, 0)


async def test_bytes_are_counted_again_when_a_value_is_replaced(colour: Any, library: Any):
    store = library.LRUCacheDatastore(max_bytes=100)
    for length in (90, 10, 40):
        await colour.call(store.put, A, b"x" * length)
    await colour.call(store.put, B, "é" * 28)
    assert store._bytes == 42 + 58
    assert len(store) == 2
    store.clear()
    assert store._bytes == 0


async def test_an_entry_older_than_max_age_is_absent_to_every_call(colour: Any, library: Any):
    clock = Clock(100.0)
    store = library.LRUCacheDatastore(10, max_age=30, clock=clock)
    await colour.call(store.put, A, 1)
    clock.now += 10
    await colour.call(store.put, B, 2)
    clock.now += 19.5
    assert await colour.call(store.get, A) == 1
    clock.now += 0.5
    assert len(store) == 1
    assert await colour.call(store.get, A) is None
    assert [key for key, _ in await colour.read(store.query(EVERYTHING))] == [B]
    clock.now += 10
    assert await colour.read(store.query(EVERYTHING)) == []
    assert await colour.call(store.contains, B) is False
    assert (len(store), dict(store._used), dict(store._put_at)) == (0, {}, {})


async def test_a_put_resets_the_age_of_an_entry_and_a_get_does_not(colour: Any, library: Any):
    clock = Clock(100.0)
    store = library.LRUCacheDatastore(10, max_age=30, clock=clock)
    for key in (A, B):
        await colour.call(store.put, key, 1)
    clock.now += 20
    await colour.call(store.put, A, 2)
    await colour.call(store.get, B)
    clock.now += 20
    assert [key for key, _ in await colour.read(store.query(EVERYTHING))] == [A]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({}, ValueError, "size or max_bytes is required"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be at least 1, got 0"),
        ({"max_bytes": "1MiB"}, TypeError, "max_bytes must be an int, got str"),
        ({"size": 1, "max_age": 0}, ValueError, "max_age must be a number of seconds above 0, got 0"),
        ({"size": 1, "max_age": float("nan")}, ValueError, "max_age must be a number of seconds above 0, got nan"),
        ({"size": 1, "max_age": "30s"}, TypeError, "max_age must be a number of seconds, got str"),
    ],
)
def test_the_bounds_of_an_lru_are_numbers(arguments: dict[str, Any], kind: type[Exception], message: str, library: Any):
    with pytest.raises(kind, match=message):
        library.LRUCacheDatastore(**arguments)


def test_an_lru_stays_within_its_size_among_threads():
    store = LRUCacheDatastore(8)

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        for _ in range(500):
            key = Key(f"/{chooser.randrange(30)}")
            match chooser.randrange(3):
                case 0:
                    store.put(key, seed)
                case 1:
                    store.get(key)
                case _:
                    store.delete(key)

    together([partial(work, seed) for seed in range(4)])
    assert len(store) == len(contents(store)) <= 8


# Key transforms


@pytest.mark.parametrize("vector", NESTED["paths"], ids=str)
def test_a_nested_path_is_that_of_its_vector(vector: dict[str, Any]):
    text, depth, length = vector["text"], vector["depth"], vector["length"]
    assert core.NestedPathDatastore.nested_path(text, depth, length) == vector["path"]


@pytest.mark.parametrize("vector", NESTED["keys"], ids=str)
def test_a_nested_key_is_that_of_its_vector(vector: dict[str, Any]):
    store = core.NestedPathDatastore(core.DictDatastore(), vector["depth"], vector["length"])
    assert store.nest_key(Key(vector["key"])) == Key(vector["nested"])


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [({"depth": 0}, ValueError), ({"length": -1}, ValueError), ({"depth": "3"}, TypeError), ({"keyfn": 3}, TypeError)],
)
def test_a_nested_path_needs_numbers_and_a_function(arguments: dict[str, Any], kind: type[Exception]):
    (name,) = arguments
    with pytest.raises(kind, match=name):
        core.NestedPathDatastore(core.DictDatastore(), **arguments)


def test_a_nested_path_is_taken_from_text_without_slashes():
    child = core.DictDatastore()
    with pytest.raises(errors.InvalidKeyError, match="'a/b'"):
        core.NestedPathDatastore(child, keyfn=lambda _: "a/b").put(A, 1)
    with pytest.raises(errors.UnsupportedTypeError, match="keyfn"):
        core.NestedPathDatastore(child, keyfn=lambda _: 3).put(A, 1)
    assert contents(child) == {}


def test_a_key_without_text_is_nested_in_underscores(library: Any):
    store = library.NestedPathDatastore(library.DictDatastore(), keyfn=lambda _: "")
    assert store.nest_key(Key("/x")) == store.nestKey(Key("/x")) == Key("/__/__/__/x")
    assert library.NestedPathDatastore.nestedPath("abcdef", 2, 2) == "ab/cd"


@pytest.mark.parametrize("namespace", ["/n/T:x", "n//T:x/", Key("/n/T:x")], ids=repr)
async def test_a_namespace_is_text_or_a_key(namespace: Any, colour: Any, library: Any):
    store = library.NamespaceDatastore(namespace, library.DictDatastore())
    inner = Key("/n/T:x/A")
    assert store.namespace_key(A) == store.namespaceKey(A) == inner
    await colour.call(store.put, A, 1)
    assert await colour.call(store.child_datastore.get, inner) == 1


@pytest.mark.parametrize("wrong", [None, 1.5, b"n"], ids=repr)
def test_an_invalid_namespace_is_named_in_the_error(wrong: Any, library: Any):
    with pytest.raises(errors.UnsupportedTypeError, match=f"namespace must be .*{type(wrong).__name__}") as raised:
        library.NamespaceDatastore(wrong, library.DictDatastore())
    assert raised.value.path == "namespace"


@pytest.mark.parametrize("transform", [3, "x"])
def test_a_transform_must_be_callable(transform: Any):
    with pytest.raises(errors.UnsupportedTypeError, match="keytransform must be callable"):
        core.KeyTransformDatastore(core.DictDatastore(), transform)
    with pytest.raises(errors.UnsupportedTypeError, match="inverse must be callable"):
        core.KeyTransformDatastore(core.DictDatastore(), inverse=transform)


def test_a_transform_must_return_a_key():
    child = core.DictDatastore()
    store = core.KeyTransformDatastore(child, str, prefix_preserving=True)
    for call in (lambda: store.get(A), lambda: store.put(A, 1), lambda: list(store.query(Query(A)))):
        with pytest.raises(errors.UnsupportedTypeError, match="must return a Key, got str"):
            call()
    assert contents(child) == {}


def test_queries_need_a_transform_that_keeps_prefixes():
    with pytest.raises(errors.QueryNotSupportedError, match="not declared prefix_preserving"):
        core.KeyTransformDatastore(core.DictDatastore(), lambda key: key.reverse).query(Query(A))
    with pytest.raises(errors.QueryNotSupportedError, match="spreads every collection"):
        core.NestedPathDatastore(core.DictDatastore()).query(Query(A))


def test_foreign_entries_are_skipped_before_offset_and_limit():
    child = core.DictDatastore()
    for text in ("/m/a", "/m/B", "/m/c", "/m/D", "/m/e"):
        child.put(Key(text), {"n": text})
    lower = core.LowercaseKeyDatastore(child)
    assert [str(entry.key) for entry in lower.query(Query(Key("/M"), offset=1, limit=1)).entries()] == ["/m/c"]
    assert [str(entry.key) for entry in lower.query(Query(Key("/M"), limit=2).order("-n")).entries()] == [
        "/m/e",
        "/m/c",
    ]


def test_each_part_of_a_key_is_lowercased_separately():
    assert core.LowercaseKeyDatastore.lowercase_key(Key("/ΑΣ:ΒΣ/ΣΣ")) == Key("/ας:βς/σς")
    assert core.LowercaseKeyDatastore.lowercaseKey(Key("/A/b:C")) == Key("/a/b:c")


def prefixed(key: Key) -> Key:
    return Key("/p:x").child(key)


def without_prefix(key: Key) -> Key | None:
    text = str(key)
    return Key(text.removeprefix("/p:x")) if text == "/p:x" or text.startswith("/p:x/") else None


@given(st.data())
def test_queries_through_a_users_transform_are_those_of_a_dict(data: st.DataObject):
    from datastore.testing import cases, model

    child = core.DictDatastore()
    child.put(Key("/p:x:foreign"), {"n": 0})
    store = core.KeyTransformDatastore(child, prefixed, prefix_preserving=True, inverse=without_prefix)
    held = data.draw(cases.contents(cases.json_values()))
    for key, value in held.items():
        store.put(key, value)
    held = {key: value for key, value in held.items() if value is not None}
    query = data.draw(cases.queries(cases.json_values()))
    problem = model.difference(list(store.query(query).entries()), model.answer(query, held).entries)
    assert problem is None, problem


@pytest.mark.parametrize("inverse", [None, without_prefix])
def test_start_after_works_without_an_inverse_too(inverse: Any):
    store = core.KeyTransformDatastore(core.DictDatastore(), prefixed, prefix_preserving=True, inverse=inverse)
    for text in ("/", "/a", "/o", "/p:x", "/p:x/a", "/q"):
        store.put(Key(text), text)
    for recursive in (False, True):
        query = Query(Key("/"), recursive=recursive)
        whole = list(store.query(query).entries())
        for place, entry in enumerate(whole):
            query.start_after = Position(b"", entry.key)
            assert list(store.query(query).entries()) == whole[place + 1 :]
        positions = [
            batch.position for batch in store.query(Query(Key("/"), recursive=recursive)).batches() if batch.keys
        ]
        assert positions[0] == Position(b"", whole[0].key)


# Services


class Service:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def get(self, name: str) -> str:
        self.calls.append(("get", name))
        raise KeyError(name)

    def put(self, name: str, value: Any) -> None:
        self.calls.append(("put", name, value))

    def delete(self, name: str) -> None:
        self.calls.append(("delete", name))
        raise KeyError(name)


async def test_putting_none_deletes_from_a_service(colour: Any, library: Any):
    service = Service()
    store = library.InterfaceMappingDatastore(service, key=lambda key: f"key:{key}")
    await colour.call(store.put, A, None)
    await colour.call(store.put, A, 0)
    assert await colour.call(store.get, A) is None
    assert await colour.call(store.contains, A) is False
    assert service.calls == [("delete", "key:/A"), ("put", "key:/A", 0), ("get", "key:/A"), ("get", "key:/A")]


async def test_a_key_that_cannot_be_named_is_not_absent(colour: Any, library: Any):
    service = Service()
    store = library.InterfaceMappingDatastore(service, key={}.__getitem__)
    for call, *arguments in [(store.get, A), (store.contains, A), (store.delete, A), (store.put, A, 1)]:
        with pytest.raises(KeyError, match="/A"):
            await colour.call(call, *arguments)
    assert service.calls == []


def test_a_service_says_why_it_has_no_queries(library: Any):
    store = library.InterfaceMappingDatastore(Service())
    with pytest.raises(NotImplementedError, match=r"InterfaceMappingDatastore.*its service cannot list its keys"):
        store.query(EVERYTHING)
