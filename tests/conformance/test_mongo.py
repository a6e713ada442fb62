"""MongoDB's protocol and driver, on FerretDB with its SQLite backend: MongoDB itself is not available as a package."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure
from pymongo.monitoring import CommandListener

import datastore
from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.aggregates import Sum
from datastore.model.errors import (
    DeadlineExceededError,
    InvalidError,
    InvalidValueError,
    LimitExceededError,
    StoreError,
    StoreFormatError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import time_of
from datastore.model.operations import Patch, Put
from datastore.model.patches import changes_of
from datastore.model.query import Query
from datastore.mongo import DOCUMENT_BYTES, MongoConfig, MongoDatastore
from datastore.testing import cases, model
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import AsJson, OnTheWire
from tests.support.clocks import Clock
from tests.support.engines import Engine, engine
from tests.support.waiting import PATIENCE_S

COUNT = itertools.count()


@pytest.fixture(scope="module")
def database(mongodb_server: Engine) -> Iterator[Any]:
    with pymongo.MongoClient("127.0.0.1", mongodb_server.port) as client:
        yield client["tests"]


@pytest.fixture
def mongo(database: Any, mongodb_server: Engine) -> Iterator[MongoDatastore]:
    name = f"c{next(COUNT)}"
    with MongoConfig(url=f"mongodb://127.0.0.1:{mongodb_server.port}/tests", collection=name).open() as store:
        yield store
    database.drop_collection(name)


#: Tests of many entries, which are long over a store as slow as this server: it reads all to find one by its version.
LARGE = (
    "test_a_long_batch_is_done_completely",
    "test_a_query_over_a_closed_store_never_seems_complete",
    "test_batches_are_bounded",
    "test_batches_have_metadata_only_if_it_is_asked_for",
    "test_a_query_in_an_order_of_metadata_resumes_at_any_batch",
    "test_a_run_can_be_left_and_continued",
)


class TestMongo(AsJson, DatastoreConformance):
    """As text: unlike MongoDB, FerretDB refuses lists in lists, infinities and -0.0."""

    versions = expiry = True
    grid = 20
    long_tests = LARGE

    @pytest.fixture
    def store(self, mongo: MongoDatastore) -> Any:
        return core.SerializerShimDatastore(mongo)


@pytest.mark.long
class TestAsyncMongo(OnTheWire, AsyncConformance):
    versions = expiry = True
    grid = 20

    @pytest.fixture
    async def store(self, mongo: MongoDatastore) -> Any:
        return aio.SerializerShimDatastore(lift(mongo), wire.codec)


class MongoMachine(AsJson, DatastoreMachine):
    #: A function: Hypothesis looks for rules among members, and a database object of the driver has every name.
    open_mongo: Callable[..., MongoDatastore]
    moves_clock = True

    def open_store(self) -> Any:
        return core.SerializerShimDatastore(self.open_mongo(clock=self.clock))

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "store"):
            self.store.child_datastore._collection.drop()


def _fresh(database: Any, **options: Any) -> MongoDatastore:
    """A store over a new collection."""
    return MongoDatastore(database, collection=f"c{next(COUNT)}", **options)


@pytest.fixture
def machine(database: Any) -> None:
    MongoMachine.open_mongo = staticmethod(partial(_fresh, database))


@pytest.mark.usefixtures("machine")
class TestMongoMachine(MongoMachine.TestCase):
    pass


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1),
        Key("/a"),
        {1: "a"},
        {"a\0b": 1},
        {"a": ["\udc80"]},
        {"a": Number.ONE},
        {1, 2},
        object(),
        bytearray(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_bson_would_change_is_refused_and_the_old_one_stays(mongo: MongoDatastore, value: Any):
    key = Key("/a")
    mongo.put(key, "old")
    for wrapped in (value, [value], {"x": {"y": value}}):
        with pytest.raises((TypeError, ValueError), match=r"^value") as raised:
            mongo.put(key, wrapped)
        assert isinstance(raised.value, datastore.DatastoreError)
        (outcome,) = mongo.batch_write([datastore.Write(key, wrapped)])
        assert outcome.error is not None
    assert mongo.get(key) == "old"


@pytest.mark.parametrize(
    "value", [2**63 - 1, -(2**63), 1, True, 1.5, b"\x00", datetime(2026, 1, 1, 0, 0, 0, 1000), [1, {"a": None}]]
)
def test_values_come_back_of_the_same_type(mongo: MongoDatastore, value: Any):
    mongo.put(Key("/a"), value)
    found = mongo.get(Key("/a"))
    assert (type(found), found) == (type(value), value)


def test_the_map_of_the_caller_is_not_changed(mongo: MongoDatastore):
    value = {"a": {"b": [1]}}
    mongo.put(Key("/a"), value)
    assert value == {"a": {"b": [1]}}


def test_the_document_is_as_documented(mongo: MongoDatastore):
    mongo.put(Key("/a/T:x"), {"n": 1})
    version, created_us, updated_us, _ = mongo.entry(Key("/a/T:x")).metadata
    times = {"version": version, "created_us": created_us, "updated_us": updated_us}
    [document] = mongo._collection.find()
    assert document == {"_id": "/a/T:x", "path": "/a/T", "value": {"n": 1}, **times}
    mongo.touch(Key("/a/T:x"), expire_time=datetime(2200, 1, 1, tzinfo=UTC))
    [document] = mongo._collection.find({}, ["expires_us", "remove_time"])
    assert time_of(document["expires_us"]) == datetime(2200, 1, 1, tzinfo=UTC)
    assert document["remove_time"] == datetime(2200, 1, 2)
    assert {"path": 1, "_id": 1} in [dict(index["key"]) for index in mongo._collection.index_information().values()]


def test_of_a_deleted_entry_a_trace_remains_for_a_day(database: Any):
    clock = Clock(1_000_000.0)
    mongo = _fresh(database, clock=clock)
    for delete in (
        mongo.delete,
        partial(mongo.delete, if_exists=True),
        partial(mongo.put, value=1, expire_time=datetime(1970, 1, 2, tzinfo=UTC)),
        lambda key: mongo.batch_write([datastore.Write(key, None), datastore.Write(Key("/b"), None)]),
    ):
        mongo.put(Key("/a"), 1)
        version = mongo.entry(Key("/a")).version
        delete(Key("/a"))
        removed = datetime(1970, 1, 1) + timedelta(days=1, seconds=clock.now)
        assert list(mongo._collection.find()) == [{"_id": "/a", "version": version, "remove_time": removed}]
    mongo._collection.drop()


def test_versions_grow_and_nothing_comes_back_if_the_clock_is_set_back(database: Any):
    clock = Clock(1_000_000.0)
    name = f"c{next(COUNT)}"
    mongo = MongoDatastore(database, collection=name, clock=clock)
    gone, kept, deleted = Key("/gone"), Key("/kept"), Key("/deleted")
    versions: list[list[int]] = []
    for moved_s in (0, -3600, -3600, 10):
        clock.now += moved_s
        # As another process: it knows only what is stored.
        mongo = MongoDatastore(database, collection=name, clock=clock)
        mongo.put(gone, 1, expires_in_s=60)
        for key in (kept, deleted):
            mongo.put(key, 1)
        versions.append([mongo.entry(key).version for key in (gone, kept, deleted)])
        mongo.delete(deleted)
    for before, after in itertools.pairwise(versions):
        assert all(one < other for one, other in zip(before, after, strict=True))
    clock.now += 61
    assert mongo.get(gone) is None
    clock.now -= 3600
    assert mongo.get(gone) is None
    assert list(mongo.query(Query(Key("/"), keys_only=True).order("__key__")).entries()) == [(kept, None)]
    mongo._collection.drop()


def test_a_document_without_metadata_has_the_oldest_version_until_it_is_written(mongo: MongoDatastore):
    mongo._collection.insert_many([{"_id": f"/{name}", "path": "/", "value": {"n": 1}} for name in "abcd"])
    keys = [Key(f"/{name}") for name in "abcd"]
    assert [mongo.entry(key).metadata for key in keys] == [(1, 0, 0, 0)] * 4
    found = [entry.metadata for entry in mongo.query(Query(Key("/"), metadata=True)).entries()]
    assert found == [(1, 0, 0, 0)] * 4
    with pytest.raises(datastore.ConditionFailedError):
        mongo.put(keys[0], 2, if_absent=True)
    mongo.put(keys[0], 2, if_version=1)
    assert mongo.patch(keys[1], increment={"n": 1}) == {"n": 2}
    mongo.batch_write([datastore.Write(key, 3) for key in keys[2:]])
    for key in keys:
        metadata = mongo.entry(key).metadata
        assert metadata.version > 1
        assert metadata.created_us == 0 < metadata.updated_us


def test_a_document_of_another_program_without_a_value_is_absent_and_can_be_replaced(mongo: MongoDatastore):
    mongo._collection.insert_one({"_id": "/bare", "path": "/"})
    with pytest.raises(datastore.ConditionFailedError) as failed:
        mongo.put(Key("/bare"), 1, if_exists=True)
    assert failed.value.version == 0
    mongo.put(Key("/bare"), 1, if_absent=True)
    assert mongo.get(Key("/bare")) == 1


def test_two_stores_over_one_collection_lose_no_increment(database: Any, mongo: MongoDatastore):
    others = [MongoDatastore(database, collection=mongo._collection.name) for _ in range(2)]

    def add(store: MongoDatastore) -> None:
        for _ in range(10):
            store.batch_write(
                [Patch(Key("/n"), changes_of(increment={"n": 1}), create=True), datastore.Write(Key("/m"), 1)]
            )

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, [mongo, *others]))
    assert mongo.get(Key("/n")) == {"n": 30}


def test_the_server_leaves_out_what_has_expired(database: Any):
    clock = Clock(1_000_000.0)
    mongo = _fresh(database, clock=clock)
    expiry = Expiry.after(60)
    mongo.batch_write([Put(Key(f"/e:{n}"), {"n": n}, expiry=expiry if n % 2 else None) for n in range(10)])
    assert mongo.explain(Query(Key("/e"))).scanned == 10
    clock.now += 60
    assert mongo.explain(Query(Key("/e"))).scanned == 5
    assert mongo.aggregate(Query(Key("/e")), {"sum": Sum("n")}) == [{"sum": 20}]
    mongo._collection.drop()


def test_a_document_over_the_servers_limit_is_refused(mongo: MongoDatastore):
    mongo.put(Key("/a"), "old")
    with pytest.raises(LimitExceededError):
        mongo.put(Key("/a"), "x" * (17 * 1024 * 1024))
    assert mongo.get(Key("/a")) == "old"


def test_comparisons_with_nan_and_of_other_types_are_ours(mongo: MongoDatastore):
    values = [1, 1.0, 2, True, "1", None, [1], {"n": 1}]
    for place, value in enumerate(values):
        mongo.put(Key(f"/m/{place}"), {"n": value})
    for op, value, expected in [
        ("=", 1, ["0", "1"]),
        ("<=", 1, ["0", "1"]),
        ("=", "1", ["4"]),
        ("!=", 1, ["2", "3", "4", "5", "6", "7"]),
        ("=", math.nan, []),
        ("=", True, ["3"]),
        ("=", None, ["5"]),
    ]:
        found = mongo.query(Query(Key("/m")).filter("n", op, value)).entries()
        assert [entry.key.name for entry in found] == expected, (op, value)


_scalars = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 1.0]), st.booleans(), st.sampled_from(["", "a", "b", "é"]), st.none()
)
_maps = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(_scalars, st.lists(_scalars, max_size=2)),
        "s": _scalars,
        "m": st.fixed_dictionaries({}, optional={"x": _scalars}),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.dictionaries(cases.keys(), _maps, max_size=8), query=cases.queries(_scalars))
def test_any_query_of_documents_is_answered_like_by_a_dict(
    mongo: MongoDatastore, contents: dict[Key, Any], query: Query
):
    mongo._collection.delete_many({})
    mongo.batch_write([datastore.Write(*entry) for entry in contents.items()])
    problem = model.difference(list(mongo.query(query).entries()), model.answer(query, contents).entries)
    assert problem is None, problem


def test_an_explanation_says_what_the_server_left_out(mongo: MongoDatastore):
    mongo.batch_write([datastore.Write(Key(f"/a:{number:02}"), {"n": number, "s": "x"}) for number in range(30)])
    found = mongo.explain(Query(Key("/a")).filter("n", ">=", 20).filter("m.x", "=", None).order("s"))
    assert [(part.text, part.support.value) for part in found.parts] == [
        ("filter n >= 20", "inexact"),
        ("filter m.x = None", "none"),
        ("order s", "none"),
    ]
    assert (found.kind, found.scanned, found.returned, found.remaining) == ("mongodb", 10, 10, 10)
    limited = mongo.explain(Query(Key("/a"), limit=3).filter("__key__", ">", Key("/a:10")))
    assert [part.support.value for part in limited.parts] == ["inexact", "none"]
    assert mongo.explain(Query(Key("/a"), limit=3)).scanned == 3


def test_a_store_opened_by_url_disconnects_when_closed(mongodb_server: Engine):
    url = f"mongodb://127.0.0.1:{mongodb_server.port}/byurl?collection=mine&appName=tests"
    with datastore.open(url) as store:
        store.put(Key("/a"), {"n": 1})
        assert store.describe().text == "byurl.mine"
    with pytest.raises(datastore.DatastoreClosedError):
        store.get(Key("/a"))
    with datastore.open(url) as store:
        assert store.get(Key("/a")) == {"n": 1}
        store.delete(Key("/a"))


def test_a_url_names_a_database():
    with pytest.raises(InvalidError, match="mongodb://HOST:PORT/DATABASE"):
        datastore.open("mongodb://127.0.0.1:1")


def test_a_killed_server_is_unavailable_until_it_is_back(tmp_path: Path):
    with engine("mongodb", tmp_path / "data") as server:
        url = f"mongodb://127.0.0.1:{server.port}/db?serverSelectionTimeoutMS=300"
        store = datastore.open(url)
        store.put(Key("/a"), "kept")
        server.kill()
        for call in (
            lambda: store.get(Key("/a")),
            lambda: store.put(Key("/a"), 1),
            lambda: list(store.query(Query(Key("/")))),
        ):
            with pytest.raises(UnavailableError, match="MongoDB"):
                call()
        server.start()
        assert answer_of(store, Key("/a")) == "kept"
        store.close()


def answer_of(store: MongoDatastore, key: Key) -> Any:
    """The value of a key, from a store that may not have noticed yet that its server is back."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return store.get(key)
        except UnavailableError:
            assert time.monotonic() < gives_up_at


