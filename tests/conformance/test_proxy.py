"""A proxy over three nodes: real servers throughout, by threads and by tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datastore.aio.testing.conformance import (
    CursorPromises,
    ExpiryPromises,
    MetadataQueryPromises,
    OperationPromises,
)
from datastore.aio.testing.conformance import DatastoreConformance as AsyncConformance
from datastore.model.key import Key
from datastore.testing.conformance import DatastoreConformance
from datastore_client import connect
from datastore_client.aio import connect as aio_connect
from tests.support import clusters
from tests.support.capabilities import Remote
from tests.support.machines import RemoteMachine


@pytest.mark.long
class TestProxy(Remote, DatastoreConformance):
    versions = expiry = changes = atomic = retries = True

    @pytest.fixture
    def store(self) -> Any:
        with clusters.background() as self.background:
            with self.background.running(clusters.proxy()) as self.cluster:
                with connect(self.cluster.url) as store:
                    yield store

    def inspect(self, store: Any, key: Key) -> Any:
        return self.background.run(self.cluster.inspect(key))


_SHOWN_ELSEWHERE = (OperationPromises, CursorPromises, ExpiryPromises, MetadataQueryPromises)


class TestAsyncProxy(Remote, AsyncConformance):
    versions = expiry = changes = atomic = retries = True
    #: What the model machine below, and the suites of one server and of a sharded store, show as well.
    long_tests = (
        *(name for part in _SHOWN_ELSEWHERE for name in vars(part) if name.startswith("test_")),
        "test_many_abandoned_cursors_leave_the_store_working",
        "test_own_writes_are_read_among_those_of_others",
        "test_writes_at_every_position_do_not_disturb_a_query",
    )

    @pytest.fixture
    async def store(self) -> Any:
        async with clusters.proxy() as self.cluster, aio_connect(self.cluster.url) as store:
            yield store

    async def inspect(self, store: Any, key: Key) -> Any:
        return await self.cluster.inspect(key)


@pytest.mark.long
class TestAsyncProxyByCollection(Remote, AsyncConformance):
    """A collection is on one shard, so its queries go to that shard alone."""

    versions = expiry = atomic = retries = True

    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        proxy = clusters.proxy(tmp_path, shard_by="collection")
        async with proxy as self.cluster, aio_connect(self.cluster.url) as store:
            yield store

    async def inspect(self, store: Any, key: Key) -> Any:
        return await self.cluster.inspect(key)


class ProxyMachine(RemoteMachine):
    pass


@pytest.fixture
def machine() -> Iterator[None]:
    with clusters.background() as background, background.running(clusters.proxy()) as cluster:
        ProxyMachine.url = cluster.url
        yield


@pytest.mark.usefixtures("machine")
class TestProxyMachine(ProxyMachine.TestCase):
    pass
