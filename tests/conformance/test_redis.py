"""Redis, on a real server."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

import datastore
from datastore import serialize, spec, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.attempts import Attempt, elapsed_us
from datastore.model.changes import ChangeKind
from datastore.model.entries import Write
from datastore.model.errors import (
    BatchAbortedError,
    ChangesExpiredError,
    ConditionFailedError,
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    InvalidValueError,
    LimitExceededError,
    QueryNotSupportedError,
    RequestForgottenError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    UnavailableError,
    UnsupportedError,
    UnsupportedTypeError,
)
from datastore.model.expiry import MAX_EXPIRES_US, Expiry
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS, Precondition
from datastore.model.operations import Delete, Patch, Put, WriteResult
from datastore.model.patches import FieldChange, changes_of
from datastore.model.query import Query
from datastore.redis import RedisConfig, RedisDatastore
from datastore.redis import config as redis_config
from datastore.redis.batches import ATOMIC_BYTES, ATOMIC_WRITES
from datastore.redis.metadata import VERSIONS_RAISED_TO
from datastore.redis.requests import RequestTexts
from datastore.redis.versioned import STEP_BYTES, STEP_WRITES
from datastore.sync.memory import DictDatastore
from datastore.testing.cases import repeated
from datastore.testing.conformance import DatastoreConformance, generated
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import AsJson, OnTheWire
from tests.support.engines import Engine, engine


@pytest.fixture
def client(redis_server: Engine) -> Iterator[Any]:
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
        yield client


class TestRedis(AsJson, DatastoreConformance):
    queries = False
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with RedisConfig(url=f"redis://127.0.0.1:{redis_server.port}/0", changes=True).open() as store:
            yield store


class TestRedisWithoutChanges(AsJson, DatastoreConformance):
    queries = False
    versions = expiry = atomic = retries = True

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with RedisConfig(url=f"redis://127.0.0.1:{redis_server.port}/0").open() as store:
            yield store


class TestRedisThatDecodes(AsJson, DatastoreConformance):
    queries = False
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with redis.Redis(port=redis_server.port, decode_responses=True) as decoding:
            with RedisDatastore(decoding, keep_changes=True) as store:
                yield store


@pytest.mark.long
class TestAsyncRedis(OnTheWire, AsyncConformance):
    queries = False
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    async def store(self, client: Any) -> Any:
        async with lift(RedisDatastore(client, wire.codec, keep_changes=True)) as store:
            yield store


class RedisMachine(AsJson, DatastoreMachine):
    queries = False
    client: Any

    def open_store(self) -> Any:
        self.client.flushall()
        return RedisDatastore(self.client)


@pytest.fixture
def machine(client: Any) -> None:
    RedisMachine.client = client


@pytest.mark.usefixtures("machine")
class TestRedisMachine(RedisMachine.TestCase):
    pass


def test_a_store_opened_by_url_disconnects_when_closed(client: Any, redis_server: Engine):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as store:
        store.put(Key("/a"), {"n": 1})
        assert client.get("/a") == b'{"n": 1}'
    client.set("/b", "[2]")
    assert datastore.open(f"redis://127.0.0.1:{redis_server.port}/0").get(Key("/b")) == [2]


def test_a_query_is_refused_by_the_name_of_the_store():
    with pytest.raises(QueryNotSupportedError, match=r"^RedisDatastore does not support queries"):
        RedisDatastore(redis.Redis()).query(Query(Key("/")))


def test_the_callers_client_stays_open(client: Any):
    RedisDatastore(client).close()
    assert client.ping()


def test_a_killed_server_is_unavailable_until_it_is_back(tmp_path: Path):
    with engine("redis", tmp_path / "data") as server:
        store = datastore.open(f"redis://127.0.0.1:{server.port}/0")
        store.put(Key("/a"), "kept")
        server.kill()
        for call in (
            lambda: store.get(Key("/a")),
            lambda: store.put(Key("/a"), 1),
            lambda: store.delete(Key("/a")),
            lambda: store.contains(Key("/a")),
        ):
            with pytest.raises(UnavailableError, match=rf"^Redis at 127\.0\.0\.1:{server.port}: "):
                call()
        server.start()
        assert store.get(Key("/a")) == "kept"
        store.close()


def test_refusals_of_the_server_are_reported(client: Any):
    store = RedisDatastore(client)
    client.rpush("/list", 1)
    with pytest.raises(StoreFormatError, match="WRONGTYPE"):
        store.get(Key("/list"))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFullError, match="Redis") as raised:
            store.put(Key("/a"), "x")
        assert isinstance(raised.value, DatastoreError)
    finally:
        client.config_set("maxmemory", 0)
    assert store.get(Key("/a")) is None


@pytest.mark.parametrize("value", [1, 1.5, True, [1], {"a": 1}], ids=repr)
def test_a_serializer_must_return_text_or_bytes(client: Any, value: Any):
    store = RedisDatastore(client, serialize.NonSerializer)
    store.put(Key("/a"), b"old")
    with pytest.raises(UnsupportedTypeError, match=f"str and bytes.*{type(value).__name__}.*/a"):
        store.put(Key("/a"), value)
    outcomes = store.batch_write([Write(Key("/a"), value), Write(Key("/b"), b"good")])
    assert [type(outcome.error) for outcome in outcomes] == [UnsupportedTypeError, type(None)]
    assert [outcome.value for outcome in store.batch_get([Key("/a"), Key("/b")])] == [b"old", b"good"]


def test_a_closed_store_sends_no_requests(redis_server: Engine):
    store = datastore.open(f"redis://127.0.0.1:{redis_server.port}/0")
    store.put(Key("/a"), 1)
    store.close()
    store.close()
    for call in (
        lambda: store.get(Key("/a")),
        lambda: store.put(Key("/a"), 2),
        lambda: store.delete(Key("/a")),
        lambda: store.contains(Key("/a")),
    ):
        with pytest.raises(DatastoreClosedError, match="RedisDatastore was closed"):
            call()


def test_a_server_that_does_not_respond_exceeds_the_deadline(redis_server: Engine):
    url = f"redis://127.0.0.1:{redis_server.port}/0?socket_timeout=0.2"
    address = rf"^Redis at 127\.0\.0\.1:{redis_server.port}: "
    with datastore.open(url) as store, redis_server.stopped(), pytest.raises(DeadlineExceededError, match=address):
        store.get(Key("/a"))


def test_a_wrong_password_is_not_retryable(client: Any, redis_server: Engine):
    client.config_set("requirepass", "right")
    try:
        with datastore.open(f"redis://:wrong@127.0.0.1:{redis_server.port}/0") as store:
            with pytest.raises(StoreError, match=r"^Redis at .*: .*password"):
                store.get(Key("/a"))
        with datastore.open(f"redis://:right@127.0.0.1:{redis_server.port}/0") as store:
            assert store.get(Key("/a")) is None
    finally:
        client.config_set("requirepass", "")


@pytest.fixture
def cluster_server(tmp_path: Path) -> Iterator[Engine]:
    """A cluster of one server."""
    with engine("redis cluster", tmp_path / "data") as server:
        with redis.Redis(port=server.port) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.01)
        yield server


def test_keys_of_a_cluster_are_read_in_one_call(cluster_server: Engine):
    with redis.RedisCluster(host="127.0.0.1", port=cluster_server.port) as cluster:
        store = RedisDatastore(cluster)
        keys = [Key(f"/{number}") for number in range(20)]
        assert all(outcome.error is None for outcome in store.batch_write([Write(key, str(key)) for key in keys]))
        assert [outcome.value for outcome in store.batch_get([*keys, Key("/none")])] == [*map(str, keys), None]
        cluster_server.kill()
        for call in (lambda: store.get(keys[0]), lambda: store.put(keys[0], 1), lambda: store.batch_get(keys)):
            with pytest.raises(UnavailableError, match="Redis"):
                call()


@pytest.mark.parametrize("prefix", ["/", "", "app:", "[a*]?\\"])
@pytest.mark.parametrize("decodes", [False, True])
def test_a_prefix_says_which_names_are_entries(client: Any, redis_server: Engine, prefix: str, decodes: bool):
    for name in ("other", "x//y", "app/", *([] if decodes else [b"\xff"])):
        client.set(name, "1")
    client.rpush(f"{prefix}list", 1)
    with redis.Redis(port=redis_server.port, decode_responses=decodes) as own:
        store = RedisDatastore(own, prefix=prefix)
        store.put(Key("/user:1/é"), {"n": 1})
        store.write_system("placement", b"\x00\xff")
        assert client.get(f"{prefix}user:1/é") == b'{"n": 1}'
        assert store.get(Key("/user:1/é")) == {"n": 1}
        assert store.contains(Key("/user:1/é"))
        assert [outcome.value for outcome in store.batch_get([Key("/user:1/é"), Key("/b")])] == [{"n": 1}, None]
        found = {key for keys in store.list_keys() for key in keys}
        assert found == ({Key("/other"), Key("/user:1/é")} if prefix == "" else {Key("/user:1/é")})
        assert (store.read_system("placement"), store.read_system("other")) == (b"\x00\xff", None)
        assert not store.is_empty()
        store.delete(Key("/user:1/é"))
        assert store.is_empty() is (prefix != "")


def test_a_url_names_the_prefix(client: Any, redis_server: Engine):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?prefix=a%2Fb:&socket_timeout=3") as store:
        store.put(Key("/x"), 1)
        assert sorted(client.keys()) == [b"a/b://metadata/x", b"a/b://version", b"a/b:x"]
        assert store.child_datastore._client.connection_pool.connection_kwargs["socket_timeout"] == 3
    with pytest.raises(InvalidError, match="without //"):
        datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?prefix=a//")


def test_a_server_has_a_limited_time_to_answer(redis_server: Engine):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as store:
        settings = store.child_datastore._client.connection_pool.connection_kwargs
        assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (
            redis_config.TIMEOUT_S,
            redis_config.TIMEOUT_S,
        )


def calls_of(client: Any, command: str) -> int:
    """How often the server has run a command that a client sent."""
    calls: int = client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return calls


@pytest.mark.parametrize("versions", [False, True])
def test_a_batch_of_writes_is_one_request_and_each_write_has_its_own_result(client: Any, versions: bool):
    store = RedisDatastore(client, versions=versions)
    writes = [*(Write(Key(f"/k:{number}"), number) for number in range(50)), Write(Key("/k:0"), None)]
    store.put(Key("/warm"), 1)
    with MonitoredRequests() as sent:
        assert {result.error for result in store.batch_write(writes)} == {None}
    assert len(sent) == 1
    assert [store.get(Key("/k:0")), store.get(Key("/k:49"))] == [None, 49]
    client.config_set("maxmemory", 1)
    try:
        outcomes = store.batch_write([Write(Key("/a"), 1), Write(Key("/k:1"), None)])
    finally:
        client.config_set("maxmemory", 0)
    assert [type(outcome.error) for outcome in outcomes] == [StoreFullError, type(None)]
    assert store.get(Key("/k:1")) is None


class MonitoredRequests(list[int]):
    """The requests that are sent while it is entered."""

    def __enter__(self) -> MonitoredRequests:
        self._patched = pytest.MonkeyPatch()
        send = redis.connection.Connection.send_packed_command

        def count(connection: Any, command: Any, check_health: bool = True) -> None:
            self.append(len(command))
            send(connection, command, check_health)

        self._patched.setattr(redis.connection.Connection, "send_packed_command", count)
        return self

    def __exit__(self, *_: object) -> None:
        self._patched.undo()


def test_a_get_is_one_command(client: Any):
    store = RedisDatastore(client)
    store.put(Key("/a"), 1)
    client.config_resetstat()
    assert store.get(Key("/a")) == 1
    assert (calls_of(client, "get"), calls_of(client, "mget"), calls_of(client, "evalsha")) == (1, 0, 0)


# Versions


@pytest.fixture
def stores(client: Any, redis_server: Engine) -> Iterator[list[Any]]:
    """Two stores with their own connections, like those of two nodes."""
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as one:
        with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as other:
            yield [one, other]


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """The results of calls made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]


