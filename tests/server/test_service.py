"""Every RPC against a real server, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from hypothesis import settings

from datastore import aio, wire
from datastore.aio.cursor import Cursor
from datastore.model.entries import Batch
from datastore.model.errors import DatastoreError, StoreFullError, UnavailableError
from datastore.model.key import Key
from datastore.model.limits import FIRST_BATCH_BYTES
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore_server import describe, streaming
from datastore_server.describe import ClusterInfo, ShardInfo
from datastore_server.limits import Limits
from tests.support.serving import Endless, Running, entry, everything, value

KEY = value_pb2.Key(text="/k")
PLAIN = [
    True,
    -(2**63),
    1.5,
    "text",
    b"\x00bytes",
    datetime(2026, 11, 24, tzinfo=UTC),
    Key("/a:b"),
    [1, [None]],
    {"a": {"b": "c"}},
]


def get(key: str) -> service_pb2.GetRequest:
    return service_pb2.GetRequest(key=value_pb2.Key(text=key))


def facts(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of a failed call, which every error of the server has."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "datastore"
    return info


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """The code, the reason and the text of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), facts(caught.value).reason, caught.value.details() or ""


@pytest.mark.parametrize("plain", PLAIN, ids=lambda plain: type(plain).__name__)
async def test_get_returns_what_was_put(running: Running, plain: Any) -> None:
    await running.put("/k", plain)
    assert (await running.stub.Get(get("/k"))).value == value(plain)


async def test_absent_is_an_answer_without_a_value(running: Running) -> None:
    assert not (await running.stub.Get(get("/absent"))).HasField("value")
    contains = await running.stub.Contains(service_pb2.ContainsRequest(key=value_pb2.Key(text="/absent")))
    assert not contains.contains


@pytest.mark.parametrize("plain", ["", b"", 0, False, [], {}, 0.0])
async def test_empty_values_are_values(running: Running, plain: Any) -> None:
    await running.put("/k", plain)
    response = await running.stub.Get(get("/k"))
    assert response.HasField("value")
    assert response.value == value(plain)


async def test_keys_are_made_canonical(running: Running) -> None:
    await running.put("a//b/", 1)
    assert (await running.stub.Get(get("/a/b"))).value == value(1)


async def test_delete_removes_and_is_silent_when_absent(running: Running) -> None:
    await running.put("/k", 1)
    for _ in range(2):
        await running.stub.Delete(service_pb2.DeleteRequest(key=value_pb2.Key(text="/k")))
        assert not (await running.stub.Get(get("/k"))).HasField("value")


async def test_putting_a_null_deletes(running: Running) -> None:
    null = value_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    await running.put("/k", 1)
    await running.stub.Put(service_pb2.PutRequest(entry=value_pb2.Entry(key=KEY, value=null)))
    assert not (await running.stub.Get(get("/k"))).HasField("value")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Get", service_pb2.GetRequest()),
        ("Delete", service_pb2.DeleteRequest()),
        ("Contains", service_pb2.ContainsRequest()),
        ("Put", service_pb2.PutRequest()),
        ("Put", service_pb2.PutRequest(entry=value_pb2.Entry(value=value_pb2.Value(bool_value=True)))),
        ("Get", get("/control\x07")),
        ("Get", get("/" + "k" * 1024)),
    ],
)
async def test_a_bad_key_is_refused(running: Running, method: str, request_: Any) -> None:
    code, reason, _ = await refused(getattr(running.stub, method)(request_))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert reason in ("INVALID_KEY", "LIMIT_EXCEEDED")


