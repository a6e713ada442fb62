"""TLS between clients, proxies and nodes, with real certificates: who may connect, and certificates that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import datastore
from datastore import Key, Query, aio, wire
from datastore.model.errors import ConfigError, DatastoreClosedError, UnavailableError
from datastore.spec import parse_url
from datastore.v1 import service_pb2
from datastore_client.aio import connect
from datastore_client.tls import Credentials
from datastore_server.app import Server, serve
from datastore_server.call import Call, ServedMethod
from datastore_server.call import at_once as answer_at_once
from datastore_server.certificates.authority import Pair, new_authority
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.limits import Limits
from datastore_server.service import DatastoreService
from datastore_server.store_urls import parse_store_url
from datastore_server.tls_config import TlsConfig
from datastore_server.topology import build_node, build_proxy
from datastore_server.transport import certificates, new_transport
from tests.support.certificates import HOSTS, Files, write_files, write_pair
from tests.support.colours import connected
from tests.support.waiting import PATIENCE_S

KEY = Key("/k:1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["queue", "aio"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_server_with_tls_is_reached_by_those_that_trust_its_authority(
    transport: Any, files: Files, colour: Any
) -> None:
    async with serve(aio.DictDatastore(), tls=files.server(), transport=transport) as server:
        assert server.url == f"grpcs://127.0.0.1:{server.port}"
        async with connected(colour, server.url, credentials=Credentials(**files.client())) as store:
            await colour.call(store.put, KEY, {"a": 1})
            assert await colour.call(store.get, KEY) == {"a": 1}
            assert [entry.key for entry in await colour.read(store.query(Query(Key("/k"))))] == [KEY]


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_a_server_is_reached_at_every_name_in_its_certificate(transport: Any, files: Files, host: str) -> None:
    async with serve(aio.DictDatastore(), listen=f"{host}:0", tls=files.server(), transport=transport) as server:
        assert server.url == f"grpcs://{host}:{server.port}"
        async with connect(server.url, ca=files.ca) as store:
            await store.put(KEY, 1)
            assert await store.get(KEY) == 1


async def test_a_node_serves_another_server_with_tls(files: Files) -> None:
    async with serve(aio.DictDatastore(), tls=files.server(mutual=True)) as inner:
        url = f"{inner.url}?ca={files.ca}&cert={files.client_cert}&key={files.client_key}"
        topology = build_node(parse_store_url(url))
        async with serve(topology.datastore, **topology.settings()) as outer, connect(outer.url) as store:
            await store.put(KEY, 1)
            assert await store.get(KEY) == 1


def test_a_store_url_names_files_relative_to_its_document(files: Files) -> None:
    tree = parse_url("grpcs://db1?ca=ca.pem", base=files.ca.parent)
    assert (tree.kind, getattr(tree, "ca")) == ("grpc", str(files.ca))  # noqa: B009 - not every Config has it
    with pytest.raises(ConfigError, match="would ignore ca: write grpcs://"):
        parse_url("grpc://db1?ca=ca.pem")
    with pytest.raises(ConfigError, match=r"no-such\.pem: cannot read"):
        datastore.open("grpcs://db1?ca=no-such.pem")


async def identities(transport: Any, files: Files, *, mutual: bool) -> list[tuple[str, ...]]:
    """The names that handlers see, at once and on the event loop."""
    seen: list[tuple[str, ...]] = []

    async def who(_: bytes, call: Call) -> bytes:
        seen.append(call.identities())
        assert call.peer().startswith("ipv4:127.0.0.1:")
        return b""

    methods = [ServedMethod("/t.T/Who", False, who), ServedMethod("/t.T/Now", False, who, answer_at_once(who))]
    server = new_transport(transport, Limits(), methods)
    port = server.add_secure_port("127.0.0.1:0", files.server(mutual=mutual))
    await server.start()
    shown = Credentials(**files.client(mutual=True)).for_channels()
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", shown) as channel:
        for method in methods:
            await channel.unary_unary(method.path)(b"")
    await server.stop(0)
    return seen


async def test_a_handler_knows_the_names_in_a_verified_certificate(transport: Any, files: Files) -> None:
    assert await identities(transport, files, mutual=True) == [("ada",)] * 2


async def test_a_certificate_that_was_not_asked_for_identifies_no_one(transport: Any, files: Files) -> None:
    assert await identities(transport, files, mutual=False) == [()] * 2


async def test_a_proxy_reaches_its_nodes_with_its_own_certificate(
    transport: Any, files: Files, stack: AsyncExitStack
) -> None:
    shards = []
    for name in ("a", "b"):
        topology = build_node(parse_store_url("memory:"), cluster="test", shard=name)
        node = serve(
            topology.datastore, cluster=topology.cluster, system=topology.system, tls=files.server(mutual=True)
        )
        shards.append(ShardConfig(name=name, url=(await stack.enter_async_context(node)).url))
    tls = TlsConfig(ca=str(files.ca), client_cert=str(files.client_cert), client_key=str(files.client_key))
    topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=shards, tls=tls))
    proxy = await stack.enter_async_context(
        serve(topology.datastore, tls=files.server(), transport=transport, **topology.settings())
    )
    async with aio.open(f"{proxy.url}?ca={files.ca}") as store:
        for number in range(20):
            await store.put(Key(f"/k:{number}"), number)
        query = Query(Key("/k")).order("key")
        assert sorted([value async for value in store.query(query)]) == list(range(20))
        assert await store.get(Key("/k:7")) == 7


# What is wrong, in the words of the client


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Files of another authority."""
    return write_files(tmp_path_factory.mktemp("others"), new_authority("other"))


