"""DescribeStore probes the shards at most once a second, over existing channels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore.model.description import Description
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore_client import aio as client
from datastore_server.app import serve
from datastore_server.config import parse_config
from datastore_server.describe import PROBE_FRESH_S, ClusterInfo, ShardInfo, ShardProbes, describe_store
from datastore_server.limits import Limits
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.support import clusters


class Shard:
    """A shard that counts its probes, and answers when released."""

    def __init__(self) -> None:
        self.probed = 0
        self.answers = asyncio.Event()
        self.info = ShardInfo(name="s1", url="grpc://127.0.0.1:1", slots=1, probe=self._probe)
        self.time_s = 0.0
        self.probes = ShardProbes((self.info,), clock=lambda: self.time_s)

    async def _probe(self) -> None:
        self.probed += 1
        await self.answers.wait()
        raise UnavailableError("it is shutting down")


async def test_callers_at_the_same_time_share_one_probe() -> None:
    shard = Shard()
    callers = [asyncio.create_task(shard.probes.failures()) for _ in range(50)]
    await asyncio.sleep(0)
    shard.answers.set()
    for failures in await asyncio.gather(*callers):
        assert [type(failure) for failure in failures] == [UnavailableError]
    assert shard.probed == 1


async def test_a_result_is_reused_for_a_second() -> None:
    shard = Shard()
    shard.answers.set()
    for time_s, probed in ((0.0, 1), (PROBE_FRESH_S - 0.01, 1), (PROBE_FRESH_S, 2)):
        shard.time_s = time_s
        await shard.probes.failures()
        assert shard.probed == probed


async def test_a_caller_that_is_cancelled_does_not_take_the_probe_from_the_others() -> None:
    shard = Shard()
    leaving, staying = (asyncio.create_task(shard.probes.failures()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    shard.answers.set()
    assert len(await staying) == 1


def _noting(opened: list[str], function: Any) -> Any:
    """The function, which notes the targets of this event loop: servers of other tests may be ending in theirs."""
    loop = asyncio.get_running_loop()

    def open_channel(target: str, *args: Any, **options: Any) -> Any:
        if asyncio.get_running_loop() is loop:
            opened.append(target)
        return function(target, *args, **options)

    return open_channel


async def test_describe_store_opens_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with clusters.proxy() as cluster:
        async with client.connect(cluster.url) as store:
            await store.describe_store()
            opened: list[str] = []
            monkeypatch.setattr(grpc.aio, "insecure_channel", _noting(opened, grpc.aio.insecure_channel))
            monkeypatch.setattr("datastore_server.describe.PROBE_FRESH_S", 0.0)
            for _ in range(5):
                described = await store.describe_store()
                assert not any(shard.HasField("status") for shard in described.shards)
            assert not opened


class Holding:
    """A shard that reports how much it holds."""

    def __init__(self, name: str, *, features: Sequence[Any] = (), **size: int) -> None:
        self.size = size
        self.features = features
        self.info = ShardInfo(name, "grpc://127.0.0.1:1", 1, probe=self._probe, describe=self._describe)
        self.failure: UnavailableError | None = None

    async def _probe(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _describe(self) -> service_pb2.DescribeStoreResponse:
        return service_pb2.DescribeStoreResponse(features=self.features, **self.size)


async def described(*shards: Holding) -> service_pb2.DescribeStoreResponse:
    infos = tuple(shard.info for shard in shards)
    answers = await ShardProbes(infos).answers()
    # The counts of the composition itself are ignored: the shards hold the entries.
    return describe_store(Description("sharded", entries=7), Limits(), ClusterInfo(shards=infos), answers)


async def test_a_proxy_reports_what_each_shard_holds_and_the_sum() -> None:
    answer = await described(Holding("a", entries=3, stored_bytes=4096), Holding("b", entries=0, stored_bytes=100))
    assert [(shard.entries, shard.stored_bytes) for shard in answer.shards] == [(3, 4096), (0, 100)]
    assert (answer.entries, answer.stored_bytes) == (3, 4196)
    assert answer.shards[1].HasField("entries")


async def test_a_total_without_a_shard_is_not_reported() -> None:
    down, in_memory = Holding("a", entries=3, stored_bytes=1), Holding("b", entries=4)
    answer = await described(down, in_memory)
    assert (answer.entries, answer.HasField("stored_bytes")) == (7, False)
    down.failure = UnavailableError("gone")
    answer = await described(down, in_memory)
    assert not answer.HasField("entries")
    assert not answer.shards[0].HasField("entries")
    assert answer.shards[1].entries == 4


async def test_a_proxy_can_do_what_all_shards_that_answer_can() -> None:
    versions = [service_pb2.FEATURE_VERSIONS]
    able, unable = Holding("a", features=versions), Holding("b")
    assert list((await described(able)).features) == versions
    assert list((await described(able, unable)).features) == []
    unable.failure = UnavailableError("gone")
    assert list((await described(able, unable)).features) == versions
    able.failure = UnavailableError("gone")
    assert list((await described(able, unable)).features) == []


async def test_a_node_reports_what_its_storage_holds(tmp_path: Path) -> None:
    node = build_node(parse_store_url(f"lmdb:{tmp_path / 'data'}"))
    async with serve(node.datastore, cluster=node.cluster) as server, client.connect(server.url) as store:
        empty = await store.describe_store()
        assert (empty.entries, empty.HasField("entries")) == (0, True)
        for number in range(3):
            await store.put(Key(f"/a:{number}"), "x" * 10_000)
        full = await store.describe_store()
        assert full.entries == 3
        assert full.stored_bytes == (tmp_path / "data" / "data.mdb").stat().st_size > empty.stored_bytes


async def test_a_proxy_asks_each_of_its_shards_how_much_it_holds() -> None:
    text = "[cluster]\nname = 'c'\n" + "".join(
        f"[[shards]]\nname = '{name}'\nurl = 'grpc://127.0.0.1:{port}'\n" for name, port in (("a", 1), ("b", 2))
    )
    proxy = build_proxy(parse_config(text, source="c.toml"))
    try:
        assert [shard.describe is not None for shard in proxy.cluster.shards] == [True, True]
    finally:
        await proxy.datastore.aclose()
