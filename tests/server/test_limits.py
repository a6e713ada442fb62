"""Limits of real messages, one below, at and one above; and where a server may listen."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.model.entries import Write
from datastore.model.errors import ConfigError
from datastore.model.key import Key
from datastore.model.limits import MESSAGE_BYTES
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.app import serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.limits import Limits
from datastore_server.topology import build_proxy
from tests.support.serving import Running, entry, everything, value
from tests.support.waiting import PATIENCE_S

MIB = 1024 * 1024


def bytes_entry(key: str, total_bytes: int) -> value_pb2.Entry:
    """An entry whose key and serialized value have that many bytes together."""
    content = b"x" * (total_bytes - len(key))
    # The size of the value's tag and length depends on the length itself.
    while len(key) + len(wire.encode_value(content).data) > total_bytes:
        content = content[:-1]
    made = entry(key, content)
    assert len(key) + made.value.ByteSize() == total_bytes
    return made


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_an_entry_of_the_limit_can_be_put_read_and_queried_with_default_settings(
    running: Running, above: int
) -> None:
    largest = bytes_entry("/k", 3 * MIB + above)
    put = running.stub.Put(service_pb2.PutRequest(entry=largest))
    if above > 0:
        assert await code_of(put) is grpc.StatusCode.RESOURCE_EXHAUSTED
        return
    await put
    got = await running.stub.Get(service_pb2.GetRequest(key=largest.key))
    assert got.value == largest.value
    messages = await running.query(everything())
    assert [list(message.entries) for message in messages if message.entries] == [[largest]]
    page = await running.stub.ListEntries(service_pb2.ListEntriesRequest(query=everything().query))
    assert list(page.entries) == [largest]


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_a_request_may_fill_its_message(running: Running, above: int) -> None:
    write = service_pb2.BatchWriteRequest.Write
    request = service_pb2.BatchWriteRequest(writes=[write(put=bytes_entry("/a", 2 * MIB))])
    padding = MESSAGE_BYTES - request.ByteSize() - 40
    while request.ByteSize() < MESSAGE_BYTES + above:
        del request.writes[1:]
        request.writes.append(write(put=entry("/b", b"x" * padding)))
        padding += 1
    assert request.ByteSize() == MESSAGE_BYTES + above
    expected = grpc.StatusCode.RESOURCE_EXHAUSTED if above > 0 else grpc.StatusCode.OK
    assert await code_of(running.stub.BatchWrite(request)) is expected
    contains = await running.stub.Contains(service_pb2.ContainsRequest(key=value_pb2.Key(text="/a")))
    assert contains.contains == (above <= 0)


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_a_batch_with_too_many_items_is_refused_completely(start: Any, above: int) -> None:
    running: Running = await start(aio.DictDatastore(), limits=Limits(batch_items=10))
    texts = [f"/k{index}" for index in range(10 + above)]
    write = service_pb2.BatchWriteRequest.Write
    expected = grpc.StatusCode.RESOURCE_EXHAUSTED if above > 0 else grpc.StatusCode.OK
    writing = service_pb2.BatchWriteRequest(writes=[write(put=entry(text, 1)) for text in texts])
    reading = service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=text) for text in texts])
    assert await code_of(running.stub.BatchWrite(writing)) is expected
    assert await code_of(running.stub.BatchGet(reading)) is expected
    (summary,) = [m.summary for m in await running.query(everything()) if m.HasField("summary")]
    assert summary.entries == (0 if above > 0 else 10 + above)


async def test_a_batch_item_that_is_too_large_fails_alone(start: Any) -> None:
    running: Running = await start(aio.DictDatastore(), limits=Limits(entry_bytes=1000))
    write = service_pb2.BatchWriteRequest.Write
    writes = [write(put=bytes_entry(f"/{size}", size)) for size in (999, 1000, 1001)]
    response = await running.stub.BatchWrite(service_pb2.BatchWriteRequest(writes=writes))
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert [result.status.code for result in response.results] == [0, 0, exhausted]


async def test_a_batch_get_ends_when_its_message_is_full(running: Running) -> None:
    for index in range(6):
        await running.put(f"/k{index}", b"x" * MIB)
    texts = [f"/k{index}" for index in range(6)] + ["/absent"]
    response = await running.stub.BatchGet(
        service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=text) for text in texts])
    )
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert [result.HasField("value") for result in response.results] == [True] * 3 + [False] * 4
    *codes, absent = [result.status.code for result in response.results]
    assert codes == [0] * 3 + [exhausted] * 3
    # A store that has to read each value leaves this one unread too.
    assert absent in (0, exhausted)


class _Counting(aio.DictDatastore):
    """Counts the values read."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0

    async def get(self, key: Key) -> Any:
        self.gets += 1
        return await super().get(key)


async def test_a_batch_get_reads_little_more_than_its_answer_takes(start: Any) -> None:
    store = _Counting()
    running: Running = await start(store)
    keys = [Key(f"/k{index}") for index in range(1000)]
    for key in keys:
        await store.put(key, wire.encode_value(b"x" * 30_000))
    request = service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=str(key)) for key in keys])
    response = await running.stub.BatchGet(request)
    given = sum(result.HasField("value") for result in response.results)
    assert len(response.results) == 1000
    assert 100 < given <= store.gets <= given + 10


