"""Redis, on a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import datastore
from datastore import redis as redis_store
from datastore import serialize, spec, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.entries import Write
from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InvalidError,
    QueryNotSupportedError,
    StoreError,
    StoreFormatError,
    StoreFullError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.redis import RedisConfig, RedisDatastore
from datastore.testing.conformance import DatastoreConformance
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

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with RedisConfig(url=f"redis://127.0.0.1:{redis_server.port}/0").open() as store:
            yield store


class TestRedisThatDecodes(AsJson, DatastoreConformance):
    queries = False

    @pytest.fixture
    def store(self, client: Any, redis_server: Engine) -> Any:
        with redis.Redis(port=redis_server.port, decode_responses=True) as decoding:
            yield RedisDatastore(decoding)


@pytest.mark.long
class TestAsyncRedis(OnTheWire, AsyncConformance):
    queries = False

    @pytest.fixture
    async def store(self, client: Any) -> Any:
        return lift(RedisDatastore(client, wire.codec))


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


def test_keys_of_a_cluster_are_read_in_one_call(tmp_path: Path):
    with engine("redis cluster", tmp_path / "data") as server:
        with redis.Redis(port=server.port) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                time.sleep(0.01)
        with redis.RedisCluster(host="127.0.0.1", port=server.port) as cluster:
            store = RedisDatastore(cluster)
            keys = [Key(f"/{number}") for number in range(20)]
            assert all(outcome.error is None for outcome in store.batch_write([Write(key, str(key)) for key in keys]))
            assert [outcome.value for outcome in store.batch_get([*keys, Key("/none")])] == [*map(str, keys), None]
            server.kill()
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
        assert client.keys() == [b"a/b:x"]
        assert store.child_datastore._client.connection_pool.connection_kwargs["socket_timeout"] == 3
    with pytest.raises(InvalidError, match="without //"):
        datastore.open(f"redis://127.0.0.1:{redis_server.port}/0?prefix=a//")


def test_a_server_has_a_limited_time_to_answer(redis_server: Engine):
    with datastore.open(f"redis://127.0.0.1:{redis_server.port}/0") as store:
        settings = store.child_datastore._client.connection_pool.connection_kwargs
        assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (
            redis_store.TIMEOUT_S,
            redis_store.TIMEOUT_S,
        )


def test_a_batch_of_writes_is_one_request_and_each_write_has_its_own_result(client: Any):
    store = RedisDatastore(client)
    before = client.info("commandstats").get("cmdstat_set", {"calls": 0})["calls"]
    writes = [Write(Key(f"/k:{number}"), number) for number in range(50)]
    sent: list[Any] = []
    execute = redis.client.Pipeline.execute

    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(len(self.command_stack))
        return execute(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(redis.client.Pipeline, "execute", count)
        assert not [
            outcome.error for outcome in store.batch_write([*writes, Write(Key("/k:0"), None)]) if outcome.error
        ]
    assert sent == [51]
    assert client.info("commandstats")["cmdstat_set"]["calls"] == before + 50
    assert [store.get(Key("/k:0")), store.get(Key("/k:49"))] == [None, 49]
    client.config_set("maxmemory", 1)
    try:
        outcomes = store.batch_write([Write(Key("/a"), 1), Write(Key("/k:1"), None)])
    finally:
        client.config_set("maxmemory", 0)
    assert [type(outcome.error) for outcome in outcomes] == [StoreFullError, type(None)]
    assert store.get(Key("/k:1")) is None


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
