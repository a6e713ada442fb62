"""memcached, on a real server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import memcache
import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.serde import pickle_serde

import datastore
from datastore import aio, core, serialize, wire
from datastore.aio.lift import lift
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.memcached import EXPIRE_S, VALUE_BYTES, MemcachedConfig, MemcachedDatastore, name_of
from datastore.memcached.store import expiry_of
from datastore.model.errors import (
    CorruptDataError,
    DatastoreClosedError,
    DeadlineExceededError,
    InvalidError,
    InvalidValueError,
    LimitExceededError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.operations import ReadResult
from datastore.testing.conformance import DatastoreConformance
from datastore.testing.machine import DatastoreMachine
from tests.support.capabilities import OnTheWire
from tests.support.engines import Engine, engine


@pytest.fixture
def memcached(memcached_server: Engine) -> Iterator[MemcachedDatastore]:
    with MemcachedConfig(url=f"memcached://127.0.0.1:{memcached_server.port}").open() as store:
        store._client.flush_all()
        yield store


class Memcached(OnTheWire):
    queries = False
    # A value slightly over 1 MB is more than the server accepts.
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
        # The next run reuses the connection.
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


@pytest.mark.parametrize("wrong", [1, {"a": 1}, bytearray(b"x"), ["text"]], ids=repr)
def test_other_types_are_refused_and_the_old_value_stays(memcached: MemcachedDatastore, wrong: Any):
    memcached.put(Key("/a"), b"old")
    with pytest.raises(UnsupportedTypeError, match=f"bytes and text, got {type(wrong).__name__}: wrap"):
        memcached.put(Key("/a"), wrong)
    assert memcached.get(Key("/a")) == b"old"


# The supported clients.


def _pylibmc(port: int, **settings: Any) -> Any:
    pylibmc = pytest.importorskip("pylibmc", reason="no pylibmc: apt install libmemcached-dev; pip install pylibmc")
    return pylibmc.Client([f"127.0.0.1:{port}"], **settings)


def _python_memcached(port: int, **settings: Any) -> Any:
    return memcache.Client([f"127.0.0.1:{port}"], **settings)


CLIENTS: dict[str, Callable[..., Any]] = {
    "pymemcache": lambda port, **settings: Client(("127.0.0.1", port), **settings),
    "pymemcache pooled": lambda port, **settings: PooledClient(("127.0.0.1", port), **settings),
    "pymemcache hashed": lambda port, **settings: HashClient([("127.0.0.1", port)], **settings),
    "pymemcache with a serde": lambda port, **settings: Client(("127.0.0.1", port), serde=pickle_serde, **settings),
    "pylibmc": _pylibmc,
    "pylibmc binary": lambda port, **settings: _pylibmc(port, binary=True, **settings),
    "python-memcached": _python_memcached,
}
VALUES = [b"", b"bytes \xff\x00", "", "text \u00e9 \U0001f600", '{"json": 1}', b"12", "12", b"x" * VALUE_BYTES]


class Text(str):
    """A custom subclass of str."""

    __slots__ = ()


@contextmanager
def speaking(name: str, port: int) -> Iterator[MemcachedDatastore]:
    """The store over one kind of client, which is closed at the end."""
    with MemcachedDatastore(CLIENTS[name](port)) as store:
        store.owned = True
        yield store


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_distinguishes_bytes_and_text(memcached_server: Engine, name: str):
    with speaking(name, memcached_server.port) as store:
        for number, value in enumerate(VALUES):
            key = Key(f"/value {number}:é")
            store.delete(key)
            assert store.get(key) is None
            assert not store.contains(key)
            store.put(key, value)
            assert (store.get(key), type(store.get(key))) == (value, type(value))
            assert store.contains(key)
        store.put(Key("/a"), Text("a"))
        assert type(store.get(Key("/a"))) is str
        store.put(Key("/a"), None)
        store.delete(Key("/a"))
        assert store.batch_get([Key("/a"), Key("/value 2:é")]) == [ReadResult(), ReadResult("")]


@pytest.mark.parametrize("writer", CLIENTS)
@pytest.mark.parametrize("reader", CLIENTS)
def test_one_client_reads_what_another_stores(memcached_server: Engine, writer: str, reader: str):
    key = Key("/shared")
    with speaking(writer, memcached_server.port) as written, speaking(reader, memcached_server.port) as read:
        for value in ("text é", b"bytes"):
            written.put(key, value)
            assert read.get(key) == value


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_fails_as_the_store_says(name: str, tmp_path: Path):
    with engine("memcached", tmp_path / "data") as server, speaking(name, server.port) as store:
        store.put(Key("/a"), b"x")
        with pytest.raises(InvalidValueError, match="surrogate"):
            store.put(Key("/a"), "\ud800")
        assert store.get(Key("/a")) == b"x"
        server.kill()
        for call in (
            lambda: store.get(Key("/a")),
            lambda: store.put(Key("/a"), b"y"),
            lambda: store.delete(Key("/a")),
        ):
            with pytest.raises(UnavailableError, match=rf"^memcached at 127\.0\.0\.1:{server.port}\b"):
                call()


def test_a_custom_serde_is_kept(memcached_server: Engine):
    client = Client(("127.0.0.1", memcached_server.port), serde=pickle_serde)
    MemcachedDatastore(client)
    assert client.serde is pickle_serde


def test_text_of_another_program_that_is_not_text_is_corrupt(memcached_server: Engine):
    for name in ("pymemcache", "pylibmc"):
        client = Client(("127.0.0.1", memcached_server.port))
        client.set("/a", b"\xff", flags=16, noreply=False)
        client.close()
        with speaking(name, memcached_server.port) as store:
            with pytest.raises(CorruptDataError, match="UTF-8"):
                store.get(Key("/a"))
            store.put(Key("/a"), b"x")
            assert store.get(Key("/a")) == b"x"


@pytest.mark.parametrize("name", ["pymemcache", "pylibmc", "python-memcached"])
def test_the_documented_json_shim_keeps_maps_in_memcached(memcached_server: Engine, name: str):
    with serialize.shim(MemcachedDatastore(CLIENTS[name](memcached_server.port))) as store:
        store.child_datastore.owned = True
        store.put(Key("/a"), {"x": 1})
        assert store.get(Key("/a")) == {"x": 1}


def test_long_names_are_hashes():
    assert name_of(Key("/a b:é")) == "/a%20b:%C3%A9"
    assert name_of(Key("/" + "x" * 249)) == "/" + "x" * 249
    long = Key("/" + "x" * 250)
    assert name_of(long) == f"sha256:{hashlib.sha256(str(long).encode()).hexdigest()}"


@pytest.mark.parametrize("url", ["memcached:", "memcached://", "memcached://h/db", "memcached://h:1?x=1"])
def test_a_url_names_a_host_and_a_port(url: str):
    with pytest.raises(InvalidError, match=r"memcached://HOST:PORT|unknown option 'x'; valid are timeout"):
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
            with pytest.raises(UnavailableError, match=rf"^memcached at 127\.0\.0\.1:{server.port}\b"):
                call()
        server.start()
        store.put(Key("/a"), b"z")
        assert store.get(Key("/a")) == b"z"
        store.close()


def test_a_closed_store_sends_no_requests(memcached_server: Engine):
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


def test_a_server_that_does_not_respond_exceeds_the_deadline(memcached_server: Engine):
    store = MemcachedDatastore(PooledClient(("127.0.0.1", memcached_server.port), timeout=0.2))
    address = rf"^memcached at 127\.0\.0\.1:{memcached_server.port}: "
    with memcached_server.stopped(), pytest.raises(DeadlineExceededError, match=address):
        store.get(Key("/a"))


def test_a_get_reaches_a_restarted_server(tmp_path: Path):
    with engine("memcached", tmp_path / "data") as server:
        with datastore.open(f"memcached://127.0.0.1:{server.port}") as store:
            store.put(Key("/a"), b"x")
            server.kill()
            server.start()
            assert store.get(Key("/a")) is None


# With an expiry


def test_the_server_drops_an_entry_some_time_after_its_last_put(memcached_server: Engine):
    with datastore.open(f"memcached://127.0.0.1:{memcached_server.port}?expire=1h") as store:
        store.put(Key("/expires"), b"x")
        assert store.get(Key("/expires")) == b"x"
    with closing(Client(("127.0.0.1", memcached_server.port))) as client:
        # The meta command returns the seconds that are left.
        answer = client.raw_command(b"mg /expires t")
        assert 0 < int(answer.removeprefix(b"HD t")) <= 3600


@pytest.mark.parametrize(("expire_s", "seconds"), [(0.001, 1), (1, 1), (1.5, 2), (EXPIRE_S, EXPIRE_S)])
def test_an_expiry_is_rounded_up_to_whole_seconds(expire_s: float, seconds: int):
    assert expiry_of(expire_s, "expire") == seconds


def test_an_expiry_of_more_than_30_days_is_refused():
    with pytest.raises(InvalidError, match=r"expire must be at most 2,592,000 seconds \(30 days\), got 2,592,001"):
        MemcachedConfig(url="memcached://127.0.0.1", expire=EXPIRE_S + 1)


def test_each_client_passes_the_expiry_on(memcached_server: Engine):
    with closing(Client(("127.0.0.1", memcached_server.port))) as client:
        MemcachedDatastore(client, expire_s=3600).put(Key("/pymemcache"), b"x")
        python = memcache.Client([f"127.0.0.1:{memcached_server.port}"])
        MemcachedDatastore(python, expire_s=3600).put(Key("/python"), b"x")
        for name in (b"/pymemcache", b"/python"):
            assert 0 < int(client.raw_command(b"mg " + name + b" t").removeprefix(b"HD t")) <= 3600
        python.disconnect_all()