async def test_a_batch_get_of_small_values_is_complete(start: Any) -> None:
    store = _Counting()
    running: Running = await start(store)
    keys = [Key(f"/k{index}") for index in range(1000)]
    for key in keys[:-1]:
        await store.put(key, wire.encode_value(str(key)))
    request = service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=str(key)) for key in keys])
    response = await running.stub.BatchGet(request)
    assert [result.value.string_value for result in response.results] == [*map(str, keys[:-1]), ""]
    assert store.gets == 1000


async def test_a_batch_of_a_thousand_bad_keys_is_answered(running: Running) -> None:
    keys = [value_pb2.Key(text="/\x00" + "ü" * 1000)] * 1000
    response = await running.stub.BatchGet(service_pb2.BatchGetRequest(keys=keys))
    assert all(result.status.code for result in response.results)
    assert len(response.results) == 1000


async def test_a_stored_value_larger_than_a_message_is_an_error_that_says_so(start: Any) -> None:
    store = aio.DictDatastore()
    await store.put(Key("/k"), wire.encode_value(b"x" * MESSAGE_BYTES))
    running: Running = await start(store)
    request = service_pb2.ListEntriesRequest(query=everything().query)
    for call in (
        running.stub.Get(service_pb2.GetRequest(key=value_pb2.Key(text="/k"))),
        running.query(everything()),
        running.stub.ListEntries(request),
    ):
        assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
    batch = await running.stub.BatchGet(service_pb2.BatchGetRequest(keys=[value_pb2.Key(text="/k")]))
    assert batch.results[0].status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_a_value_may_nest_to_the_limit(running: Running, above: int) -> None:
    nested = value(1)
    for _ in range(32 + above):
        nested = value_pb2.Value(list_value=value_pb2.ListValue(values=[nested]))
    put = running.stub.Put(service_pb2.PutRequest(entry=value_pb2.Entry(key=value_pb2.Key(text="/k"), value=nested)))
    code = await code_of(put)
    assert (code is grpc.StatusCode.OK) == (above <= 0)


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_a_query_may_have_its_limit_of_filters_orders_and_fields(running: Running, above: int) -> None:
    condition = query_pb2.Filter(
        field=query_pb2.FieldFilter(field_path="a", operator=query_pb2.FieldFilter.OPERATOR_EQUAL, value=value(1))
    )
    for query in (
        {"filters": [condition] * (64 + above)},
        {"orders": [query_pb2.Order(field_path="a")] * (16 + above)},
        {"field_paths": ["a"] * (256 + above)},
    ):
        code = await code_of(running.query(everything(**query)))
        assert (code is grpc.StatusCode.OK) == (above <= 0)


async def test_a_port_in_use_is_an_error_that_names_the_address(running: Running) -> None:
    with pytest.raises(ConfigError, match=f"127.0.0.1:{running.server.port}.*in use"):
        async with serve(aio.DictDatastore(), listen=f"127.0.0.1:{running.server.port}"):
            pass


async def test_other_machines_may_connect_only_with_insecure() -> None:
    with pytest.raises(ConfigError, match="insecure"):
        async with serve(aio.DictDatastore(), listen="0.0.0.0:0"):
            pass
    async with serve(aio.DictDatastore(), listen="0.0.0.0:0", insecure=True) as server:
        assert server.port


@pytest.mark.parametrize("behind_a_proxy", [False, True])
@pytest.mark.parametrize("above", [-1, 0, 1, 8, 100])
async def test_clients_send_batches_of_as_many_items_as_the_server_accepts(above: int, behind_a_proxy: bool) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(aio.DictDatastore(), limits=Limits(batch_items=7)))
        if behind_a_proxy:
            shards = [ShardConfig(name="a", url=server.url)]
            topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=shards))
            server = await stack.enter_async_context(serve(topology.datastore, **topology.settings()))
        async with connect(server.url) as store:
            writes = [Write(Key(f"/k{index:03}"), index) for index in range(7 + above)]
            writes[3] = Write(writes[3].key, object())
            results = await store.batch_write([*writes, Write(writes[0].key, "last")])
            assert [type(result.error).__name__ for result in results if result.error] == ["UnsupportedTypeError"]
            read = await store.batch_get([write.key for write in writes])
            assert [result.value for result in read] == ["last", 1, 2, None, *range(4, 7 + above)]


async def test_a_proxy_waits_for_a_node_as_long_as_its_caller_does(monkeypatch: pytest.MonkeyPatch) -> None:
    default_s = 0.05

    class Slow(aio.DictDatastore):
        async def get(self, key: Key) -> Any:
            await asyncio.sleep(10 * default_s)
            return "late"

    monkeypatch.setitem(RemoteDatastore.__init__.__kwdefaults__, "timeout_s", default_s)
    async with serve(Slow()) as node:
        topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=[ShardConfig(name="a", url=node.url)]))
        proxy = serve(topology.datastore, **topology.settings())
        async with proxy as server, connect(server.url, timeout_s=PATIENCE_S) as store:
            assert await store.get(Key("/a")) == "late"
