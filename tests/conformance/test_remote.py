"""A store on the other side of a channel: a node on LMDB or in memory, by threads and by tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datastore import wire
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing.conformance import DatastoreConformance
from datastore_client.aio import connect as aio_connect
from datastore_client.config import GrpcConfig
from tests.support import clusters
from tests.support.capabilities import Remote
from tests.support.machines import RemoteMachine


class TestRemoteLMDB(Remote, DatastoreConformance):
    versions = expiry = atomic = retries = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with clusters.background() as self.background:
            with self.background.running(clusters.node(tmp_path / "data")) as self.cluster:
                with GrpcConfig(url=self.cluster.url).open() as store:
                    yield store

    def plant(self, store: Any, key: Key, value: Any) -> None:
        self.background.run(self.cluster.plant(key, wire.encode_value(value)))

    def inspect(self, store: Any, key: Key) -> Any:
        return self.background.run(self.cluster.inspect(key))


@pytest.mark.long
class TestAsyncRemoteLMDB(Remote, AsyncConformance):
    versions = expiry = atomic = retries = True

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        async with clusters.node(tmp_path / "data") as self.cluster:
            async with GrpcConfig(url=self.cluster.url).open_async() as store:
                yield store

    async def plant(self, store: Any, key: Key, value: Any) -> None:
        await self.cluster.plant(key, wire.encode_value(value))

    async def inspect(self, store: Any, key: Key) -> Any:
        return await self.cluster.inspect(key)


@pytest.mark.long
class TestAsyncRemoteMemory(Remote, AsyncConformance):
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    async def store(self) -> Any:
        async with clusters.node() as self.cluster, aio_connect(self.cluster.url) as store:
            yield store

    async def inspect(self, store: Any, key: Key) -> Any:
        return await self.cluster.inspect(key)


@pytest.fixture(scope="module")
def read_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[clusters.Background, clusters.Cluster]]:
    """A node whose clients call its workers."""
    directory = tmp_path_factory.mktemp("workers")
    with clusters.background() as background, background.running(clusters.node(directory, workers=2)) as cluster:
        yield background, cluster


@pytest.mark.long("the same of a node with workers")
class TestRemoteWorkers(TestRemoteLMDB):
    @pytest.fixture
    def store(self, read_by_workers: tuple[clusters.Background, clusters.Cluster]) -> Any:
        self.background, self.cluster = read_by_workers
        with GrpcConfig(url=self.cluster.url).open() as store:
            store.delete_matching(Query(Key("/"), recursive=True)).finish()
            yield store


@pytest.mark.long
class TestCoalescingRemoteLMDB(TestRemoteLMDB):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        with clusters.background() as self.background:
            with self.background.running(clusters.node(tmp_path / "data")) as self.cluster:
                with GrpcConfig(url=self.cluster.url, coalesce=True).open() as store:
                    yield store


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[None]:
    with clusters.background() as background, background.running(clusters.node(tmp_path / "data")) as cluster:
        RemoteMachine.url = cluster.url
        yield


@pytest.mark.usefixtures("machine")
class TestRemoteMachine(RemoteMachine.TestCase):
    pass
