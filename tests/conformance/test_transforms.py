"""Key transforms: namespaces among foreign entries, lowercase keys, the identity, others without queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, core, spec, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.lmdb import LMDBDatastore
from datastore.model.key import Key
from datastore.model.limits import KEY_BYTES
from datastore.spec.collections import MemoryConfig
from datastore.spec.shims import NestedPathConfig
from datastore.testing import cases, model
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import InMemory

NAMESPACE = "/T:name space"
#: Keys around the namespace, which its answers must never contain.
FOREIGN = ["/", "/T", "/T:name", "/T:name space:x", "/T:name space:x/y", "/T:name spaceship", "/T:name space ", "/a"]


class InNamespace(InMemory):
    changes = True
    key_bytes = KEY_BYTES - len(NAMESPACE)


class TestNamespace(InNamespace, DatastoreConformance):
    @pytest.fixture
    def store(self) -> Any:
        with core.DictDatastore() as child:
            for text in FOREIGN:
                child.put(Key(text), {"n": "foreign"})
            yield core.NamespaceDatastore(NAMESPACE, child)
            assert all(child.get(Key(text)) == {"n": "foreign"} for text in FOREIGN)

    def plant(self, store: Any, key: Key, value: Any) -> None:
        store.child_datastore.put(Key(NAMESPACE).child(key), value)

    def inspect(self, store: Any, key: Key) -> Any:
        return store.child_datastore.get(Key(NAMESPACE).child(key))


@pytest.mark.long
class TestAsyncNamespace(InNamespace, AsyncConformance):
    @pytest.fixture
    async def store(self) -> Any:
        async with aio.DictDatastore() as child:
            for text in FOREIGN:
                await child.put(Key(text), {"n": "foreign"})
            yield aio.NamespaceDatastore(NAMESPACE, child)

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        await store.child_datastore.put(Key(NAMESPACE).child(key), value)

    async def inspect(self, store: Any, key: Key) -> Any:
        return await store.child_datastore.get(Key(NAMESPACE).child(key))


@pytest.mark.long
class TestNamespaceOfTheRoot(InMemory, DatastoreConformance):
    changes = True

    @pytest.fixture
    def store(self) -> Any:
        return core.NamespaceDatastore("/", core.DictDatastore())


@given(data=st.data())
def test_lowercase_answers_like_a_dict_of_lowercase_keys(data: st.DataObject) -> None:
    """The suite's keys differ in case; here they are lowercased, among other entries, and read in any case."""
    child = core.DictDatastore()
    for text in ("/A", "/a/B", "/a:X", "/T/a"):
        child.put(Key(text), {"n": "foreign"})
    store = core.LowercaseKeyDatastore(child)
    expected: dict[Key, Any] = {}
    for key, value in data.draw(cases.writes(cases.json_values())):
        asked = data.draw(st.sampled_from([key, Key(str(key).upper())]))
        store.put(asked, value)
        expected.pop(lowered := Key(str(key).lower()), None)
        if value is not None:
            expected[lowered] = value
        assert model.same(store.get(asked), value)
        assert store.contains(asked) is (value is not None)
    query = data.draw(cases.queries(cases.json_values()))
    query.filters = [part for part in query.filters if all(each.field != "__key__" for each in part.comparisons())]
    found = list(store.query(query).entries())
    query.key = Key(str(query.key).lower())
    problem = model.difference(found, model.answer(query, expected).entries)
    assert problem is None, problem


def _in_lower_case(key: Key) -> Key:
    """A key without capitals for each, in their order: `@` is in no key of the suite's, and comes just before `A`."""
    return Key(re.sub("[A-Z]", lambda capital: f"@{capital[0].lower()}", str(key)))


def _with_capitals(key: Key) -> Key:
    return Key(re.sub("@(.)", lambda letter: letter[1].upper(), str(key)))


def _capitals_upon(colour: Any, lowercase: Any) -> Any:
    """Has the whole suite, whose keys differ in case, go through a store that ignores case."""
    return colour.KeyTransformDatastore(lowercase, _in_lower_case, prefix_preserving=True, inverse=_with_capitals)