def test_a_refused_item_of_a_batch_fails_alone(mongo: MongoDatastore):
    writes = [datastore.Write(Key("/a"), 1), datastore.Write(Key("/b"), 2**70), datastore.Write(Key("/c"), 3)]
    outcomes = mongo.batch_write(writes)
    assert [type(outcome.error) for outcome in outcomes] == [type(None), InvalidValueError, type(None)]
    assert [outcome.value for outcome in mongo.batch_get([write.key for write in writes])] == [1, None, 3]


def test_a_violated_unique_index_is_reported(mongo: MongoDatastore):
    mongo._collection.create_index("value.name", unique=True)
    mongo.put(Key("/u:1"), {"name": "a"})
    with pytest.raises(StoreError, match="MongoDB"):
        mongo.put(Key("/u:2"), {"name": "a"})
    assert mongo.get(Key("/u:2")) is None


class Answering:
    """A collection whose writes end in the different ways in which a server may end them."""

    def __init__(self, *endings: Exception | None) -> None:
        self.endings = list(endings)

    def create_index(self, *_: object, **__: object) -> None:
        pass

    def end(self, *_: object, **__: object) -> None:
        ending = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        if ending is not None:
            raise ending

    bulk_write = insert_one = end


def bulk_error(*write_errors: dict[str, Any], **more: Any) -> BulkWriteError:
    return BulkWriteError({"writeErrors": list(write_errors), "writeConcernErrors": [], **more})