async def refusal(server: Server, url: str, **given: Path) -> str:
    """Why a client cannot call the server."""
    async with connect(url.replace("PORT", str(server.port)), **given) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.get(KEY)
    assert caught.value.retry_after_s is None
    return str(caught.value)


async def test_a_client_is_told_why_it_does_not_trust_a_server(
    files: Files, others: Files, tmp_path: Path, stack: AsyncExitStack
) -> None:
    authority = new_authority("test")
    own = write_files(tmp_path / "own", authority)

    async def served(pair: Pair | None) -> Server:
        if pair is not None:
            write_pair(pair, own.cert, own.key)
        tls = None if pair is None else own.server()
        return await stack.enter_async_context(serve(aio.DictDatastore(), tls=tls))

    for pair, words in (
        (authority.server("s", HOSTS, days=-1), "its certificate has expired"),
        (authority.server("s", ["elsewhere"]), "its certificate is for another host"),
        (authority.client("s"), "its certificate is not for a server"),
        (None, "it does not use TLS; without TLS its URL begins with grpc:"),
    ):
        server = await served(pair)
        assert f"cannot connect to grpcs://127.0.0.1:{server.port} ({words})" == await refusal(
            server, "grpcs://127.0.0.1:PORT", ca=own.ca
        )
    server = await served(authority.server("s", HOSTS))
    assert "not of an authority that is trusted here" in await refusal(server, "grpcs://127.0.0.1:PORT", ca=others.ca)
    assert "not of an authority that is trusted here" in await refusal(server, "grpcs://127.0.0.1:PORT")


async def test_a_client_that_a_server_refuses_is_told_what_it_may_lack(
    transport: Any, files: Files, others: Files
) -> None:
    async with serve(aio.DictDatastore(), tls=files.server(mutual=True), transport=transport) as server:
        foreign = {"cert": others.client_cert, "key": others.client_key}
        for given in ({}, foreign):
            assert "it may demand a certificate, cert and key" in await refusal(
                server, "grpcs://127.0.0.1:PORT", ca=files.ca, **given
            )
        assert "with TLS its URL begins with grpcs:" in await refusal(server, "grpc://127.0.0.1:PORT")


