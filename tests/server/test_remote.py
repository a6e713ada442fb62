"""RemoteDatastore, call by call: what it sends, what it refuses to send, and what its failures say."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest

from datastore import aio, wire
from datastore.model.entries import Write
from datastore.model.errors import (
    ConfigError,
    CorruptDataError,
    DatastoreClosedError,
    DatastoreError,
    DeadlineExceededError,
    InternalError,
    InvalidValueError,
    LimitExceededError,
    StoreFullError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.limits import ENTRY_BYTES
from datastore.model.query import Query
from datastore.v1 import query_pb2, service_pb2
from datastore.wire import WireValue, raw
from datastore_client import RemoteDatastore
from datastore_client._messages import BATCH_ITEMS
from datastore_client.channel import MESSAGE_BYTES
from datastore_server.app import serve
from tests.support import clusters
from tests.support.colours import Tasks, Threads, connected
from tests.support.scripted import fails, hangs, is_bare_scope, replies, results, scripted, sends
from tests.support.serving import Endless, value
from tests.support.waiting import PATIENCE_S

KEY = Key("/k")


@pytest.fixture
async def server() -> AsyncIterator[Any]:
    """A server on an empty store in memory."""
    async with serve(aio.DictDatastore(), grace_s=0.2) as server:
        yield server


def calls_of(store: Any) -> dict[str, Any]:
    """Every call that reaches the server, as a function to call and its arguments."""
    return {
        "get": (store.get, KEY),
        "put": (store.put, KEY, 1),
        "put None": (store.put, KEY, None),
        "delete": (store.delete, KEY),
        "contains": (store.contains, KEY),
        "describe_store": (store.describe_store,),
        "check_health": (store.check_health,),
    }


CALLS = list(calls_of(RemoteDatastore("grpc://localhost:1")))
METHODS = ("Get", "Put", "Delete", "Contains", "BatchGet", "BatchWrite", "Query", "DescribeStore", "Check")


def everything(**query: Any) -> Query:
    return Query(Key("/K"), **query)


# Failures


@pytest.fixture
def dead_url() -> str:
    """A URL where nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"grpc://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("call", [*CALLS, "query"])
async def test_a_server_that_is_not_there_is_named_immediately(colour: Any, dead_url: str, call: str) -> None:
    async with connected(colour, dead_url, name="shard-7") as store:
        begin = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            if call == "query":
                await colour.read(store.query(everything()))
            else:
                await colour.call(*calls_of(store)[call])
        assert time.monotonic() - begin < 2
        assert caught.value.shard == "shard-7"
        assert dead_url in str(caught.value)
        assert "connection refused" in str(caught.value)
        for outcome in await colour.call(store.batch_get, [KEY, KEY]):
            assert isinstance(outcome.error, UnavailableError)
            assert outcome.error.shard == "shard-7"


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_has_a_deadline(colour: Any, call: str) -> None:
    async with (
        scripted(**dict.fromkeys(METHODS, hangs)) as script,
        connected(colour, script.url, timeout_s=0.2) as store,
    ):
        # On a busy machine the time may be over before the server receives the call.
        while not script.calls:
            with pytest.raises(DeadlineExceededError, match=r"did not finish within 0\.2 s") as caught:
                await colour.call(*calls_of(store)[call])
            assert script.url in str(caught.value)
        await script.until_cancelled()


async def test_a_batch_that_is_late_is_late_for_each_of_its_items(colour: Any) -> None:
    async with (
        scripted(BatchGet=hangs, BatchWrite=hangs) as script,
        connected(colour, script.url, timeout_s=0.2) as store,
    ):
        got = await colour.call(store.batch_get, [KEY] * 3)
        written = await colour.call(store.batch_write, [Write(KEY, 1)] * 3)
        assert [type(outcome.error) for outcome in [*got, *written]] == [DeadlineExceededError] * 6


async def test_an_error_keeps_its_shard_or_gets_that_of_the_store(colour: Any) -> None:
    inner, bare = fails(StoreFullError("no room", shard="inner")), fails(StoreFullError("no room"))
    async with scripted(Put=[inner, bare]) as script, connected(colour, script.url, name="outer") as store:
        for shard in ("inner", "outer"):
            with pytest.raises(StoreFullError, match=r"^no room$") as caught:
                await colour.call(store.put, KEY, 1)
            assert caught.value.shard == shard