def taken(place: int) -> BulkWriteError:
    return bulk_error({"index": place, "code": 11000, "errmsg": "E11000 duplicate key"})


LATE = bulk_error(writeConcernErrors=[{"code": 64, "errmsg": "waiting for replication timed out"}])


@pytest.mark.parametrize(
    ("endings", "kinds"),
    [
        ([None], [None, None, None]),
        ([taken(1), None], [None, None, None]),
        (
            [taken(1), DuplicateKeyError("E11000 duplicate key", 11000)],
            [None, StoreError, None],
        ),
        ([bulk_error({"index": 1, "code": 121, "errmsg": "no"}), None], [None, StoreError, None]),
        ([LATE], [DeadlineExceededError] * 3),
        ([OperationFailure("not authorized", 13)], [StoreError] * 3),
        ([OperationFailure("Namespace d.entries is a view", 166)], [StoreFormatError] * 3),
        ([AutoReconnect("gone")], [UnavailableError] * 3),
    ],
    ids=["done", "taken once", "taken forever", "refused", "late", "unauthorized", "a view", "gone"],
)
def test_each_write_of_a_batch_has_its_own_result(
    mongo: MongoDatastore, endings: list[Exception | None], kinds: list[type | None]
):
    mongo._writer._collection = Answering(*endings)
    outcomes = mongo.batch_write([datastore.Write(Key(f"/{number}"), number) for number in range(3)])
    assert [None if outcome.error is None else type(outcome.error) for outcome in outcomes] == kinds


