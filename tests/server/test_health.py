"""gRPC's health service, by name: of the server, its services, its store, and the shards of a proxy."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from datastore import aio
from datastore_server.describe import ShardInfo
from datastore_server.placement.service import PLACEMENT_SERVICE
from datastore_server.service import SERVICE
from datastore_server.shard_watch import watching
from tests.server.conftest import Start
from tests.support.serving import Away, not_probed

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, name: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def test_a_node_has_a_health_for_each_service_and_its_store(start: Start) -> None:
    store = Away()
    running = await start(store, watched="the shelf")
    names = ("", SERVICE, PLACEMENT_SERVICE, "store")
    assert [await health(running.channel, name) for name in names] == [SERVING] * 4
    store.is_away = True
    while await health(running.channel, "store") == SERVING:
        await asyncio.sleep(0.01)
    assert [await health(running.channel, name) for name in names] == [NOT_SERVING] * 4


async def test_a_proxy_has_a_health_for_each_shard(start: Start, unused_tcp_port: int) -> None:
    node, proxy = await start(aio.DictDatastore()), await start(aio.DictDatastore())
    shards = [
        ShardInfo("s1", node.server.url, 1, probe=not_probed),
        ShardInfo("s2", f"grpc://127.0.0.1:{unused_tcp_port}", 1, probe=not_probed),
    ]
    async with watching(shards, proxy.server.note_shard):
        await until(proxy.channel, "shard/s1", SERVING)
        await until(proxy.channel, "shard/s2", NOT_SERVING)
        await node.server.stop()
        await until(proxy.channel, "shard/s1", NOT_SERVING)
    # The proxy serves what it can.
    assert await health(proxy.channel, "") == SERVING


async def until(channel: grpc.aio.Channel, name: str, expected: Any) -> None:
    """Wait until a name has this health; it is unknown at first."""
    while True:
        try:
            if await health(channel, name) == expected:
                return
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND
        await asyncio.sleep(0.01)


async def test_another_name_is_not_known(start: Start) -> None:
    running = await start(aio.DictDatastore())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(running.channel, "shard/s1")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