async def test_items_of_a_batch_name_their_shards_too(colour: Any) -> None:
    response = service_pb2.BatchWriteResponse()
    for shard in ("inner", None):
        response.results.add().status.CopyFrom(wire.error_to_status(StoreFullError("no room", shard=shard)))
    async with (
        scripted(BatchWrite=replies(response)) as script,
        connected(colour, script.url, name="outer") as store,
    ):
        outcomes = await colour.call(store.batch_write, [Write(KEY, 1), Write(KEY, 2)])
        assert [outcome.error.shard for outcome in outcomes] == ["inner", "outer"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitExceededError),
        (grpc.StatusCode.INTERNAL, InternalError),
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.PERMISSION_DENIED, DatastoreError),
    ],
)
async def test_an_error_of_an_intermediary_names_the_server(colour: Any, code: Any, kind: Any) -> None:
    async with scripted(Get=fails(code, "no way")) as script, connected(colour, script.url, retry=False) as store:
        with pytest.raises(kind, match="no way") as caught:
            await colour.call(store.get, KEY)
        assert script.url in str(caught.value)


async def test_a_reset_stream_counts_as_unavailable(colour: Any) -> None:
    reset = fails(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")
    async with scripted(Get=reset) as script, connected(colour, script.url, retry=False) as store:
        with pytest.raises(UnavailableError):
            await colour.call(store.get, KEY)


GARBAGE = replies(b"\xff\xff\xff\xff")


async def test_an_answer_that_cannot_be_read_is_an_error_of_ours(colour: Any) -> None:
    answers = dict.fromkeys(METHODS, GARBAGE) | {"Query": sends(b"\xff\xff\xff\xff")}
    async with scripted(**answers) as script, connected(colour, script.url) as store:
        for call in ("get", "contains", "describe_store"):
            with pytest.raises(CorruptDataError):
                await colour.call(*calls_of(store)[call])
        with pytest.raises(CorruptDataError):
            await colour.read(store.query(everything()))
        for outcomes in (
            await colour.call(store.batch_get, [KEY, KEY]),
            await colour.call(store.batch_write, [Write(KEY, 1), Write(KEY, 2)]),
        ):
            assert [type(outcome.error) for outcome in outcomes] == [CorruptDataError] * 2


@pytest.mark.parametrize("answered", [0, 1, 3])
async def test_a_batch_without_exactly_one_result_per_item_fails_completely(colour: Any, answered: int) -> None:
    got = service_pb2.BatchGetResponse(results=[service_pb2.BatchGetResponse.Result()] * answered)
    written = service_pb2.BatchWriteResponse(results=[service_pb2.BatchWriteResponse.Result()] * answered)
    async with (
        scripted(BatchGet=replies(got), BatchWrite=replies(written)) as script,
        connected(colour, script.url) as store,
    ):
        outcomes = [
            *await colour.call(store.batch_get, [KEY] * 2),
            *await colour.call(store.batch_write, [Write(KEY, 1)] * 2),
        ]
        assert [type(outcome.error) for outcome in outcomes] == [CorruptDataError] * 4


# What is not sent


@pytest.mark.parametrize("key", ["/k", b"/k", None, 7])
async def test_an_invalid_key_is_refused_before_anything_is_sent(colour: Any, key: Any) -> None:
    async with scripted() as script, connected(colour, script.url) as store:
        for call in (store.get, store.delete, store.contains, lambda key: store.put(key, 1)):
            with pytest.raises(TypeError):
                await colour.call(call, key)
        with pytest.raises(TypeError):
            store.query(key)
        assert script.calls == []


@pytest.mark.parametrize(
    ("bad", "kind", "path"),
    [
        ({"a": [1, {2}]}, UnsupportedTypeError, "value['a'][1]"),
        ([2**63], InvalidValueError, "value[0]"),
        ({"b": "\ud800"}, InvalidValueError, "value['b']"),
        (object(), UnsupportedTypeError, "value"),
    ],
)
async def test_a_value_that_cannot_be_sent_is_refused_before_it_is_sent(
    colour: Any, bad: Any, kind: Any, path: str
) -> None:
    response = service_pb2.BatchWriteResponse(results=[service_pb2.BatchWriteResponse.Result()] * 2)
    async with scripted(BatchWrite=replies(response)) as script, connected(colour, script.url) as store:
        with pytest.raises(kind) as caught:
            await colour.call(store.put, KEY, bad)
        assert caught.value.path == path
        assert script.calls == []
        outcomes = await colour.call(store.batch_write, [Write(KEY, 1), Write(KEY, bad), Write(KEY, 2)])
        assert [type(outcome.error) for outcome in outcomes] == [type(None), kind, type(None)]
        assert [len(raw.BatchWriteRequest.FromString(sent).writes) for _, sent in script.calls] == [2]


async def test_a_query_that_cannot_be_sent_is_refused_at_the_call(colour: Any) -> None:
    async with scripted() as script, connected(colour, script.url) as store:
        with pytest.raises(UnsupportedTypeError):
            store.query(everything().filter("n", "=", {1, 2}))
        assert script.calls == []


def bytes_of_entry(size: int) -> bytes:
    """A value that makes the entry of KEY that large."""
    overhead = len(wire.encode_value(b"x" * ENTRY_BYTES).data) - ENTRY_BYTES
    return b"x" * (size - overhead - len(str(KEY)))


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_an_entry_over_the_limit_is_refused_before_it_is_sent(colour: Any, server: Any, above: int) -> None:
    large = bytes_of_entry(ENTRY_BYTES + above)
    async with connected(colour, server.url) as store:
        if above <= 0:
            await colour.call(store.put, KEY, large)
            assert await colour.call(store.get, KEY) == large
            return
        with pytest.raises(LimitExceededError) as caught:
            await colour.call(store.put, KEY, large)
        assert (caught.value.limit, caught.value.maximum) == ("entry_bytes", ENTRY_BYTES)
        (outcome,) = await colour.call(store.batch_write, [Write(KEY, large)])
        assert isinstance(outcome.error, LimitExceededError)
        assert await colour.call(store.get, KEY) is None


@pytest.mark.parametrize("url", ["lmdb:///x", "localhost:7420"])
async def test_a_wrong_url_is_refused_immediately(colour: Any, url: str) -> None:
    with pytest.raises(ConfigError):
        colour.remote(url)


# Batches in parts


@pytest.mark.parametrize("items", [0, 1, BATCH_ITEMS, BATCH_ITEMS + 1, 2 * BATCH_ITEMS + 7])
async def test_a_batch_of_any_length_is_sent_in_parts(colour: Any, server: Any, items: int) -> None:
    keys = [Key(f"/K:{index:05}") for index in range(items)]
    async with connected(colour, server.url) as store:
        written = await colour.call(store.batch_write, [Write(key, index) for index, key in enumerate(keys)])
        assert [outcome.error for outcome in written] == [None] * items
        got = await colour.call(store.batch_get, keys)
        assert [outcome.value for outcome in got] == list(range(items))


async def test_a_batch_of_large_values_is_sent_in_messages_that_fit(colour: Any, server: Any) -> None:
    values = {Key(f"/K:{index}"): bytes([index]) * 1_000_000 for index in range(11)}
    async with connected(colour, server.url) as store:
        written = await colour.call(store.batch_write, [Write(*pair) for pair in values.items()])
        assert [outcome.error for outcome in written] == [None] * len(values)
        got = await colour.call(store.batch_get, list(values))
        assert [outcome.value for outcome in got] == list(values.values())


async def test_writes_to_one_key_take_effect_in_order_over_all_parts(colour: Any, server: Any) -> None:
    async with connected(colour, server.url) as store:
        await colour.call(store.batch_write, [Write(KEY, index) for index in range(2 * BATCH_ITEMS + 1)])
        assert await colour.call(store.get, KEY) == 2 * BATCH_ITEMS


@pytest.mark.parametrize("error", [UnavailableError("cut"), DeadlineExceededError("late")])
async def test_no_part_is_sent_that_could_overtake_one_of_unknown_outcome(colour: Any, error: Any) -> None:
    async with scripted(BatchWrite=fails(error)) as script, connected(colour, script.url) as store:
        writes = [Write(KEY, index) for index in range(3 * BATCH_ITEMS)]
        outcomes = await colour.call(store.batch_write, writes)
        assert {type(outcome.error) for outcome in outcomes} == {type(error)}
        assert len(outcomes) == len(writes)
        assert len(script.calls) == 1


async def test_a_refused_part_does_not_delay_the_others(colour: Any) -> None:
    done = service_pb2.BatchWriteResponse(results=[service_pb2.BatchWriteResponse.Result()] * BATCH_ITEMS)
    refused = fails(LimitExceededError("too many", limit="message_parts", maximum=1))
    async with scripted(BatchWrite=[refused, replies(done)]) as script, connected(colour, script.url) as store:
        outcomes = await colour.call(store.batch_write, [Write(KEY, 1)] * (2 * BATCH_ITEMS))
        assert [outcome.error is None for outcome in outcomes] == [False] * BATCH_ITEMS + [True] * BATCH_ITEMS


# Values


async def test_a_lazy_store_returns_and_accepts_undecoded_values(colour: Any, server: Any) -> None:
    stored = wire.encode_value({"n": 1})
    async with connected(colour, server.url, lazy=True) as store:
        await colour.call(store.put, KEY, stored)
        await colour.call(store.batch_write, [Write(Key("/K:1"), stored), Write(Key("/K:2"), {"n": 2})])
        for got in (
            await colour.call(store.get, KEY),
            (await colour.call(store.batch_get, [KEY]))[0].value,
            (await colour.read(store.query(everything())))[0].value,
        ):
            assert isinstance(got, WireValue)
            assert got.data == stored.data
    async with connected(colour, server.url) as store:
        assert await colour.call(store.get, Key("/K:2")) == {"n": 2}


async def test_a_stored_value_that_cannot_be_read_fails_the_read_and_is_not_absent(colour: Any) -> None:
    broken = raw.GetResponse(value=b"\xff\xff").SerializeToString()
    batch = raw.BatchGetResponse()
    batch.results.add(value=b"\xff\xff")
    batch.results.add(value=value(1).SerializeToString())
    async with (
        scripted(Get=replies(broken), BatchGet=replies(batch)) as script,
        connected(colour, script.url) as store,
    ):
        with pytest.raises(CorruptDataError):
            await colour.call(store.get, KEY)
        bad, good = await colour.call(store.batch_get, [KEY, KEY])
        assert isinstance(bad.error, CorruptDataError)
        assert good.value == 1


# Queries


async def test_nothing_is_sent_before_the_first_item(colour: Any) -> None:
    async with scripted(Query=sends(results(1, last=1))) as script, connected(colour, script.url) as store:
        cursor = store.query(everything())
        assert script.calls == []
        assert len(await colour.read(cursor)) == 1
        assert len(script.calls) == 1


async def test_a_query_is_sent_as_it_is(colour: Any) -> None:
    async with scripted(Query=sends(results(last=0))) as script, connected(colour, script.url) as store:
        query = everything(limit=3, offset=2, recursive=True, keys_only=True, allow_partial=True)
        await colour.read(store.query(query.filter("n", ">", 1).order("-n")))
        (request,) = script.queries
        assert wire.decode_query(request.query).dict() == {
            name: part for name, part in query.dict().items() if name != "allow_partial"
        }
        assert (request.allow_partial, request.include_sort_keys, request.resume_token) == (True, False, b"")


@pytest.mark.parametrize(("orders", "asked"), [([], False), (["n"], True)])
async def test_sort_keys_are_requested_if_there_are_orders(colour: Any, orders: list[str], asked: bool) -> None:
    async with scripted(Query=sends(results(last=0))) as script, connected(colour, script.url) as store:
        query = everything(sort_keys=True)
        for order in orders:
            query.order(order)
        await colour.read(store.query(query))
        assert script.queries[0].include_sort_keys is asked


async def test_a_query_with_custom_code_requests_only_the_scope(colour: Any) -> None:
    answer = sends(results(1, 2, 3), results(4, 5, last=5))
    async with scripted(Query=answer) as script, connected(colour, script.url) as store:
        query = everything(offset=1, limit=2, object_getattr=lambda value, field: -value)
        cursor = store.query(query.filter("n", "<", -1).order("n"))
        assert [entry.value for entry in await colour.read(cursor)] == [4, 3]
        assert (cursor.returned, cursor.skipped) == (2, 1)
        assert is_bare_scope(script.queries[0].query)
        assert script.queries[0].query.scope == query_pb2.QUERY_SCOPE_COLLECTION


async def test_a_partial_answer_reports_which_shards_are_missing(colour: Any) -> None:
    last = results(1, last=1)
    last.summary.reason = service_pb2.QuerySummary.REASON_PARTIAL
    last.summary.shards.add(shard="a", entries=1, scanned=1)
    last.summary.shards.add(shard="b").status.CopyFrom(wire.error_to_status(UnavailableError("gone", shard="b")))
    async with scripted(Query=sends(last)) as script, connected(colour, script.url) as store:
        cursor = store.query(everything(allow_partial=True))
        await colour.read(cursor)
        assert cursor.summary is not None
        assert [(report.shard, report.entries) for report in cursor.summary.shards] == [("a", 1), ("b", 0)]
        assert isinstance(cursor.summary.shards[1].error, UnavailableError)


# Ends


async def leave_by_closing(colour: Any, store: Any) -> None:
    cursor = store.query(everything())
    await colour.read(cursor, 1)
    await colour.close(cursor)


async def leave_with_code_of_the_callers(colour: Any, store: Any) -> None:
    cursor = store.query(everything(object_getattr=lambda value, field: value))
    await colour.read(cursor, 1)
    await colour.close(cursor)


async def leave_by_forgetting(colour: Any, store: Any) -> None:
    cursor = store.query(everything())
    await colour.read(cursor, 1)
    del cursor


async def leave_by_closing_the_store(colour: Any, store: Any) -> None:
    cursor = store.query(everything())
    await colour.read(cursor, 1)
    await colour.close(store)
    with pytest.raises(DatastoreClosedError):
        await colour.read(cursor)


@pytest.mark.parametrize(
    "leave",
    [leave_by_closing, leave_with_code_of_the_callers, leave_by_forgetting, leave_by_closing_the_store],
    ids=lambda leave: leave.__name__,
)
async def test_an_abandoned_cursor_ends_its_call_immediately(colour: Any, leave: Any) -> None:
    async with (
        scripted(Query=sends(results(1), results(2), hangs=True)) as script,
        connected(colour, script.url) as store,
    ):
        await leave(colour, store)
        await script.until_cancelled()


async def test_a_break_out_of_a_loop_ends_the_call() -> None:
    async with (
        scripted(Query=sends(results(1), results(2), hangs=True)) as script,
        connected(Tasks(), script.url) as store,
    ):
        async for _ in store.query(everything()):
            break
        await script.until_cancelled()

        def read_one() -> None:
            with RemoteDatastore(script.url) as store:
                for _ in store.query(everything()):
                    break

        await asyncio.to_thread(read_one)
        await script.until_cancelled(times=2)


async def test_a_cancelled_task_is_cancelled_and_so_is_its_call() -> None:
    async with (
        scripted(Query=sends(results(1), hangs=True), Get=hangs) as script,
        connected(Tasks(), script.url) as store,
    ):
        for number, work in enumerate((Tasks().read(store.query(everything())), store.get(KEY)), start=1):
            task = asyncio.create_task(work)
            while len(script.calls) < number:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await script.until_cancelled(times=number)


async def test_a_cancelled_task_is_cancelled_even_if_the_store_is_closed_at_the_same_time() -> None:
    async with scripted(Get=hangs) as script:
        store = Tasks.remote(script.url)
        task = asyncio.create_task(store.get(KEY))
        while not script.calls:
            await asyncio.sleep(0)
        task.cancel()
        await store.aclose()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_active_calls_raise_that_the_store_was_closed(colour: Any) -> None:
    async with scripted(Query=sends(results(1), hangs=True), Get=hangs) as script:
        store = colour.remote(script.url)
        tasks = [
            asyncio.create_task(colour.read(store.query(everything()))),
            asyncio.create_task(colour.call(store.get, KEY)),
        ]
        while len(script.calls) < 2:
            await asyncio.sleep(0)
        await colour.close(store)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [DatastoreClosedError] * 2


@pytest.mark.parametrize("used", [False, True])
async def test_a_closed_store_says_so_and_may_be_closed_again(colour: Any, server: Any, used: bool) -> None:
    store = colour.remote(server.url)
    if used:
        await colour.call(store.get, KEY)
    for _ in range(2):
        await colour.close(store)
    for call in CALLS:
        with pytest.raises(DatastoreClosedError):
            await colour.call(*calls_of(store)[call])
    with pytest.raises(DatastoreClosedError):
        await colour.read(store.query(everything()))


async def test_closing_leaves_no_connection(colour: Any) -> None:
    async with scripted(Query=sends(results(1), hangs=True), Get=replies(b"")) as script:
        async with connected(colour, script.url) as store:
            await colour.call(store.get, KEY)
            cursor = store.query(everything())
            await colour.read(cursor, 1)
            # One for calls, and one for streams.
            assert connections_to(script.url) == 2
            await colour.close(cursor)
        async with asyncio.timeout(PATIENCE_S):
            while connections_to(script.url):
                await asyncio.sleep(0.01)


def connections_to(url: str) -> int:
    port = int(url.rpartition(":")[2])
    return sum(
        1
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED and connection.raddr and connection.raddr.port == port
    )


@pytest.mark.parametrize("entry_bytes", [1000, 100_000])
async def test_a_reader_that_stops_holds_up_the_server_within_about_two_batches(colour: Any, entry_bytes: int) -> None:
    endless = Endless(entry_bytes=entry_bytes)
    async with serve(endless, grace_s=0.2) as server, connected(colour, server.url) as store:
        cursor = store.query(Query(Key("/")))
        await colour.read(cursor, 1)
        pulled = -1
        while pulled != endless.pulled:
            pulled = endless.pulled
            # Long compared with the time that a batch takes.
            await asyncio.sleep(0.3)
        # What the reader has, what gRPC reads ahead, what it is sending, and what the server has split off.
        assert pulled * 10 * entry_bytes < 4_500_000
        await colour.close(cursor)
        await asyncio.wait_for(endless.closed.wait(), PATIENCE_S)


# Threads


async def test_threads_share_one_connection_from_their_first_calls_on() -> None:
    threads = 16
    async with scripted(Get=replies(b"")) as script, connected(Threads(), script.url) as store:
        together = threading.Barrier(threads)

        def get() -> Any:
            together.wait()
            return store.get(KEY)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(threads) as executor:
            gets = [loop.run_in_executor(executor, get) for _ in range(threads)]
            assert await asyncio.gather(*gets) == [None] * threads
        assert connections_to(script.url) == 1


async def test_threads_write_and_query_concurrently(server: Any) -> None:
    def work(store: RemoteDatastore, writer: int) -> None:
        for index in range(40):
            key = Key(f"/w:{writer}/{index:03}")
            store.put(key, index)
            assert store.get(key) == index
            assert [entry.value for entry in store.query(Query(Key(f"/w:{writer}"))).entries()] == list(
                range(index + 1)
            )

    async with connected(Threads(), server.url) as store:
        await asyncio.gather(*(asyncio.to_thread(work, store, writer) for writer in range(6)))


# The server


async def test_a_server_reports_what_it_serves_and_its_health(colour: Any, server: Any) -> None:
    async with connected(colour, server.url) as store:
        await colour.call(store.check_health)
        described = await colour.call(store.describe_store)
        assert described.store.kind == "dict"
        assert described.limits.entry_bytes == ENTRY_BYTES
        assert (store.describe().kind, store.describe().text) == ("remote", server.url)


async def test_a_server_that_shuts_down_is_not_healthy(colour: Any) -> None:
    not_serving = b"\x08\x02"
    async with scripted(Check=replies(not_serving)) as script, connected(colour, script.url) as store:
        with pytest.raises(UnavailableError, match="shutting down"):
            await colour.call(store.check_health)


async def test_an_http_proxy_is_not_used(
    colour: Any, server: Any, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, dead_url.replace("grpc:", "http:"))
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with connected(colour, server.url) as store:
        assert await colour.call(store.get, KEY) is None


async def test_a_message_that_no_server_should_send_is_refused_by_its_size(colour: Any) -> None:
    large = raw.GetResponse(value=bytes(MESSAGE_BYTES + 1))
    async with scripted(Get=replies(large)) as script, connected(colour, script.url) as store:
        with pytest.raises(LimitExceededError) as caught:
            await colour.call(store.get, KEY)
        assert script.url in str(caught.value)


class Likeness:
    """Has the interface of a Key, but another form of its text."""

    path = Key("/c")

    def child(self, other: Any) -> Key:
        return Key("/c/d").child(other)

    def __str__(self) -> str:
        return "c//d/"


async def test_an_object_with_a_keys_interface_counts_as_the_key_of_its_text(colour: Any) -> None:
    async with clusters.node() as node, connected(colour, node.url) as store:
        key, likeness = Key("/c/d"), Likeness()
        await colour.call(store.put, likeness, 1)
        assert await colour.call(store.get, key) == await colour.call(store.get, likeness) == 1
        assert await colour.call(store.contains, likeness)
        await colour.call(store.batch_write, [Write(likeness, 2)])  # type: ignore[arg-type]
        found, refused = await colour.call(store.batch_get, [likeness, "/c/d"])
        assert found.value == 2
        assert isinstance(refused.error, UnsupportedTypeError)
        await colour.call(store.delete, likeness)
        assert not await colour.call(store.contains, key)
