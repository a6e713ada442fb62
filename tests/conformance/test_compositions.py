"""Compositions drawn at random, written to TOML and read back: every combination answers like a dict."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from datastore import aio, core
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.config import Config
from datastore.model.entries import Entry, Position, Write
from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.model.query import Query
from datastore.spec.collections import LRUConfig, ShardedConfig, TieredConfig
from datastore.spec.shims import CacheConfig
from datastore.testing import cases, model
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import AsJson
from tests.support.stacks import build, kinds, leaf, trees, upon


def lowered(thing: Any) -> Any:
    """The key in lower case, or the query with all keys in lower case, for a stack with a lowercase store."""
    if isinstance(thing, Key):
        return Key(str(thing).lower())
    query = thing.copy()
    query.key = lowered(query.key)
    query.filters = [
        part.mapped(
            lambda each: Filter(each.field, each.op, lowered(each.value)) if isinstance(each.value, Key) else each
        )
        for part in query.filters
    ]
    return query


async def settle(result: Any) -> Any:
    """The result of a call of either colour."""
    return await result if inspect.isawaitable(result) else result


async def entries_of(cursor: Any) -> list[Entry]:
    """All entries of a cursor of either colour."""
    entries = cursor.entries()
    return [entry async for entry in entries] if hasattr(entries, "__aiter__") else list(entries)


async def check(store: Any, query: Query, contents: Mapping[Key, Any], after: Entry | None = None) -> None:
    expected = model.answer(query, contents, after)
    cursor = store.query(query)
    found = await entries_of(cursor)
    problem = model.difference(found, expected.entries)
    assert problem is None, f"{query!r}: {problem}"
    assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped), repr(query)


@pytest.mark.parametrize("colour", [core, aio], ids=["threads", "tasks"])
@given(tree=trees(), data=st.data())
async def test_any_composition_answers_like_a_dict(
    colour: ModuleType, tree: Config, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    store = build(tree, colour, directory)
    try:
        await behave(store, tree, data)
    finally:
        await settle(store.aclose() if colour is aio else store.close())
        shutil.rmtree(directory)


async def behave(store: Any, tree: Config, data: st.DataObject) -> None:
    """Write single entries and a batch, read them back in every way, and ask some queries."""
    fold = lowered if "lowercase" in kinds(tree) else lambda thing: thing
    contents: dict[Key, Any] = {}
    single, batch = (
        [(fold(key), value) for key, value in data.draw(cases.writes(cases.json_values(), max_size=12))]
        for _ in range(2)
    )
    for key, value in single:
        await settle(store.put(key, value))
    outcomes = await settle(store.batch_write([Write(*write) for write in batch]))
    assert [outcome.error for outcome in outcomes] == [None] * len(batch)
    for key, value in [*single, *batch]:
        contents.pop(key, None)
        if value is not None:
            contents[key] = value
    touched = sorted({key for key, _ in [*single, *batch]} | {Key("/a"), Key("/a/b")})
    for key in touched:
        assert model.same(await settle(store.get(key)), contents.get(key)), key
        assert await settle(store.contains(key)) is (key in contents), key
    read = await settle(store.batch_get(touched))
    assert all(model.same(outcome.value, contents.get(key)) for key, outcome in zip(touched, read, strict=True))
    await check(store, Query(Key("/"), recursive=True), contents)
    for _ in range(3):
        query = fold(data.draw(cases.queries(cases.json_values())))
        note(repr(query))
        await check(store, query, contents)
        await check_rest(store, query, contents, data)


async def check_rest(store: Any, query: Query, contents: Mapping[Key, Any], data: st.DataObject) -> None:
    """Continue the query after one of its entries."""
    whole = query.copy()
    whole.limit, whole.offset, whole.keys_only, whole.fields = None, 0, False, None
    found = model.answer(whole, contents).entries
    if found:
        entry = data.draw(st.sampled_from(found))
        sort_key = query.sort_key_of(entry.key, entry.value) if query.orders else b""
        query = query.copy()
        query.start_after = Position(sort_key, entry.key)
        await check(store, query, contents, entry)


class CompositionMachine(AsJson, DatastoreMachine):
    """Random operations on a random composition."""

    values = cases.json_values()

    @initialize(tree=trees().filter(lambda tree: "lowercase" not in kinds(tree)))
    def open(self, tree: Config) -> None:
        note(repr(tree))
        self.tree = tree
        super().open()

    def open_store(self) -> Any:
        self.directory = Path(tempfile.mkdtemp())
        return build(self.tree, core, self.directory)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)


TestCompositionMachine = CompositionMachine.TestCase


class Tall(AsJson):
    """A composition that users describe, held to the whole suite."""

    tree: Config
    grid = 40

    @property
    def key_bytes(self) -> int:
        return KEY_BYTES - len("/n:s") * kinds(self.tree).count("namespace")


class TallInThreads(Tall, DatastoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with build(self.tree, core, tmp_path) as store:
            yield store


class TallInTasks(Tall, AsyncConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        async with build(self.tree, aio, tmp_path) as store:
            yield store


SHARDS_OF_TIERS = upon(
    "json",
    "namespace",
    ShardedConfig(
        children={
            "a": TieredConfig(children=(LRUConfig(max_entries=3), leaf("memory"))),
            "b": TieredConfig(children=(leaf("lru"), leaf("lmdb"))),
            "c": leaf("file"),
        }
    ),
)
CACHED_LINKS = upon(
    "logging",
    CacheConfig(
        child=upon("symlink", ShardedConfig(children=(leaf("file"), leaf("memory")), by="collection")),
        cache=leaf("lru"),
    ),
)
SHIMS_ON_SHIMS = upon("maps", "identity", "symlink", "namespace", "json", "namespace", leaf("lmdb"))


@pytest.mark.long
class TestShardsOfTiers(TallInThreads):
    tree = SHARDS_OF_TIERS


@pytest.mark.long
class TestAsyncShardsOfTiers(TallInTasks):
    tree = SHARDS_OF_TIERS
    #: Of files and tiers alone these show as much.
    long_tests = (
        "test_a_query_over_a_closed_store_never_seems_complete",
        "test_many_abandoned_cursors_leave_the_store_working",
    )


@pytest.mark.long
class TestCachedLinks(TallInThreads):
    tree = CACHED_LINKS


@pytest.mark.long
class TestAsyncCachedLinks(TallInTasks):
    tree = CACHED_LINKS


@pytest.mark.long
class TestShimsOnShims(TallInThreads):
    tree = SHIMS_ON_SHIMS
    versions = expiry = atomic = True


@pytest.mark.long
class TestAsyncShimsOnShims(TallInTasks):
    tree = SHIMS_ON_SHIMS
    versions = expiry = atomic = True


# Other modules test their shims over LMDB; these change keys or values, here over stores that change values too.
for kind in ("json", "maps", "stack", "namespace", "identity"):
    for colour, held in (("", TallInThreads), ("Async", TallInTasks)):
        name = f"Test{colour}{kind.capitalize()}OverLMDB"
        made = type(
            name,
            (held,),
            {
                "tree": upon(kind, leaf("lmdb")),
                "grid": 20,
                **dict.fromkeys(("versions", "expiry", "atomic", "retries"), True),
            },
        )
        globals()[name] = pytest.mark.long(made)
