"""Results that may lack shards say so, even if they were continued after the shards came back."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import encode_value
from datastore_server.app import serve

SERVICE = "/datastore.v1.DatastoreService/"
QuerySummary = service_pb2.QuerySummary


class Shaky(aio.DictDatastore):
    """A store whose queries fail while it is away."""

    ordered_queries = True
    away = True

    def query(self, query: Any) -> aio.Cursor:
        if not self.away:
            return super().query(query)

        async def gone() -> Any:
            raise UnavailableError("away")
            yield

        return aio.Cursor.from_batches(query, gone())


@pytest.fixture
async def shards() -> Any:
    """A server over two shards, of which the second is away, and a stub to call it."""
    steady, shaky = aio.DictDatastore(), Shaky()
    for number in range(3000):
        store = (steady, shaky)[number % 2]
        await store.put(Key(f"/a/{number:05}"), encode_value("x" * 300))
    store = aio.ShardedDatastore([steady, shaky], lambda key: int(key.name) % 2, names=["steady", "shaky"])
    async with serve(store) as server, grpc.aio.insecure_channel(server.url.removeprefix("grpc://")) as channel:
        yield shaky, channel


def request(token: bytes = b"") -> service_pb2.QueryRequest:
    message = service_pb2.QueryRequest(resume_token=token, allow_partial=True)
    message.query.key.text = "/a"
    return message


async def responses(channel: Any, asked: service_pb2.QueryRequest) -> list[service_pb2.QueryResponse]:
    call = channel.unary_stream(f"{SERVICE}Query")(asked.SerializeToString())
    return [service_pb2.QueryResponse.FromString(data) async for data in call]


async def test_a_continued_stream_reports_the_shard_that_was_missing_at_its_beginning(shards: Any) -> None:
    shaky, channel = shards
    first, *rest = await responses(channel, request())
    assert rest[-1].summary.reason == QuerySummary.REASON_PARTIAL
    shaky.away = False
    continued = await responses(channel, request(first.resume_token))
    summary = continued[-1].summary
    assert summary.reason == QuerySummary.REASON_PARTIAL
    assert [shard.shard for shard in summary.shards if shard.HasField("status")] == ["shaky"]
    # So does one that is requested again after its end.
    (again,) = await responses(channel, request(continued[-1].resume_token))
    assert again.summary.reason == QuerySummary.REASON_PARTIAL
    assert [shard.shard for shard in again.summary.shards] == ["shaky"]
    # From the beginning, nothing is missing.
    anew = await responses(channel, request())
    assert anew[-1].summary.reason == QuerySummary.REASON_EXHAUSTED
    assert sum(len(message.entries) for message in anew) == 3000


async def test_every_page_reports_a_shard_that_one_before_it_lacked(shards: Any) -> None:
    shaky, channel = shards
    call = channel.unary_unary(f"{SERVICE}ListEntries")
    asked = service_pb2.ListEntriesRequest(page_size=10, allow_partial=True)
    asked.query.key.text = "/a"
    page = service_pb2.ListEntriesResponse.FromString(await call(asked.SerializeToString()))
    assert [shard.shard for shard in page.unreachable] == ["shaky"]
    shaky.away = False
    asked.page_token = page.next_page_token
    page = service_pb2.ListEntriesResponse.FromString(await call(asked.SerializeToString()))
    assert len(page.entries) == 10
    assert [shard.shard for shard in page.unreachable] == ["shaky"]
