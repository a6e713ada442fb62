"""Versions and conditions on the wire: what requests ask for, what responses say, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import Query, aio, wire
from datastore.model.errors import (
    ConditionFailedError,
    CorruptDataError,
    DeadlineExceededError,
    LimitExceededError,
    OverloadedError,
    UnavailableError,
    UnsupportedError,
)
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES, PATCHED_BYTES
from datastore.model.metadata import ABSENT, EXISTS, Precondition
from datastore.model.operations import Delete, Patch, Put
from datastore.model.patches import FieldChange
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore.wire import rpc_error_to_error, status_to_error
from datastore_client.aio import connect as aio_connect
from datastore_server.app import serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.topology import build_proxy
from tests.support import clusters
from tests.support.colours import Tasks, Threads, connected
from tests.support.scripted import fails, replies, scripted, sends
from tests.support.serving import Running, entry, value

KEY = Key("/a/b")
NAMED = value_pb2.Key(text="/a/b")
NOW_US = 1_790_000_000_123_456
ALL_FEATURES = [
    service_pb2.FEATURE_VERSIONS,
    service_pb2.FEATURE_EXPIRY,
    service_pb2.FEATURE_CHANGES,
    service_pb2.FEATURE_ATOMIC,
]
GetRequest, BatchGetRequest = service_pb2.GetRequest, service_pb2.BatchGetRequest
PutRequest, DeleteRequest = service_pb2.PutRequest, service_pb2.DeleteRequest
Write, BatchWriteRequest = service_pb2.BatchWriteRequest.Write, service_pb2.BatchWriteRequest
MustExist, MustBeAbsent = value_pb2.Precondition(exists=True), value_pb2.Precondition(exists=False)


def at_version(version: int) -> value_pb2.Precondition:
    return value_pb2.Precondition(version=version)


@pytest.fixture
async def memory(start: Any) -> Running:
    """A server on an empty store in memory, whose clock stands still."""
    running: Running = await start(aio.DictDatastore(clock=lambda: NOW_US / 1_000_000))
    return running


@pytest.fixture
async def without(start: Any) -> Running:
    """A server on a store without versions that has an entry."""
    running: Running = await start(aio.LRUCacheDatastore(10))
    await running.put("/a/b", "old")
    return running


async def refused(call: Any) -> Any:
    """The error of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc_error_to_error(failed.value)


# Reading


async def test_metadata_is_sent_where_it_is_asked_for(memory: Running) -> None:
    put = await memory.stub.Put(PutRequest(entry=entry("/a/b", 1)))
    plain = await memory.stub.Get(GetRequest(key=NAMED))
    assert (plain.value, plain.HasField("metadata")) == (value(1), False)
    got = await memory.stub.Get(GetRequest(key=NAMED, include_metadata=True))
    assert (got.value, got.metadata) == (value(1), put.metadata)
    assert (got.metadata.version, got.metadata.create_time.ToMicroseconds()) == (NOW_US, NOW_US)
    assert not got.metadata.HasField("expire_time")
    batch = await memory.stub.BatchGet(BatchGetRequest(keys=[NAMED], include_metadata=True))
    assert [(result.value, result.metadata) for result in batch.results] == [(value(1), put.metadata)]
    batch = await memory.stub.BatchGet(BatchGetRequest(keys=[NAMED]))
    assert [(result.value, result.HasField("metadata")) for result in batch.results] == [(value(1), False)]


async def test_an_absent_key_has_neither_value_nor_metadata(memory: Running) -> None:
    assert await memory.stub.Get(GetRequest(key=NAMED, include_metadata=True)) == service_pb2.GetResponse()
    batch = await memory.stub.BatchGet(BatchGetRequest(keys=[NAMED], include_metadata=True))
    assert list(batch.results) == [service_pb2.BatchGetResponse.Result()]


# Writing