def test_a_document_over_the_limit_fails_alone_in_a_batch(mongo: MongoDatastore):
    mongo.put(Key("/b"), "old")
    writes = [datastore.Write(Key(f"/{name}"), value) for name, value in [("a", 1), ("b", "x" * (17 << 20)), ("c", 3)]]
    errors = [outcome.error for outcome in mongo.batch_write(writes)]
    assert [type(error) for error in errors] == [type(None), LimitExceededError, type(None)]
    assert errors[1].maximum == DOCUMENT_BYTES
    assert [outcome.value for outcome in mongo.batch_get([write.key for write in writes])] == [1, "old", 3]


def test_datetimes_are_read_back_unchanged_whatever_the_client_settings(mongodb_server: Engine):
    url = f"mongodb://127.0.0.1:{mongodb_server.port}/zones?tz_aware=true"
    with datastore.open(url) as store:
        store.put(Key("/a"), datetime(2026, 1, 1))
        assert store.get(Key("/a")) == datetime(2026, 1, 1)


def test_a_map_that_the_driver_takes_for_a_reference_is_refused(mongo: MongoDatastore):
    mongo.put(Key("/a"), "old")
    with pytest.raises(InvalidValueError, match=r"value\[0\]: .*'.ref'"):
        mongo.put(Key("/a"), [{"$ref": "c", "$id": 5}])
    assert mongo.get(Key("/a")) == "old"


