"""Every kind of storage behind a node, and behind a proxy over three nodes, keeps the promises to clients."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import spec
from datastore.aio.testing.conformance import DatastoreConformance
from datastore.model.errors import QueryNotSupportedError
from datastore.model.key import Key
from datastore.model.query import Query
from datastore_client.aio import connect
from datastore_server.app import serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.server_config import parse_server
from datastore_server.topology import build_node, build_proxy
from tests.conformance.test_compositions import behave
from tests.support.capabilities import Remote
from tests.support.clusters import SHARDS
from tests.support.stacks import placed, trees
from tests.support.storages import Storages


@asynccontextmanager
async def served(storages: Storages) -> AsyncIterator[str]:
    """The URL of a node."""
    topology = storages.build("a")
    async with serve(topology.datastore, **topology.settings()) as server:
        yield server.url


@asynccontextmanager
async def proxied(storages: Storages) -> AsyncIterator[str]:
    """The URL of a proxy over three nodes."""
    async with AsyncExitStack() as stack:
        shards = []
        for name in SHARDS:
            topology = storages.build(name, cluster="test", shard=name)
            server = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
            shards.append(ShardConfig(name=name, url=server.url))
        topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=shards))
        proxy = serve(topology.datastore, check_values=False, cluster=topology.cluster, membership=topology.membership)
        yield (await stack.enter_async_context(proxy)).url


class _Served(Remote, DatastoreConformance):
    """A client of a node, or of a proxy, on one kind of storage."""

    kind: str
    options = ""
    behind = staticmethod(served)
    grid = 20

    @pytest.fixture
    async def store(self, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
        storages = Storages(self.kind, tmp_path, request, options=self.options)
        try:
            async with self.behind(storages) as url, connect(url) as store:
                yield store
        finally:
            storages.close()


class _WithoutQueries(_Served):
    queries = False
    # The server is not asked before the first result is read: tests/server/test_any_store.py sees it refuse.
    test_a_query_is_supported_or_refused_at_the_call = None


class _Slow:
    """Without hundreds of random examples, which would take an hour: other suites have them, e.g. that of the store."""

    test_any_value_comes_back = None
    test_any_writes_leave_what_a_dict_would_hold = None


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestNodeOnRedis(_WithoutQueries):
    kind = "redis"
    options = "changes=true"
    versions = expiry = changes = atomic = retries = True


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestNodeOnFiles(_Slow, _Served):
    kind = "file"
    options = "fsync=false"


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestNodeOnMemcached(_Slow, _WithoutQueries):
    kind = "memcached"
    # A value slightly over 1 MB is more than the server accepts.
    test_a_large_value_comes_back_whole = None


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestNodeOnMongo(_Slow, _Served):
    """In wire form: unlike MongoDB, FerretDB refuses lists in lists and infinities."""

    kind = "mongodb"
    options = "serializer=wire"
    versions = expiry = True


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestProxyOverRedis(_Slow, TestNodeOnRedis):
    behind = staticmethod(proxied)


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestProxyOverFiles(TestNodeOnFiles):
    behind = staticmethod(proxied)


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestProxyOverMemcached(TestNodeOnMemcached):
    behind = staticmethod(proxied)


@pytest.mark.long("a node, or a proxy, on one more kind of storage")
class TestProxyOverMongo(TestNodeOnMongo):
    behind = staticmethod(proxied)


@pytest.mark.parametrize("kind", ["redis", "memcached"])
async def test_a_proxy_over_stores_without_queries_refuses_only_queries(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storages = Storages(kind, tmp_path, request)
    try:
        async with proxied(storages) as url, connect(url) as store:
            keys = [Key(f"/k:{number}") for number in range(20)]
            for key in keys:
                await store.put(key, str(key))
            assert [outcome.value for outcome in await store.batch_get(keys)] == [str(key) for key in keys]
            with pytest.raises(QueryNotSupportedError, match="does not support queries"):
                await anext(store.query(Query(Key("/k"))))
    finally:
        storages.close()


@given(tree=trees(3), data=st.data())
async def test_any_composition_is_served_and_answers_like_a_dict(
    tree: spec.Config, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    text = f'{spec.dump_tree(placed(tree), "it")}\n[server]\nstore = "it"\nlisten = "127.0.0.1:0"\n'
    config = parse_server(text, source="drawn.toml", base=directory)
    topology = build_node(config.store)
    async with serve(topology.datastore, **topology.settings()) as server, connect(server.url) as store:
        await behave(store, tree, data)
    shutil.rmtree(directory)