def test_files_are_not_taken_for_a_server_without_tls(files: Files) -> None:
    for given in ({"ca": files.ca}, {"cert": files.client_cert, "key": files.client_key}):
        with pytest.raises(ConfigError, match=f"would ignore {', '.join(given)}: write grpcs://"):
            connect("grpc://127.0.0.1", **given)


# Changed files


async def filled() -> aio.DictDatastore:
    """A store with more entries than a stream sends unread."""
    store = aio.DictDatastore()
    for number in range(5000):
        await store.put(Key(f"/k:{number:05}"), wire.encode_value("x" * 1000))
    return store


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients look at their files before each call."""
    monkeypatch.setattr("datastore_client.reloading.CHECK_S", 0.0)


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The identities of those who called DescribeStore."""
    seen: list[tuple[str, ...]] = []
    describe_store = DatastoreService.describe_store

    async def noting(self: DatastoreService, request: bytes, call: Call) -> bytes:
        seen.append(call.identities())
        return await describe_store(self, request, call)

    monkeypatch.setattr(DatastoreService, "describe_store", noting)
    return seen


async def test_new_connections_get_the_new_certificate_and_open_streams_go_on(
    transport: Any, tmp_path: Path, stack: AsyncExitStack
) -> None:
    files = write_files(tmp_path / "tls")
    store = await filled()
    server = await stack.enter_async_context(serve(store, tls=files.server(), transport=transport))
    before = await stack.enter_async_context(connect(server.url, ca=str(files.ca)))
    cursor = before.query(Query(Key("/k")).order("key"))
    await anext(cursor)
    trusted = tmp_path / "old.pem"
    trusted.write_bytes(files.ca.read_bytes())
    new = write_files(tmp_path / "tls", new_authority("new"))
    async with connect(server.url, ca=new.ca) as after:
        assert await after.get(Key("/k:00007")) is not None
    assert "not of an authority" in await refusal(server, "grpcs://127.0.0.1:PORT", ca=trusted)
    assert len([value async for value in cursor]) == 4999