def test_documents_of_other_programs_are_not_visible(mongo: MongoDatastore):
    mongo.put(Key("/ours"), 1)
    mongo._collection.insert_many(
        [{"_id": "/bare", "path": "/"}, {"path": "/", "value": 2}, {"_id": "no key/", "path": "/", "value": 3}]
    )
    for recursive in (False, True):
        for keys_only in (False, True):
            query = Query(Key("/"), recursive=recursive, keys_only=keys_only)
            assert [entry.key for entry in mongo.query(query).entries()] == [Key("/ours")]
    assert mongo.get(Key("/bare")) is None
    assert mongo.contains(Key("/bare")) is False
    assert [outcome.value for outcome in mongo.batch_get([Key("/bare"), Key("/ours")])] == [None, 1]


@pytest.mark.parametrize("name", ["", "a..b", "$x"])
def test_a_collection_has_a_name(database: Any, name: str):
    with pytest.raises(InvalidError, match=f"collection={re.escape(repr(name))}"):
        MongoDatastore(database, collection=name)


def test_a_client_is_not_a_database(database: Any):
    for wrong in (database.client, {}, None):
        with pytest.raises(UnsupportedTypeError, match=f"database must be a pymongo database.*{type(wrong).__name__}"):
            MongoDatastore(wrong)


