"""Atomic batches on the wire, by clients of both colours, and through proxies."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.aio.atomic import none_made
from datastore.engine.placement import NodePlacement
from datastore.model.entries import Write
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    LimitExceededError,
    UnavailableError,
    UnsupportedError,
    WrongShardError,
)
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES, MESSAGE_BYTES, PATCHED_BYTES
from datastore.model.metadata import ABSENT
from datastore.model.operations import Delete, Patch, Put
from datastore.model.patches import changes_of
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import rpc_error_to_error, status_to_error
from datastore_server.placement.owned import OwnedDatastore
from datastore_server.verified import VerifiedDatastore
from tests.support import clusters
from tests.support.colours import Tasks, connected
from tests.support.placements import keys_of, placement
from tests.support.scripted import fails, replies, scripted
from tests.support.serving import Running, entry, value

Request, Message = service_pb2.BatchWriteRequest, service_pb2.BatchWriteRequest.Write
MustBeAbsent = value_pb2.Precondition(exists=False)


async def test_a_batch_of_which_one_write_fails_says_which(running: Running) -> None:
    await running.put("/a/b", "old")
    made = await running.stub.BatchWrite(
        Request(writes=[Message(put=entry("/a/c", 1)), Message(delete=value_pb2.Key(text="/a/c"))], atomic=True)
    )
    assert [result.HasField("metadata") for result in made.results] == [True, False]
    refused = await running.stub.BatchWrite(
        Request(
            writes=[
                Message(put=entry("/a/c", 1)),
                Message(put=entry("/a/b", "new"), condition=MustBeAbsent),
                Message(delete=value_pb2.Key(text="/a/b")),
            ],
            atomic=True,
        )
    )
    errors: list[Any] = [status_to_error(result.status) for result in refused.results]
    assert [type(error) for error in errors] == [BatchAbortedError, ConditionFailedError, BatchAbortedError]
    assert [errors[0].index, errors[2].index] == [1, 1]
    assert [result.status.code for result in refused.results] == [grpc.StatusCode.ABORTED.value[0]] * 3
    got = await running.stub.BatchGet(
        service_pb2.BatchGetRequest(keys=[value_pb2.Key(text="/a/b"), value_pb2.Key(text="/a/c")])
    )
    assert [result.value for result in got.results] == [value("old"), value_pb2.Value()]


async def test_a_bad_item_fails_the_whole_batch(running: Running) -> None:
    bad = [
        Message(),
        Message(put=entry("/a\0", 1)),
        Message(put=entry("/a/b", 1), condition=value_pb2.Precondition()),
    ]
    for message in bad:
        answer = await running.stub.BatchWrite(Request(writes=[message, Message(put=entry("/a/c", 1))], atomic=True))
        errors: list[Any] = [status_to_error(result.status) for result in answer.results]
        assert not isinstance(errors[0], BatchAbortedError)
        assert isinstance(errors[1], BatchAbortedError)
        assert errors[1].index == 0
    got = await running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text="/a/c")))
    assert not got.HasField("value")


async def test_a_store_that_cannot_refuses_the_call(start: Any) -> None:
    running = await start(aio.LRUCacheDatastore(10))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await running.stub.BatchWrite(Request(writes=[Message(put=entry("/a/b", 1))], atomic=True))
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert isinstance(rpc_error_to_error(failed.value), UnsupportedError)
    assert not (await running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text="/a/b")))).HasField("value")


async def test_a_batch_of_as_many_items_as_are_allowed_is_made_and_one_more_refused(
    running: Running, colour: Any
) -> None:
    async with connected(colour, running.server.url) as store:
        writes = [Write(Key(f"/n/{number:04}"), number) for number in range(1001)]
        with pytest.raises(LimitExceededError) as refused:
            await colour.call(store.batch_write, writes, atomic=True)
        assert (refused.value.limit, refused.value.maximum) == ("batch_items", 1000)
        assert await colour.call(store.contains, Key("/n/0000")) is False
        results = await colour.call(store.batch_write, writes[:1000], atomic=True)
        assert [result.error for result in results] == [None] * 1000


async def test_a_batch_of_as_many_bytes_as_fit_in_a_message_is_made_and_a_larger_one_refused(
    running: Running, colour: Any
) -> None:
    async with connected(colour, running.server.url) as store:
        half = MESSAGE_BYTES // 2 - 100
        writes = [Write(Key("/a"), "x" * half), Write(Key("/b"), "x" * half)]
        assert half < ENTRY_BYTES
        results = await colour.call(store.batch_write, writes, atomic=True)
        assert [result.error for result in results] == [None, None]
        with pytest.raises(LimitExceededError) as refused:
            await colour.call(store.batch_write, [*writes, Write(Key("/c"), "x" * 200)], atomic=True)
        assert refused.value.limit == "message_bytes"
        assert await colour.call(store.contains, Key("/c")) is False


async def test_a_value_that_cannot_be_sent_fails_the_batch_in_the_client(running: Running, colour: Any) -> None:
    async with connected(colour, running.server.url) as store:
        writes = [Write(Key("/a"), 1), Write(Key("/b"), object()), Write(Key("/c"), "x" * (ENTRY_BYTES + 1))]
        errors = [result.error for result in await colour.call(store.batch_write, writes, atomic=True)]
        assert [type(error).__name__ for error in errors] == [
            "BatchAbortedError",
            "UnsupportedTypeError",
            "LimitExceededError",
        ]
        assert await colour.call(store.contains, Key("/a")) is False


async def test_patches_of_large_values_fail_their_batch_instead_of_being_sent_again(running: Running) -> None:
    async with connected(Tasks(), running.server.url) as store:
        await store.put(Key("/large"), {"text": "x" * (PATCHED_BYTES // 2), "n": 0})
        add = Patch(Key("/large"), changes_of(increment={"n": 1}))
        assert [result.error for result in await store.batch_write([add], atomic=True)] == [None]
        errors: list[Any] = [result.error for result in await store.batch_write([add] * 3, atomic=True)]
        assert [type(error) for error in errors] == [BatchAbortedError, LimitExceededError, BatchAbortedError]
        assert (errors[1].limit, errors[1].maximum) == ("patched_bytes", PATCHED_BYTES)
        assert (await store.get(Key("/large")))["n"] == 1


async def test_a_patch_above_a_serializer_is_not_made_in_an_atomic_batch(running: Running) -> None:
    async with connected(Tasks(), running.server.url) as remote:
        store = aio.SerializerShimDatastore(remote)
        await store.put(Key("/a"), {"n": 1})
        patch = Patch(Key("/a"), changes_of(increment={"n": 1}))
        with pytest.raises(UnsupportedError, match="above a serializer"):
            await store.batch_write([Write(Key("/b"), 1), patch], atomic=True)
        assert await store.get(Key("/b")) is None


async def test_what_did_not_begin_is_sent_again_and_what_may_have_been_made_is_not(colour: Any) -> None:
    made = replies(service_pb2.BatchWriteResponse(results=[service_pb2.BatchWriteResponse.Result()] * 2))
    again, unknown = UnavailableError("shutting down", retry_after_s=0.0), UnavailableError("cut off")
    for failures, raised in (([again, again], None), ([unknown], UnavailableError)):
        async with scripted(BatchWrite=[*map(fails, failures), made]) as script:
            async with connected(colour, script.url) as store:
                writes = [Write(Key("/a"), 1), Write(Key("/b"), 2)]
                if raised is None:
                    results = await colour.call(store.batch_write, writes, atomic=True)
                    assert [result.error for result in results] == [None, None]
                else:
                    with pytest.raises(raised):
                        await colour.call(store.batch_write, writes, atomic=True)
        requests = [Request.FromString(request) for _, request in script.calls]
        assert len(requests) == len(failures) + (raised is None)
        assert all(request.atomic and len(request.writes) == 2 for request in requests)


# Nodes and proxies


async def test_a_key_of_another_shard_fails_the_batch_of_a_node() -> None:
    placed = placement("a", "b")
    (own,), (foreign,) = keys_of("a", placed, 1), keys_of("b", placed, 1)
    child = aio.DictDatastore()
    store = OwnedDatastore(child, NodePlacement("0a", shard="a", current=placed))
    results = await store.batch_write([Write(own, 1), Write(foreign, 1)], atomic=True)
    assert [type(result.error) for result in results] == [BatchAbortedError, WrongShardError]
    assert len(child) == 0
    assert [result.error for result in await store.batch_write([Write(own, 1)], atomic=True)] == [None]
    moving = OwnedDatastore(
        child, NodePlacement("0a", shard="a", current=placed, pending=placement(epoch=2), pending_shard="a")
    )
    with pytest.raises(UnavailableError, match="being moved"):
        await moving.batch_write([Write(own, 2)], atomic=True)
    assert await child.get(own) == 1


async def test_a_proxy_by_collection_makes_batches_of_a_collection(colour: Any) -> None:
    async with clusters.proxy(shard_by="collection") as cluster, connected(colour, cluster.url) as store:
        for number in range(5):
            collection = Key(f"/Shop:{number}")
            writes = [Write(collection.child(f"Order:{order}"), order) for order in range(10)]
            assert [result.error for result in await colour.call(store.batch_write, writes, atomic=True)] == [None] * 10
            failing = [Delete(writes[0].key), Put(writes[1].key, 9, ABSENT)]
            errors: list[Any] = [result.error for result in await colour.call(store.batch_write, failing, atomic=True)]
            assert [type(error) for error in errors] == [BatchAbortedError, ConditionFailedError]
            assert errors[1].shard in clusters.SHARDS
            assert await colour.call(store.get, writes[0].key) == 0


async def test_a_proxy_refuses_a_batch_over_several_shards_and_names_them(colour: Any) -> None:
    async with clusters.proxy() as cluster, connected(colour, cluster.url) as store:
        writes = [Write(Key(f"/n/{number}"), number) for number in range(30)]
        with pytest.raises(UnsupportedError) as refused:
            await colour.call(store.batch_write, writes, atomic=True)
        assert all(shard in str(refused.value) for shard in clusters.SHARDS)
        assert "on 3" in str(refused.value)
        found = await colour.call(store.batch_get, [write.key for write in writes])
        assert [result.value for result in found] == [None] * 30


class Refusing(aio.DictDatastore):
    """Refuses its first atomic batch as a server other than the expected one would: the whole call, or one key."""

    refusal: WrongShardError | None = WrongShardError("not this server")

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self._whole = whole

    async def write_atomic(self, operations: Any) -> Any:
        refusal, self.refusal = self.refusal, None
        if refusal is None:
            return await super().write_atomic(operations)
        if self._whole:
            raise refusal
        return none_made({1: refusal}, len(operations))


class Ready:
    """A cluster whose nodes match."""

    def __init__(self) -> None:
        self.verified = 0

    async def ready(self) -> None:
        pass

    async def verify_again(self) -> None:
        self.verified += 1


@pytest.mark.parametrize("whole", [False, True], ids=["one key", "the call"])
async def test_a_proxy_that_is_refused_by_a_node_verifies_all_and_tries_once_more(whole: bool) -> None:
    membership: Any = Ready()
    store = VerifiedDatastore(Refusing(whole=whole), membership)
    for _ in range(2):
        results = await store.batch_write([Write(Key("/a"), 1), Write(Key("/b"), 2)], atomic=True)
        assert [result.error for result in results] == [None, None]
        assert membership.verified == 1
