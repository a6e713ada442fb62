"""The service needs no grpc.aio: another transport drives all of it, and answers some calls without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.model.deadline import time_left
from datastore.model.errors import (
    DeadlineExceededError,
    InvalidKeyError,
    LimitExceededError,
    OverloadedError,
    UnavailableError,
    WrongShardError,
)
from datastore.model.key import Key
from datastore.v1 import placement_pb2, query_pb2, service_pb2, value_pb2
from datastore_server import streaming
from datastore_server.call import Answer, Call
from datastore_server.limits import Limits
from datastore_server.placement.node import PlacedNode
from datastore_server.placement.service import PlacementService
from datastore_server.service import DatastoreService
from tests.support.serving import Endless, entry, everything, value
from tests.support.transport import InProcess
from tests.support.waiting import PATIENCE_S

BAD_KEY = "/\x00"


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[aio.Datastore]:
    """The two embedded stores, as in a node."""
    if request.param == "memory":
        yield aio.DictDatastore()
        return
    with LMDBDatastore(tmp_path / "data", durability="async") as blocking:
        yield aio.SerializerShimDatastore(lift(blocking), wire.lazy)


@pytest.fixture
async def node(store: aio.Datastore) -> AsyncIterator[InProcess]:
    """A node without a server: both of its services."""
    placed = PlacedNode(store)
    await placed.load()
    service = DatastoreService(placed.datastore, require_expected=placed.require_expected)
    yield InProcess([*service.methods(), *PlacementService(placed).methods()])
    service.close()


def served(store: aio.Datastore, **settings: Any) -> tuple[DatastoreService, InProcess]:
    service = DatastoreService(store, **settings)
    return service, InProcess(service.methods())


def get(key: str) -> service_pb2.GetRequest:
    return service_pb2.GetRequest(key=value_pb2.Key(text=key))


async def put(node: InProcess, key: str, plain: Any) -> None:
    answer = await node.answer("Put", service_pb2.PutRequest(entry=entry(key, plain)))
    assert service_pb2.PutResponse.FromString(answer).metadata.version > 0


async def received(node: InProcess, request: service_pb2.QueryRequest) -> list[service_pb2.QueryResponse]:
    rpc = node.start("Query", request)
    return [service_pb2.QueryResponse.FromString(message) async for message in rpc.messages()]


async def test_entries_are_put_read_and_deleted(node: InProcess) -> None:
    await put(node, "/a", 1)
    got = service_pb2.GetResponse.FromString(await node.answer("Get", get("/a")))
    assert got.value == value(1)
    keys = [value_pb2.Key(text=text) for text in ("/a", "/absent", BAD_KEY)]
    batch = service_pb2.BatchGetResponse.FromString(
        await node.answer("BatchGet", service_pb2.BatchGetRequest(keys=keys))
    )
    assert [result.HasField("value") for result in batch.results] == [True, False, False]
    assert [result.HasField("status") for result in batch.results] == [False, False, True]
    await node.answer("Delete", service_pb2.DeleteRequest(key=keys[0]))
    assert await node.answer("Get", get("/a")) == b""


async def test_the_placement_is_served_too(node: InProcess) -> None:
    await put(node, "/a", 1)
    answer = await node.answer("GetPlacement", placement_pb2.GetPlacementRequest())
    assert not placement_pb2.GetPlacementResponse.FromString(answer).is_empty
    summaries = node.start("SummarizeSlots", placement_pb2.SummarizeSlotsRequest(shard_by=placement_pb2.SHARD_BY_KEY))
    (message,) = [message async for message in summaries.messages()]
    assert [slot.entries for slot in placement_pb2.SummarizeSlotsResponse.FromString(message).slots] == [1]


async def test_a_query_continues_by_the_token_of_a_stream_that_was_cut(node: InProcess) -> None:
    for index in range(50):
        await put(node, f"/k{index:02}", "x" * 1000)
    rpc = node.start("Query", everything())
    messages = rpc.messages()
    first = service_pb2.QueryResponse.FromString(await anext(messages))
    rpc.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rpc.answer()
    await messages.aclose()
    request = everything()
    request.resume_token = first.resume_token
    rest = await received(node, request)
    found = [found.key.text for message in (first, *rest) for found in message.entries]
    assert found == [f"/k{index:02}" for index in range(50)]
    assert 0 < len(first.entries) < 50
    assert rest[-1].summary.reason == service_pb2.QuerySummary.REASON_EXHAUSTED


async def test_a_query_that_finds_nothing_sends_heartbeats(node: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_S", 0.0)
    for index in range(200):
        await put(node, f"/k{index:03}", {"a": 0})
    condition = query_pb2.FieldFilter(field_path="a", operator=query_pb2.FieldFilter.OPERATOR_EQUAL, value=value(1))
    *heartbeats, last = await received(node, everything(filters=[query_pb2.Filter(field=condition)]))
    assert heartbeats
    assert all(heartbeat.resume_token and not heartbeat.entries for heartbeat in heartbeats)
    assert sum(message.scanned for message in (*heartbeats, last)) == last.summary.scanned == 200


async def test_a_client_that_does_not_read_stops_the_scan() -> None:
    store = Endless()
    _, node = served(store)
    rpc = node.start("Query", everything())
    messages = rpc.messages()
    await anext(messages)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert store.pulled < 10
    await messages.aclose()
    rpc.cancel()
    await asyncio.wait_for(store.closed.wait(), PATIENCE_S)


async def test_refusals_are_statuses(node: InProcess) -> None:
    with pytest.raises(InvalidKeyError):
        await node.answer("Get", get(BAD_KEY))
    with pytest.raises(LimitExceededError, match="key request bytes"):
        await node.answer("Get", get("/" + "x" * 5000))
    with pytest.raises(WrongShardError, match="not placed"):
        await node.answer("Get", get("/a"), metadata={wire.EXPECTATION: "c/s/1"})


async def test_calls_beyond_their_limit_are_refused_and_a_deadline_is_known_to_the_store() -> None:
    class Slow(aio.DictDatastore):
        begun = asyncio.Event()
        seen: float | None = None

        async def get(self, key: Key) -> Any:
            Slow.seen = time_left(2 * PATIENCE_S)
            Slow.begun.set()
            await asyncio.Event().wait()

    service, node = served(Slow(), limits=Limits(calls_in_hand=1))
    rpc = node.start("Get", get("/a"), timeout_s=PATIENCE_S)
    await asyncio.wait_for(Slow.begun.wait(), PATIENCE_S)
    assert Slow.seen is not None
    assert 0 < Slow.seen <= PATIENCE_S
    with pytest.raises(OverloadedError, match="calls_in_hand"):
        await node.answer("Get", get("/a"))
    rpc.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rpc.answer()
    with pytest.raises(DeadlineExceededError):
        await node.answer("Get", get("/a"), timeout_s=0.01)
    assert service._admission.in_hand == 0


async def test_a_server_that_drains_ends_streams_with_a_token_and_refuses_calls() -> None:
    service, node = served(Endless())
    rpc = node.start("Query", everything())
    messages = rpc.messages()
    assert service_pb2.QueryResponse.FromString(await anext(messages)).resume_token
    draining = asyncio.create_task(service.drain(PATIENCE_S))
    with pytest.raises(UnavailableError, match="continue by the last token"):
        async for _ in messages:
            pass
    await draining
    with pytest.raises(UnavailableError, match="shutting down"):
        await node.answer("Get", get("/a"))


# Without an event loop


def now(node: InProcess, name: str, request: Any) -> Answer:
    answer_now = node.methods[name].answer_now
    assert answer_now is not None
    return answer_now(request.SerializeToString(), Call(time_left_s=5.0))


async def test_an_embedded_store_answers_without_an_event_loop(node: InProcess) -> None:
    await put(node, "/a", 1)
    # A thread has no event loop, so its calls cannot await anything.
    answer = await asyncio.to_thread(now, node, "Get", get("/a"))
    assert answer == await node.answer("Get", get("/a"))
    assert await asyncio.to_thread(now, node, "Get", get("/absent")) == b""
    contains = service_pb2.ContainsRequest(key=value_pb2.Key(text="/a"))
    assert await asyncio.to_thread(now, node, "Contains", contains) == await node.answer("Contains", contains)
    refused = await asyncio.to_thread(now, node, "Get", get(BAD_KEY))
    assert isinstance(refused, status_pb2.Status)
    assert isinstance(wire.status_to_error(refused), InvalidKeyError)
    assert time_left(PATIENCE_S) == PATIENCE_S


async def test_only_reads_of_one_key_are_answered_without_an_event_loop(node: InProcess) -> None:
    assert {name for name, method in node.methods.items() if method.answer_now} == {"Get", "Contains"}


async def test_a_store_that_may_wait_does_not_offer_it() -> None:
    class Waiting(aio.DictDatastore):
        async def get(self, key: Key) -> Any:
            await asyncio.sleep(0)
            return await super().get(key)

    for store in (Waiting(), aio.LoggingDatastore(aio.DictDatastore())):
        assert served(store)[1].methods["Get"].answer_now is None


async def test_a_read_that_waits_for_a_write_of_its_key_is_left_to_the_event_loop(tmp_path: Path) -> None:
    with LMDBDatastore(tmp_path / "data", durability="async") as blocking:
        lifted = lift(blocking)
        _, node = served(aio.SerializerShimDatastore(lifted, wire.lazy))
        write: Future[Any] = Future()
        lifted._abandon([Key("/a")], write)
        assert await asyncio.to_thread(now, node, "Get", get("/a")) is None
        rpc = node.start("Get", get("/a"))
        await asyncio.sleep(0)
        assert not rpc.task.done()
        write.set_result(None)
        assert await rpc.answer() == b""


async def test_a_server_that_drains_refuses_without_an_event_loop_too(store: aio.Datastore) -> None:
    service, node = served(store)
    await service.drain(0)
    refused = now(node, "Get", get("/a"))
    assert isinstance(refused, status_pb2.Status)
    assert isinstance(wire.status_to_error(refused), UnavailableError)