class TestLowercase(InMemory, DatastoreConformance):
    @pytest.fixture
    def store(self) -> Any:
        child = core.DictDatastore()
        for text in FOREIGN:
            child.put(Key(text.upper() + "X"), {"n": "foreign"})
        return _capitals_upon(core, core.LowercaseKeyDatastore(child))


@pytest.mark.long
class TestAsyncLowercase(InMemory, AsyncConformance):
    @pytest.fixture
    async def store(self) -> Any:
        return _capitals_upon(aio, aio.LowercaseKeyDatastore(aio.DictDatastore()))


@pytest.mark.long
class TestLowercaseOverLMDB(DatastoreConformance):
    versions = expiry = atomic = retries = True
    grid = 40

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        pages = core.SerializerShimDatastore(LMDBDatastore(tmp_path, durability="async"), wire.codec)
        with _capitals_upon(core, core.LowercaseKeyDatastore(pages)) as store:
            yield store


@pytest.mark.long
class TestAsyncLowercaseOverLMDB(AsyncConformance):
    versions = expiry = atomic = retries = True
    grid = 40

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        pages = aio.SerializerShimDatastore(lift(LMDBDatastore(tmp_path, durability="async")), wire.codec)
        async with _capitals_upon(aio, aio.LowercaseKeyDatastore(pages)) as store:
            yield store


class LowercaseMachine(InMemory, DatastoreMachine):
    def open_store(self) -> Any:
        return _capitals_upon(core, core.LowercaseKeyDatastore(core.DictDatastore()))


TestLowercaseMachine = LowercaseMachine.TestCase


@pytest.mark.long
class TestIdentity(InMemory, DatastoreConformance):
    @pytest.fixture
    def store(self) -> Any:
        return core.KeyTransformDatastore(core.DictDatastore())


@pytest.mark.long
class TestReversed(InMemory, DatastoreConformance):
    queries = False

    @pytest.fixture
    def store(self) -> Any:
        return core.KeyTransformDatastore(core.DictDatastore(), _reversed)


class TestAsyncReversed(InMemory, AsyncConformance):
    queries = False

    @pytest.fixture
    async def store(self) -> Any:
        return aio.KeyTransformDatastore(aio.DictDatastore(), _reversed)


def _reversed(key: Key) -> Key:
    return key.reverse


class TestNestedPath(InMemory, DatastoreConformance):
    queries = False
    key_bytes = KEY_BYTES - len("/éx/xx/xx".encode())  # of the name of the suite's longest key

    @pytest.fixture
    def store(self) -> Any:
        return spec.build(NestedPathConfig(child=MemoryConfig()))


class TestAsyncNestedPath(InMemory, AsyncConformance):
    queries = False
    key_bytes = KEY_BYTES - len("/éx/xx/xx".encode())  # of the name of the suite's longest key

    @pytest.fixture
    async def store(self) -> Any:
        return spec.build_async(NestedPathConfig(child=MemoryConfig()))


@pytest.mark.long
class TestNestedPathOverLMDB(DatastoreConformance):
    versions = expiry = atomic = retries = True
    queries = False
    key_bytes = KEY_BYTES - len("/ab/cd/ef")

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        pages = core.SerializerShimDatastore(LMDBDatastore(tmp_path, durability="async"), wire.codec)
        with core.NestedPathDatastore(pages, keyfn=lambda key: "abcdef") as store:
            yield store


@pytest.mark.long
class TestAsyncNestedPathOverLMDB(AsyncConformance):
    versions = expiry = atomic = retries = True
    queries = False
    key_bytes = KEY_BYTES - len("/ab/cd/ef")

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        pages = aio.SerializerShimDatastore(lift(LMDBDatastore(tmp_path, durability="async")), wire.codec)
        async with aio.NestedPathDatastore(pages, keyfn=lambda key: "abcdef") as store:
            yield store