async def test_a_pair_that_is_half_written_is_not_taken(
    transport: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_files(tmp_path)
    async with serve(aio.DictDatastore(), tls=files.server(), transport=transport) as server:
        files.key.write_bytes(new_authority("new").pair.key)
        async with connect(server.url, ca=files.ca) as store:
            await store.put(KEY, 1)
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert f"{files.key} is not the key of the certificate {files.cert}; what was read before" in warning


async def test_clients_of_an_authority_that_is_no_longer_trusted_are_refused(
    transport: Any, tmp_path: Path, others: Files, callers: list[tuple[str, ...]]
) -> None:
    files = write_files(tmp_path)
    async with serve(aio.DictDatastore(), tls=files.server(mutual=True), transport=transport) as server:
        async with connect(server.url, **files.client(mutual=True)) as store:
            await store.describe_store()
        ours = tmp_path / "ours.pem"
        ours.write_bytes(files.ca.read_bytes())
        files.ca.write_bytes(others.ca.read_bytes())
        given = {"cert": files.client_cert, "key": files.client_key}
        assert "it may demand a certificate" in await refusal(server, "grpcs://127.0.0.1:PORT", ca=ours, **given)
        async with connect(server.url, ca=ours, cert=others.client_cert, key=others.client_key) as store:
            await store.describe_store()
    assert callers == [("ada",), ("ada",)]


async def test_calls_after_a_change_show_the_new_certificate_and_open_cursors_go_on(
    colour: Any, at_once: None, tmp_path: Path, callers: list[tuple[str, ...]]
) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    async with serve(await filled(), tls=files.server(mutual=True)) as server:
        credentials = Credentials(**files.client(mutual=True))
        async with connected(colour, server.url, credentials=credentials) as store:
            await colour.call(store.describe_store)
            cursor = store.query(Query(Key("/k")).order("key"))
            await colour.read(cursor, 1)
            channels = store._connection._channels
            first = channels._lines["unary_stream"].channel
            write_pair(authority.client("bob"), files.client_cert, files.client_key)
            await colour.call(store.describe_store)
            other = store.query(Query(Key("/k"), limit=1))
            assert len(await colour.read(other)) == 1
            assert channels._lines["unary_stream"].channel is not first
            assert [line.channel for line in channels._replaced] == [first]
            assert len(await colour.read(cursor)) == 4999
            assert channels._replaced == set()
    assert callers == [("ada",), ("bob",)]


async def test_an_abandoned_cursor_on_replaced_certificates_ends_with_the_store(
    colour: Any, at_once: None, tmp_path: Path
) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    async with serve(await filled(), tls=files.server(mutual=True)) as server:
        credentials = Credentials(**files.client(mutual=True))
        async with connected(colour, server.url, credentials=credentials) as store:
            cursor = store.query(Query(Key("/k")).order("key"))
            await colour.read(cursor, 1)
            write_pair(authority.client("bob"), files.client_cert, files.client_key)
            await colour.call(store.get, KEY)
        with pytest.raises(DatastoreClosedError):
            await colour.read(cursor)


# Where servers listen


async def test_a_server_reports_how_its_connections_are_protected(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async def reported(reached: dict[str, Path], **settings: Any) -> int:
        async with serve(aio.DictDatastore(), **settings) as server:
            scheme = server.url.partition("://")[0]
            async with connect(f"{scheme}://127.0.0.1:{server.port}", **reached) as store:
                return int((await store.describe_store()).transport_security)

    everywhere = "0.0.0.0:0"
    assert await reported({}) == service_pb2.TRANSPORT_SECURITY_LOOPBACK
    assert await reported({}, insecure=True) == service_pb2.TRANSPORT_SECURITY_LOOPBACK
    tls = {"listen": everywhere, "tls": files.server()}
    assert await reported(files.client(), **tls) == service_pb2.TRANSPORT_SECURITY_TLS
    tls = {"listen": everywhere, "tls": files.server(mutual=True)}
    assert await reported(files.client(mutual=True), **tls) == service_pb2.TRANSPORT_SECURITY_MUTUAL_TLS
    assert "WARNING" not in caplog.text
    assert await reported({}, listen=everywhere, insecure=True) == service_pb2.TRANSPORT_SECURITY_INSECURE
    assert "0.0.0.0:0 can be reached from other machines, and connections are not encrypted (--insecure)" in caplog.text
    with pytest.raises(ConfigError, match=r"--tls-cert and --tls-key.*`datastore tls init`.*say --insecure"):
        await reported({}, listen=everywhere)


async def test_a_certificate_that_ends_soon_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = new_authority("test")
    files = write_files(tmp_path, authority)
    write_pair(authority.server("server", HOSTS, days=10), files.cert, files.key)
    monkeypatch.setattr("datastore_server.pulse.INTERVAL_S", 0.01)
    async with (
        serve(aio.DictDatastore(), tls=files.server()) as server,
        connect(server.url, ca=files.ca) as store,
        asyncio.timeout(PATIENCE_S),
    ):
        (warning,) = (await store.describe_store()).warnings
        assert warning.startswith("the certificate of 'server' expires on 20")
        while warning not in caplog.text:
            await asyncio.sleep(0.01)


def test_handshakes_that_have_asked_for_certificates_begin_before_these_are_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_files(tmp_path)
    waits: list[float] = []
    monkeypatch.setattr(certificates.time, "sleep", waits.append)
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda _, fetch, **__: fetch)
    fetch: Any = certificates.server_credentials(files.server())
    assert (fetch(), waits) == (None, [])
    write_pair(new_authority("new").server("server", HOSTS), files.cert, files.key)
    assert isinstance(fetch(), grpc.ServerCertificateConfiguration)
    assert waits == [certificates.EXCHANGE_S]
    assert (fetch(), waits) == (None, [certificates.EXCHANGE_S])