def test_two_stores_over_one_redis_lose_no_increment(stores: list[Any]):
    key = Key("/n")

    def add(store: Any) -> None:
        for _ in range(40):
            store.patch(key, increment={"n": 1}, create=True)

    in_threads([partial(add, store) for store in stores * 3])
    assert stores[0].get(key) == {"n": 240}


def test_of_two_stores_over_one_redis_one_makes_the_write_of_a_condition(stores: list[Any]):
    def take(holder: int, number: int) -> bool:
        results = stores[holder].batch_write([Put(Key(f"/lock:{number}"), holder, ABSENT)])
        return results[0].error is None

    for number in range(50):
        won = in_threads([partial(take, holder, number) for holder in range(2)])
        assert sorted(won) == [False, True]
        assert stores[0].get(Key(f"/lock:{number}")) == won.index(True)


def test_versions_grow_though_the_clock_of_the_server_was_ahead(client: Any):
    store = RedisDatastore(client)
    store.put(Key("/a"), 1)
    # As an hour ago, by a clock that was set back since.
    ahead = store.entry(Key("/a")).version + 3_600_000_000
    client.set("///version", ahead)
    store.put(Key("/a"), 2)
    first = store.entry(Key("/a"))
    results = store.batch_write([Put(Key("/a"), 3), Put(Key("/b"), 4)])
    assert [first.version, *(result.metadata.version for result in results)] == [ahead + 1, ahead + 2, ahead + 3]
    assert first.update_time < first.create_time + timedelta(seconds=600)
    store.delete(Key("/a"))
    store.put(Key("/a"), 5)
    assert store.entry(Key("/a")).version == ahead + 4