@pytest.mark.parametrize(
    "bad",
    [
        value_pb2.Entry(key=KEY),
        value_pb2.Entry(key=KEY, value=value_pb2.Value()),
        value_pb2.Entry(key=KEY, value=value_pb2.Value(list_value=value_pb2.ListValue(values=[value_pb2.Value()]))),
        value_pb2.Entry(key=KEY, value=value_pb2.Value(timestamp_value=timestamp_pb2.Timestamp(nanos=1))),
        value_pb2.Entry(key=KEY, value=value_pb2.Value(key_value=value_pb2.Key(text="/\x00"))),
    ],
    ids=["no value", "no kind", "no kind inside", "nanoseconds", "no key"],
)
async def test_a_bad_value_is_refused_and_leaves_the_old_one(running: Running, bad: Any) -> None:
    await running.put("/k", "old")
    code, _, _ = await refused(running.stub.Put(service_pb2.PutRequest(entry=bad)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await running.stub.Get(get("/k"))).value == value("old")


async def test_a_request_that_cannot_be_read_is_refused(running: Running) -> None:
    call: Any = running.channel.unary_unary("/datastore.v1.DatastoreService/Get")
    code, _, text = await refused(call(b"\xff\xff"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "GetRequest" in text


async def test_a_proxy_forwards_values_unread(start: Any) -> None:
    store = aio.DictDatastore()
    running = await start(store, check_values=False)
    odd = value_pb2.Value(list_value=value_pb2.ListValue(values=[value_pb2.Value()]))
    await running.stub.Put(service_pb2.PutRequest(entry=value_pb2.Entry(key=KEY, value=odd)))
    assert (await store.get(Key("/k"))).data == odd.SerializeToString()


# Batches


async def test_batch_get_returns_results_in_order(running: Running) -> None:
    await running.put_all({f"/k{index}": index for index in range(5)})
    texts = ["/k3", "/absent", "/k0", "/k3"]
    response = await running.stub.BatchGet(
        service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=text) for text in texts])
    )
    found = [result.value.int64_value if result.HasField("value") else None for result in response.results]
    assert found == [3, None, 0, 3]


async def test_a_bad_item_fails_alone(running: Running) -> None:
    write = service_pb2.BatchWriteRequest.Write
    response = await running.stub.BatchWrite(
        service_pb2.BatchWriteRequest(
            writes=[
                write(put=entry("/a", 1)),
                write(put=entry("/bad\x00", 1)),
                write(),
                write(put=value_pb2.Entry(key=value_pb2.Key(text="/b"))),
                write(put=entry("/a", 2)),
                write(put=entry("/c", 3)),
                write(delete=value_pb2.Key(text="/c")),
            ]
        )
    )
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [result.status.code for result in response.results] == [0, invalid, invalid, invalid, 0, 0, 0]
    got = await running.stub.BatchGet(
        service_pb2.BatchGetRequest(keys=[value_pb2.Key(text=text) for text in ("/a", "/\x00", "/c")])
    )
    assert got.results[0].value == value(2)
    assert got.results[1].status.code == invalid
    assert not got.results[2].HasField("value")
    assert not got.results[2].HasField("status")


async def test_an_empty_batch_is_answered_empty(running: Running) -> None:
    assert not (await running.stub.BatchGet(service_pb2.BatchGetRequest())).results
    assert not (await running.stub.BatchWrite(service_pb2.BatchWriteRequest())).results


# Queries


async def test_a_query_streams_entries_tokens_and_a_summary(running: Running) -> None:
    await running.put_all({f"/k{index:05}": {"n": index} for index in range(5000)})
    messages = await running.query(everything())
    keys = [entry.key.text for message in messages for entry in message.entries]
    assert keys == [f"/k{index:05}" for index in range(5000)]
    assert all(message.resume_token for message in messages)
    assert [message.HasField("summary") for message in messages] == [False] * (len(messages) - 1) + [True]
    summary = messages[-1].summary
    assert summary.reason == service_pb2.QuerySummary.REASON_EXHAUSTED
    assert (summary.entries, summary.scanned) == (5000, 5000)
    assert sum(message.scanned for message in messages) == 5000