async def test_a_write_answers_the_metadata_of_the_entry_and_a_delete_none(memory: Running) -> None:
    first = (await memory.stub.Put(PutRequest(entry=entry("/a/b", 1)))).metadata
    second = (await memory.stub.Put(PutRequest(entry=entry("/a/b", 2)))).metadata
    assert second.version == first.version + 1
    assert second.create_time == first.create_time
    null = value_pb2.Entry(key=NAMED, value=value_pb2.Value(null_value=0))
    assert not (await memory.stub.Put(PutRequest(entry=null))).HasField("metadata")
    batch = await memory.stub.BatchWrite(
        BatchWriteRequest(writes=[Write(put=entry("/a/b", 3)), Write(delete=NAMED), Write(put=entry("/a/c", 4))])
    )
    versions = [result.metadata.version for result in batch.results]
    assert versions[0] > second.version
    assert versions[1:] == [0, versions[0] + 1]
    assert not any(result.HasField("status") for result in batch.results)


async def test_a_condition_that_fails_is_aborted_with_the_version(memory: Running) -> None:
    version = (await memory.stub.Put(PutRequest(entry=entry("/a/b", 1)))).metadata.version
    for call, found in (
        (memory.stub.Put(PutRequest(entry=entry("/a/b", 2), condition=MustBeAbsent)), version),
        (memory.stub.Put(PutRequest(entry=entry("/a/b", 2), condition=at_version(version + 1))), version),
        (memory.stub.Put(PutRequest(entry=entry("/a/c", 2), condition=MustExist)), 0),
        (memory.stub.Delete(DeleteRequest(key=NAMED, condition=at_version(1))), version),
        (memory.stub.Delete(DeleteRequest(key=value_pb2.Key(text="/a/c"), condition=MustExist)), 0),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.ABORTED
        error = rpc_error_to_error(failed.value)
        assert isinstance(error, ConditionFailedError)
        assert error.version == found
    assert (await memory.stub.Get(GetRequest(key=NAMED))).value == value(1)
    await memory.stub.Delete(DeleteRequest(key=NAMED, condition=at_version(version)))
    assert not (await memory.stub.Get(GetRequest(key=NAMED))).HasField("value")


async def test_a_null_with_a_condition_is_a_delete_with_it(memory: Running) -> None:
    null = value_pb2.Entry(key=NAMED, value=value_pb2.Value(null_value=0))
    error = await refused(memory.stub.Put(PutRequest(entry=null, condition=MustExist)))
    assert isinstance(error, ConditionFailedError)
    await memory.put("/a/b", 1)
    await memory.stub.Put(PutRequest(entry=null, condition=MustExist))
    assert not (await memory.stub.Get(GetRequest(key=NAMED))).HasField("value")


# Queries

IN_A = query_pb2.Query(key=value_pb2.Key(text="/a"), include_metadata=True)
#: They read metadata, in an order or in a filter.
NEWEST = (
    wire.encode_query(Query(Key("/a")).order("-__version__")),
    wire.encode_query(Query(Key("/a")).filter("__update_time__", ">", datetime(2020, 1, 1, tzinfo=UTC))),
)


async def test_entries_of_a_query_have_metadata_if_it_is_asked_for(memory: Running) -> None:
    puts = [await memory.stub.Put(PutRequest(entry=entry(f"/a/{number}", number))) for number in range(3)]
    for view in query_pb2.QUERY_VIEW_ENTRIES, query_pb2.QUERY_VIEW_KEYS_ONLY:
        asked = query_pb2.Query(key=IN_A.key, include_metadata=True, view=view)
        answers = [
            await memory.query(service_pb2.QueryRequest(query=asked)),
            [await memory.stub.ListEntries(service_pb2.ListEntriesRequest(query=asked))],
        ]
        for messages in answers:
            found = [each for message in messages for each in message.entries]
            assert [each.metadata for each in found] == [put.metadata for put in puts]
            assert [each.HasField("value") for each in found] == [view == query_pb2.QUERY_VIEW_ENTRIES] * 3
    plain = await memory.query(service_pb2.QueryRequest(query=query_pb2.Query(key=IN_A.key)))
    assert not any(each.HasField("metadata") for message in plain for each in message.entries)


async def test_entries_have_the_metadata_that_an_order_reads(memory: Running) -> None:
    versions = [(await memory.stub.Put(PutRequest(entry=entry(f"/a/{name}", 1)))).metadata.version for name in "abc"]
    messages = await memory.query(service_pb2.QueryRequest(query=NEWEST[0]))
    found = [each.metadata.version for message in messages for each in message.entries]
    assert found == versions[::-1]


async def test_a_position_without_the_metadata_that_an_order_reads_is_refused(memory: Running) -> None:
    asked = query_pb2.Query()
    asked.CopyFrom(NEWEST[0])
    asked.start_after.key.text = "/a/b"
    asked.start_after.value.CopyFrom(value("long"))
    error = await refused(memory.query(service_pb2.QueryRequest(query=asked)))
    assert type(error).__name__ == "InvalidQueryError"
    assert "without its metadata" in str(error)


@pytest.mark.parametrize("colour", [Tasks(), Threads()], ids=lambda colour: colour.name)
@pytest.mark.parametrize("keys_only", [False, True])
async def test_an_entry_without_the_metadata_that_was_asked_for_is_an_error(colour: Any, keys_only: bool) -> None:
    message = service_pb2.QueryResponse(entries=[entry("/a/b", 1)])
    async with scripted(Query=sends(message)) as server, connected(colour, server.url) as store:
        with pytest.raises(CorruptDataError, match="version 0"):
            await colour.read(store.query(Query(Key("/a"), metadata=True, keys_only=keys_only)))


# What is refused

BAD = {
    "no condition": (value_pb2.Precondition(), "condition"),
    "version 0": (at_version(0), "condition.version"),
    "a negative version": (at_version(-1), "condition.version"),
}


@pytest.mark.parametrize("condition", BAD.values(), ids=BAD)
async def test_a_bad_condition_is_refused_and_nothing_is_written(memory: Running, condition: Any) -> None:
    message, field = condition
    for call in (
        memory.stub.Put(PutRequest(entry=entry("/a/b", 1), condition=message)),
        memory.stub.Delete(DeleteRequest(key=NAMED, condition=message)),
    ):
        assert (error := await refused(call)).field == field
        assert type(error).__name__ == "InvalidError"
    batch = await memory.stub.BatchWrite(
        BatchWriteRequest(
            writes=[
                Write(put=entry("/a/b", 1), condition=message),
                Write(put=entry("/a/c", 1)),
                Write(delete=NAMED, condition=message),
            ]
        )
    )
    assert [result.HasField("status") for result in batch.results] == [True, False, True]
    errors: list[Any] = [status_to_error(batch.results[place].status) for place in (0, 2)]
    assert [error.field for error in errors] == [field, field]
    assert not (await memory.stub.Get(GetRequest(key=NAMED))).HasField("value")


async def test_metadata_in_a_request_to_write_is_refused(memory: Running) -> None:
    stamped = entry("/a/b", 1)
    stamped.metadata.version = 7
    assert (await refused(memory.stub.Put(PutRequest(entry=stamped)))).field == "entry.metadata"
    batch = await memory.stub.BatchWrite(BatchWriteRequest(writes=[Write(put=stamped), Write(put=entry("/a/c", 1))]))
    assert [result.HasField("status") for result in batch.results] == [True, False]


async def test_a_store_without_versions_refuses_what_needs_them(without: Running) -> None:
    for call in (
        without.stub.Get(GetRequest(key=NAMED, include_metadata=True)),
        without.stub.Get(GetRequest(key=value_pb2.Key(text="/absent"), include_metadata=True)),
        without.stub.BatchGet(BatchGetRequest(keys=[NAMED], include_metadata=True)),
        without.stub.Put(PutRequest(entry=entry("/a/b", "new"), condition=MustExist)),
        without.stub.Delete(DeleteRequest(key=NAMED, condition=MustExist)),
        without.stub.ListEntries(service_pb2.ListEntriesRequest(query=IN_A)),
        *(without.query(service_pb2.QueryRequest(query=query)) for query in (IN_A, *NEWEST)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert isinstance(rpc_error_to_error(failed.value), UnsupportedError)
    batch = await without.stub.BatchWrite(
        BatchWriteRequest(
            writes=[Write(put=entry("/a/b", "new"), condition=MustExist), Write(put=entry("/a/c", "other"))]
        )
    )
    assert isinstance(status_to_error(batch.results[0].status), UnsupportedError)
    assert not batch.results[1].HasField("status")
    got = await without.stub.BatchGet(BatchGetRequest(keys=[NAMED, value_pb2.Key(text="/a/c")]))
    assert [result.value for result in got.results] == [value("old"), value("other")]
    assert not (await without.stub.Put(PutRequest(entry=entry("/a/b", 1)))).HasField("metadata")


# What a server says it can do


async def features(running: Running) -> list[int]:
    return list((await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())).features)


async def test_a_server_says_whether_its_store_keeps_versions(memory: Running, without: Running) -> None:
    assert await features(memory) == ALL_FEATURES
    assert await features(without) == []


@pytest.mark.parametrize(
    ("stores", "expected"),
    [
        ([aio.DictDatastore, aio.DictDatastore], ALL_FEATURES),
        ([aio.DictDatastore, lambda: aio.LRUCacheDatastore(10)], []),
    ],
    ids=["all", "not all"],
)
async def test_a_proxy_can_do_what_all_its_shards_can(start: Any, stores: list[Any], expected: list[int]) -> None:
    nodes = {f"s{place}": await start(make()) for place, make in enumerate(stores)}
    shards = [ShardConfig(name=name, url=node.server.url) for name, node in nodes.items()]
    topology = build_proxy(Config(cluster=ClusterConfig(name="c"), shards=shards))
    assert await features(await start(topology.datastore, **topology.settings())) == expected


async def test_a_proxy_passes_on_what_a_shard_refuses(start: Any) -> None:
    node = await start(aio.LRUCacheDatastore(10))
    topology = build_proxy(
        Config(cluster=ClusterConfig(name="c"), shards=[ShardConfig(name="s1", url=node.server.url)])
    )
    async with serve(topology.datastore, **topology.settings()) as server, aio_connect(server.url) as store:
        await store.put(KEY, "old")
        for call in (
            lambda: store.entry(KEY),
            lambda: store.put(KEY, "new", if_exists=True),
            lambda: store.delete(KEY, if_exists=True),
        ):
            with pytest.raises(UnsupportedError) as refusal:
                await call()
            assert refusal.value.shard == "s1"
        (result,) = await store.batch_write([Put(KEY, "new", EXISTS)])
        assert isinstance(result.error, UnsupportedError)
        assert await store.get(KEY) == "old"


# The client


@pytest.mark.parametrize("error", [UnavailableError("cut"), DeadlineExceededError("late")])
@pytest.mark.parametrize("colour", [Tasks(), Threads()], ids=lambda colour: colour.name)
async def test_a_conditional_write_of_unknown_outcome_is_not_repeated(colour: Any, error: Any) -> None:
    answers = {name: fails(error) for name in ("Put", "Delete", "BatchWrite")}
    async with scripted(**answers) as script, connected(colour, script.url) as store:
        with pytest.raises(type(error)):
            await colour.call(partial(store.put, KEY, 1, if_absent=True))
        with pytest.raises(type(error)):
            await colour.call(partial(store.delete, KEY, if_exists=True))
        results = await colour.call(store.batch_write, [Put(KEY, 1, ABSENT), Delete(KEY, Precondition(version=3))])
        assert {type(result.error) for result in results} == {type(error)}
        assert [name for name, _ in script.calls] == ["Put", "Delete", "BatchWrite"]


@pytest.mark.parametrize("colour", [Tasks(), Threads()], ids=lambda colour: colour.name)
async def test_a_conditional_write_that_did_not_begin_is_repeated_unchanged(colour: Any) -> None:
    busy = fails(OverloadedError("busy", retry_after_s=0.0))
    answers = {
        "Put": [busy, replies(service_pb2.PutResponse())],
        "Delete": [busy, replies(service_pb2.DeleteResponse())],
    }
    async with scripted(**answers) as script, connected(colour, script.url) as store:
        await colour.call(partial(store.put, KEY, 1, if_version=7))
        await colour.call(partial(store.delete, KEY, if_exists=True))
        sent = [request for _, request in script.calls]
        assert (sent[0], sent[2]) == (sent[1], sent[3])
        assert PutRequest.FromString(sent[0]).condition == at_version(7)
        assert DeleteRequest.FromString(sent[2]).condition == MustExist


async def test_patches_of_a_batch_take_effect_in_its_order() -> None:
    async with clusters.node() as node, aio_connect(node.url) as store:
        other = Key("/a/c")
        increment = (FieldChange("increment", "n", 1),)
        results = await store.batch_write(
            [Patch(KEY, increment), Put(KEY, {"n": 1}), Patch(KEY, increment), Patch(other, increment, create=True)]
        )
        assert [type(result.error) for result in results] == [ConditionFailedError, *[type(None)] * 3]
        assert (await store.get(KEY), await store.get(other)) == ({"n": 2}, {"n": 1})


async def test_a_patch_below_a_serializer_is_made_by_the_client() -> None:
    async with clusters.node() as node, aio_connect(node.url) as remote:
        store = aio.SerializerShimDatastore(remote)
        await store.put(KEY, {"n": 1})
        assert await store.patch(KEY, {"text": "x"}, increment={"n": 1}) == {"n": 2, "text": "x"}
        assert await remote.get(KEY) == '{"n": 2, "text": "x"}'
        with pytest.raises(ConditionFailedError):
            await store.patch(Key("/absent"), {"n": 1})


async def test_a_value_over_the_limit_after_a_patch_is_refused_and_changes_nothing() -> None:
    async with clusters.node() as node, aio_connect(node.url) as store:
        part = "x" * (ENTRY_BYTES // 2 - 1000)
        await store.put(KEY, {"first": part})
        await store.patch(KEY, {"second": part})
        with pytest.raises(LimitExceededError) as raised:
            await store.patch(KEY, {"third": "x" * 3000})
        assert (raised.value.limit, raised.value.maximum) == ("entry_bytes", ENTRY_BYTES)
        assert await store.get(KEY) == {"first": part, "second": part}


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "lmdb"])
async def test_patches_of_a_batch_that_rewrite_too_much_are_refused_and_the_client_repeats_them(
    tmp_path: Path, *, on_disk: bool
) -> None:
    async with clusters.node(tmp_path / "node" if on_disk else None) as node:
        batch = [Patch(KEY, (FieldChange("append", "order", [place]),)) for place in range(4)]
        async with aio_connect(node.url, retry=False) as once:
            await once.put(KEY, {"text": "x" * (PATCHED_BYTES // 2), "order": []})
            results = await once.batch_write([*batch, Put(Key("/other"), 1)])
            assert [type(result.error) for result in results] == [type(None), *[OverloadedError] * 3, type(None)]
            assert (await once.get(KEY))["order"] == [0]
        async with aio_connect(node.url) as store:
            results = await store.batch_write(batch)
            assert not any(result.error for result in results)
            assert (await store.get(KEY))["order"] == [0, *range(4)]


async def test_conditions_of_a_batch_arrive_over_all_its_messages() -> None:
    async with clusters.node() as node, aio_connect(node.url) as store:
        keys = [Key(f"/a/k:{number}") for number in range(2500)]
        results = await store.batch_write([Put(key, 1, ABSENT) for key in keys])
        assert not any(result.error for result in results)
        entries = [result.metadata for result in results]
        again = await store.batch_write(
            [Put(key, 2, Precondition(version=metadata.version)) for key, metadata in zip(keys, entries, strict=True)]
            + [Put(key, 3, ABSENT) for key in keys]
        )
        assert [type(result.error) for result in again] == [type(None)] * 2500 + [ConditionFailedError] * 2500
        assert [result.error.version for result in again[2500:]] == [result.metadata.version for result in again[:2500]]
        assert {result.value for result in await store.batch_get(keys)} == {2}
