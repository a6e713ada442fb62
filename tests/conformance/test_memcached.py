"""memcached, on a real server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import PooledClient

import datastore
from datastore import aio, core, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.core.errors import (
    DatastoreClosedError,
    DeadlineExceededError,
    InvalidError,
    LimitExceededError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.core.key import Key
from datastore.memcached import VALUE_BYTES, MemcachedDatastore, name_of
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import OnTheWire
from tests.support.engines import Engine, engine


@pytest.fixture
def memcached(memcached_server: Engine) -> Iterator[MemcachedDatastore]:
    with datastore.open(f"memcached://127.0.0.1:{memcached_server.port}") as store:
        assert isinstance(store, MemcachedDatastore)
        store._client.flush_all()
        yield store


class Memcached(OnTheWire):
    queries = False
    # A value of 1 MB and a little is more than the server takes.
    test_a_large_value_comes_back_whole = None


class TestMemcached(Memcached, DatastoreConformance):
    @pytest.fixture
    def store(self, memcached: MemcachedDatastore) -> Any:
        return core.SerializerShimDatastore(memcached, wire.codec)


class TestAsyncMemcached(Memcached, AsyncConformance):
    @pytest.fixture
    async def store(self, memcached: MemcachedDatastore) -> Any:
        return aio.SerializerShimDatastore(lift(memcached), wire.codec)


class MemcachedMachine(DatastoreMachine):
    queries = False
    memcached: MemcachedDatastore

    def open_store(self) -> Any:
        self.memcached._client.flush_all()
        return core.SerializerShimDatastore(core.ShimDatastore(self.memcached), wire.codec)

    def teardown(self) -> None:
        # The next run goes on with the connection.
        pass


@pytest.fixture
def machine(memcached: MemcachedDatastore) -> None:
    MemcachedMachine.memcached = memcached


@pytest.mark.usefixtures("machine")
class TestMemcachedMachine(MemcachedMachine.TestCase):
    pass


@pytest.mark.parametrize("above", [-1, 0, 1])
def test_a_value_over_the_limit_is_refused_and_the_old_one_stays(memcached: MemcachedDatastore, above: int):
    key = Key("/" + "k" * 1000)
    memcached.put(key, b"old")
    value = b"x" * (VALUE_BYTES + above)
    if above > 0:
        with pytest.raises(LimitExceededError, match="1,047,552"):
            memcached.put(key, value)
        value = b"old"
    else:
        memcached.put(key, value)
    assert memcached.get(key) == value


@pytest.mark.parametrize("wrong", ["text", 1, {"a": 1}, bytearray(b"x")], ids=repr)
def test_other_types_are_refused_and_the_old_value_stays(memcached: MemcachedDatastore, wrong: Any):
    memcached.put(Key("/a"), b"old")
    with pytest.raises(UnsupportedTypeError, match=f"bytes, got {type(wrong).__name__}: wrap"):
        memcached.put(Key("/a"), wrong)
    assert memcached.get(Key("/a")) == b"old"


def test_long_names_are_hashes():
    assert name_of(Key("/a b:é")) == "/a%20b:%C3%A9"
    assert name_of(Key("/" + "x" * 249)) == "/" + "x" * 249
    long = Key("/" + "x" * 250)
    assert name_of(long) == f"sha256:{hashlib.sha256(str(long).encode()).hexdigest()}"


@pytest.mark.parametrize("url", ["memcached:", "memcached://", "memcached://h/db", "memcached://h:1?x=1"])
def test_a_url_names_a_host_and_a_port(url: str):
    with pytest.raises(InvalidError, match="memcached://HOST:PORT"):
        datastore.open(url)


def test_a_killed_server_is_unavailable_until_it_is_back(tmp_path: Path):
    with engine("memcached", tmp_path / "data") as server:
        store = datastore.open(f"memcached://127.0.0.1:{server.port}")
        store.put(Key("/a"), b"x")
        server.kill()
        for call in (
            lambda: store.get(Key("/a")),
            lambda: store.put(Key("/a"), b"y"),
            lambda: store.delete(Key("/a")),
        ):
            with pytest.raises(UnavailableError, match="memcached"):
                call()
        server.start()
        store.put(Key("/a"), b"z")
        assert store.get(Key("/a")) == b"z"
        store.close()


def test_nothing_is_asked_of_a_closed_store(memcached_server: Engine):
    store = datastore.open(f"memcached://127.0.0.1:{memcached_server.port}")
    store.put(Key("/a"), b"1")
    store.close()
    store.close()
    for call in (
        lambda: store.get(Key("/a")),
        lambda: store.put(Key("/a"), b"2"),
        lambda: store.delete(Key("/a")),
        lambda: store.contains(Key("/a")),
    ):
        with pytest.raises(DatastoreClosedError, match="MemcachedDatastore was closed"):
            call()


def test_a_server_that_is_silent_is_late(memcached_server: Engine):
    store = MemcachedDatastore(PooledClient(("127.0.0.1", memcached_server.port), timeout=0.2))
    with memcached_server.stopped(), pytest.raises(DeadlineExceededError, match="memcached"):
        store.get(Key("/a"))


def test_a_get_finds_a_server_that_was_started_anew(tmp_path: Path):
    with engine("memcached", tmp_path / "data") as server:
        with datastore.open(f"memcached://127.0.0.1:{server.port}") as store:
            store.put(Key("/a"), b"x")
            server.kill()
            server.start()
            assert store.get(Key("/a")) is None