async def test_the_first_results_come_immediately_and_later_messages_are_large(running: Running) -> None:
    await running.put_all({f"/k{index:05}": b"x" * 1000 for index in range(2000)})
    sizes = [message.ByteSize() for message in await running.query(everything())]
    assert sizes[0] < 10_000
    sent = 0
    for size in sizes[:-1]:
        # Little is sent ahead to a reader that stops early; one that continues soon gets large messages.
        wanted = min(max(FIRST_BATCH_BYTES, sent // 4), 256 * 1024)
        # A store reads ahead, and counts what it stores with a value.
        assert wanted * 3 // 4 <= size <= wanted * 3 // 2 + 5000
        sent += size
    assert max(sizes) >= 256 * 1024


async def test_messages_of_large_values_stay_below_a_mebibyte_or_hold_one(running: Running) -> None:
    sizes = [200_000, 900_000, 300_000, 2_000_000, 700_000, 10]
    for index, size in enumerate(sizes):
        await running.put(f"/k{index}", b"x" * size)
    messages = await running.query(everything())
    assert all(
        message.ByteSize() <= streaming.BATCH_MOST_BYTES + 1000 or len(message.entries) == 1 for message in messages
    )
    assert [entry.key.text for message in messages for entry in message.entries] == [f"/k{index}" for index in range(6)]


@pytest.mark.parametrize(
    ("limit", "offset"),
    [
        (300, 7),
        *(pytest.param(*cut, marks=pytest.mark.long) for cut in [(None, 0), (None, 7), (0, 7), (1, 7), (5000, 0)]),
    ],
)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "view",
    [
        {},
        {"field_paths": ["x"]},
        pytest.param({"view": query_pb2.QUERY_VIEW_KEYS_ONLY}, marks=pytest.mark.long),
    ],
    ids=["values", "fields", "keys"],
)
async def test_every_token_continues_where_its_message_ended(
    running: Running, limit: int | None, offset: int, ordered: bool, view: dict[str, Any]
) -> None:
    await running.put_all({f"/k{index:04}": {"n": index % 7, "x": "x" * 1000} for index in range(400)})
    query: dict[str, Any] = {"offset": offset, **view}
    if limit is not None:
        query["limit"] = limit
    if ordered:
        query["orders"] = [query_pb2.Order(field_path="n", direction=query_pb2.Order.DIRECTION_DESCENDING)]
    whole = await running.query(everything(**query))
    expected = [entry.key.text for message in whole for entry in message.entries]
    seen: list[str] = []
    for message in whole:
        seen.extend(entry.key.text for entry in message.entries)
        request = everything(**query)
        request.resume_token = message.resume_token
        rest = await running.query(request)
        assert seen + [entry.key.text for part in rest for entry in part.entries] == expected
        assert rest[-1].summary.entries == len(expected) - len(seen)
        assert rest[-1].summary.reason == whole[-1].summary.reason


async def test_a_finished_token_does_not_query_the_store(start: Any) -> None:
    running = await start(aio.DictDatastore())
    await running.put("/k", 1)
    last = (await running.query(everything(limit=1)))[-1]
    store = Endless()
    again = await start(store)
    request = everything(limit=1)
    request.resume_token = last.resume_token
    (message,) = await again.query(request)
    assert message.summary.reason == service_pb2.QuerySummary.REASON_LIMIT
    assert not message.entries
    assert store.pulled == 0


async def test_a_token_that_was_altered_or_is_of_another_query_is_refused(running: Running) -> None:
    await running.put("/k", 1)
    token = (await running.query(everything()))[0].resume_token
    for request, bad, text in (
        (everything(), token[:-1], "cut"),
        (everything(), token[:-1] + bytes([token[-1] ^ 1]), "altered"),
        (everything(limit=3), token, "another query"),
        (everything(field_paths=["a"]), token, "another query"),
    ):
        request.resume_token = bad
        code, reason, details = await refused(running.query(request))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TOKEN")
        assert text in details


async def test_sort_keys_are_sent_if_requested_and_sort_like_the_results(running: Running) -> None:
    await running.put_all({f"/k{index}": {"n": index * 7 % 10} for index in range(10)})
    request = everything(orders=[query_pb2.Order(field_path="n")])
    assert not any(message.sort_keys for message in await running.query(request))
    request.include_sort_keys = True
    messages = await running.query(request)
    sort_keys = [key for message in messages for key in message.sort_keys]
    assert len(sort_keys) == 10
    assert sort_keys == sorted(sort_keys)
    assert all(len(message.sort_keys) == len(message.entries) for message in messages)


async def test_keys_only_sends_no_values(running: Running) -> None:
    await running.put("/k", 1)
    messages = await running.query(everything(view=query_pb2.QUERY_VIEW_KEYS_ONLY))
    (found,) = [entry for message in messages for entry in message.entries]
    assert found.key.text == "/k"
    assert not found.HasField("value")


class Sparse(Endless):
    """Scans indefinitely and finds nothing, but its position advances."""

    async def _batches(self) -> Any:
        async for batch in super()._batches():
            batch.keys, batch.values = [], []
            yield batch


async def test_a_query_that_finds_nothing_sends_heartbeats_that_advance(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 0.01)
    running = await start(Sparse())
    call = running.stub.Query(everything())
    first, second = await call.read(), await call.read()
    call.cancel()
    assert not first.entries
    assert first.resume_token != second.resume_token
    assert first.scanned > 0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"limit": -1}, "INVALID_QUERY"),
        ({"offset": -1}, "INVALID_QUERY"),
        ({"orders": [query_pb2.Order()]}, "INVALID_QUERY"),
        ({"filters": [query_pb2.Filter()]}, "INVALID_QUERY"),
        ({"filters": [query_pb2.Filter(field=query_pb2.FieldFilter(field_path="a"))]}, "INVALID_QUERY"),
        ({"key": value_pb2.Key(text="/\x00")}, "INVALID_KEY"),
    ],
)
async def test_a_bad_query_is_refused(running: Running, query: Any, reason: str) -> None:
    code, got, _ = await refused(running.query(everything(**query)))
    assert (code, got) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    request = service_pb2.ListEntriesRequest(query=everything(**query).query)
    code, got, _ = await refused(running.stub.ListEntries(request))
    assert (code, got) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_shard_that_is_down_fails_a_query_or_is_reported_if_that_is_allowed(start: Any) -> None:
    class Down(aio.DictDatastore):
        def query(self, query: Any) -> Cursor:
            return Cursor.from_batches(query, self._fail())

        async def _fail(self) -> AsyncGenerator[Batch]:
            raise UnavailableError("connection refused")
            yield Batch([], [])

    up = aio.DictDatastore()
    await up.put(Key("/k"), wire.encode_value(1))
    running = await start(aio.ShardedDatastore([up, Down()], names=["up", "down"]))
    code, _, text = await refused(running.query(everything()))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "connection refused" in text
    request = everything()
    request.allow_partial = True
    messages = await running.query(request)
    summary = messages[-1].summary
    assert [entry.key.text for message in messages for entry in message.entries] == ["/k"]
    assert summary.reason == service_pb2.QuerySummary.REASON_PARTIAL
    statuses = {shard.shard: shard.status.code for shard in summary.shards}
    assert statuses == {"up": 0, "down": grpc.StatusCode.UNAVAILABLE.value[0]}
    page = await running.stub.ListEntries(service_pb2.ListEntriesRequest(query=request.query, allow_partial=True))
    assert [shard.shard for shard in page.unreachable] == ["down"]


