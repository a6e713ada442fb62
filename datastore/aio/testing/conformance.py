"""The suite that every store, shim, collection and remote store must pass.

A test asks for a capability that the class declares, never for a store's name; what a store does not declare
must fail with its one error. Answers are compared with those of a plain dict (`datastore.testing.model`).
Knows only the Datastore contract.

    class TestMyStore(DatastoreConformance):
        keeps_tuples = True

        @pytest.fixture
        async def store(self):
            async with MyStore() as store:
                yield store
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datastore.aio.base import Datastore
from datastore.aio.cursor import Cursor
from datastore.aio.testing._parallel import pause, together
from datastore.aio.watching import Watcher
from datastore.model.aggregates import Aggregation, Avg, Count, Max, Min, Sum
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.capability import Durability
from datastore.model.changes import Change, ChangeKind
from datastore.model.conditions import Q
from datastore.model.description import Description
from datastore.model.entries import Entry, Position, Reason, StoredEntry, Write, value_bytes
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    CursorReuseError,
    CursorRunningError,
    DatastoreClosedError,
    DatastoreError,
    InvalidError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidTokenError,
    InvalidValueError,
    QueryNotSupportedError,
    RequestForgottenError,
    UnsupportedError,
    UnsupportedTypeError,
)
from datastore.model.expiry import Expiry
from datastore.model.fields import Filter
from datastore.model.key import Key
from datastore.model.limits import BATCH_BYTES, BATCH_ENTRIES, KEY_BYTES
from datastore.model.metadata import ABSENT, EXISTS, Metadata, Precondition
from datastore.model.operations import Delete, Operation, Patch, Put, ReadResult, WriteResult, raise_error
from datastore.model.patches import changes_of
from datastore.model.query import Query
from datastore.testing import aggregates, cases, model
from datastore.testing.cases import repeated

__all__ = ["DatastoreConformance"]

T = TypeVar("T")

#: One fixture per test is intended: every example cleans up after itself.
generated = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def needs(*capabilities: str) -> Callable[[T], T]:
    """A test for stores that declare these capabilities; classes of other stores do not have it."""

    def mark(test: T) -> T:
        vars(test)["needs"] = capabilities
        return test

    return mark


class Capabilities:
    """What a store declares about itself, and ways around it. Subclasses change what differs."""

    #: Whether `query` is supported; if not it must raise QueryNotSupportedError at the call.
    queries = True
    #: Whether entries have versions and writes may have conditions; if not, both must raise UnsupportedError.
    versions = False
    #: Whether entries can expire; if not, an expiry must raise UnsupportedError.
    expiry = False
    #: Whether the store remembers the requests of writes; if not, a repeated write must raise RequestForgottenError.
    retries = False
    #: Whether the store can be watched; if not, `watch` must raise UnsupportedError.
    changes = False
    #: Whether the store makes atomic batches; if not, they must raise UnsupportedError. Then it has versions too.
    atomic = False
    #: Whether a `batch_get` sees all of an atomic batch or nothing. Not through caches.
    reads_at_one_moment = True
    #: Whether a tuple comes back as a tuple; otherwise, as a list.
    keeps_tuples = False
    #: Whether values of every plain type come back unchanged; otherwise, only those of JSON do.
    plain_types = True
    #: Whether every value that is not refused comes back unchanged. False if a serializer rewrites values.
    exact_values = True
    #: Whether the store holds resources: once it is closed, every call raises DatastoreClosedError.
    closes = False
    #: Whether entries outlive the object; then `reopen` is given.
    persistent = False
    #: The maximum bytes of values in a batch, apart from its last entry; None if entries are counted instead.
    batch_bytes: int | None = None
    #: How many bounded batches one may be merged from: for a store with shards, their number.
    merges = 1
    #: The longest key.
    key_bytes = KEY_BYTES
    #: The strategy for generated values; None for the default, which depends on `plain_types`.
    values: st.SearchStrategy[Any] | None = None
    #: Values that must be refused with TypeError or ValueError.
    refused: Sequence[Any] = ()
    #: The number of queries of the grid to run.
    grid = 160

    #: The capabilities that all tests of a part of the suite need.
    all_need: Sequence[str] = ()

    @pytest.fixture
    async def store(self) -> Any:
        """An empty store: the one thing that every subclass gives."""
        raise NotImplementedError("a subclass of DatastoreConformance gives a fixture named store")

    async def plant(self, store: Datastore, key: Key, value: Any) -> None:
        """Put an entry where the store will find it; preferably not with the store's own `put`."""
        await store.put(key, value)

    async def inspect(self, store: Datastore, key: Key) -> Any:
        """The value stored under `key`, or None; preferably not read with the store's own `get`."""
        return await store.get(key)

    async def reopen(self, store: Datastore) -> Datastore:
        """Another object over what `store`, which is closed, has stored. For `persistent` stores."""
        raise NotImplementedError("a persistent store's suite overrides reopen")

    def same(self, found: Any, expected: Any) -> bool:
        """Whether a value came back as this store promises."""
        return model.same(found, expected, keeps_tuples=self.keeps_tuples)

    @property
    def drawn(self) -> st.SearchStrategy[Any]:
        """The strategy for generated values."""
        if self.values is not None:
            return self.values
        return cases.wire_values() if self.plain_types else cases.json_values()

    @property
    def sample_values(self) -> list[Any]:
        """Values that the store keeps."""
        rich = [b"", b"\x00\xff", Key("/a:b/é")] if self.plain_types else []
        return [*cases.JSON_VALUES, *rich]

    @property
    def sample_contents(self) -> dict[Key, Any]:
        """The contents that the grid of queries runs on."""
        return cases.RICH_CONTENTS if self.plain_types else cases.CONTENTS


async def fill(store: Datastore, contents: Mapping[Key, Any] | Iterable[tuple[Key, Any]]) -> None:
    """Write entries, some hundred at a time; all must succeed."""
    pairs = list(contents.items()) if isinstance(contents, Mapping) else list(contents)
    for start in range(0, len(pairs), 500):
        for outcome in await store.batch_write([Write(*pair) for pair in pairs[start : start + 500]]):
            if outcome.error is not None:
                raise outcome.error


async def clear(store: Datastore, keys: Iterable[Key]) -> None:
    """Delete entries."""
    await fill(store, [(key, None) for key in keys])


async def entries_of(cursor: Cursor) -> list[Entry]:
    """All entries of a cursor."""
    return [entry async for entry in cursor.entries()]


def a_query(key: str = "/m", *, orders: Sequence[str] = (), **arguments: Any) -> Query:
    """A query of one collection with some orders."""
    query = Query(Key(key), **arguments)
    for order in orders:
        query.order(order)
    return query