def test_a_server_that_does_not_respond_exceeds_the_deadline(mongodb_server: Engine):
    url = f"mongodb://127.0.0.1:{mongodb_server.port}/late?socketTimeoutMS=300&retryReads=false"
    with datastore.open(url) as store:
        store.get(Key("/a"))
        with mongodb_server.stopped(), pytest.raises(DeadlineExceededError, match="MongoDB"):
            store.get(Key("/a"))


class Fetched(CommandListener):
    """How many documents each response contained."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def started(self, event: Any) -> None:
        pass

    failed = started

    def succeeded(self, event: Any) -> None:
        if "cursor" in event.reply:
            self.counts.append(len(event.reply["cursor"].get("firstBatch", event.reply["cursor"].get("nextBatch"))))


def test_a_limit_fetches_only_what_it_needs(mongodb_server: Engine):
    fetched = Fetched()
    with pymongo.MongoClient(f"mongodb://127.0.0.1:{mongodb_server.port}", event_listeners=[fetched]) as client:
        store = MongoDatastore(client["few"])
        store.batch_write([datastore.Write(Key(f"/c:{number:03}"), number) for number in range(500)])
        fetched.counts.clear()
        assert list(store.query(Query(Key("/c"), limit=3, offset=2))) == [2, 3, 4]
        assert sum(fetched.counts) == 5
        client.drop_database("few")


@pytest.mark.parametrize("value", [[[1]], {"a.b": 1}, math.inf], ids=repr)
def test_a_value_that_the_server_rejects_is_invalid_and_fails_alone(mongo: MongoDatastore, value: Any):
    with pytest.raises(InvalidValueError, match="MongoDB: invalid"):
        mongo.put(Key("/a"), value)
    writes = [datastore.Write(Key("/a"), value), datastore.Write(Key("/b"), 1), datastore.Write(Key("/c"), None)]
    assert [type(outcome.error) for outcome in mongo.batch_write(writes)] == [InvalidValueError, type(None), type(None)]
    assert [mongo.get(Key("/a")), mongo.get(Key("/b"))] == [None, 1]


def test_datetimes_have_a_zone_if_configured(database: Any, mongo: MongoDatastore):
    aware = MongoDatastore(database, collection=mongo._collection.name, aware_datetimes=True)
    moment = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)
    aware.batch_write([datastore.Write(Key("/a"), {"at": [moment]})])
    assert aware.get(Key("/a")) == {"at": [moment]}
    assert mongo.get(Key("/a")) == {"at": [moment.replace(tzinfo=None)]}
    for wrong in (moment.replace(tzinfo=None), moment.replace(microsecond=1)):
        with pytest.raises(InvalidValueError, match="datetimes with a zone, of whole milliseconds"):
            aware.put(Key("/a"), wrong)


def test_no_read_or_query_sees_a_system_record(mongo: MongoDatastore):
    assert mongo.read_system("placement") is None
    for content in (b"\x00first", b""):
        mongo.write_system("placement", content)
        assert mongo.read_system("placement") == content
    assert mongo.get(Key("/placement")) is None
    assert list(mongo.query(Query(Key("/"), recursive=True, keys_only=True))) == []
    mongo._system.drop()
