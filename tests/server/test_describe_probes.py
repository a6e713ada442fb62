"""DescribeStore asks the shards how they are: once a second at most, over the channels that are there."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from datastore.core.errors import UnavailableError
from datastore_client import aio as client
from datastore_server.describe import PROBE_FRESH_S, ShardInfo, ShardProbes
from tests.support import clusters


class Shard:
    """A shard that counts how often it is probed, and answers when told to."""

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


async def test_a_result_is_good_for_a_second() -> None:
    shard = Shard()
    shard.answers.set()
    for time_s, probed in ((0.0, 1), (PROBE_FRESH_S - 0.01, 1), (PROBE_FRESH_S, 2)):
        shard.time_s = time_s
        await shard.probes.failures()
        assert shard.probed == probed


async def test_a_caller_that_leaves_does_not_take_the_probe_from_the_others() -> None:
    shard = Shard()
    leaving, staying = (asyncio.create_task(shard.probes.failures()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    shard.answers.set()
    assert len(await staying) == 1


async def test_describe_store_opens_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with clusters.proxy() as cluster:
        async with client.connect(cluster.url) as store:
            await store.describe_store()
            opened: list[Any] = []
            monkeypatch.setattr(grpc.aio, "insecure_channel", lambda *_, **__: opened.append(1))
            monkeypatch.setattr("datastore_server.describe.PROBE_FRESH_S", 0.0)
            for _ in range(5):
                described = await store.describe_store()
                assert not any(shard.HasField("status") for shard in described.shards)
            assert not opened
