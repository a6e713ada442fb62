"""TLS between clients, proxies and nodes, with real certificates: who may connect, and certificates that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from datastore import Key, Query, aio
from datastore_client.tls import Credentials
from datastore_server.app import serve
from datastore_server.call import Call, ServedMethod, at_once
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.limits import Limits
from datastore_server.store_urls import parse_store_url
from datastore_server.tls_config import TlsConfig
from datastore_server.topology import build_node, build_proxy
from datastore_server.transport import new_transport
from tests.support.certificates import Files, write_files
from tests.support.colours import connected

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


async def identities(transport: Any, files: Files, *, mutual: bool) -> list[tuple[str, ...]]:
    """The names that handlers see, at once and on the event loop."""
    seen: list[tuple[str, ...]] = []

    async def who(_: bytes, call: Call) -> bytes:
        seen.append(call.identities())
        assert call.peer().startswith("ipv4:127.0.0.1:")
        return b""

    methods = [ServedMethod("/t.T/Who", False, who), ServedMethod("/t.T/Now", False, who, at_once(who))]
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
