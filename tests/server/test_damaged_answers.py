"""Answers of nodes that were damaged on their way to a proxy: it refuses them, and passes nothing broken on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datastore import Key, Query, aio
from datastore.model.errors import CorruptDataError
from datastore.v1 import service_pb2
from datastore.wire.varints import length_delimited
from datastore_client.aio import RemoteDatastore
from tests.support.scripted import results, scripted, sends
from tests.support.serving import value

_KEY, _VALUE = b"\x0a\x06\x0a\x04/K:1", b"\x12\x02\x18\x01"
_QUERY = Query(Key("/K"))


def _answer(content: bytes) -> Any:
    """A stream with one entry."""
    return sends(length_delimited(b"\x0a", content), results(last=1))


async def _proxy(start: Callable[..., Any], *urls: str) -> RemoteDatastore:
    stores = [RemoteDatastore(url, lazy=True, retry=False) for url in urls]
    running = await start(aio.ShardedDatastore(stores), check_values=False)
    return RemoteDatastore(running.server.url, retry=False)


@pytest.mark.parametrize(
    "content",
    [
        _KEY + _VALUE[:-1],
        _KEY + b"\xff\xff",
        _KEY[:-1],
        _KEY + b"\x12\x7f\x18",
        _KEY + _VALUE + b"\x0a\x07\x0a\x05//bad",
    ],
    ids=["truncated value", "garbage", "short key", "long value", "second key"],
)
@pytest.mark.parametrize("shards", [1, 2])
async def test_a_damaged_entry_is_corrupt(start: Any, content: bytes, shards: int) -> None:
    async with (
        scripted(Query=_answer(content)) as damaged,
        scripted(Query=sends(results(2, last=1))) as other,
        await _proxy(start, *[damaged.url, other.url][:shards]) as store,
    ):
        with pytest.raises(CorruptDataError, match="the server sent"):
            _ = [entry async for entry in store.query(_QUERY)]


@pytest.mark.parametrize(
    "metadata", [b"", b"\x1a\x02\x08\x00", b"\x1a\x02\x08"], ids=["none", "no version", "truncated"]
)
async def test_an_entry_without_its_metadata_is_corrupt(start: Any, metadata: bytes) -> None:
    async with (
        scripted(Query=_answer(_KEY + _VALUE + metadata)) as damaged,
        await _proxy(start, damaged.url) as store,
    ):
        with pytest.raises(CorruptDataError, match="the server sent"):
            _ = [entry async for entry in store.query(_QUERY.replaced(metadata=True))]


@pytest.mark.parametrize("last", [b"\xff\xff", _KEY + _VALUE[:-1], _KEY + b"\x12\x02\xff\xff"])
async def test_a_damaged_last_entry_is_corrupt(start: Any, last: bytes) -> None:
    message = service_pb2.QueryResponse(needs_last_entry=True, resume_token=b"token").SerializeToString()
    damaged = sends(length_delimited(b"\x0a", last) + message)
    async with scripted(Query=damaged) as node, await _proxy(start, node.url) as store:
        with pytest.raises(CorruptDataError):
            _ = [entry async for entry in store.query(_QUERY)]


@pytest.mark.parametrize(
    "damaged",
    [b"\x0a\x02\x18", b"\x0a\x02\x18\x01\xff", b"\xff", b"\x0a\x02\xff\xff"],
    ids=["truncated", "garbage after it", "garbage", "no value"],
)
async def test_a_damaged_result_spoils_no_results_of_other_shards(start: Any, damaged: bytes) -> None:
    good = service_pb2.BatchGetResponse.Result(value=value(1)).SerializeToString()

    async def answer(request: bytes, context: Any) -> bytes:
        asked = service_pb2.BatchGetRequest.FromString(request).keys
        return b"".join(length_delimited(b"\x0a", damaged) for _ in asked)

    async def well(request: bytes, context: Any) -> bytes:
        asked = service_pb2.BatchGetRequest.FromString(request).keys
        return b"".join(length_delimited(b"\x0a", good) for _ in asked)

    keys = [Key(f"/K:{number}") for number in range(20)]
    async with (
        scripted(BatchGet=answer) as broken,
        scripted(BatchGet=well) as sound,
        await _proxy(start, broken.url, sound.url) as store,
    ):
        found = await store.batch_get(keys)
    assert {type(result.error) for result in found} == {CorruptDataError, type(None)}
    assert {result.value for result in found if result.error is None} == {1}