# Pages


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("limit", "offset"), [(None, 0), (17, 3), (20, 0), (0, 0), (100, 30)])
@pytest.mark.parametrize("page_size", [5, *(pytest.param(size, marks=pytest.mark.long) for size in (1, 30))])
async def test_pages_join_to_the_whole(
    running: Running, limit: int | None, offset: int, page_size: int, ordered: bool
) -> None:
    await running.put_all({f"/k{index:02}": {"n": index % 3} for index in range(30)})
    query: dict[str, Any] = {"offset": offset, "limit": limit}
    if ordered:
        query["orders"] = [query_pb2.Order(field_path="n")]
    request = everything(**query)
    whole = [entry for message in await running.query(request) for entry in message.entries]
    pages = []
    listing = service_pb2.ListEntriesRequest(query=request.query, page_size=page_size)
    while True:
        response = await running.stub.ListEntries(listing)
        pages.append(len(response.entries))
        whole_page, whole = whole[: len(response.entries)], whole[len(response.entries) :]
        assert list(response.entries) == whole_page
        if not response.next_page_token:
            break
        listing.page_token = response.next_page_token
    assert not whole
    assert all(count == page_size for count in pages[:-1])
    assert pages[-1] > 0 or len(pages) == 1


async def test_a_page_holds_what_fits_in_a_message(running: Running) -> None:
    for index in range(5):
        await running.put(f"/k{index}", b"x" * 1_500_000)
    request = service_pb2.ListEntriesRequest(query=everything().query)
    counts = []
    while True:
        response = await running.stub.ListEntries(request)
        counts.append(len(response.entries))
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert counts == [2, 2, 1]