class OperationPromises(Capabilities):
    """get, put, delete, contains."""

    async def test_an_absent_key_is_not_an_error(self, store: Datastore) -> None:
        for text in ("/absent", "/", "/a:b", "/a/b/c"):
            assert await store.get(Key(text)) is None
            assert await store.contains(Key(text)) is False
            assert await store.delete(Key(text)) is None  # type: ignore[func-returns-value]
            assert await self.inspect(store, Key(text)) is None

    async def test_put_stores_and_delete_removes(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        assert await store.put(key, {"n": 1}) is None  # type: ignore[func-returns-value]
        assert self.same(await self.inspect(store, key), {"n": 1})
        await store.put(key, {"n": 2})
        assert self.same(await self.inspect(store, key), {"n": 2})
        await store.delete(key)
        assert await self.inspect(store, key) is None
        assert await store.get(key) is None
        await store.delete(key)

    async def test_get_and_contains_find_what_is_stored(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        await self.plant(store, key, "stored")
        assert await store.get(key) == "stored"
        assert await store.contains(key) is True

    async def test_falsy_values_are_values(self, store: Datastore) -> None:
        falsy = [*cases.FALSY_VALUES, b""] if self.plain_types else cases.FALSY_VALUES
        for value in falsy:
            key = Key("/falsy")
            await store.put(key, value)
            assert self.same(await store.get(key), value), value
            assert await store.contains(key) is True, value
            await store.delete(key)

    async def test_putting_none_deletes(self, store: Datastore) -> None:
        key = Key("/a")
        await store.put(key, None)
        assert await store.contains(key) is False
        await store.put(key, 1)
        await store.put(key, None)
        assert await self.inspect(store, key) is None
        assert await store.get(key) is None
        assert await store.contains(key) is False

    async def test_a_store_without_queries_changes_no_matching_entries(self, store: Datastore) -> None:
        if not self.queries:
            with pytest.raises(QueryNotSupportedError):
                await store.delete_matching(Query(Key("/a"))).finish()

    async def test_a_store_that_cannot_be_watched_says_so(self, store: Datastore) -> None:
        assert store.capability.changes or not self.changes
        if not store.capability.changes:
            with pytest.raises(UnsupportedError):
                store.watch(Query(Key("/a")))

    async def test_every_key_has_its_own_entry(self, store: Datastore) -> None:
        for text in cases.AWKWARD_KEYS:
            await store.put(Key(text), f"at {text}")
        for text in cases.AWKWARD_KEYS:
            assert await store.get(Key(text)) == f"at {text}", text
        for place, text in enumerate(cases.AWKWARD_KEYS):
            await store.delete(Key(text))
            assert await store.contains(Key(text)) is False, text
            for other in cases.AWKWARD_KEYS[place + 1 :][:1]:
                assert await store.get(Key(other)) == f"at {other}", (text, other)

    async def test_the_longest_keys_work(self, store: Datastore) -> None:
        for length in (self.key_bytes - 1, self.key_bytes):
            key = cases.key_of_bytes(length, "/long")
            await store.put(key, length)
            assert await store.get(key) == length
            assert await store.contains(key) is True
        shorter, longer = (cases.key_of_bytes(self.key_bytes - less, "/long") for less in (1, 0))
        await store.delete(longer)
        assert await store.get(longer) is None
        assert await store.get(shorter) == self.key_bytes - 1

    async def test_a_key_over_the_limit_is_refused(self, store: Datastore) -> None:
        with pytest.raises(InvalidKeyError):
            cases.key_of_bytes(KEY_BYTES + 1)
        if self.key_bytes < KEY_BYTES:
            key = cases.key_of_bytes(self.key_bytes + 1)
            for call in (
                partial(store.get, key),
                partial(store.put, key, 1),
                partial(store.delete, key),
                partial(store.contains, key),
            ):
                with pytest.raises(InvalidKeyError):
                    await call()

    async def test_anything_but_a_key_is_a_type_error(self, store: Datastore) -> None:
        for wrong in cases.NOT_KEYS:
            for call in (
                partial(store.get, wrong),
                partial(store.put, wrong, 1),
                partial(store.delete, wrong),
                partial(store.contains, wrong),
            ):
                with pytest.raises(TypeError):
                    await call()

    async def test_values_come_back_equal_and_of_the_same_type(self, store: Datastore) -> None:
        for value in self.sample_values:
            await store.put(Key("/value"), value)
            found = await store.get(Key("/value"))
            assert self.same(found, value), (found, value)
            assert await store.contains(Key("/value")) is True

    async def test_a_large_value_comes_back_whole(self, store: Datastore) -> None:
        value = {"text": "é" * 500_000, "list": list(range(1000))}
        await store.put(Key("/large"), value)
        assert self.same(await store.get(Key("/large")), value)

    async def test_a_refused_value_leaves_the_old_one(self, store: Datastore) -> None:
        key = Key("/kept")
        for value in [*self.refused, *cases.AWKWARD_VALUES]:
            await store.put(key, "old")
            try:
                await store.put(key, value)
            except (TypeError, ValueError) as error:
                assert isinstance(error, DatastoreError) or self.exact_values is False, (value, error)
                assert await store.get(key) == "old", value
                continue
            assert not any(value is refused for refused in self.refused), value
            if self.exact_values:
                found = await store.get(key)
                assert self.same(found, value), (found, value)

    @generated
    @given(data=st.data())
    async def test_any_value_comes_back(self, store: Datastore, data: st.DataObject) -> None:
        value = data.draw(self.drawn)
        await store.put(Key("/generated"), value)
        assert self.same(await store.get(Key("/generated")), value)
        assert await store.contains(Key("/generated")) is (value is not None)

    @generated
    @given(data=st.data())
    async def test_any_writes_leave_what_a_dict_would_hold(self, store: Datastore, data: st.DataObject) -> None:
        expected: dict[Key, Any] = {}
        touched: set[Key] = set()
        try:
            for key, value in data.draw(cases.writes(self.drawn)):
                touched.add(key)
                if value is None:
                    await store.delete(key)
                    expected.pop(key, None)
                else:
                    await store.put(key, value)
                    expected[key] = value
                assert self.same(await store.get(key), value), key
            for key in touched:
                assert self.same(await store.get(key), expected.get(key)), key
                assert await store.contains(key) is (key in expected), key
            if self.queries:
                found = await entries_of(store.query(Query(Key("/"), recursive=True)))
                problem = model.difference(
                    found,
                    model.answer(Query(Key("/"), recursive=True), expected).entries,
                    keeps_tuples=self.keeps_tuples,
                )
                assert problem is None, problem
        finally:
            await clear(store, touched)

    async def test_a_query_is_supported_or_refused_at_the_call(self, store: Datastore) -> None:
        query = Query(Key("/a"))
        if self.queries:
            await store.query(query).aclose()
        else:
            with pytest.raises(QueryNotSupportedError, match=r"."):
                store.query(query)

    async def test_describe_says_what_the_store_is(self, store: Datastore) -> None:
        description = store.describe()
        assert isinstance(description, Description)
        assert description.kind

    async def test_a_store_can_do_what_it_declares(self, store: Datastore) -> None:
        declared = store.capability
        # A remote store does not know whether the one behind it answers queries.
        assert declared.queries or not self.queries
        assert not (self.persistent and declared.durability is Durability.MEMORY)


class BatchPromises(Capabilities):
    """batch_get, batch_write."""

    async def test_batches_may_be_empty(self, store: Datastore) -> None:
        assert await store.batch_get([]) == []
        assert await store.batch_write([]) == []

    async def test_batch_get_returns_results_in_the_order_of_its_keys(self, store: Datastore) -> None:
        for index in range(20):
            await self.plant(store, Key(f"/b/{index}"), index)
        asked = [Key(f"/b/{index}") for index in (7, 3, 99, 3, 0, 19)]
        assert await store.batch_get(asked) == [ReadResult(value) for value in (7, 3, None, 3, 0, 19)]

    async def test_batch_write_stores_and_deletes_in_order(self, store: Datastore) -> None:
        await store.put(Key("/b/old"), "old")
        writes: list[Write | Operation] = [
            Write(Key("/b/1"), 1),
            Write(Key("/b/2"), 2),
            Write(Key("/b/old"), None),
            Write(Key("/b/1"), "later"),
            Write(Key("/b/2"), None),
            Write(Key("/b/2"), "again"),
            Write(Key("/b/absent"), None),
        ]
        assert await store.batch_write(writes) == [WriteResult()] * len(writes)
        assert await self.inspect(store, Key("/b/1")) == "later"
        assert await self.inspect(store, Key("/b/2")) == "again"
        assert await self.inspect(store, Key("/b/old")) is None
        assert await self.inspect(store, Key("/b/absent")) is None

    async def test_a_bad_item_fails_alone(self, store: Datastore) -> None:
        await store.put(Key("/b/1"), "old")
        wrong: Any = "/b/not-a-key"
        outcomes = await store.batch_write([Write(Key("/b/1"), "new"), Write(wrong, "lost"), Write(Key("/b/2"), "two")])
        assert [outcome.error is None for outcome in outcomes] == [True, False, True]
        assert isinstance(outcomes[1].error, TypeError)
        read = await store.batch_get([Key("/b/1"), wrong, Key("/b/2")])
        assert [outcome.value for outcome in read] == ["new", None, "two"]
        assert isinstance(read[1].error, TypeError)

    async def test_a_refused_value_fails_alone(self, store: Datastore) -> None:
        await store.put(Key("/b/1"), "old")
        for value in self.refused:
            outcomes = await store.batch_write(
                [Write(Key("/b/0"), 0), Write(Key("/b/1"), value), Write(Key("/b/2"), 2)]
            )
            assert [outcome.error is None for outcome in outcomes] == [True, False, True], value
            assert isinstance(outcomes[1].error, (TypeError, ValueError)), value
            assert await store.get(Key("/b/1")) == "old"
            assert await store.get(Key("/b/2")) == 2
            await clear(store, [Key("/b/0"), Key("/b/2")])

    async def test_a_long_batch_is_done_completely(self, store: Datastore) -> None:
        entries = cases.many_entries(1100)
        assert {outcome.error for outcome in await store.batch_write([Write(*pair) for pair in entries.items()])} == {
            None
        }
        read = await store.batch_get(list(entries))
        assert [outcome.value for outcome in read] == list(entries.values())


class VersionPromises(Capabilities):
    """Metadata of entries, and writes with conditions."""

    async def test_a_store_without_versions_refuses_what_needs_them(self, store: Datastore) -> None:
        if self.versions:
            assert store.capability.versions
            return
        key = Key("/a/b")
        await store.put(key, "old")
        for call in (
            partial(store.entry, key),
            partial(store.put, key, "new", if_exists=True),
            partial(store.delete, key, if_exists=True),
            partial(store.update, key, lambda _: "new"),
            partial(store.patch, key, {"n": 1}),
        ):
            # A class with its own `put(key, value)` has no such arguments.
            with pytest.raises((UnsupportedError, TypeError)):
                await call()
        results = await store.batch_write([Put(key, "new", EXISTS), Write(Key("/a/c"), "other")])
        assert isinstance(results[0].error, UnsupportedError)
        assert results[1].error is None
        assert await store.get(key) == "old"
        assert await store.get(Key("/a/c")) == "other"

    @needs("versions")
    async def test_an_entry_has_a_version_and_times(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        assert await store.entry(key) is None
        await store.put(key, "first")
        first = await entry_of(store, key)
        assert (first.key, first.value) == (key, "first")
        assert first.version > 0
        assert first.create_time == first.update_time
        assert first.expire_time is None
        await store.put(key, "second")
        second = await entry_of(store, key)
        assert (second.key, second.value) == (key, "second")
        assert second.version > first.version
        assert second.create_time == first.create_time
        assert second.update_time >= first.update_time

    @needs("versions")
    async def test_a_version_never_returns(self, store: Datastore) -> None:
        key = Key("/a/b")
        versions = []
        for value in (1, 1, 2, None, 1, None, 2):
            await store.put(key, value)
            entry = await store.entry(key)
            assert (entry is None) == (value is None)
            versions += [] if entry is None else [entry.version]
        assert versions == sorted(set(versions))

    @needs("versions")
    async def test_a_write_is_made_only_if_its_condition_holds(self, store: Datastore) -> None:
        key = Key("/a/b")
        with pytest.raises(ConditionFailedError) as failed:
            await store.put(key, "new", if_exists=True)
        assert failed.value.version == 0
        assert await store.get(key) is None
        await store.put(key, "first", if_absent=True)
        version = (await entry_of(store, key)).version
        for options in ({"if_absent": True}, {"if_version": version + 1}, {"if_version": 1}):
            with pytest.raises(ConditionFailedError) as failed:
                await store.put(key, "new", **options)
            assert failed.value.version == version
            with pytest.raises(ConditionFailedError):
                await store.delete(key, **options)
            assert await store.entry(key) == (key, "first")
        await store.put(key, "second", if_version=version)
        await store.put(key, "third", if_exists=True)
        assert await store.get(key) == "third"
        assert (await entry_of(store, key)).version > version
        with pytest.raises(ConditionFailedError):
            await store.put(key, None, if_version=version)
        await store.put(key, None, if_version=(await entry_of(store, key)).version)
        assert await store.get(key) is None
        with pytest.raises(ConditionFailedError) as failed:
            await store.delete(key, if_version=version)
        assert failed.value.version == 0

    @needs("versions")
    async def test_the_conditions_of_a_batch_are_decided_in_its_order(self, store: Datastore) -> None:
        keys = [Key(f"/b/{place}") for place in range(4)]
        results = await store.batch_write(
            [
                Put(keys[0], 1, ABSENT),
                Put(keys[0], 2, ABSENT),
                Put(keys[1], 1, EXISTS),
                Delete(keys[0], EXISTS),
                Put(keys[0], 3, ABSENT),
                Write(keys[2], 1),
                Put(keys[2], 2, EXISTS),
                Delete(keys[3], EXISTS),
                Delete(keys[3], ABSENT),
            ]
        )
        assert [type(result.error) for result in results] == [
            type(None),
            ConditionFailedError,
            ConditionFailedError,
            type(None),
            type(None),
            type(None),
            type(None),
            ConditionFailedError,
            type(None),
        ]
        assert [await store.get(key) for key in keys] == [3, None, 2, None]
        entries = {key: await entry_of(store, key) for key in (keys[0], keys[2])}
        assert results[4].metadata == entries[keys[0]].metadata
        assert results[6].metadata == entries[keys[2]].metadata

    @needs("versions")
    async def test_a_bad_condition_is_refused_and_nothing_is_written(self, store: Datastore) -> None:
        key = Key("/a/b")
        for options, error in (
            ({"if_absent": True, "if_exists": True}, InvalidError),
            ({"if_absent": True, "if_version": 1}, InvalidError),
            ({"if_version": 0}, InvalidError),
            ({"if_version": -1}, InvalidError),
            ({"if_version": 2**63}, InvalidError),
            ({"if_version": "1"}, TypeError),
            ({"if_version": True}, TypeError),
        ):
            with pytest.raises(error):
                await store.put(key, 1, **options)
            with pytest.raises(error):
                await store.delete(key, **options)
        bad: list[Any] = [
            Precondition(version=0),
            Precondition(version=2**63),
            Precondition(),
            Precondition(exists=True, version=1),
            Precondition(exists="yes"),  # type: ignore[arg-type]
            "absent",
        ]
        for result in await store.batch_write([Put(key, 1, condition) for condition in bad]):
            assert isinstance(result.error, (InvalidError, TypeError))
        assert await store.get(key) is None

    @needs("versions")
    async def test_a_put_of_none_in_a_batch_is_a_delete_with_its_condition(self, store: Datastore) -> None:
        key = Key("/a/b")
        await store.put(key, 1)
        [refused, deleted] = await store.batch_write([Put(key, None, ABSENT), Put(key, None, EXISTS)])
        assert isinstance(refused.error, ConditionFailedError)
        assert deleted.error is None
        assert await store.entry(key) is None

    @needs("versions")
    async def test_a_patch_changes_parts_of_a_value(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        value = {"n": 1, "text": "x", "list": [1], "geo": {"lat": 1.5, "lon": 2}, "dotted.name": 1, "old": True}
        await store.put(key, value)
        before = await entry_of(store, key)
        new = await store.patch(
            key,
            {"text": "y", "geo.lat": 3, "far.below.here": [1], "null": None},
            increment={"n": 2, "dotted.name": 1, "views": 1, "geo.lon": 0.5},
            append={"list": ["two", 3], "tags": ["new"]},
            remove=["old", "missing", "far away.below"],
        )
        expected = {
            "n": 3,
            "text": "y",
            "null": None,
            "list": [1, "two", 3],
            "tags": ["new"],
            "geo": {"lat": 3, "lon": 2.5},
            "dotted.name": 2,
            "views": 1,
            "far": {"below": {"here": [1]}},
        }
        assert self.same(new, expected)
        assert self.same(await store.get(key), expected)
        after = await entry_of(store, key)
        assert after.version > before.version
        assert after.create_time == before.create_time

    @needs("versions")
    async def test_a_patch_of_an_absent_entry_creates_it_only_if_asked(self, store: Datastore) -> None:
        key = Key("/a/b")
        with pytest.raises(ConditionFailedError):
            await store.patch(key, {"n": 1})
        assert await store.get(key) is None
        assert self.same(await store.patch(key, increment={"n": 1}, create=True), {"n": 1})
        assert self.same(await store.patch(key, increment={"n": 1}, create=True), {"n": 2})
        version = (await entry_of(store, key)).version
        with pytest.raises(ConditionFailedError):
            await store.patch(key, increment={"n": 1}, if_version=version - 1)
        await store.patch(key, increment={"n": 1}, if_version=version)
        assert self.same(await store.get(key), {"n": 3})

    @needs("versions")
    async def test_a_patch_that_does_not_fit_is_refused_and_changes_nothing(self, store: Datastore) -> None:
        key, text = Key("/a/b"), Key("/a/text")
        value = {"text": "x", "list": [1], "n": 2**63 - 1, "flag": True}
        await store.put(key, value)
        await store.put(text, "text")
        for refused in (
            partial(store.patch, key, increment={"text": 1}),
            partial(store.patch, key, increment={"flag": 1}),
            partial(store.patch, key, increment={"n": 1}),
            partial(store.patch, key, {"list.0": 1}),
            partial(store.patch, key, {"text.a": 1}),
            partial(store.patch, key, remove=["list.0"]),
            partial(store.patch, key, append={"text": [1]}),
            partial(store.patch, key, {"new": 1}, increment={"text": 1}),
            partial(store.patch, text, {"a": 1}),
        ):
            with pytest.raises(InvalidValueError):
                await refused()
        for bad in (
            partial(store.patch, key),
            partial(store.patch, key, {"": 1}),
            partial(store.patch, key, {"a": 1}, remove=["a"]),
            partial(store.patch, key, {"a": 1, "a.b": 1}),
            partial(store.patch, key, {"a": 1}, if_version=0),
        ):
            with pytest.raises(InvalidError):
                await bad()
        for wrong in (
            partial(store.patch, key, increment={"a": "1"}),  # type: ignore[dict-item]
            partial(store.patch, key, append={"a": "1"}),
            partial(store.patch, key, remove="a"),
        ):
            with pytest.raises(TypeError):
                await wrong()
        assert self.same(await store.get(key), value)
        assert await store.get(text) == "text"

    @needs("versions")
    async def test_concurrent_increments_add_up(self, store: Datastore) -> None:
        key = Key("/counters/a")

        async def add() -> None:
            for _ in range(10):
                await store.patch(key, increment={"n": 1}, create=True)

        await together([add] * 5)
        assert self.same(await store.get(key), {"n": 50})

    @needs("versions")
    async def test_an_update_replaces_the_value_that_it_read(self, store: Datastore) -> None:
        key = Key("/a/b")
        assert await store.update(key, lambda value: [value]) == [None]
        assert await store.update(key, lambda value: [*value, 1]) == [None, 1]
        assert await store.get(key) == [None, 1]
        assert await store.update(key, lambda _: None) is None
        assert await store.update(key, lambda _: None) is None
        assert await store.contains(key) is False

        def fail(value: Any) -> Any:
            raise LookupError(value)

        with pytest.raises(LookupError):
            await store.update(key, fail)

    @needs("versions")
    async def test_concurrent_updates_lose_nothing(self, store: Datastore) -> None:
        key = Key("/counters/a")

        async def add() -> None:
            for _ in range(10):
                await store.update(key, lambda value: (value or 0) + 1)

        await together([add] * 5)
        assert await store.get(key) == 50

    @needs("versions")
    async def test_of_concurrent_writes_with_one_condition_one_is_made(self, store: Datastore) -> None:
        key = Key("/locks/a")
        won: list[int] = []

        async def take(holder: int) -> None:
            try:
                await store.put(key, holder, if_absent=True)
            except ConditionFailedError:
                return
            won.append(holder)

        await together([partial(take, holder) for holder in range(8)])
        assert [await store.get(key)] == won


async def entry_of(store: Datastore, key: Key) -> StoredEntry:
    """The entry of a key that has one."""
    entry = await store.entry(key)
    assert entry is not None
    return entry


class AtomicPromises(Capabilities):
    """Atomic batches."""

    async def test_a_store_without_atomic_batches_refuses_them(self, store: Datastore) -> None:
        if self.atomic:
            assert store.capability.atomic
            return
        await store.put(Key("/a/b"), "old")
        # A class with its own `batch_write(writes)` has no such argument.
        with pytest.raises((UnsupportedError, TypeError)):
            await store.batch_write([Write(Key("/a/b"), "new"), Write(Key("/a/c"), "new")], atomic=True)
        assert await store.get(Key("/a/b")) == "old"
        assert not await store.contains(Key("/a/c"))

    @needs("atomic")
    async def test_an_atomic_batch_is_made_in_order(self, store: Datastore) -> None:
        one, two, three = await keys_on_one_shard(store)
        assert await store.batch_write([], atomic=True) == []
        writes: list[Write | Operation] = [
            Put(one, {"n": 1}, ABSENT),
            Write(two, {"n": 2}),
            Patch(one, changes_of(increment={"n": 10}), EXISTS),
            Write(three, {"n": 3}),
            Put(two, {"n": 4}, EXISTS),
            Delete(three, EXISTS),
            Put(three, {"n": 5}, ABSENT),
            Delete(one),
        ]
        results = await store.batch_write(writes, atomic=True)
        assert [result.error for result in results] == [None] * len(writes)
        assert [await store.get(key) for key in (one, two, three)] == [None, {"n": 4}, {"n": 5}]
        assert results[4].metadata == (await entry_of(store, two)).metadata
        assert results[6].metadata == (await entry_of(store, three)).metadata

    @needs("atomic")
    async def test_if_one_write_fails_none_is_made(self, store: Datastore) -> None:
        one, two, three = await keys_on_one_shard(store)
        await store.put(one, {"n": 1})
        before = await entry_of(store, one)
        failing: list[tuple[Operation, type[Exception]]] = [
            (Put(one, {"n": 9}, ABSENT), ConditionFailedError),
            (Put(one, {"n": 9}, Precondition(version=before.version - 1)), ConditionFailedError),
            (Put(two, {"n": 9}, Precondition(version=before.version)), ConditionFailedError),
            (Delete(three, EXISTS), ConditionFailedError),
            (Patch(three, changes_of({"n": 9})), ConditionFailedError),
            (Patch(one, changes_of(append={"n": [1]})), InvalidValueError),
            (Patch(two, changes_of(increment={"a.b": 1})), InvalidValueError),
        ]
        for operation, kind in failing:
            writes: list[Write | Operation] = [
                Write(two, {"a": 1}),
                Delete(one, EXISTS),
                Put(one, {"n": 2}, ABSENT),
                operation,
                Write(three, 5),
            ]
            results = await store.batch_write(writes, atomic=True)
            assert isinstance(results[3].error, kind), operation
            for result in (*results[:3], results[4]):
                assert isinstance(result.error, BatchAbortedError)
                assert result.error.index == 3
                assert result.metadata is None
            assert await store.entry(one) == before
            assert [await store.contains(key) for key in (two, three)] == [False, False]

    @needs("atomic")
    async def test_a_write_that_cannot_be_made_fails_its_atomic_batch(self, store: Datastore) -> None:
        one, two, _ = await keys_on_one_shard(store)
        bad: list[Any] = [Write("not a key", 1), Put(two, 1, Precondition())]  # type: ignore[arg-type]
        bad += [Write(two, value) for value in self.refused]
        for write in bad:
            results = await store.batch_write([Write(one, 1), write, Write(two, 2)], atomic=True)
            assert isinstance(results[1].error, TypeError | ValueError), write
            assert not isinstance(results[1].error, BatchAbortedError)
            assert isinstance(results[0].error, BatchAbortedError)
            assert isinstance(results[2].error, BatchAbortedError)
            assert not await store.contains(one)
            assert not await store.contains(two)

    @needs("atomic")
    @generated
    @given(data=st.data())
    async def test_any_atomic_batch_leaves_what_a_dict_would_hold(self, store: Datastore, data: st.DataObject) -> None:
        keys = await keys_on_one_shard(store)
        held: dict[Key, Any] = {}
        for batch in data.draw(st.lists(st.lists(_WRITES, max_size=6), max_size=4)):
            after, failed = dict(held), None
            for place, (number, kind, value) in enumerate(batch):
                if not _write_to_dict(after, keys[number], kind, value):
                    failed = place
                    break
            writes = [_operation_of(keys[number], kind, value) for number, kind, value in batch]
            results = await store.batch_write(writes, atomic=True)
            if failed is None:
                held = after
                assert [result.error for result in results] == [None] * len(batch)
            else:
                found = [type(result.error) for result in results]
                aborted: list[type] = [BatchAbortedError] * len(batch)
                assert found == [*aborted[:failed], ConditionFailedError, *aborted[failed + 1 :]]
            for key in keys:
                assert await store.contains(key) is (key in held)
                assert key not in held or await store.get(key) == held[key]
        for key in keys:
            await store.delete(key)

    @needs("atomic")
    async def test_readers_and_other_writers_see_all_of_an_atomic_batch_or_nothing(self, store: Datastore) -> None:
        one, two, three = await keys_on_one_shard(store)
        start = await store.batch_write([Write(key, {"n": 0}) for key in (one, two, three)], atomic=True)
        assert [result.error for result in start] == [None] * 3
        done: list[None] = []
        writers = 3

        async def write() -> None:
            # Moves one from the first to the second, and fails every other time after that.
            for number in range(20):
                moved: list[Operation] = [
                    Patch(one, changes_of(increment={"n": -1})),
                    Patch(two, changes_of(increment={"n": 1})),
                ]
                refused = [Put(three, {"n": 1}, ABSENT)] if number % 2 else []
                results = await store.batch_write([*moved, *refused], atomic=True)
                assert (results[0].error is None) == (not refused)
            done.append(None)

        async def read() -> None:
            while len(done) < writers:
                found = [result.value["n"] for result in await store.batch_get([one, two])]
                assert sum(found) == 0 or not self.reads_at_one_moment, found
                await pause(0)

        await together([*([write] * writers), read])
        assert [await store.get(key) for key in (one, two)] == [{"n": -10 * writers}, {"n": 10 * writers}]

    @needs("atomic", "changes")
    async def test_watchers_see_all_of_an_atomic_batch_or_nothing(self, store: Datastore) -> None:
        one, two, three = await keys_on_one_shard(store)
        await store.put(two, 0)
        async with store.watch(Query(one.path)) as watcher:
            refused = await store.batch_write([Write(one, 1), Delete(two), Put(three, 1, EXISTS)], atomic=True)
            assert all(result.error is not None for result in refused)
            made = await store.batch_write([Write(one, 2), Delete(two), Write(one, 3), Write(three, 4)], atomic=True)
            found = await read_changes(watcher, 4)
        assert shown(found) == [
            ("put", str(one), 2),
            ("delete", str(two), None),
            ("put", str(one), 3),
            ("put", str(three), 4),
        ]
        assert made[2].metadata is not None
        assert found[2].version == made[2].metadata.version
        histories(found)

    @needs("atomic", "expiry")
    async def test_atomic_batches_give_and_keep_expiries(self, store: Datastore) -> None:
        one, two, three = await keys_on_one_shard(store)
        await store.put(one, {"n": 1}, expires_in_s=3600)
        await store.put(three, {"n": 3})
        results = await store.batch_write(
            [
                Patch(one, changes_of(increment={"n": 1})),
                Put(two, {"n": 2}, expiry=Expiry.after(seconds=3600)),
                Put(three, {"n": 3}, expiry=Expiry(at_us=1)),
                Delete(three, ABSENT),
            ],
            atomic=True,
        )
        assert [result.error for result in results] == [None] * 4
        for key in (one, two):
            assert (await entry_of(store, key)).expire_time is not None
        assert not await store.contains(three)
        touched = Patch(three, (), expiry=Expiry.after(seconds=60))
        results = await store.batch_write([Write(one, {"n": 5}), touched], atomic=True)
        assert isinstance(results[1].error, ConditionFailedError)
        assert (await entry_of(store, one)).expire_time is not None


#: A place among three keys, what is done there, and with which number.
_WRITES = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["put", "create", "replace", "delete", "remove", "add", "add or create"]),
    st.integers(-3, 3),
)


def _operation_of(key: Key, kind: str, value: int) -> Operation:
    if kind in ("delete", "remove"):
        return Delete(key, EXISTS if kind == "remove" else None)
    if kind in ("add", "add or create"):
        return Patch(key, changes_of(increment={"n": value}), create=kind == "add or create")
    return Put(key, {"n": value}, {"create": ABSENT, "replace": EXISTS}.get(kind))


def _write_to_dict(held: dict[Key, Any], key: Key, kind: str, value: int) -> bool:
    """Make the write of `_operation_of` in a dict; False if its condition does not hold."""
    if (kind in ("replace", "remove", "add") and key not in held) or (kind == "create" and key in held):
        return False
    if kind in ("delete", "remove"):
        held.pop(key, None)
    elif kind in ("add", "add or create"):
        held[key] = {"n": held.get(key, {"n": 0})["n"] + value}
    else:
        held[key] = {"n": value}
    return True


async def keys_on_one_shard(store: Datastore) -> list[Key]:
    """Three keys without entries that an atomic batch may have together."""
    found = [Key("/atomic/0")]
    for number in range(1, 1000):
        key = Key(f"/atomic/{number}")
        try:
            await store.batch_write([Delete(found[0]), Delete(key)], atomic=True)
        except UnsupportedError as error:
            # It names the shards.
            assert str(key) in str(error)
            continue
        found.append(key)
        if len(found) == 3:
            break
    return found


class ExpiryPromises(Capabilities):
    """Entries that expire. No test waits longer than an entry takes to expire."""

    FAR = datetime(2200, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    PAST = datetime(2001, 1, 1, tzinfo=timezone(timedelta(hours=1)))

    async def test_a_store_whose_entries_cannot_expire_refuses_an_expiry(self, store: Datastore) -> None:
        if self.expiry:
            assert store.capability.expiry
            return
        key = Key("/a/b")
        await store.put(key, "old")
        for call in (
            partial(store.put, key, "new", expires_in_s=60),
            partial(store.put, key, "new", expire_time=self.FAR),
            partial(store.touch, key, expires_in_s=60),
            partial(store.touch, key),
        ):
            # A class with its own `put(key, value)` has no such arguments.
            with pytest.raises((UnsupportedError, TypeError)):
                await call()
        results = await store.batch_write([Put(key, "new", expiry=Expiry.after(60)), Write(Key("/a/c"), "other")])
        assert isinstance(results[0].error, UnsupportedError)
        assert results[1].error is None
        assert await store.get(key) == "old"
        assert await store.get(Key("/a/c")) == "other"

    @needs("expiry")
    async def test_an_entry_says_when_it_expires_and_is_there_until_then(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        await store.put(key, "first", expire_time=self.FAR)
        entry = await entry_of(store, key)
        assert (entry.value, entry.expire_time) == ("first", self.FAR)
        for seconds in (3600, 0.5 + 3600):
            await store.put(key, "second", expires_in_s=seconds)
            entry = await entry_of(store, key)
            assert entry.expire_time is not None
            # Both by the clock of the store, which may have gone on in between.
            assert abs(entry.expire_time - entry.update_time - timedelta(seconds=seconds)) < timedelta(seconds=600)
        assert await store.get(key) == "second"
        assert await store.contains(key)

    @needs("expiry")
    async def test_a_put_without_an_expiry_is_permanent_and_other_writes_keep_it(self, store: Datastore) -> None:
        key = Key("/a/b")
        await store.put(key, {"n": 1}, expire_time=self.FAR)
        await store.patch(key, increment={"n": 1})
        assert (await entry_of(store, key)).expire_time == self.FAR
        await store.update(key, lambda value: {**value, "m": 1})
        assert (await entry_of(store, key)).expire_time == self.FAR
        assert self.same(await store.get(key), {"n": 2, "m": 1})
        await store.put(key, {"n": 1})
        assert (await entry_of(store, key)).expire_time is None
        await store.put(key, {"n": 1}, expire_time=self.FAR)
        await store.batch_write([Write(key, {"n": 2})])
        assert (await entry_of(store, key)).expire_time is None

    @needs("expiry")
    async def test_a_bad_expiry_fails_its_write_and_no_other(self, store: Datastore) -> None:
        bad: list[Any] = [60, Expiry(in_us=1, at_us=1)]
        puts = [Put(Key("/a/b"), "new", expiry=expiry) for expiry in bad]
        [wrong, doubled, stored] = await store.batch_write([*puts, Put(Key("/a/c"), "new")])
        assert isinstance(wrong.error, UnsupportedTypeError)
        assert isinstance(doubled.error, InvalidError)
        assert stored.error is None
        assert await store.get(Key("/a/b")) is None

    @needs("expiry")
    async def test_an_expiry_in_the_past_deletes(self, store: Datastore) -> None:
        key, other = Key("/a/b"), Key("/a/c")
        await store.put(key, "new", expire_time=self.PAST)
        assert await store.entry(key) is None
        await store.put(key, "old")
        await store.put(key, "new", expire_time=datetime(1901, 1, 1, tzinfo=UTC))
        assert await store.get(key) is None
        await store.put(key, "old")
        with pytest.raises(ConditionFailedError):
            await store.put(key, "new", if_absent=True, expire_time=self.PAST)
        assert await store.get(key) == "old"
        past, far = Expiry.at(self.PAST), Expiry.at(self.FAR)
        results = await store.batch_write(
            [Put(key, "new", EXISTS, past), Put(key, "newer", ABSENT, far), Put(other, 1, None, past)]
        )
        assert [result.error for result in results] == [None, None, None]
        assert [await store.get(each) for each in (key, other)] == ["newer", None]
        assert (await entry_of(store, key)).expire_time == self.FAR
        assert await store.touch(key, expire_time=self.PAST)
        assert await store.get(key) is None

    @needs("expiry")
    async def test_a_touch_changes_only_the_expiry(self, store: Datastore) -> None:
        key = Key("/a/b")
        assert await store.touch(key, expires_in_s=60) is False
        assert await store.get(key) is None
        for value in ("text", {"n": [1, None]}, 0):
            await store.put(key, value)
            before = await entry_of(store, key)
            assert await store.touch(key, expire_time=self.FAR) is True
            after = await entry_of(store, key)
            assert self.same(after.value, value)
            assert after.expire_time == self.FAR
            assert after.version > before.version
            assert after.create_time == before.create_time
            assert await store.touch(key, expires_in_s=3600)
            assert (await entry_of(store, key)).expire_time not in (None, self.FAR)
            assert await store.touch(key)
            assert (await entry_of(store, key)).expire_time is None
            assert self.same(await store.get(key), value)

    @needs("expiry")
    async def test_an_expired_entry_is_absent_to_every_call(self, store: Datastore) -> None:
        gone, kept = Key("/e/b"), Key("/e/a")
        await store.put(kept, {"n": 1})
        await store.put(gone, {"n": 2})
        assert await store.get(gone) is not None
        before = await entry_of(store, gone)
        await store.touch(gone, expires_in_s=0.002)
        while await store.get(gone) is not None:
            await pause(0.001)
        assert await store.contains(gone) is False
        assert await store.entry(gone) is None
        assert [result.value for result in await store.batch_get([gone])] == [None]
        assert await store.touch(gone, expires_in_s=60) is False
        for options in ({"if_exists": True}, {"if_version": before.version}):
            with pytest.raises(ConditionFailedError) as failed:
                await store.put(gone, "new", **options)
            assert failed.value.version == 0
        await store.put(gone, "new", if_absent=True)
        after = await entry_of(store, gone)
        assert after.create_time > before.create_time
        assert after.version > before.version
        assert after.expire_time is None

    @needs("expiry", "queries")
    async def test_expired_entries_are_left_out_of_queries_before_they_are_counted(self, store: Datastore) -> None:
        keys = [Key(f"/e/{place}") for place in range(6)]
        await fill(store, {key: {"n": place} for place, key in enumerate(keys)})
        for key in keys[:3]:
            await store.touch(key, expires_in_s=0.002)
        while any([await store.get(key) is not None for key in keys[:3]]):
            await pause(0.001)
        for asked, expected in (
            (a_query("/e"), keys[3:]),
            (a_query("/e", limit=2), keys[3:5]),
            (a_query("/e", offset=1), keys[4:]),
            (a_query("/e", orders=["-n"], offset=1, limit=5), [keys[4], keys[3]]),
            (a_query("/e", keys_only=True), keys[3:]),
            (Query(Key("/"), recursive=True), keys[3:]),
            (a_query("/e").filter("n", "<", 4), keys[3:4]),
        ):
            assert [entry.key for entry in await entries_of(store.query(asked))] == expected, asked
        assert await store.aggregate(a_query("/e"), {"all": Count(), "sum": Sum("n")}) == [{"all": 3, "sum": 12}]

    @needs("expiry")
    async def test_a_bad_expiry_is_refused_and_nothing_is_written(self, store: Datastore) -> None:
        key = Key("/a/b")
        await store.put(key, "old")
        bad: list[tuple[Any, type[Exception]]] = [
            *[
                ({"expires_in_s": seconds}, InvalidError)
                for seconds in (0, -1, float("nan"), float("inf"), 1e12, 1e300)
            ],
            *[({"expires_in_s": seconds}, TypeError) for seconds in ("60", True, timedelta(seconds=60))],
            ({"expire_time": datetime(2200, 1, 1)}, InvalidError),
            ({"expire_time": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))}, InvalidError),
            *[({"expire_time": time}, TypeError) for time in ("2200-01-01", 1e9, self.FAR.date())],
            ({"expires_in_s": 60, "expire_time": self.FAR}, InvalidError),
            ({"expires_in_s": 252_000_000_000}, InvalidError),
        ]
        for options, error in bad:
            with pytest.raises(error):
                await store.put(key, "new", **options)
            with pytest.raises(error):
                await store.touch(key, **options)
        assert await store.get(key) == "old"
        assert (await entry_of(store, key)).expire_time is None


class RetryPromises(Capabilities):
    """Attempts of writes, of which one is made."""

    async def test_a_write_is_not_repeated_if_nobody_knows_whether_it_was_made(self, store: Datastore) -> None:
        """The first attempt was sent long before the store was opened."""
        long_ago = Attempt.new().followed(elapsed_us() - 10**12)
        keys = [Key("/a/b"), Key("/a/c"), Key("/a/d")]
        await store.put(keys[0], "old")
        results = await store.batch_write(
            [Put(keys[0], "new", attempt=long_ago), Delete(keys[0], attempt=long_ago), Write(keys[2], "other")]
        )
        assert [type(result.error) for result in results] == [RequestForgottenError] * 2 + [type(None)]
        assert [await store.get(key) for key in keys] == ["old", None, "other"]

    async def test_the_first_attempt_of_a_write_is_made(self, store: Datastore) -> None:
        assert store.capability.retries or not self.retries
        keys = [Key("/a/b"), Key("/a/c")]
        await store.put(keys[1], "old")
        results = await store.batch_write(
            [Put(keys[0], "new", attempt=Attempt.new()), Delete(keys[1], attempt=Attempt.new())]
        )
        assert [result.error for result in results] == [None, None]
        assert [await store.get(key) for key in keys] == ["new", None]

    async def test_a_store_that_remembers_nothing_repeats_nothing(self, store: Datastore) -> None:
        if self.retries:
            return
        key, first = Key("/a/b"), Attempt.new()
        await made(store, Put(key, "mine", attempt=first))
        await store.put(key, "theirs")
        [result] = await store.batch_write([Put(key, "mine", attempt=first.followed(elapsed_us()))])
        assert isinstance(result.error, RequestForgottenError)
        assert await store.get(key) == "theirs"

    @needs("retries")
    async def test_a_write_that_was_made_is_answered_as_before_and_not_made_again(self, store: Datastore) -> None:
        key = Key("/a:b/c")
        increment = changes_of(increment={"n": 1})
        writes: list[tuple[Operation, Any]] = [
            (Put(key, {"n": 1}, ABSENT, attempt=Attempt.new()), {"n": 1}),
            (Patch(key, increment, attempt=Attempt.new()), {"n": 2}),
            (Patch(key, (), expiry=Expiry.after(10**6), attempt=Attempt.new()), {"n": 2}),
            (Put(key, {"n": 5}, attempt=Attempt.new()), {"n": 5}),
            (Delete(key, EXISTS, attempt=Attempt.new()), None),
        ]
        answers = []
        for operation, value in writes:
            answers.append(await made(store, operation))
            again = await made(store, repeated(operation))
            assert again.metadata == answers[-1].metadata
            assert await store.get(key) == value
            if isinstance(operation, Patch) and operation.changes:
                assert again.value == value
        await store.put(key, {"n": 9})
        for answer, (operation, _) in zip(answers, writes, strict=True):
            again = await made(store, repeated(operation))
            assert again.metadata == answer.metadata
            # The value that a patch made is not known any more.
            assert again.value is None
        assert await store.get(key) == {"n": 9}

    @needs("retries")
    async def test_a_delayed_first_attempt_is_not_made_after_a_repeated_one(self, store: Datastore) -> None:
        first = Put(Key("/a/b"), 1, attempt=Attempt.new())
        await made(store, repeated(first))
        await store.delete(first.key)
        await made(store, first)
        assert await store.get(first.key) is None

    @needs("retries")
    async def test_what_a_repeated_write_was_told_stays_true(self, store: Datastore) -> None:
        """Its condition failed: an earlier attempt that comes later is not made, although its condition would hold."""
        first = Put(Key("/a/b"), "mine", ABSENT, attempt=Attempt.new())
        await store.put(first.key, "theirs")
        version = (await entry_of(store, first.key)).version
        for attempted in (first, repeated(first)):
            with pytest.raises(ConditionFailedError):
                await made(store, attempted)
        await store.delete(first.key)
        for attempted in (first, repeated(first)):
            with pytest.raises(ConditionFailedError) as failed:
                await made(store, attempted)
            assert failed.value.version == version
        assert await store.get(first.key) is None

    @needs("retries")
    async def test_a_first_attempt_that_was_refused_is_decided_again(self, store: Datastore) -> None:
        first = Patch(Key("/a/b"), changes_of(increment={"n": 1}), attempt=Attempt.new())
        await store.put(first.key, {"n": "text"})
        with pytest.raises(InvalidValueError):
            await made(store, first)
        await store.put(first.key, {"n": 1})
        assert (await made(store, repeated(first))).value == {"n": 2}

    @needs("retries", "atomic")
    async def test_an_atomic_batch_is_made_once(self, store: Datastore) -> None:
        # On one shard, whatever the store shards by.
        key = Key("/a/b")
        add = changes_of(increment={"n": 1})
        batch = [Patch(key, add, create=True, attempt=Attempt.new()), Patch(key, add, attempt=Attempt.new())]
        first = await store.batch_write(batch, atomic=True)
        again = await store.batch_write(list(map(repeated, batch)), atomic=True)
        assert [result.error for result in (*first, *again)] == [None] * 4
        assert [result.metadata for result in again] == [result.metadata for result in first]
        assert await store.get(key) == {"n": 2}

    @needs("retries", "atomic")
    async def test_an_atomic_batch_whose_repetition_failed_is_not_made_later(self, store: Datastore) -> None:
        key = Key("/a/b")
        batch: list[Operation] = [Put(key, "mine", attempt=Attempt.new()), Put(key, 2, ABSENT, attempt=Attempt.new())]
        for attempted in (list(map(repeated, batch)), batch, list(map(repeated, batch))):
            results = await store.batch_write(attempted, atomic=True)
            aborted, failed = (result.error for result in results)
            assert isinstance(aborted, BatchAbortedError)
            assert aborted.index == 1
            assert isinstance(failed, ConditionFailedError)
            assert await store.get(key) is None
        long_ago = Attempt.new().followed(elapsed_us() - 10**12)
        with pytest.raises(InvalidError):
            await store.batch_write([Delete(key, attempt=long_ago), Put(key, 1)], atomic=True)
        for _ in range(2):
            results = await store.batch_write(
                [Delete(key, attempt=long_ago), Put(key, 1, attempt=Attempt.new())], atomic=True
            )
            assert isinstance(results[0].error, RequestForgottenError)
        assert await store.get(key) is None

    @needs("retries")
    async def test_a_request_id_belongs_to_one_write(self, store: Datastore) -> None:
        first, key = Put(Key("/a/b"), 1, attempt=Attempt.new()), Key("/a/c")
        await made(store, first)
        for other in (Put(key, 1, attempt=first.attempt), Delete(key, attempt=repeated(first).attempt)):
            # A store of shards does not see all of its keys in one place.
            [result] = await store.batch_write([other])
            assert result.error is None or isinstance(result.error, InvalidError)
        assert await store.get(first.key) == 1

    async def test_a_bad_attempt_is_refused_and_nothing_is_written(self, store: Datastore) -> None:
        key = Key("/a/b")
        bad: list[Any] = [Attempt(b""), Attempt(b"x" * 15), Attempt(b"x" * 17), b"x" * 16, (b"x" * 16, None)]
        for attempted in bad:
            [result] = await store.batch_write([Put(key, 1, attempt=attempted)])
            assert isinstance(result.error, (InvalidError, TypeError)), attempted
        assert await store.get(key) is None


async def made(store: Datastore, operation: Operation) -> WriteResult:
    """The result of a write. Raises its error."""
    [result] = await store.batch_write([operation])
    raise_error(result)
    return result


class QueryPromises(Capabilities):
    """query, compared with the naive answer."""

    all_need = ("queries",)

    async def check(
        self, store: Datastore, query: Query, contents: Mapping[Key, Any], after: Entry | None = None
    ) -> None:
        """Assert that the store's answer to `query` is the naive one: entries, order, counts, summary."""
        expected = model.answer(query, contents, after)
        cursor = store.query(query)
        found = await entries_of(cursor)
        problem = model.difference(found, expected.entries, keeps_tuples=self.keeps_tuples)
        assert problem is None, f"{query!r}: {problem}"
        assert all(isinstance(entry, Entry) for entry in found)
        assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped), repr(query)
        assert cursor.summary is not None, repr(query)
        assert (cursor.summary.entries, cursor.summary.skipped) == (len(expected.entries), expected.skipped)
        assert cursor.summary.reason in (Reason.EXHAUSTED, Reason.LIMIT), repr(query)

    async def test_anything_but_a_query_is_a_type_error(self, store: Datastore) -> None:
        for wrong in (Key("/a"), "/a", None):
            with pytest.raises(TypeError):
                store.query(wrong)  # type: ignore[arg-type]

    async def test_a_query_of_an_empty_store_has_no_results(self, store: Datastore) -> None:
        for text in ("/", "/a", "/a:b"):
            for recursive in (False, True):
                await self.check(store, Query(Key(text), recursive=recursive), {})

    async def test_the_answers_are_those_of_a_dict(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        for steps in cases.query_grid(self.grid):
            await self.check(store, cases.query_of(steps), contents)

    async def test_falsy_values_are_found(self, store: Datastore) -> None:
        contents = {Key(f"/falsy/{place}"): value for place, value in enumerate(cases.FALSY_VALUES)}
        await fill(store, contents)
        await self.check(store, a_query("/falsy"), contents)
        await self.check(store, a_query("/falsy", orders=["n"], offset=1, limit=3), contents)

    async def test_awkward_keys_are_found_in_order(self, store: Datastore) -> None:
        contents = {Key(text): {"at": text} for text in cases.AWKWARD_KEYS}
        await fill(store, contents)
        for text in ("/", "/a", "/日本/東京", "/e\u0301", "/a/b.c"):
            for recursive in (False, True):
                await self.check(store, Query(Key(text), recursive=recursive), contents)

    async def test_the_longest_keys_are_found(self, store: Datastore) -> None:
        longest = cases.key_of_bytes(self.key_bytes, "/long")
        deep = cases.key_of_bytes(self.key_bytes, "/long" + "/d" * 200)
        contents: dict[Key, Any] = {longest: 1, deep: 2, Key("/long/short"): 3, Key("/longer"): 4}
        await fill(store, contents)
        for query in (
            a_query("/long"),
            a_query("/long", recursive=True),
            a_query("/", recursive=True, orders=["-__key__"]),
            Query(longest),
            Query(longest, recursive=True),
            Query(Key(model.collection_of(str(deep)))),
        ):
            await self.check(store, query, contents)

    async def test_a_filter_object_is_not_changed_by_the_query(self, store: Datastore) -> None:
        await fill(store, cases.CONTENTS)
        query = a_query("/a", orders=["-n"], limit=3, offset=1).filter("n", ">", 0)
        before = (query.dict(), list(query.filters), list(query.orders))
        await self.check(store, query, cases.CONTENTS)
        await self.check(store, query, cases.CONTENTS)
        assert (query.dict(), query.filters, query.orders) == before

    async def test_changing_a_query_does_not_change_its_results(self, store: Datastore) -> None:
        contents = cases.many_entries(9)
        await fill(store, contents)
        query = a_query("/many", orders=["-n"], limit=3).filter("n", "<", 7)
        expected = model.answer(query.copy(), contents).keys
        cursor = store.query(query)
        query.filter("n", ">", 100).order("group")
        query.limit, query.offset, query.fields = 9, 1, ["group"]
        entries = await entries_of(cursor)
        assert [entry.key for entry in entries] == expected
        assert all(model.same(entry.value, contents[entry.key]) for entry in entries if entry.key)
        assert cursor.summary is not None
        assert cursor.summary.reason is Reason.LIMIT

    async def test_fields_are_cut_from_values_after_filters_and_orders(self, store: Datastore) -> None:
        contents = {
            Key("/p/a"): {"name": "a", "n": 2, "geo": {"lat": 1, "lon": 2}},
            Key("/p/b"): {"name": "b", "n": 1, "geo": "flat"},
            Key("/p/c"): {"n": 3, "geo.lat": 5},
            Key("/p/d"): "text",
        }
        await fill(store, contents)
        query = Query(Key("/p"), fields=["geo.lat", "name"]).filter("n", "!=", 1).order("-n")
        assert [entry.value for entry in await entries_of(store.query(query))] == [
            {"geo.lat": 5},
            {"name": "a", "geo": {"lat": 1}},
            {},
        ]

    async def test_start_after_any_entry_returns_the_rest(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        for orders in (["n"], ["-s", "n"], ["-__key__"], []):
            query = a_query("/a", orders=orders)
            for place, entry in enumerate(model.answer(query, contents).entries):
                if place % 3 == len(orders):
                    query.start_after = position_of(query, entry)
                    query.offset, query.limit = [(0, None), (2, None), (1, 3)][place % 3]
                    await self.check(store, query, contents, after=entry)

    async def test_no_batch_has_a_position_before_the_one_to_start_after(self, store: Datastore) -> None:
        contents = cases.many_entries(200)
        await fill(store, contents)
        start = Position(b"", sorted(contents)[150])
        query = a_query("/many")
        query.start_after = start
        async for batch in store.query(query).batches():
            assert batch.position is None or str(batch.position.key) >= str(start.key)

    async def test_start_after_a_deleted_entry_returns_what_follows(self, store: Datastore) -> None:
        contents = cases.many_entries(9)
        gone = sorted(contents)[4]
        kept = {key: value for key, value in contents.items() if key != gone}
        await fill(store, kept)
        for orders in ([], ["-n"], ["group", "-n"]):
            query = a_query("/many", orders=orders)
            after = Entry(gone, contents[gone])
            query.start_after = position_of(query, after)
            await self.check(store, query, kept, after=after)

    async def test_pages_by_offset_join_to_the_whole(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        for key, recursive, orders in (("/", True, []), ("/a", False, ["s", "-n"])):
            whole = model.answer(a_query(key, recursive=recursive, orders=orders), contents).keys
            pages: list[Key | None] = []
            for offset in range(0, len(whole) + 4, 4):
                query = a_query(key, recursive=recursive, orders=orders, offset=offset, limit=4)
                pages += [entry.key for entry in await entries_of(store.query(query))]
            assert pages == whole

    async def test_an_offset_and_a_limit_may_be_of_any_size(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        large = 2**63 - 1
        for orders in ([], ["s", "-n"], ["__key__"]):
            for offset, limit in ((large, 1), (large, large), (1, large), (0, 2**70), (2**70, None)):
                query = a_query("/", recursive=True, orders=orders, offset=offset, limit=limit)
                await self.check(store, query, contents)

    async def test_pages_by_key_join_to_the_whole(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        for key, recursive in (("/", True), ("/a", False), ("/a", True)):
            whole = model.answer(a_query(key, recursive=recursive), contents).keys
            pages: list[Key | None] = []
            for _ in range(len(whole) + 1):
                query = a_query(key, recursive=recursive, limit=3)
                if pages:
                    query.filter("__key__", ">", pages[-1])
                page = await entries_of(store.query(query))
                if not page:
                    break
                pages += [entry.key for entry in page]
            assert pages == whole

    async def test_a_query_resumed_at_any_batch_loses_and_repeats_nothing(self, store: Datastore) -> None:
        contents = cases.many_entries(400)
        await fill(store, contents)
        for orders, offset, limit in (
            ([], 0, None),
            ([], 70, 200),
            (["-n"], 0, None),
            (["group", "-n"], 70, 200),
        ):
            query = a_query("/many", orders=orders, offset=offset, limit=limit)
            whole = model.answer(query, contents).keys
            cursor = store.query(query)
            keys: list[Key] = []
            number = 0
            async for batch in cursor.batches():
                keys += batch.keys
                number += 1
                # Where batches are single entries, not after each of them.
                if batch.position is None or (number > 8 and number % 40):
                    continue
                left = a_query(
                    "/many",
                    orders=orders,
                    offset=offset - cursor.skipped,
                    limit=None if limit is None else limit - len(keys),
                    start_after=batch.position,
                )
                rest = [entry.key for entry in await entries_of(store.query(left))]
                assert keys + rest == whole, (repr(query), len(keys), repr(left))
            assert keys == whole

    async def test_batches_are_bounded(self, store: Datastore) -> None:
        contents = cases.many_entries(BATCH_ENTRIES + 500) | cases.many_entries(
            12, "/many/large", filler=BATCH_BYTES // 3
        )
        await fill(store, contents)
        for orders in ([], ["-n"]):
            sizes: list[int] = []
            query = a_query("/many", orders=orders, recursive=True)
            async for batch in store.query(query).batches():
                assert len(batch.keys) == len(batch.values) == len(batch)
                if self.batch_bytes is None:
                    assert len(batch) <= BATCH_ENTRIES * self.merges
                else:
                    filled = sum(value_bytes(value["filler"]) for value in batch.values[: -self.merges])
                    assert filled <= self.batch_bytes * self.merges
                sizes.append(len(batch))
            assert sum(sizes) == len(contents)
            assert sum(1 for size in sizes if size) > 1

    async def test_an_error_while_reading_is_raised_every_time_it_is_asked(self, store: Datastore) -> None:
        await fill(store, {Key("/m/a"): {"n": 1}, Key("/m/b"): {"n": 2}})

        def broken(obj: Any, field: str) -> Any:
            raise ZeroDivisionError("the caller's getter failed")

        query = Query(Key("/m"), object_getattr=broken).filter("n", ">", 0)
        with pytest.raises(ZeroDivisionError):
            await entries_of(store.query(query))

    async def test_a_getter_of_the_caller_is_used(self, store: Datastore) -> None:
        contents = {Key(f"/m/{n}"): {"n": n} for n in range(8)}
        await fill(store, contents)
        query = Query(Key("/m"), offset=1, limit=2, object_getattr=lambda obj, field: -obj["n"])
        query.filter("n", "<", -2).order("n")
        found = await entries_of(store.query(query))
        assert [entry.key for entry in found] == [Key("/m/6"), Key("/m/5")]

    @generated
    @given(data=st.data())
    async def test_any_query_is_answered_like_by_a_dict(self, store: Datastore, data: st.DataObject) -> None:
        contents = data.draw(cases.contents(self.drawn))
        try:
            await fill(store, contents)
            for query in data.draw(st.lists(cases.queries(self.drawn), min_size=1, max_size=4)):
                await self.check(store, query, contents)
                whole = model.answer(query.replaced(keys_only=False, fields=None), contents).entries
                continues: bool = data.draw(st.booleans())
                if whole and continues:
                    after = data.draw(st.sampled_from(whole))
                    query.start_after = position_of(query, after)
                    await self.check(store, query, contents, after=after)
        finally:
            await clear(store, contents)


def position_of(query: Query, entry: Entry) -> Position:
    """The place after `entry` in the order of `query`."""
    if entry.key is None:
        raise ValueError("an entry of a store has a key")
    return Position(query.sort_key_of(entry.key, entry.value) if query.orders else b"", entry.key)


#: After so many heartbeats, no more changes are expected: a minute, however slow the machine is.
HEARTBEATS = 6
#: Everything in a store.
EVERYTHING = Query(Key("/"), recursive=True)


async def read_changes(watcher: Watcher, count: int) -> list[Change]:
    """At least so many changes, in whole batches; fewer only if no more come."""
    found: list[Change] = []
    heartbeats = 0
    batches = watcher.batches()
    while len(found) < count and heartbeats < HEARTBEATS:
        batch = await anext(batches)
        found += batch.changes
        heartbeats += not batch.changes and not batch.caught_up
    await batches.aclose()
    return found


async def read_listing(watcher: Watcher) -> list[Change]:
    """The changes up to the end of the initial listing."""
    found: list[Change] = []
    batches = watcher.batches()
    while not watcher.caught_up:
        found += (await anext(batches)).changes
    await batches.aclose()
    return found


def shown(changes: Iterable[Change]) -> list[tuple[str, str, Any]]:
    """The kinds, keys and values of changes."""
    return [(change.kind.value, str(change.key), change.value) for change in changes]


def histories(changes: Iterable[Change]) -> dict[Key, list[Change]]:
    """The changes of each key. Asserts that their versions increase."""
    found: dict[Key, list[Change]] = {}
    for change in changes:
        found.setdefault(change.key, []).append(change)
    for key, history in found.items():
        versions = [change.version for change in history]
        assert versions == sorted(set(versions)), key
    return found


class WatchPromises(Capabilities):
    """watch."""

    all_need = ("changes",)

    async def test_changes_come_from_now_on_in_their_order(self, store: Datastore) -> None:
        key = Key("/w/a")
        await store.put(Key("/w/before"), 1)
        async with store.watch(Query(Key("/w"))) as watcher:
            await store.put(key, {"n": 1})
            first = await store.entry(key)
            await store.put(key, {"n": 2})
            await store.delete(key)
            await store.delete(key)
            await store.patch(key, {"n": 3}, create=True)
            last = await store.entry(key)
            found = await read_changes(watcher, 4)
        assert shown(found) == [
            ("put", "/w/a", {"n": 1}),
            ("put", "/w/a", {"n": 2}),
            ("delete", "/w/a", None),
            ("put", "/w/a", {"n": 3}),
        ]
        assert first is not None
        assert last is not None
        assert (found[0].version, found[3].version) == (first.version, last.version)
        histories(found)

    async def test_a_watcher_is_an_iterator_of_changes(self, store: Datastore) -> None:
        async with store.watch(Key("/w/a")) as watcher:
            for value in range(3):
                await store.put(Key("/w/a"), value)
            assert [(await anext(watcher)).value for _ in range(3)] == [0, 1, 2]
            token = watcher.token
            await store.put(Key("/w/a"), 3)
            async for change in watcher:
                assert change.value == 3
                break
        async with store.watch(Key("/w/a"), resume_token=token) as watcher:
            assert (await anext(watcher)).value == 3

    async def test_a_watch_shows_its_scope_alone(self, store: Datastore) -> None:
        keys = [Key(text) for text in ("/", "/w", "/w/a", "/w/a/b", "/w:i", "/w/a:i", "/v/a", "/wx")]
        scopes: list[Query | Key] = [EVERYTHING]
        scopes += [Query(key, recursive=recursive) for key in keys for recursive in (False, True)]
        for scope in [*scopes, *keys]:
            async with store.watch(scope) as watcher:
                await fill(store, [(key, str(key)) for key in keys])
                wanted = [key for key in keys if (scope.covers(key) if isinstance(scope, Query) else scope == key)]
                found = await read_changes(watcher, len(wanted)) if wanted else []
                assert sorted(change.key for change in found) == sorted(wanted), scope
                assert all(change.value == str(change.key) for change in found)
                await clear(store, keys)
                found = await read_changes(watcher, len(wanted)) if wanted else []
                assert sorted(change.key for change in found) == sorted(wanted), scope

    async def test_filters_apply_to_the_new_value_and_not_to_deletions(self, store: Datastore) -> None:
        one, other = Key("/w/a"), Key("/w/b")
        async with (
            store.watch(Query(Key("/w")).filter("n", ">", 1)) as by_value,
            store.watch(Query(Key("/w")).filter("__key__", ">", one)) as by_key,
        ):
            for key in (one, other):
                for n in (1, 2, 0, 3):
                    await store.put(key, {"n": n})
                await store.delete(key)
            assert {str(key): shown(found) for key, found in histories(await read_changes(by_value, 6)).items()} == {
                text: [("put", text, {"n": 2}), ("put", text, {"n": 3}), ("delete", text, None)]
                for text in ("/w/a", "/w/b")
            }
            found = await read_changes(by_key, 5)
            assert [change.key for change in found] == [other] * 5

    async def test_values_can_be_left_out(self, store: Datastore) -> None:
        async with store.watch(Query(Key("/w")).filter("n", ">", 1), values=False) as watcher:
            await store.put(Key("/w/a"), {"n": 1})
            await store.put(Key("/w/a"), {"n": 2})
            assert shown(await read_changes(watcher, 1)) == [("put", "/w/a", None)]

    @needs("changes", "queries")
    async def test_a_listing_comes_before_the_changes(self, store: Datastore) -> None:
        await fill(store, {Key(f"/w/{n}"): {"n": n} for n in range(5)})
        async with store.watch(Query(Key("/w")).filter("n", ">", 1), initial=True) as watcher:
            assert not watcher.caught_up
            listed = await read_listing(watcher)
            assert sorted(shown(listed)) == [("put", f"/w/{n}", {"n": n}) for n in (2, 3, 4)]
            for change in listed:
                entry = await store.entry(change.key)
                assert entry is not None
                assert entry.version == change.version
            await store.put(Key("/w/3"), {"n": 33})
            assert shown(await read_changes(watcher, 1)) == [("put", "/w/3", {"n": 33})]
        async with store.watch(Query(Key("/none")), initial=True) as watcher:
            assert await read_listing(watcher) == []

    @needs("changes", "queries")
    async def test_between_a_listing_and_the_changes_there_is_no_gap(self, store: Datastore) -> None:
        contents: dict[Key, Any] = {Key(f"/w/{n:04}"): n for n in range(500)}
        await fill(store, contents)
        query = Query(Key("/w"))
        found: list[Change] = []
        token, caught_up, step = None, False, 0
        while not caught_up:
            # Cut after every batch of the listing, with changes of listed and of other entries in between.
            async with store.watch(query, initial=True, resume_token=token) as watcher:
                batches = watcher.batches()
                found += (await anext(batches)).changes
                await batches.aclose()
                token, caught_up, step = watcher.token, watcher.caught_up, step + 1
            if step > 6:
                # Otherwise a shard with changes might always come first.
                continue
            changed = {Key(f"/w/{n:04}"): -step for n in (1, 250, 499)} | {Key(f"/w/new{step}"): 0}
            gone = Key(f"/w/{100 + step:04}")
            await fill(store, [*changed.items(), (gone, None)])
            contents.update(changed)
            contents.pop(gone, None)
        assert step > 1
        async with store.watch(query, resume_token=token) as watcher:
            while {key: past[-1].value for key, past in histories(found).items()} != contents | dict.fromkeys(
                [change.key for change in found if change.kind is ChangeKind.DELETE]
            ):
                more = await read_changes(watcher, 1)
                assert more, "a change is missing"
                found += more

    async def test_a_token_of_another_watch_or_a_damaged_one_is_refused(self, store: Datastore) -> None:
        query = Query(Key("/w")).filter("n", ">", 1)
        async with store.watch(query) as watcher:
            token = watcher.token
        assert token is not None
        others = [Query(Key("/w")), Query(Key("/v")).filter("n", ">", 1), query.replaced(recursive=True)]
        for other in [*others, Query(Key("/w")).filter("n", ">", 2)]:
            with pytest.raises(InvalidTokenError):
                await store.watch(other, resume_token=token).__aenter__()
        damaged = [token[:-1], token[1:], b"", b"x", token + b"\0", bytes([token[0] ^ 1]) + token[1:]]
        for wrong in damaged:
            with pytest.raises(InvalidTokenError):
                await store.watch(query, resume_token=wrong).__aenter__()
        with pytest.raises(TypeError):
            store.watch(query, resume_token=1)  # type: ignore[arg-type]

    async def test_a_query_of_a_watch_has_nothing_but_filters(self, store: Datastore) -> None:
        for query in (
            Query(Key("/w"), limit=1),
            Query(Key("/w"), offset=1),
            Query(Key("/w")).order("n"),
            Query(Key("/w"), fields=["n"]),
            Query(Key("/w"), keys_only=True),
            Query(Key("/w"), start_after=Position(b"", Key("/w/a"))),
        ):
            with pytest.raises(InvalidQueryError):
                store.watch(query)
        with pytest.raises(TypeError):
            store.watch("/w")  # type: ignore[arg-type]

    async def test_closing_a_watcher_ends_it(self, store: Datastore) -> None:
        watcher = store.watch(Query(Key("/w")))
        await watcher.aclose()
        assert [change async for change in watcher] == []
        async with store.watch(Query(Key("/w"))) as watcher:
            await store.put(Key("/w/a"), 1)
            assert (await anext(watcher)).value == 1
            await watcher.aclose()
            await watcher.aclose()
            assert await anext(watcher, "the end") == "the end"

        async def close(watcher: Watcher) -> None:
            await watcher.aclose()

        async def read(watcher: Watcher) -> None:
            assert [change async for change in watcher] == []

        async with store.watch(Query(Key("/w"))) as watcher:
            await together([partial(read, watcher), partial(close, watcher)])

    @needs("changes", "expiry")
    async def test_an_expiry_is_shown_without_another_write(self, store: Datastore) -> None:
        key = Key("/w/a")
        async with store.watch(key) as watcher:
            await store.put(key, 1, expires_in_s=0.01)
            await store.put(Key("/w/b"), 1)
            found = await read_changes(watcher, 1)
            found += await read_changes(watcher, 2 - len(found))
        assert shown(found) == [("put", "/w/a", 1), ("expire", "/w/a", None)]
        histories(found)

    @generated
    @given(data=st.data())
    async def test_any_history_is_shown_once_over_any_cuts(self, store: Datastore, data: st.DataObject) -> None:
        expected: dict[Key, list[Any]] = {}
        contents: dict[Key, Any] = {}
        found: list[Change] = []
        watcher = store.watch(EVERYTHING)
        try:
            await watcher.__aenter__()
            for key, value in data.draw(cases.writes(self.drawn)):
                await store.put(key, value)
                if value is not None or key in contents:
                    expected.setdefault(key, []).append(value)
                contents[key] = value
                if value is None:
                    del contents[key]
                action: str = data.draw(st.sampled_from(["write on", "read", "cut"]))
                if action == "read" and len(found) < sum(map(len, expected.values())):
                    found += await read_changes(watcher, 1)
                if action == "cut":
                    token = watcher.token
                    await watcher.aclose()
                    watcher = store.watch(EVERYTHING, resume_token=token)
            found += await read_changes(watcher, sum(map(len, expected.values())) - len(found))
            seen = histories(found)
            assert seen.keys() == expected.keys()
            for key, values in expected.items():
                assert len(seen[key]) == len(values), key
                for change, value in zip(seen[key], values, strict=True):
                    assert self.same(change.value, value), key
                    assert (change.kind is ChangeKind.DELETE) == (value is None)
        finally:
            await watcher.aclose()
            await clear(store, contents)

    async def test_watchers_see_every_change_of_concurrent_writers(self, store: Datastore) -> None:
        async def write(worker: int) -> None:
            for step in range(20):
                await store.put(Key(f"/w/{step % 3}"), [worker, step])

        async def read(found: list[Change]) -> None:
            async with store.watch(Query(Key("/w")), resume_token=token) as watcher:
                found += await read_changes(watcher, 80)

        async with store.watch(Query(Key("/w"))) as watcher:
            token = watcher.token
        seen: list[list[Change]] = [[], [], []]
        await together([*(partial(write, worker) for worker in range(4)), *(partial(read, found) for found in seen)])
        for found in seen:
            assert len(found) == 80
            assert sorted(change.value for change in found) == [[w, s] for w in range(4) for s in range(20)]
            for key, history in histories(found).items():
                entry = await store.entry(key)
                assert entry is not None
                assert (entry.version, entry.value) == (history[-1].version, history[-1].value)


#: Orders by fields of the metadata, alone and among others.
_METADATA_ORDERS = (
    ["__version__"],
    ["-__update_time__"],
    ["__create_time__", "-__version__"],
    ["s", "-__version__"],
    ["-__update_time__", "n"],
)


class MetadataQueryPromises(Capabilities):
    """Metadata in queries: as part of the results, and in filters and orders."""

    all_need = ("queries",)

    async def test_a_store_without_versions_refuses_queries_that_need_them(self, store: Datastore) -> None:
        if self.versions:
            return
        await store.put(Key("/m/a"), {"n": 1})
        for query in (
            Query(Key("/m"), metadata=True),
            Query(Key("/m")).filter("__version__", ">", 0),
            Query(Key("/m")).filter(~Filter("__create_time__", "exists", False)),
            a_query(orders=["n", "-__update_time__"]),
        ):
            with pytest.raises(UnsupportedError):
                await entries_of(store.query(query))
        for asked, part in (
            (Query(Key("/m")), Max("__update_time__")),
            (Query(Key("/m")).filter("__version__", ">", 0), Count()),
        ):
            with pytest.raises(UnsupportedError):
                await store.aggregate(asked, {"result": part})

    async def stored(self, store: Datastore, contents: Mapping[Key, Any]) -> dict[Key, Metadata]:
        """Store the contents, some of them twice or after a delete. Returns the metadata of each key."""
        pairs = list(contents.items())
        await fill(store, [*pairs[::3], *((key, None) for key, _ in pairs[::6]), *pairs, *pairs[::2]])
        metadata = {}
        for key in contents:
            entry = await store.entry(key)
            assert entry is not None
            metadata[key] = entry.metadata
        return metadata

    async def check_known(
        self,
        store: Datastore,
        query: Query,
        contents: Mapping[Key, Any],
        metadata: Mapping[Key, Metadata],
        after: Entry | None = None,
    ) -> list[Entry]:
        """Assert that the store's answer to `query` is the naive one, with metadata if it asks for it."""
        expected = model.answer(query, contents, after, metadata=metadata)
        cursor = store.query(query)
        found = await entries_of(cursor)
        problem = model.difference(found, expected.entries, keeps_tuples=self.keeps_tuples)
        assert problem is None, f"{query!r}: {problem}"
        assert (cursor.returned, cursor.skipped) == (len(expected.entries), expected.skipped), repr(query)
        return found

    @needs("versions")
    async def test_entries_have_the_metadata_that_a_read_returns(self, store: Datastore) -> None:
        contents = self.sample_contents
        metadata = await self.stored(store, contents)
        for steps in cases.query_grid(self.grid // 4):
            query = cases.query_of(steps)
            query.metadata = True
            found = await self.check_known(store, query, contents, metadata)
            assert all(isinstance(entry, StoredEntry) for entry in found)

    @needs("versions")
    async def test_batches_have_metadata_only_if_it_is_asked_for(self, store: Datastore) -> None:
        contents = cases.many_entries(300)
        metadata = await self.stored(store, contents)
        for orders in ([], ["group"], ["-__version__"]):
            for is_asked in (False, True):
                query = a_query("/many", orders=orders, metadata=is_asked).filter("__version__", ">", 0)
                found: dict[Key | None, Any] = {}
                async for batch in store.query(query).batches():
                    found |= {entry.key: entry.metadata for entry in batch.entries()}
                assert found == (metadata if is_asked else dict.fromkeys(contents)), (orders, is_asked)

    @needs("versions")
    async def test_filters_may_read_metadata(self, store: Datastore) -> None:
        contents = self.sample_contents
        metadata = await self.stored(store, contents)
        middle = sorted(metadata.values())[len(metadata) // 2]
        version, updated, created = Q("__version__"), Q("__update_time__"), Q("__create_time__")
        for condition in (
            version > middle.version,
            version == middle.version,
            version != middle.version,
            version.in_([middle.version, min(metadata.values()).version, 0]),
            version >= str(middle.version),
            updated <= middle.update_time,
            updated > middle.update_time.astimezone(timezone(timedelta(hours=5))),
            created == middle.create_time,
            (created < middle.create_time) | (Q("n") > 1),
            ~(version <= middle.version) & (Q("__key__") > Key("/a")),
        ):
            for arguments in ({}, {"metadata": True}, {"keys_only": True, "limit": 3, "offset": 1}, {"fields": ["n"]}):
                for orders in ([], ["-n"]):
                    query = a_query("/", recursive=True, orders=orders, **arguments).filter(condition)
                    await self.check_known(store, query, contents, metadata)

    @needs("versions")
    async def test_orders_may_read_metadata(self, store: Datastore) -> None:
        contents = self.sample_contents
        metadata = await self.stored(store, contents)
        for orders in _METADATA_ORDERS:
            for arguments in (
                {},
                {"metadata": True},
                {"limit": 3, "offset": 1},
                {"keys_only": True, "metadata": True, "limit": 4},
                {"fields": ["n"], "offset": 2},
                {"keys_only": True},
            ):
                query = a_query("/", recursive=True, orders=orders, **arguments)
                await self.check_known(store, query, contents, metadata)

    @needs("versions")
    async def test_a_query_in_an_order_of_metadata_begins_after_any_entry(self, store: Datastore) -> None:
        contents = self.sample_contents
        metadata = await self.stored(store, contents)
        for number, orders in enumerate(_METADATA_ORDERS):
            query = a_query("/", recursive=True, orders=orders, metadata=True)
            for entry in model.answer(query, contents, metadata=metadata).entries[number::5]:
                assert entry.key is not None
                sort_key = query.sort_key_of(entry.key, entry.value, entry.metadata)
                after = query.replaced(start_after=Position(sort_key, entry.key), limit=5, metadata=bool(number % 2))
                await self.check_known(store, after, contents, metadata, entry)

    @needs("versions")
    async def test_a_query_in_an_order_of_metadata_resumes_at_any_batch(self, store: Datastore) -> None:
        contents = cases.many_entries(400)
        metadata = await self.stored(store, contents)
        for orders in (["-__update_time__"], ["group", "__version__"]):
            query = a_query("/many", orders=orders)
            whole = model.answer(query, contents, metadata=metadata).keys
            keys: list[Key] = []
            number = 0
            async for batch in store.query(query).batches():
                keys += batch.keys
                number += 1
                # Where batches are single entries, not after each of them.
                if batch.position is None or (number > 8 and number % 40):
                    continue
                left = a_query("/many", orders=orders, start_after=batch.position)
                assert keys + [entry.key for entry in await entries_of(store.query(left))] == whole
            assert keys == whole

    @needs("versions")
    async def test_aggregates_may_read_metadata(self, store: Datastore) -> None:
        contents = self.sample_contents
        metadata = await self.stored(store, contents)
        parts = {"last": Max("__update_time__"), "first": Min("__version__"), "n": Sum("n"), "all": Count()}
        query = Query(Key("/"), recursive=True, metadata=True)
        middle = sorted(metadata.values())[len(metadata) // 2]
        for group_by in ([], ["s"], ["__create_time__"], ["__key__"]):
            for asked in (query, query.copy().filter("__version__", ">", middle.version)):
                expected = aggregates.rows(asked, contents, parts, group_by, metadata=metadata)
                found = await store.aggregate(asked.replaced(metadata=False), parts, group_by=group_by)
                problem = aggregates.difference(found, expected, parts)
                assert problem is None, (group_by, problem)

    @needs("versions")
    @generated
    @given(data=st.data())
    async def test_any_query_of_metadata_is_answered_like_by_a_dict(
        self, store: Datastore, data: st.DataObject
    ) -> None:
        contents = data.draw(cases.contents(self.drawn))
        try:
            metadata = await self.stored(store, contents)
            for query in data.draw(st.lists(cases.queries(self.drawn), min_size=1, max_size=3)):
                query.metadata = data.draw(st.booleans())
                for condition in data.draw(cases.metadata_filters(metadata.values())):
                    query.filter(condition)
                for place, order in data.draw(cases.metadata_orders()):
                    query.orders.insert(place, order)
                await self.check_known(store, query, contents, metadata)
        finally:
            await clear(store, contents)


class AggregatePromises(Capabilities):
    """aggregate, compared with the naive rows."""

    all_need = ("queries",)

    async def check_rows(
        self, store: Datastore, query: Query, parts: Mapping[str, Aggregation], group_by: Sequence[str], contents: Any
    ) -> None:
        """Assert that the store's rows are the naive ones."""
        found = await store.aggregate(query, parts, group_by=group_by)
        problem = aggregates.difference(found, aggregates.rows(query, contents, parts, group_by), parts)
        assert problem is None, f"{problem}, for {query!r} by {group_by}"

    async def test_aggregates_by_group_are_those_of_a_dict(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        kinds: list[Callable[[str], Aggregation]] = [Count, Sum, Avg, Min, Max]
        parts = {"all": Count()} | {f"{kind.__name__} {field}": kind(field) for kind in kinds for field in ("n", "m.x")}
        for query in (
            Query(Key("/a")),
            Query(Key("/"), recursive=True).filter("n", "!=", 3),
            Query(Key("/"), limit=7, offset=3, recursive=True).order("-s").order("n"),
            Query(Key("/missing")),
        ):
            for group_by in ([], ["s"], ["n"], ["m", "s"], ["__key__"]):
                await self.check_rows(store, query, parts, group_by, contents)

    @generated
    @given(data=st.data())
    async def test_any_aggregate_is_that_of_a_dict(self, store: Datastore, data: st.DataObject) -> None:
        contents = data.draw(cases.contents(self.drawn))
        try:
            await fill(store, contents)
            for query in data.draw(st.lists(cases.queries(self.drawn), min_size=1, max_size=3)):
                query = query.replaced(keys_only=False, fields=None)
                parts, group_by = data.draw(aggregates.aggregations()), data.draw(aggregates.groupings())
                await self.check_rows(store, query, parts, group_by, contents)
        finally:
            await clear(store, contents)

    async def test_rows_are_sorted_and_limited(self, store: Datastore) -> None:
        await fill(store, {Key(f"/o/{n}"): {"g": n % 3, "n": n} for n in range(8)})
        query, parts = Query(Key("/o")), {"c": Count(), "top": Max("n")}
        found = await store.aggregate(query, parts, group_by=["g"], orders=["-c", "-g"], limit=2)
        assert found == [{"g": 1, "c": 3, "top": 7}, {"g": 0, "c": 3, "top": 6}]
        assert await store.aggregate(query, parts, group_by=["g"], limit=0) == []


class MatchingPromises(Capabilities):
    """delete_matching and patch_matching, compared with a dict."""

    all_need = ("queries",)

    async def check_left(self, store: Datastore, contents: Mapping[Key, Any]) -> None:
        """Assert that the store holds these entries and no others."""
        found = await entries_of(store.query(Query(Key("/"), recursive=True)))
        everything = model.answer(Query(Key("/"), recursive=True), contents)
        problem = model.difference(found, everything.entries, keeps_tuples=self.keeps_tuples)
        assert problem is None, problem

    def selections(self) -> list[Query]:
        """Queries of the sample contents, with and without limits."""
        return [
            Query(Key("/missing"), recursive=True),
            Query(Key("/a")),
            Query(Key("/"), recursive=True).filter("n", ">", 2),
            Query(Key("/"), limit=3, offset=2, recursive=True),
            Query(Key("/"), limit=4, offset=1, recursive=True).order("-n").order("s"),
            Query(Key("/"), offset=5, recursive=True).order("__key__"),
            Query(Key("/"), limit=0, recursive=True),
            Query(Key("/"), recursive=True).order("-n"),
        ]

    async def test_exactly_the_selected_entries_are_deleted(self, store: Datastore) -> None:
        for query in self.selections():
            contents = self.sample_contents
            await fill(store, contents)
            selected = set(model.answer(query, contents).keys)
            run = store.delete_matching(query)
            await self.check_left(store, contents)
            progress = await run.finish()
            assert (progress.total, progress.changed) == (len(selected), len(selected)), query
            assert (progress.passed_over, progress.failed, progress.failures) == (0, 0, ())
            await self.check_left(store, {key: value for key, value in contents.items() if key not in selected})
            await clear(store, contents)

    @generated
    @given(data=st.data())
    async def test_any_deletion_is_that_of_a_dict(self, store: Datastore, data: st.DataObject) -> None:
        contents = data.draw(cases.contents(self.drawn))
        try:
            await fill(store, contents)
            left = dict(contents)
            for query in data.draw(st.lists(cases.queries(self.drawn), min_size=1, max_size=3)):
                query = query.replaced(keys_only=False, fields=None)
                selected = model.answer(query, left).keys
                try:
                    progress = await store.delete_matching(query).finish()
                except InvalidValueError:
                    # Values that no server takes may have no sort key, which a limit or an offset needs.
                    assert query.orders
                    await self.check_left(store, left)
                    continue
                assert progress.changed == len(selected), query
                left = {key: value for key, value in left.items() if key not in selected}
                await self.check_left(store, left)
        finally:
            await clear(store, contents)

    @needs("versions")
    @generated
    @given(data=st.data())
    async def test_any_patch_is_that_of_a_dict(self, store: Datastore, data: st.DataObject) -> None:
        contents = data.draw(cases.contents(self.drawn))
        try:
            await fill(store, contents)
            for query in data.draw(st.lists(cases.queries(self.drawn), min_size=1, max_size=3)):
                query = query.replaced(keys_only=False, fields=None)
                selected = [key for key in model.answer(query, contents).keys if key is not None]
                try:
                    progress = await store.patch_matching(query, {"patched": True}, remove=["n"]).finish()
                except InvalidValueError:
                    assert query.orders
                    await self.check_left(store, contents)
                    continue
                maps = [key for key in selected if isinstance(contents[key], dict)]
                assert (progress.changed, progress.failed) == (len(maps), len(selected) - len(maps)), query
                assert {failure.key for failure in progress.failures} == set(selected) - set(maps)
                assert all(isinstance(failure.error, InvalidValueError) for failure in progress.failures)
                for key in maps:
                    value = {name: part for name, part in contents[key].items() if name != "n"}
                    contents[key] = {**value, "patched": True}
                await self.check_left(store, contents)
        finally:
            await clear(store, contents)

    @needs("versions")
    async def test_a_patch_does_not_match_its_own_results(self, store: Datastore) -> None:
        contents = {Key(f"/m/{n:03}"): {"n": n} for n in range(60)}
        await fill(store, contents)
        for query in (a_query("/m").filter("n", ">=", 0), a_query("/m", limit=30, offset=10, orders=["n"])):
            selected = [key for key in model.answer(query, contents).keys if key is not None]
            run = store.patch_matching(query, increment={"n": 1000})
            first = await anext(run)
            assert (first.changed, first.total) == (0, len(selected))
            last = await run.finish()
            assert last.changed == len(selected)
            for key in selected:
                contents[key] = {"n": contents[key]["n"] + 1000}
            await self.check_left(store, contents)
            # As if the answers to all of it had been lost.
            assert first.token is not None
            again = await store.patch_matching(query, increment={"n": 1000}, resume_token=first.token).finish()
            assert (again.total, again.changed) == (None, 0)
            # And once more after its end.
            again = await store.patch_matching(query, increment={"n": 1000}, resume_token=last.token).finish()
            assert (again.changed, again.passed_over) == (0, 0)
            await self.check_left(store, contents)

    @needs("versions")
    async def test_entries_that_were_written_since_the_beginning_are_passed_over(self, store: Datastore) -> None:
        contents = {Key(f"/m/{n:02}"): {"n": n} for n in range(20)}
        for limit in (None, 15):
            await fill(store, contents)
            query = a_query("/m", limit=limit, orders=["-n"] if limit else [])
            async with store.delete_matching(query) as run:
                begun = await anext(run)
                done = await run.finish()
            assert done.changed == (limit or 20)
            written = {Key("/m/07"): {"n": 70}, Key("/m/10"): {"n": 10}, Key("/m/new"): {"n": 19}}
            await fill(store, written)
            again = await store.delete_matching(query, resume_token=begun.token).finish()
            assert again.changed == 0
            # A shard in which nothing matched in the beginning is not looked at again.
            assert again.passed_over in (2, 3)
            left = {key: value for key, value in contents.items() if limit and value["n"] < 5} | written
            await self.check_left(store, left)
            await clear(store, left)

    async def test_a_run_can_be_left_and_continued(self, store: Datastore) -> None:
        contents = {Key(f"/m/{n:04}"): {"n": n % 10} for n in range(1200)}
        await fill(store, contents)
        query = a_query("/m", offset=3, limit=1100)
        token, changed = None, 0
        while True:
            async with store.delete_matching(query, resume_token=token) as run:
                step = await anext(run, None)
                step = None if step is None else await anext(run, None)
            if step is None:
                break
            assert step.token is not None
            assert step.token != token
            token, changed = step.token, changed + step.changed
        # A server may have been a step ahead when the run was left, whose answer is lost.
        assert changed <= 1100
        selected = model.answer(query, contents).keys
        await self.check_left(store, {key: value for key, value in contents.items() if key not in selected})

    async def test_arguments_that_make_no_sense_are_refused_and_nothing_is_changed(self, store: Datastore) -> None:
        await fill(store, {Key("/m/1"): {"n": 1}})
        for bad in (
            a_query(keys_only=True),
            a_query(fields=["n"]),
            a_query(allow_partial=True),
            a_query(metadata=True),
        ):
            with pytest.raises(InvalidQueryError):
                store.delete_matching(bad)
        with pytest.raises(TypeError):
            store.delete_matching(Key("/m"))  # type: ignore[arg-type]
        begun = await anext(store.delete_matching(a_query().filter("n", "=", 2)))
        assert begun.token is not None
        for token in (begun.token, begun.token[:-1], b"nonsense", b""):
            with pytest.raises(InvalidTokenError):
                await store.delete_matching(a_query().filter("n", "=", 1), resume_token=token).finish()
        assert await store.contains(Key("/m/1"))
        if not store.capability.versions:
            with pytest.raises(UnsupportedError):
                store.patch_matching(a_query(), {"n": 2})
        else:
            with pytest.raises(InvalidError):
                store.patch_matching(a_query())


class MutationPromises(Capabilities):
    """Changes that may happen while a query runs."""

    all_need = ("queries",)

    BEFORE: Mapping[str, int] = {"/m/b": 10, "/m/d": 40, "/m/f": 20, "/m/h": 50, "/m/j": 30}
    CHANGES: Sequence[tuple[str, Mapping[str, int | None]]] = (
        ("an entry appears before all", {"/m/a": 60, "/m/a2": 0}),
        ("an entry appears between", {"/m/e": 35}),
        ("an entry appears after all", {"/m/z": -1}),
        ("every entry changes", {"/m/b": 5, "/m/d": 4, "/m/f": 3, "/m/h": 2, "/m/j": 1}),
        ("every entry vanishes", {"/m/b": None, "/m/d": None, "/m/f": None, "/m/h": None, "/m/j": None}),
        ("one vanishes and comes back changed", {"/m/f": None, "/m/h": 7}),
    )

    @pytest.mark.parametrize("orders", [[], ["-n"]], ids=["by key", "by order"])
    async def test_writes_at_every_position_do_not_disturb_a_query(self, store: Datastore, orders: list[str]) -> None:
        for what, change in self.CHANGES:
            for position in range(len(self.BEFORE) + 1):
                await fill(store, {Key(text): {"n": n} for text, n in self.BEFORE.items()})
                cursor = store.query(a_query("/m", orders=orders))
                entries = cursor.entries()
                seen = [await anext(entries) for _ in range(position)]
                await fill(store, [(Key(text), None if n is None else {"n": n}) for text, n in change.items()])
                seen += [entry async for entry in entries]
                self.check_seen(seen, change, (what, position))
                if not orders:
                    assert [entry.key for entry in seen] == sorted(str_keys(seen)), (what, position)
                await clear(store, {Key(text) for text in (*self.BEFORE, *change)})

    def check_seen(self, seen: Sequence[Entry], change: Mapping[str, int | None], when: Any) -> None:
        """Every entry seen existed at some time, none twice, and none that was there all the time is missing."""
        texts = [str(entry.key) for entry in seen]
        assert len(set(texts)) == len(texts), when
        for entry in seen:
            held = {self.BEFORE.get(str(entry.key)), change.get(str(entry.key))} - {None}
            assert entry.value["n"] in held, (when, entry)
        stayed = {text for text in self.BEFORE if change.get(text, 0) is not None}
        assert stayed <= set(texts), when

    async def test_a_cursor_can_be_closed_at_every_position(self, store: Datastore) -> None:
        await fill(store, {Key(text): {"n": n} for text, n in self.BEFORE.items()})
        for orders in ([], ["-n"]):
            for position in range(len(self.BEFORE) + 1):
                cursor = store.query(a_query("/m", orders=orders))
                for _ in range(position):
                    await anext(cursor)
                await cursor.aclose()
                await cursor.aclose()
                assert await anext(cursor, "the end") == "the end"
                assert cursor.returned == position
                with pytest.raises(CursorReuseError):
                    aiter(cursor)
        assert await store.get(Key("/m/b")) == {"n": 10}

    async def test_many_abandoned_cursors_leave_the_store_working(self, store: Datastore) -> None:
        contents = cases.many_entries(100)
        await fill(store, contents)
        # More than a pool of connections or a table of readers usually has.
        for _ in range(150):
            async with store.query(a_query("/many")) as cursor:
                await anext(cursor)
        await fill(store, {Key("/many/z"): 1})
        query = a_query("/many", keys_only=True)
        assert len(await entries_of(store.query(query))) == len(contents) + 1

    async def test_several_queries_run_side_by_side(self, store: Datastore) -> None:
        await fill(store, {Key(text): {"n": n} for text, n in self.BEFORE.items()})
        one, other = (store.query(a_query("/m", orders=orders)) for orders in ([], ["-n"]))
        pairs = [(await anext(one), await anext(other)) for _ in range(5)]
        assert [pair[0]["n"] for pair in pairs] == [10, 40, 20, 50, 30]
        assert [pair[1]["n"] for pair in pairs] == [50, 40, 30, 20, 10]
        await one.aclose()
        await other.aclose()


def str_keys(entries: Iterable[Entry]) -> list[Key]:
    """The keys of entries that have one."""
    return [entry.key for entry in entries if entry.key is not None]


class CursorPromises(Capabilities):
    """What a store's cursor guarantees."""

    all_need = ("queries",)

    @pytest.fixture
    async def filled(self, store: Datastore) -> Datastore:
        """The store, with five entries: 0 to 4 in the order of their keys."""
        await fill(store, {Key(f"/m/{n}"): n for n in range(5)})
        return store

    async def test_a_cursor_gives_values(self, filled: Datastore) -> None:
        query = a_query("/m", offset=1, limit=3)
        cursor = filled.query(query)
        assert isinstance(cursor, Cursor)
        assert cursor.query == query
        assert (cursor.returned, cursor.skipped, cursor.summary) == (0, 0, None)
        assert [value async for value in cursor] == [1, 2, 3]
        assert (cursor.returned, cursor.skipped) == (3, 1)
        assert await anext(cursor, "the end") == "the end"

    async def test_next_may_come_before_for(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        assert await anext(cursor) == 0
        assert await cursor.next() == 1
        assert [value async for value in cursor] == [2, 3, 4]
        assert cursor.returned == 5

    async def test_a_second_iteration_is_refused(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        iterator = aiter(cursor)
        assert await anext(iterator) == 0
        for again in (aiter, Cursor.entries, Cursor.batches):
            with pytest.raises(CursorReuseError):
                await anext(again(cursor))
        assert [value async for value in iterator] == [1, 2, 3, 4]
        with pytest.raises(CursorReuseError):
            aiter(cursor)

    async def test_next_may_come_before_entries(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        assert await anext(cursor) == 0
        assert await entries_of(cursor) == [Entry(Key(f"/m/{n}"), n) for n in range(1, 5)]

    async def test_a_started_cursor_cannot_be_changed(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        await anext(cursor)
        for change in (cursor.apply_filter, cursor.apply_order, cursor.apply_offset, cursor.apply_limit):
            with pytest.raises(CursorRunningError):
                change()
        with pytest.raises(CursorRunningError):
            cursor._iterable = ()
        await cursor.aclose()

    async def test_a_cursor_is_closed_by_with(self, filled: Datastore) -> None:
        async with filled.query(a_query("/m")) as cursor:
            assert await anext(cursor) == 0
        assert await anext(cursor, "the end") == "the end"
        assert cursor.summary is None

    async def test_an_unread_cursor_can_be_closed(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        await cursor.aclose()
        assert await anext(cursor, "the end") == "the end"

    async def test_mapped_values_keep_their_keys(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        values = cursor._iterable
        cursor._iterable = (value * 10 async for value in values)
        assert await entries_of(cursor) == [Entry(Key(f"/m/{n}"), n * 10) for n in range(5)]
        assert cursor.returned == 5

    async def test_filtered_values_lose_their_keys_from_the_first_that_is_missing(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m"))
        values = cursor._iterable
        cursor._iterable = (value async for value in values if value != 2)
        assert await entries_of(cursor) == [
            Entry(Key("/m/0"), 0),
            Entry(Key("/m/1"), 1),
            Entry(None, 3),
            Entry(None, 4),
        ]

    async def test_buffered_values_have_no_keys(self, filled: Datastore) -> None:
        cursor = filled.query(a_query("/m", offset=2))
        cursor._iterable = [value async for value in cursor._iterable]
        assert await entries_of(cursor) == [Entry(None, n) for n in (2, 3, 4)]
        assert (cursor.returned, cursor.skipped) == (3, 2)


class ParallelPromises(Capabilities):
    """Calls from many tasks or threads at once."""

    async def test_concurrent_calls_take_effect_one_after_another(self, store: Datastore) -> None:
        keys = [Key(f"/p/{index}") for index in range(6)]

        async def work(worker: int) -> None:
            for step in range(12):
                key = keys[(worker + step) % len(keys)]
                await store.put(key, [worker, step])
                found = await store.get(key)
                assert found is None or (isinstance(found, list) and len(found) == 2)
                if step % 5 == 4:
                    await store.delete(key)
                assert await store.contains(key) in (True, False)

        await together([partial(work, worker) for worker in range(8)])
        written = [[worker, step] for worker in range(8) for step in range(12)]
        for key in keys:
            found = await store.get(key)
            assert found is None or found in written

    async def test_own_writes_are_read_among_those_of_others(self, store: Datastore) -> None:
        async def work(worker: int) -> None:
            key = Key(f"/p:{worker}/own")
            for step in range(15):
                await store.put(key, step)
                assert await store.get(key) == step
                assert await store.batch_get([key]) == [ReadResult(step)]
                await store.delete(key)
                assert await store.get(key) is None

        await together([partial(work, worker) for worker in range(8)])

    @needs("queries")
    async def test_queries_run_concurrently_with_writes(self, store: Datastore) -> None:
        steady = {Key(f"/p/steady{index}"): {"n": index} for index in range(20)}
        await fill(store, steady)

        async def write(worker: int) -> None:
            for step in range(15):
                key = Key(f"/p/{worker}-{step % 4}")
                await store.put(key, {"n": step})
                if step % 3 == 0:
                    await store.delete(key)

        async def ask(orders: list[str]) -> None:
            for _ in range(8):
                seen = str_keys(await entries_of(store.query(a_query("/p", orders=orders))))
                assert len(set(seen)) == len(seen)
                assert steady.keys() <= set(seen)

        await together(
            [
                *(partial(write, worker) for worker in range(4)),
                partial(ask, []),
                partial(ask, []),
                partial(ask, ["-n"]),
                partial(ask, ["-n"]),
            ]
        )


class ClosingPromises(Capabilities):
    """The end of a store."""

    async def test_closing_may_be_repeated(self, store: Datastore) -> None:
        await store.put(Key("/a"), 1)
        await store.aclose()
        await store.aclose()

    @needs("closes")
    async def test_a_closed_store_refuses_every_call(self, store: Datastore) -> None:
        await store.put(Key("/a"), 1)
        await store.aclose()
        key = Key("/a")
        for call in (
            partial(store.get, key),
            partial(store.put, key, 2),
            partial(store.delete, key),
            partial(store.contains, key),
        ):
            with pytest.raises(DatastoreClosedError):
                await call()
        if self.queries:
            with pytest.raises(DatastoreClosedError):
                await entries_of(store.query(Query(Key("/"))))

    @needs("queries")
    @pytest.mark.parametrize("orders", [[], ["-n"]], ids=["by key", "by order"])
    async def test_a_query_over_a_closed_store_never_seems_complete(self, store: Datastore, orders: list[str]) -> None:
        contents = cases.many_entries(1000)
        await fill(store, contents)
        cursor = store.query(a_query("/many", orders=orders))
        await anext(cursor)
        await store.aclose()
        try:
            rest = await entries_of(cursor)
        except DatastoreClosedError:
            return
        assert len(rest) == len(contents) - 1

    @needs("persistent")
    async def test_entries_outlive_the_store(self, store: Datastore) -> None:
        contents = self.sample_contents
        await fill(store, contents)
        await store.delete(Key("/a/b"))
        await store.aclose()
        async with await self.reopen(store) as again:
            assert await again.get(Key("/a/b")) is None
            for key, value in contents.items():
                if key != Key("/a/b"):
                    assert self.same(await again.get(key), value), key


class DatastoreConformance(
    OperationPromises,
    BatchPromises,
    VersionPromises,
    AtomicPromises,
    ExpiryPromises,
    RetryPromises,
    WatchPromises,
    QueryPromises,
    MetadataQueryPromises,
    AggregatePromises,
    MatchingPromises,
    MutationPromises,
    CursorPromises,
    ParallelPromises,
    ClosingPromises,
):
    """Every promise of a Datastore, as tests: a subclass gives `store` and declares its capabilities."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for part in DatastoreConformance.__mro__:
            for name, test in vars(part).items():
                needed = (*getattr(test, "needs", ()), *vars(part).get("all_need", ()))
                if not name.startswith("test_") or not needed:
                    continue
                if not all(getattr(cls, each) for each in needed):
                    setattr(cls, name, None)
                elif getattr(cls, name) is None:
                    setattr(cls, name, test)