def test_versions_grow_over_a_crash_of_the_server(tmp_path: Path):
    with engine("redis", tmp_path / "data") as server:
        with datastore.open(f"redis://127.0.0.1:{server.port}/0") as store:
            with redis.Redis(port=server.port) as client:
                client.set("///version", 2**51)
            store.put(Key("/a"), 1, expire_time=datetime(2200, 1, 1, tzinfo=UTC))
            before = store.entry(Key("/a"))
            server.kill()
            server.start()
            assert store.entry(Key("/a")) == before
            store.put(Key("/a"), 2, if_version=before.version)
            assert store.entry(Key("/a")).version == before.version + 1


def test_versions_can_be_raised_above_those_of_another_store(client: Any):
    store = RedisDatastore(client)
    assert store.latest_version == 0
    store.put(Key("/a"), 1)
    before = store.entry(Key("/a")).version
    assert store.latest_version == before
    store.raise_versions(VERSIONS_RAISED_TO)
    store.raise_versions(before)
    assert store.latest_version == VERSIONS_RAISED_TO
    store.put(Key("/a"), 2)
    assert store.entry(Key("/a")).version == VERSIONS_RAISED_TO + 1
    with pytest.raises(InvalidError, match="2112"):
        store.raise_versions(VERSIONS_RAISED_TO + 1)
    cache = RedisDatastore(client, versions=False)
    cache.raise_versions(1)
    assert cache.latest_version == 0


def test_reserved_names_are_not_entries(client: Any):
    for prefix in ("/", "", "app:"):
        client.flushall()
        store = RedisDatastore(client, prefix=prefix)
        store.put(Key("/a:b/c"), 1)
        store.put(Key("/"), 2)
        assert len(client.keys()) == 5
        for other in ("/", "", "app:"):
            names = {key for keys in RedisDatastore(client, prefix=other).list_keys() for key in keys}
            assert {str(key) for key in names if "metadata" in str(key) or "version" in str(key)} == set()
        assert {key for keys in store.list_keys() for key in keys} == {Key("/a:b/c"), Key("/")}
        store.delete(Key("/a:b/c"))
        store.delete(Key("/"))
        assert store.is_empty()
        assert client.keys() == [f"{prefix}//version".encode()]


def test_without_versions_nothing_is_kept_beside_the_entries(client: Any):
    for options in ({"versions": False}, {"expire_s": 60}):
        store = RedisDatastore(client, **options)
        assert not (store.capability.versions or store.capability.expiry)
        store.put(Key("/a"), 1)
        assert client.keys() == [b"/a"]
        with pytest.raises(UnsupportedError):
            store.put(Key("/a"), 1, if_absent=True)


@pytest.mark.parametrize("decodes", [False, True])
def test_a_value_of_another_program_has_a_version_that_depends_on_it(client: Any, redis_server: Engine, decodes: bool):
    key = Key("/a")
    with redis.Redis(port=redis_server.port, decode_responses=decodes) as own:
        store = RedisDatastore(own)
        versions = []
        for text in ('{"n": 1}', '{"n": 2}'):
            client.set("/a", text)
            entry = store.entry(key)
            assert (entry.create_time, entry.expire_time) == (datetime(1970, 1, 1, tzinfo=UTC), None)
            versions.append(entry.version)
        assert versions[0] != versions[1]
        with pytest.raises(ConditionFailedError) as failed:
            store.put(key, 1, if_version=versions[0])
        assert failed.value.version == versions[1]
        assert store.patch(key, increment={"n": 1}) == {"n": 3}
        later = store.entry(key)
        assert later.version > max(versions)
        # Replaced again: the metadata is not that of this value.
        client.set("/a", '{"n": 9}')
        with pytest.raises(ConditionFailedError):
            store.delete(key, if_version=later.version)
        assert store.entry(key).version < later.version
        assert store.touch(key)
        assert store.entry(key).version > later.version
        assert store.get(key) == {"n": 9}
        client.delete("/a")
        assert store.entry(key) is None
        store.put(key, 1, if_absent=True)
        assert store.entry(key).create_time > later.update_time


def test_an_expiry_that_another_program_set_is_kept(client: Any):
    store, key = RedisDatastore(client), Key("/a")
    client.set("/a", '{"n": 1}', ex=3600)
    assert store.entry(key).expire_time is not None
    store.patch(key, increment={"n": 1})
    assert 3_500_000 < client.pttl("/a") <= 3_600_001
    store.put(key, 1)
    assert (client.pttl("/a"), client.pttl("///metadata/a")) == (-1, -1)