async def test_a_bad_page_token_is_refused(running: Running) -> None:
    request = service_pb2.ListEntriesRequest(query=everything().query, page_token="x")
    code, reason, _ = await refused(running.stub.ListEntries(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TOKEN")


# Failures


class Failing(aio.DictDatastore):
    """Raises the given error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def get(self, key: Key) -> Any:
        raise self.error

    async def put(self, key: Key, value: Any) -> None:
        raise self.error

    async def batch_get(self, keys: Sequence[Key]) -> Any:
        raise self.error

    def query(self, query: Any) -> Cursor:
        raise self.error


class Peculiar(BaseException):
    """No Exception."""


SECRET = "the password is swordfish"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        Peculiar(SECRET),
        asyncio.CancelledError(SECRET),
        KeyError(SECRET),
        OSError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_unexpected_error_shows_an_incident_id_and_no_text(
    start: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    running = await start(Failing(error))
    stub = running.stub
    calls: list[Any] = [
        lambda: stub.Get(get("/k")),
        lambda: stub.Put(service_pb2.PutRequest(entry=entry("/k", 1))),
        lambda: stub.BatchGet(service_pb2.BatchGetRequest(keys=[value_pb2.Key(text="/k")])),
        lambda: running.query(everything()),
        lambda: stub.ListEntries(service_pb2.ListEntriesRequest()),
    ]
    for call in calls:
        caplog.clear()
        with (
            caplog.at_level(logging.ERROR, logger="datastore.server"),
            pytest.raises(grpc.aio.AioRpcError) as caught,
        ):
            await call()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        info = facts(caught.value)
        incident = info.metadata["incident"]
        assert incident
        assert incident in (caught.value.details() or "")
        assert "swordfish" not in str(caught.value.trailing_metadata()) + (caught.value.details() or "")
        assert incident in caplog.text
        # A cancelled task does not pass its message to those that wait for it.
        assert SECRET in caplog.text or isinstance(error, asyncio.CancelledError)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (UnavailableError("no", shard="s1"), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (StoreFullError("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL"),
    ],
)
async def test_an_error_of_the_library_reaches_the_client_unchanged(
    start: Any, error: DatastoreError, code: grpc.StatusCode, reason: str
) -> None:
    running = await start(Failing(error))
    assert await refused(running.stub.Get(get("/k"))) == (code, reason, str(error))
    assert await refused(running.query(everything())) == (code, reason, str(error))


async def test_a_store_without_queries_says_so(start: Any) -> None:
    class Mute(aio.Datastore):
        pass

    running = await start(Mute())
    code, _, _ = await refused(running.query(everything()))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_an_error_with_much_text_still_arrives(start: Any) -> None:
    running = await start(Failing(StoreFullError("ü" * 100_000, shard="s1")))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Get(get("/k"))
    assert facts(caught.value).reason == "STORE_FULL"
    code, reason, _ = await refused(running.stub.Get(get("/" + "ü\x00" * 100_000)))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert reason in ("INVALID_KEY", "LIMIT_EXCEEDED")


#: How many bad requests of each kind are made.
GARBAGE = min(5 * settings.default.max_examples, 150)


async def test_garbage_is_refused_and_never_an_incident(running: Running) -> None:
    """Requests with bytes changed, removed and added: parsed as a different request, or refused."""
    chance = random.Random(7)
    order = query_pb2.Order(field_path="n")
    condition = query_pb2.Filter(
        field=query_pb2.FieldFilter(field_path="n", operator=query_pb2.FieldFilter.OPERATOR_EQUAL, value=value(1))
    )
    query = query_pb2.Query(key=KEY, filters=[condition], orders=[order], limit=3, offset=1)
    put = service_pb2.BatchWriteRequest.Write(put=entry("/k", {"n": [1, "x"]}))
    requests = {
        "Get": get("/k"),
        "Put": service_pb2.PutRequest(entry=put.put),
        "Delete": service_pb2.DeleteRequest(key=KEY),
        "Contains": service_pb2.ContainsRequest(key=KEY),
        "BatchGet": service_pb2.BatchGetRequest(keys=[KEY, KEY]),
        "BatchWrite": service_pb2.BatchWriteRequest(writes=[put, put]),
        "ListEntries": service_pb2.ListEntriesRequest(query=query, page_size=3),
        "DescribeStore": service_pb2.DescribeStoreRequest(),
    }
    for method, request in requests.items():
        call: Any = running.channel.unary_unary(f"/datastore.v1.DatastoreService/{method}")
        for _ in range(GARBAGE):
            data = bytearray(request.SerializeToString())
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(data) + 1)
                data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            try:
                await call(bytes(data))
            except grpc.aio.AioRpcError as error:
                assert error.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), (method, bytes(data))


async def test_an_unknown_method_is_unimplemented(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        call: Any = running.channel.unary_unary("/datastore.v1.DatastoreService/Nothing")
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# What the server reports about itself


async def test_describe_store_reports_the_store_and_its_limits(start: Any) -> None:
    running = await start(aio.DictDatastore(), limits=Limits(batch_items=7))
    response = await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    assert response.store.kind == "dict"
    assert response.durability == service_pb2.DescribeStoreResponse.DURABILITY_MEMORY
    assert response.limits.batch_items == 7
    assert response.limits.key_bytes == 1024
    assert list(response.push_down) == [service_pb2.PUSH_DOWN_SCOPE]
    assert response.answers_queries
    assert not response.shards


async def test_describe_store_reports_what_the_store_can_do(start: Any) -> None:
    running = await start(aio.NestedPathDatastore(aio.NullDatastore()))
    response = await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    assert (response.HasField("answers_queries"), response.answers_queries) == (True, False)
    running = await start(aio.NullDatastore())
    response = await running.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    assert list(response.push_down) == service_pb2.PushDown.values()[1:]


async def test_describe_store_of_a_proxy_reports_which_shards_answer(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "PROBE_TIMEOUT_S", 0.2)

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def serves() -> None:
        pass

    async def is_down() -> None:
        raise UnavailableError("the connection was refused")

    shards = (
        ShardInfo("b", "grpc://b:1", 10_000, probe=serves),
        ShardInfo("c", "grpc://c:1", 6_000, probe=is_down),
        ShardInfo("a", "grpc://a:1", 384, probe=hangs),
    )
    proxy = await start(
        aio.DictDatastore(),
        cluster=ClusterInfo(cluster_name="c1", placement_epoch="e1", shards=shards),
    )
    response = await proxy.stub.DescribeStore(service_pb2.DescribeStoreRequest())
    assert (response.cluster_name, response.placement_epoch) == ("c1", "e1")
    assert [(shard.name, shard.slots) for shard in response.shards] == [
        ("a", 384),
        ("b", 10_000),
        ("c", 6_000),
    ]
    unavailable = grpc.StatusCode.UNAVAILABLE.value[0]
    assert [shard.status.code for shard in response.shards] == [unavailable, 0, unavailable]


@pytest.mark.parametrize("service", ["", "datastore.v1.DatastoreService"])
async def test_health_says_serving(running: Running, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert response.status == health_pb2.HealthCheckResponse.SERVING


async def reflect(running: Running, version: str, request: Any) -> Any:
    call = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([request]))
    return await call.read()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(running: Running, version: str) -> None:
    listed = await reflect(running, version, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = [service.name for service in listed.list_services_response.service]
    assert names == sorted(
        [
            "datastore.v1.DatastoreService",
            "datastore.v1.MaintenanceService",
            "datastore.v1.PlacementService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
    )
    for name in names:
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
        described = await reflect(running, version, request)
        assert described.file_descriptor_response.file_descriptor_proto, name


async def test_values_are_never_decoded_on_their_way(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    await running.put_all({f"/k{index}": {"n": index} for index in range(10)})

    def decode(self: wire.WireValue) -> Any:
        raise AssertionError("decoded")

    monkeypatch.setattr(wire.WireValue, "decode", decode)
    assert (await running.stub.Get(get("/k1"))).HasField("value")
    assert (await running.query(everything()))[-1].summary.entries == 10
