"""Expiry on the wire: what requests ask for, what responses say, what is refused, and what proxies make of it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.model.errors import ConditionFailedError, InvalidError, UnsupportedError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.operations import Patch, Put
from datastore.model.patches import FieldChange
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import rpc_error_to_error, status_to_error
from datastore_client.aio import connect
from datastore_server.app import serve
from tests.support.clocks import Clock
from tests.support.serving import Running, entry, value

KEY = Key("/a/b")
NAMED = value_pb2.Key(text="/a/b")
NOW_S = 1_790_000_000
Write = service_pb2.BatchWriteRequest.Write


@pytest.fixture
def clock() -> Clock:
    return Clock(float(NOW_S))


@pytest.fixture
async def memory(start: Any, clock: Clock) -> Running:
    """A server on an empty store in memory."""
    running: Running = await start(aio.DictDatastore(clock=clock))
    return running


@pytest.fixture
async def without(start: Any) -> Running:
    """A server on a store whose entries cannot expire."""
    running: Running = await start(aio.LRUCacheDatastore(10))
    await running.put("/a/b", "old")
    return running


def within(seconds: int) -> value_pb2.Expiry:
    expiry = value_pb2.Expiry()
    expiry.expires_in.seconds = seconds
    return expiry


def at(seconds: int) -> value_pb2.Expiry:
    expiry = value_pb2.Expiry()
    expiry.expire_time.seconds = seconds
    return expiry


async def refused(call: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc_error_to_error(failed.value)


async def test_a_put_a_touch_and_a_patch_say_when_the_entry_expires(memory: Running, clock: Clock) -> None:
    stub = memory.stub
    put = await stub.Put(service_pb2.PutRequest(entry=entry("/a/b", {"n": 1}), expiry=within(60)))
    assert put.metadata.expire_time.seconds == NOW_S + 60
    touched = await stub.Touch(service_pb2.TouchRequest(key=NAMED, expiry=at(NOW_S + 90)))
    assert touched.metadata.expire_time.seconds == NOW_S + 90
    assert touched.metadata.version > put.metadata.version
    change = value_pb2.FieldChange(field_path="n", set=value(2))
    patch = value_pb2.Patch(key=NAMED, changes=[change])
    patched = await stub.Patch(service_pb2.PatchRequest(patch=patch))
    assert patched.metadata.expire_time.seconds == NOW_S + 90
    patched = await stub.Patch(service_pb2.PatchRequest(patch=patch, expiry=within(30)))
    assert patched.metadata.expire_time.seconds == NOW_S + 30
    touched = await stub.Touch(service_pb2.TouchRequest(key=NAMED))
    assert not touched.metadata.HasField("expire_time")
    await stub.Touch(service_pb2.TouchRequest(key=NAMED, expiry=within(30)))
    clock.now += 31
    assert not (await stub.Get(service_pb2.GetRequest(key=NAMED))).HasField("value")
    failure = await refused(stub.Touch(service_pb2.TouchRequest(key=NAMED, expiry=within(30))))
    assert isinstance(failure, ConditionFailedError)


async def test_a_patch_whose_expiry_has_passed_deletes_and_has_no_value(memory: Running) -> None:
    await memory.put("/a/b", {"n": 1})
    patch = value_pb2.Patch(key=NAMED, changes=[value_pb2.FieldChange(field_path="n", set=value(2))])
    patched = await memory.stub.Patch(service_pb2.PatchRequest(patch=patch, expiry=at(1), include_value=True))
    assert not patched.HasField("value")
    assert not patched.HasField("metadata")
    assert not (await memory.stub.Get(service_pb2.GetRequest(key=NAMED))).HasField("value")


async def test_items_of_a_batch_have_their_expiries(memory: Running) -> None:
    writes = [
        Write(put=entry("/a/b", 1), expiry=within(60)),
        Write(touch=NAMED, expiry=within(90)),
        Write(put=entry("/a/c", 1), expiry=value_pb2.Expiry()),
        Write(delete=value_pb2.Key(text="/a/b"), expiry=within(60)),
        Write(touch=value_pb2.Key(text="/a/absent")),
        Write(touch=NAMED),
    ]
    answer = await memory.stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes))
    failed = [status_to_error(result.status) if result.HasField("status") else None for result in answer.results]
    assert [type(error) for error in failed] == [
        *[type(None)] * 2,
        InvalidError,
        InvalidError,
        ConditionFailedError,
        type(None),
    ]
    assert answer.results[1].metadata.expire_time.seconds == NOW_S + 90
    assert answer.results[5].metadata.version > 0
    assert not answer.results[5].metadata.HasField("expire_time")


async def test_a_store_whose_entries_cannot_expire_refuses_and_does_nothing(without: Running) -> None:
    stub = without.stub
    for call in (
        stub.Put(service_pb2.PutRequest(entry=entry("/a/b", "new"), expiry=within(60))),
        stub.Touch(service_pb2.TouchRequest(key=NAMED, expiry=within(60))),
        stub.Touch(service_pb2.TouchRequest(key=NAMED)),
    ):
        assert isinstance(await refused(call), UnsupportedError)
    answer = await stub.BatchWrite(
        service_pb2.BatchWriteRequest(writes=[Write(put=entry("/a/b", "new"), expiry=within(60)), Write(touch=NAMED)])
    )
    assert [type(status_to_error(result.status)) for result in answer.results] == [UnsupportedError] * 2
    assert (await stub.Get(service_pb2.GetRequest(key=NAMED))).value == value("old")


async def test_a_server_says_whether_entries_can_expire(memory: Running, without: Running) -> None:
    features = [
        (await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())).features for running in (memory, without)
    ]
    assert [service_pb2.FEATURE_EXPIRY in found for found in features] == [True, False]


async def test_a_serializer_above_a_client_keeps_and_sets_expiries(memory: Running, clock: Clock) -> None:
    async with connect(memory.server.url) as remote:
        store = aio.SerializerShimDatastore(remote)
        await store.put(KEY, {"n": 1}, expires_in_s=60)
        assert await store.patch(KEY, increment={"n": 1}) == {"n": 2}
        assert await store.touch(KEY, expires_in_s=90)
        expiry = Expiry.after(30)
        (result,) = await store.batch_write([Patch(KEY, (FieldChange("set", "n", 5),), expiry=expiry)])
        assert result.error is None
        found = await store.entry(KEY)
        assert found is not None
        assert found.value == {"n": 5}
        assert found.expire_time is not None
        assert int(found.expire_time.timestamp()) == NOW_S + 30
        clock.now += 31
        assert await store.get(KEY) is None


async def test_a_cache_above_a_client_shows_no_expired_entry(memory: Running, clock: Clock) -> None:
    async with connect(memory.server.url) as remote, connect(memory.server.url) as other:
        store = aio.TieredDatastore([aio.LRUCacheDatastore(10), remote])
        (written,) = await other.batch_write([Put(KEY, 1, expiry=Expiry.after(60))])
        assert written.error is None
        assert await store.get(KEY) == 1
        clock.now += 61
        assert await store.get(KEY) is None


async def test_a_cache_above_a_client_of_a_store_without_metadata_still_caches(without: Running) -> None:
    cache = aio.LRUCacheDatastore(10)
    async with connect(without.server.url) as remote:
        store = aio.TieredDatastore([cache, remote])
        assert await store.get(KEY) == "old"
        assert await cache.get(KEY) == "old"
        assert [result.value for result in await store.batch_get([KEY, Key("/a/c")])] == ["old", None]


async def test_a_server_with_a_cache_above_shows_no_expired_entry(memory: Running, clock: Clock) -> None:
    async with (
        connect(memory.server.url) as remote,
        serve(aio.TieredDatastore([aio.LRUCacheDatastore(10), remote])) as server,
        connect(server.url) as store,
    ):
        await store.put(KEY, 1, expires_in_s=60)
        assert await store.get(KEY) == 1
        clock.now += 61
        assert await store.get(KEY) is None
        assert await store.touch(KEY) is False