def test_an_entry_expires_in_redis_with_its_metadata(client: Any):
    store, key = RedisDatastore(client), Key("/a")
    at = datetime(2200, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    store.put(key, 1, expire_time=at)
    milliseconds = int(at.timestamp()) * 1000 + 678
    # Redis shows it to the end of this millisecond.
    assert [client.pexpiretime(name) for name in ("/a", "///metadata/a")] == [milliseconds - 1, milliseconds - 1]
    store.touch(key)
    assert [client.pttl(name) for name in ("/a", "///metadata/a")] == [-1, -1]
    store.touch(key, expires_in_s=0.002)
    while store.get(key) is not None:
        pass
    assert client.keys() == [b"///version"]
    last = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    store.put(key, 1, expire_time=last)
    assert store.entry(key).expire_time == last


def test_a_name_of_another_type_fails_alone(client: Any):
    store = RedisDatastore(client)
    client.rpush("/list", 1)
    results = store.batch_write(
        [Put(Key("/a"), 1), Put(Key("/list"), 1, EXISTS), Delete(Key("/list"), ABSENT), Put(Key("/b"), 2, ABSENT)]
    )
    assert [type(result.error) for result in results] == [type(None), StoreFormatError, StoreFormatError, type(None)]
    assert [store.get(Key(name)) for name in ("/a", "/b")] == [1, 2]
    store.put(Key("/list"), 3)
    assert store.get(Key("/list")) == 3


def test_a_server_that_runs_no_scripts_says_what_is_missing(client: Any, redis_server: Engine):
    client.acl_setuser("limited", enabled=True, nopass=True, keys=["*"], categories=["+@all", "-@scripting"])
    url = f"redis://limited:x@127.0.0.1:{redis_server.port}/0"
    try:
        with datastore.open(url) as store:
            assert store.get(Key("/a")) is None
            for call in (lambda: store.put(Key("/a"), 1), lambda: store.patch(Key("/a"), {"n": 1}, create=True)):
                with pytest.raises(UnsupportedError, match=r"does not run the scripts.*evalsha.*versions=false"):
                    call()
            assert isinstance(store.batch_write([Put(Key("/a"), 1)])[0].error, UnsupportedError)
        with datastore.open(f"{url}?versions=false") as store:
            store.put(Key("/a"), 1)
            assert store.get(Key("/a")) == 1
    finally:
        client.acl_deluser("limited")


def test_the_server_may_forget_the_scripts(client: Any):
    store = RedisDatastore(client)
    for number in range(3):
        client.script_flush()
        store.put(Key("/a"), number)
        assert store.get(Key("/a")) == number


def test_a_long_batch_is_made_in_steps(client: Any):
    store = RedisDatastore(client)
    store.put(Key("/warm"), 1)
    large = [Put(Key(f"/large:{number}"), "x" * (STEP_BYTES // 3 - 2)) for number in range(7)]
    many = [Put(Key(f"/n:{number}"), number) for number in range(2 * STEP_WRITES + 1)]
    for batch in (large, many):
        with MonitoredRequests() as sent:
            assert {result.error for result in store.batch_write(batch)} == {None}
        assert len(sent) == 3


def test_after_a_step_that_failed_none_is_made(redis_server: Engine, client: Any):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?socket_timeout=0.2") as store:
        many = [Put(Key(f"/n:{number}"), number) for number in range(2 * STEP_WRITES + 1)]
        with redis_server.stopped():
            results = store.batch_write(many)
        assert {type(result.error) for result in results} == {DeadlineExceededError}
    assert client.exists(f"/n:{2 * STEP_WRITES}") == 0


def test_in_a_cluster_a_prefix_with_a_hash_tag_keeps_versions(cluster_server: Engine):
    with redis.RedisCluster(host="127.0.0.1", port=cluster_server.port) as cluster:
        assert not RedisDatastore(cluster).capability.versions
        assert not RedisDatastore(cluster, prefix="{}{a}:").capability.versions
        store = RedisDatastore(cluster, prefix="{app}:")
        results = store.batch_write([Put(Key(f"/{number}"), {"n": number}, ABSENT) for number in range(20)])
        assert [result.error for result in results] == [None] * 20
        assert store.entry(Key("/7")).metadata == results[7].metadata
        assert store.patch(Key("/7"), increment={"n": 1}) == {"n": 8}
        add = Patch(Key("/7"), changes_of(increment={"n": 1}))
        assert [result.error for result in store.batch_write([add, add], atomic=True)] == [None, None]
        assert store.get(Key("/7")) == {"n": 10}
        cluster.set("{app}:foreign", "1", ex=3600)
        assert store.entry(Key("/foreign")).expire_time is not None


# Atomic batches

#: One of two keys, and what is done there.
_DONE_TO = st.tuples(
    st.sampled_from([Key("/a"), Key("/b")]),
    st.sampled_from(
        [
            lambda key: Put(key, {"n": 5}),
            lambda key: Put(key, {"n": 6}, ABSENT, Expiry.after(3600)),
            lambda key: Put(key, {"n": 7}, expiry=Expiry(at_us=1)),
            lambda key: Put(key, "text", EXISTS),
            lambda key: Put(key, {"n": 8}, Precondition(version=1)),
            lambda key: Put(key, {"n": 9}, expiry=Expiry(in_us=MAX_EXPIRES_US)),
            lambda key: Delete(key, EXISTS),
            Delete,
            lambda key: Patch(key, changes_of(increment={"n": 1})),
            lambda key: Patch(key, changes_of(increment={"n": 10}), create=True),
            lambda key: Patch(key, changes_of(increment={"n": 20}), ABSENT, create=True, expiry=Expiry.after(60)),
            lambda key: Patch(key, changes_of(increment={"n": 30}), expiry=Expiry(at_us=1)),
            lambda key: Patch(key, changes_of(append={"n": [1]}), Precondition(version=1)),
            lambda key: Patch(key, (), expiry=Expiry.after(3600)),
            lambda key: Patch(key, (), expiry=Expiry(at_us=1)),
            lambda key: Patch(key, (), create=True, expiry=Expiry()),
            lambda key: Patch(key, ()),
        ]
    ),
)


@pytest.mark.parametrize("keep_changes", [False, True])
@generated
@given(batches=st.lists(st.lists(_DONE_TO, max_size=5), max_size=4))
def test_any_atomic_batch_ends_as_in_memory(client: Any, keep_changes: bool, batches: list[Any]):
    client.flushall()
    keys = [Key("/a"), Key("/b")]
    with RedisDatastore(client, keep_changes=keep_changes) as store, DictDatastore() as memory:
        for batch in batches:
            writes = [make(key) for key, make in batch]
            results = store.batch_write(writes, atomic=True)
            assert outcomes(writes, results) == outcomes(writes, memory.batch_write(writes, atomic=True))
            entries, expected = ([each.entry(key) for key in keys] for each in (store, memory))
            assert list(map(shown, entries)) == list(map(shown, expected))
            if all(result.error is None for result in results):
                last = {write.key: result.metadata for write, result in zip(writes, results, strict=True)}
                metadata = {key: entry and entry.metadata for key, entry in zip(keys, entries, strict=True)}
                assert last.items() <= metadata.items()


def outcomes(writes: list[Any], results: list[Any]) -> list[Any]:
    """What the results say, but for versions and times, and the value of a touch, which Redis does not send."""
    return [
        (
            type(result.error),
            getattr(result.error, "index", None),
            result.value if isinstance(write, Patch) and write.changes else None,
            result.metadata is not None,
        )
        for write, result in zip(writes, results, strict=True)
    ]


def shown(entry: Any) -> Any:
    """The value of an entry, and whether it expires."""
    return entry and (entry.value, entry.expire_time is not None)


def test_an_atomic_batch_is_one_request_unless_it_has_patches(client: Any):
    store = RedisDatastore(client)
    store.batch_write([Put(Key("/warm"), {"n": 1})], atomic=True)
    writes: list[Any] = [Put(Key(f"/n:{number}"), {"n": number}) for number in range(STEP_WRITES + 1)]
    patches = [Patch(write.key, changes_of(increment={"n": 1})) for write in writes]
    for batch, requests in ((writes, 1), (patches, 2), (writes + patches, 2)):
        with MonitoredRequests() as sent:
            assert {result.error for result in store.batch_write(batch, atomic=True)} == {None}
        assert len(sent) == requests
    assert store.get(Key("/n:7")) == {"n": 8}


def test_an_atomic_batch_that_is_too_large_is_refused_and_nothing_is_written(client: Any):
    store = RedisDatastore(client, serialize.NonSerializer)
    many = [Put(Key(f"/n:{number}"), b"") for number in range(ATOMIC_WRITES + 1)]
    large = [Put(Key(f"/n:{number}"), bytes(ATOMIC_BYTES // 2)) for number in range(2)]
    cases = ((many, "atomic_writes", ATOMIC_WRITES), ([*large, Put(Key("/n"), b"x")], "atomic_bytes", ATOMIC_BYTES))
    for batch, limit, maximum in cases:
        with pytest.raises(LimitExceededError, match="Redis makes at most") as refused:
            store.batch_write(batch, atomic=True)
        assert (refused.value.limit, refused.value.maximum) == (limit, maximum)
        assert client.dbsize() == 0
        assert {result.error for result in store.batch_write(batch[:-1], atomic=True)} == {None}
        client.flushall()


def test_text_that_cannot_be_stored_fails_its_atomic_batch(client: Any):
    store = RedisDatastore(client, serialize.NonSerializer)
    for value in ("\ud800", 1):
        results = store.batch_write([Put(Key("/a"), "x"), Put(Key("/b"), value)], atomic=True)
        assert isinstance(results[0].error, BatchAbortedError)
        assert isinstance(results[1].error, (InvalidValueError, UnsupportedTypeError))
    assert client.dbsize() == 0


def test_atomic_patches_of_two_programs_are_all_made(client: Any, redis_server: Engine):
    keys = [Key("/a"), Key("/b")]

    def add(worker: int) -> None:
        with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as store:
            for number in range(30):
                ordered = keys if (worker + number) % 2 else keys[::-1]
                patches = [Patch(key, changes_of(increment={"n": 1}), create=True) for key in ordered]
                assert [result.error for result in store.batch_write(patches, atomic=True)] == [None, None]

    in_threads([partial(add, worker) for worker in range(4)])
    assert [RedisDatastore(client).get(key) for key in keys] == [{"n": 120}] * 2


def test_a_full_server_makes_no_atomic_batch_in_part(client: Any):
    store = RedisDatastore(client)
    store.put(Key("/a"), 1)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFullError):
            store.batch_write([Put(Key("/b"), 2), Delete(Key("/a"))], atomic=True)
        assert [store.get(Key(name)) for name in ("/a", "/b")] == [1, None]
        # A server does not refuse the rest of a script that has written something.
        results = store.batch_write([Delete(Key("/a")), Put(Key("/b"), 2)], atomic=True)
        assert [result.error for result in results] == [None, None]
        assert [store.get(Key(name)) for name in ("/a", "/b")] == [None, 2]
    finally:
        client.config_set("maxmemory", 0)


def test_a_name_that_is_no_string_fails_its_atomic_batch(client: Any):
    store = RedisDatastore(client)
    client.rpush("/list", 1)
    for operation in (Put(Key("/list"), 1, EXISTS), Patch(Key("/list"), changes_of(increment={"n": 1}), create=True)):
        results = store.batch_write([Put(Key("/a"), 1), operation], atomic=True)
        assert [type(result.error) for result in results] == [BatchAbortedError, StoreFormatError]
    assert client.keys() == [b"/list"]


# Safe retries


def test_other_clients_and_a_restarted_server_remember_requests(tmp_path: Path):
    key = Key("/a")
    add = Patch(key, changes_of(increment={"n": 1}), create=True, attempt=Attempt.new())
    together: list[Any] = [Put(Key("/b"), 1, ABSENT, attempt=Attempt.new()), Delete(Key("/c"), attempt=Attempt.new())]
    with engine("redis", tmp_path / "data") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with datastore.open(url) as store:
            first = [*store.batch_write([add]), *store.batch_write(together, atomic=True)]
        server.kill()
        server.start()
        with datastore.open(url) as store:
            repetitions = [
                *store.batch_write([repeated(add)]),
                *store.batch_write(list(map(repeated, together)), atomic=True),
            ]
            assert [(result.error, result.metadata) for result in repetitions] == [
                (result.error, result.metadata) for result in first
            ]
            assert repetitions[0].value == store.get(key) == {"n": 1}


def test_repeated_increments_add_up_while_the_server_is_killed(tmp_path: Path):
    """Single ones, and pairs in atomic batches."""
    keys, add = [Key("/a"), Key("/b")], changes_of(increment={"n": 1})
    done: list[None] = []

    def write(store: Any, writes: list[Any], atomic: bool) -> None:
        results: list[Any] = []
        while not results:
            sent_us = elapsed_us()
            try:
                results = store.batch_write(writes, atomic=atomic)
            except (UnavailableError, DeadlineExceededError) as error:
                results = [WriteResult(error)]
            if isinstance(results[0].error, (UnavailableError, DeadlineExceededError)):
                results = []
                writes = [repeated(each, sent_us) for each in writes]
        assert {result.error for result in results} == {None}
        done.append(None)

    with engine("redis", tmp_path / "data") as server:

        def run(worker: int) -> None:
            try:
                with datastore.open(f"redis://127.0.0.1:{server.port}/0") as store:
                    for number in range(60):
                        together = bool(number % 2)
                        some = keys if together else [keys[worker % 2]]
                        write(store, [Patch(key, add, create=True, attempt=Attempt.new()) for key in some], together)
            finally:
                # So that nobody waits for it if it has failed.
                done.extend([None] * 60)

        def kill() -> None:
            for share in (40, 120):
                while len(done) < share:
                    time.sleep(0.001)
                server.kill()
                server.start()

        in_threads([*(partial(run, worker) for worker in range(4)), kill])
        with datastore.open(f"redis://127.0.0.1:{server.port}/0") as store:
            assert [store.get(key) for key in keys] == [{"n": 4 * 30 + 2 * 30}] * 2


def test_attempts_that_run_at_once_are_made_once(client: Any):
    add = Patch(Key("/a"), changes_of(increment={"n": 1}), create=True, attempt=Attempt.new())
    stores = [RedisDatastore(client) for _ in range(4)]

    def write(store: RedisDatastore) -> list[Any]:
        return store.batch_write([add] * 10) + store.batch_write([repeated(add)], atomic=True)

    results = [result for each in in_threads([partial(write, store) for store in stores]) for result in each]
    assert len({(result.error, result.metadata) for result in results}) == 1
    assert stores[0].get(Key("/a")) == {"n": 1}


def test_the_latest_requests_are_remembered_and_earlier_ones_refused(client: Any):
    store = RedisDatastore(client, most_requests=3)
    writes = [Put(Key(f"/n:{number}"), number, attempt=Attempt.new()) for number in range(6)]
    repetitions = list(map(repeated, writes))
    unknown = repeated(Put(Key("/unknown"), 1, attempt=Attempt.new()))
    with MonitoredRequests() as sent:
        assert {result.error for result in store.batch_write(writes)} == {None}
    # The time of the server, and the script itself, which it may not have yet.
    assert len(sent) <= 4
    results = store.batch_write(repetitions[::-1])
    assert [type(result.error) for result in results] == [type(None)] * 3 + [RequestForgottenError] * 3
    [result] = store.batch_write([unknown])
    assert isinstance(result.error, RequestForgottenError)
    assert client.hlen("///requests") == 3 + 2 * 3


def test_what_a_repeated_patch_or_batch_was_told_stays_true(client: Any):
    store, key = RedisDatastore(client), Key("/a")
    add = Patch(key, changes_of(increment={"n": 1}), attempt=Attempt.new())
    together: list[Any] = [
        Put(Key("/b"), 1, attempt=Attempt.new()),
        Patch(key, changes_of(increment={"n": 1}), attempt=Attempt.new()),
        Put(Key("/c"), 1, attempt=Attempt.new()),
    ]
    store.put(key, {"n": "text"})
    for _ in range(2):
        results = store.batch_write([repeated(add)]) + store.batch_write(list(map(repeated, together)), atomic=True)
        kinds = [InvalidValueError, BatchAbortedError, InvalidValueError, BatchAbortedError]
        assert [type(result.error) for result in results] == kinds
        assert [getattr(result.error, "index", None) for result in results] == [None, 1, None, 1]
        store.put(key, {"n": 1})
    results = store.batch_write([add]) + store.batch_write(together, atomic=True)
    assert None not in [result.error for result in results]
    assert [store.get(Key(name)) for name in ("/a", "/b", "/c")] == [{"n": 1}, None, None]


def test_requests_from_before_are_refused_if_told_so_and_not_known(client: Any):
    store = RedisDatastore(client)
    known, unknown = (Put(Key(f"/{name}"), 1, attempt=Attempt.new()) for name in "ab")
    store.batch_write([known])
    repetitions = [repeated(known), repeated(unknown)]
    store.forget_requests()
    results = store.batch_write(repetitions)
    assert [type(result.error) for result in results] == [type(None), RequestForgottenError]
    # So late that it is after the horizon however long the server takes to say its time.
    assert unknown.attempt is not None
    later = Put(unknown.key, 1, attempt=unknown.attempt.followed(elapsed_us() + 60_000_000))
    assert [result.error for result in store.batch_write([later])] == [None]


def test_a_late_answer_about_the_time_makes_no_request_seem_later():
    """The first attempt was sent 300 us after the store was opened, when the server's clock said 9,000,300 or less."""
    moments = iter([1000, 61_300])
    texts = RequestTexts(5, lambda: 9_000_400, clock=lambda: next(moments))
    request_id = bytes(range(16))
    [text] = texts.of([Attempt(request_id, 1300)])
    assert text == b"%s %d %d 5" % (request_id.hex().encode(), 9_000_400 - 60_000, 9_000_400 - 60_300)


def test_writes_without_attempts_leave_no_requests(client: Any):
    store = RedisDatastore(client)
    store.batch_write([Put(Key("/a"), 1), Put(Key("/a"), 2, EXISTS)])
    store.batch_write([Put(Key("/b"), 1), Delete(Key("/a"))], atomic=True)
    assert sorted(client.keys()) == [b"///metadata/b", b"///version", b"/b"]


# Changes


@pytest.fixture
def watched(client: Any, redis_server: Engine) -> Iterator[list[Any]]:
    """Two stores with their own connections that keep changes."""
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?changes=true") as one:
        with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?changes=true") as other:
            yield [one, other]


EVERYTHING = Query(Key("/"), recursive=True)


def some_changes(watcher: Any, count: int) -> list[tuple[str, str, Any]]:
    """So many changes: their kinds, keys and values."""
    return [(change.kind.value, str(change.key), change.value) for change in islice(watcher, count)]


def test_each_watcher_sees_the_changes_and_expiries_of_all_stores_once(watched: list[Any]):
    one, other = watched
    with one.watch(EVERYTHING) as first, other.watch(EVERYTHING) as second:
        for number in range(100):
            watched[number % 2].put(Key(f"/n:{number}"), number, expires_in_s=0.01)
        one.put(Key("/last"), 1)
        seen = [some_changes(watcher, 201) for watcher in (first, second)]
    for changes in seen:
        kinds: dict[str, list[str]] = {}
        for kind, key, _ in changes:
            kinds.setdefault(key, []).append(kind)
        assert kinds == {f"/n:{number}": ["put", "expire"] for number in range(100)} | {"/last": ["put"]}


def test_the_feed_is_the_history_of_concurrent_writers_in_two_stores(watched: list[Any]):
    keys = [Key(f"/k:{number}") for number in range(4)]

    def write(worker: int) -> None:
        chosen, store = random.Random(worker), watched[worker % 2]
        for _ in range(60):
            key, expiry = chosen.choice(keys), Expiry.after(chosen.choice([0.001, 0.003, 0.02]))
            store.batch_write(
                atomic=chosen.random() < 0.5,
                writes=chosen.choice(
                    [
                        [Put(key, {"n": 0}), Put(chosen.choice(keys), {"n": 1}, ABSENT, expiry)],
                        [Put(key, {"n": 0}, expiry=expiry)],
                        [Delete(key)],
                        [Patch(key, (FieldChange("increment", "n", 1),), create=True)],
                        [Patch(key, (), expiry=expiry)],
                    ]
                ),
            )

    with watched[0].watch(EVERYTHING) as one, watched[1].watch(EVERYTHING) as other:
        in_threads([partial(write, worker) for worker in range(6)])
        for key in keys:
            watched[0].touch(key)
        watched[0].put(Key("/last"), 1)
        feeds = [list(takewhile(lambda change: change.key != Key("/last"), watcher)) for watcher in (one, other)]
    assert feeds[0] == feeds[1]
    versions = [change.version for change in feeds[0]]
    assert versions == sorted(set(versions))
    held: dict[Key, Any] = {}
    for change in feeds[0]:
        if change.kind is ChangeKind.PUT:
            held[change.key] = change
        else:
            # What is removed was there: no removal is shown twice.
            del held[change.key]
    entries = {key: entry for key in keys if (entry := watched[1].entry(key)) is not None}
    assert {key: (entry.version, entry.value) for key, entry in entries.items()} == {
        key: (change.version, change.value) for key, change in held.items() if key in entries
    }


def test_an_expiry_comes_before_the_next_write_of_its_key(client: Any, watched: list[Any]):
    one, key = watched[0], Key("/a")
    with one.watch(key) as changes:
        writes = [
            lambda: one.put(key, 2),
            lambda: one.delete(key),
            lambda: one.patch(key, {"n": 3}, create=True),
        ]
        for write in writes:
            one.put(key, 1, expires_in_s=0.003)
            while client.exists("/a"):
                pass
            write()
        found = some_changes(changes, 8)
    assert [(kind, value) for kind, _, value in found] == [
        *[("put", 1), ("expire", None), ("put", 2)],
        *[("put", 1), ("expire", None)],
        *[("put", 1), ("expire", None), ("put", {"n": 3})],
    ]


def test_an_expiry_is_shown_though_the_server_stood_still_while_it_looked_for_it(client: Any, watched: list[Any]):
    one = watched[0]
    with one.watch(EVERYTHING) as changes:
        one.put(Key("/a"), 1, expires_in_s=3600)
        # A script that was suspended at its beginning finds entries that should have expired by now.
        client.zadd("///expiring", {"/a": 1}, xx=True)
        one.put(Key("/b"), 2)
        client.pexpire("/a", 1)
        while client.exists("/a"):
            pass
        one.put(Key("/a"), 3)
        one.put(Key("/last"), 4)
        found = some_changes(changes, 4)
    assert found == [("put", "/a", 1), ("put", "/b", 2), ("expire", "/a", None), ("put", "/a", 3)]


def test_a_touch_is_a_put_of_the_same_value(watched: list[Any]):
    key = Key("/a")
    watched[0].put(key, [1])
    with watched[1].watch(key) as changes:
        watched[0].touch(key, expires_in_s=60)
        assert some_changes(changes, 1) == [("put", "/a", [1])]


def test_a_log_that_one_store_has_begun_has_the_changes_of_all_and_earlier_expiries(client: Any):
    plain = RedisDatastore(client)
    plain.put(Key("/stays"), 1)
    with RedisDatastore(client, keep_changes=True) as keeping:
        # It expires after the log was begun, however late that is.
        plain.put(Key("/expires"), 1, expires_in_s=3600)
        with keeping.watch(EVERYTHING) as changes:
            next_batch = changes.batches()
            next(next_batch)
            # As if an hour had passed.
            client.pexpire("/expires", 1)
            while client.exists("/expires"):
                pass
            client.zadd("///expiring", {"/expires": 1}, xx=True)
            plain.put(Key("/new"), 2)
            found: list[Any] = []
            while len(found) < 2:
                found += next(next_batch).changes
    assert sorted((change.kind.value, str(change.key)) for change in found) == [("expire", "/expires"), ("put", "/new")]


def test_a_watch_continues_after_a_crash_of_the_server_and_not_after_it_lost_its_data(tmp_path: Path):
    with engine("redis", tmp_path / "data") as server:
        with datastore.open(f"redis://127.0.0.1:{server.port}/0?changes=true") as store:
            with store.watch(EVERYTHING) as changes:
                store.put(Key("/a"), 1)
                assert some_changes(changes, 1) == [("put", "/a", 1)]
                token = changes.token
                store.put(Key("/a"), 2)
                assert some_changes(changes, 1) == [("put", "/a", 2)]
                server.kill()
                with pytest.raises(UnavailableError):
                    next(changes)
            server.start()
            store.put(Key("/a"), 3)
            with store.watch(EVERYTHING, resume_token=token) as changes:
                assert some_changes(changes, 2) == [("put", "/a", 2), ("put", "/a", 3)]
            with redis.Redis(port=server.port) as client:
                client.flushall()
            with pytest.raises(ChangesExpiredError):
                with store.watch(EVERYTHING, resume_token=token) as changes:
                    next(changes)


@pytest.mark.parametrize("limit", [{"most_change_bytes": 20_000}, {"most_change_age_s": 0.001}], ids=["bytes", "age"])
def test_the_log_is_kept_within_its_limits(client: Any, limit: dict[str, Any]):
    with RedisDatastore(client, keep_changes=True, **limit) as store:
        with store.watch(EVERYTHING) as changes:
            store.put(Key("/first"), 1)
            next(changes)
            token = changes.token
        lengths = []
        for number in range(40):
            store.batch_write([Put(Key(f"/n:{number}:{each}"), "x" * 100) for each in range(10)])
            lengths.append(client.xlen("///changes"))
        assert max(lengths) < 150
        items = client.xrange("///changes")
        kept = sum(200 + sum(len(part) for part in (item[b"put"], item[b"value"])) for _, item in items)
        assert int(client.hget("///log", "bytes")) == kept
        assert "most_change_bytes" not in limit or kept <= 20_000
        with pytest.raises(ChangesExpiredError):
            with store.watch(EVERYTHING, resume_token=token) as changes:
                next(changes)


def test_a_change_larger_than_the_log_fails_no_write(client: Any):
    with RedisDatastore(client, keep_changes=True, most_change_bytes=1000) as store:
        with pytest.raises(ChangesExpiredError):
            with store.watch(EVERYTHING) as changes:
                store.put(Key("/a"), "x" * 2000)
                next(changes)
        assert store.get(Key("/a")) == "x" * 2000
        with store.watch(EVERYTHING) as changes:
            store.put(Key("/a"), 2)
            assert some_changes(changes, 1) == [("put", "/a", 2)]


def test_a_full_server_logs_no_write_that_it_refuses(client: Any, watched: list[Any]):
    key = Key("/a")
    with watched[0].watch(EVERYTHING) as changes:
        watched[0].put(key, 1)
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreFullError):
                watched[0].put(key, 2)
            watched[0].delete(key)
        finally:
            client.config_set("maxmemory", 0)
        watched[0].put(key, 3)
        assert some_changes(changes, 3) == [("put", "/a", 1), ("delete", "/a", None), ("put", "/a", 3)]


def test_a_thread_waits_only_while_somebody_watches(watched: list[Any]):
    def waiting() -> int:
        return sum(thread.name == "datastore-redis-changes" for thread in threading.enumerate())

    watched[0].put(Key("/a"), 1)
    while waiting():
        time.sleep(0.01)
    with watched[0].watch(EVERYTHING) as one, watched[0].watch(EVERYTHING) as other:
        watched[1].put(Key("/a"), 2)
        assert some_changes(one, 1) == some_changes(other, 1)
        assert waiting() == 1
    while waiting():
        time.sleep(0.01)


def test_closing_the_store_ends_its_watches(watched: list[Any]):
    with watched[0].watch(EVERYTHING) as changes:
        watched[0].put(Key("/a"), 1)
        assert some_changes(changes, 1) == [("put", "/a", 1)]
        watched[0].close()
        with pytest.raises(DatastoreClosedError):
            next(changes)


def test_what_needs_a_listing_or_versions_is_refused(client: Any, watched: list[Any]):
    with pytest.raises(QueryNotSupportedError):
        with watched[0].watch(EVERYTHING, initial=True) as changes:
            next(changes)
    unversioned: list[dict[str, Any]] = [{"versions": False}, {"expire_s": 60}]
    for options in unversioned:
        with pytest.raises(InvalidError, match="only with versions"):
            RedisDatastore(client, keep_changes=True, **options)
    for option in ("versions=false", "expire=1m"):
        with pytest.raises(InvalidError, match="only with versions"):
            spec.parse_url(f"redis://h/0?changes=true&{option}")
    bad: list[dict[str, Any]] = [{"most_change_bytes": 0}, {"most_change_age_s": 0}, {"most_requests": 0}]
    for options in bad:
        with pytest.raises(InvalidError):
            RedisDatastore(client, keep_changes=True, **options)
    with pytest.raises(UnsupportedError, match=r"^redis cannot be watched.*changes=true"):
        RedisDatastore(client).watch(EVERYTHING)


# As a cache


class TestRedisThatExpires(AsJson, DatastoreConformance):
    queries = False

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with RedisConfig(url=f"redis://127.0.0.1:{redis_server.port}/0", expire=3600).open() as store:
            yield store


def test_the_server_deletes_an_entry_some_time_after_its_last_put(client: Any, redis_server: Engine):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?expire=1h&prefix=c:") as store:
        store.put(Key("/a"), 1)
        store.batch_write([Write(Key("/b"), 2), Write(Key("/d"), 3)])
        for name in ("c:a", "c:b", "c:d"):
            assert 0 < client.pttl(name) <= 3_600_000
        client.pexpire("c:a", 1_000_000)
        store.put(Key("/a"), 2)
        assert client.pttl("c:a") > 1_000_000
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?expire=1ms") as store:
        store.put(Key("/a"), 1)
        while client.exists("/a"):
            pass
        assert store.get(Key("/a")) is None


def test_without_an_expiry_an_entry_stays(client: Any):
    RedisDatastore(client).put(Key("/a"), 1)
    assert client.pttl("/a") == -1


@pytest.mark.parametrize("expire", ["0s", "-1s", "soon", ""])
def test_an_expiry_is_a_duration(expire: str):
    with pytest.raises(InvalidError, match=r'expire is a duration, e\.g\. "30s"'):
        spec.parse_url(f"redis://127.0.0.1/0?expire={expire}")
    with pytest.raises(InvalidError, match="expire_s must be a number of seconds above 0"):
        RedisDatastore(redis.Redis(), expire_s=0)
