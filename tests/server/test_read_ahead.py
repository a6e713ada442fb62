"""How far a node reads ahead: little for a client that may stop early, but no small steps for one that waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import Key, Query, aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.model.entries import Batch, Reason, Summary
from datastore.model.limits import BATCH_BYTES, FIRST_BATCH_BYTES
from datastore.v1 import service_pb2
from datastore_client.aio import connect
from datastore_server.limits import Limits
from datastore_server.streaming import ResponseBuilder
from datastore_server.tokens import Token
from tests.support.serving import Running

ENTRIES = 5000


def builder(share: int = BATCH_BYTES) -> ResponseBuilder:
    token = Token(query_hash=0, limit=None, offset=0, epoch="")
    return ResponseBuilder(Query(Key("/")).frozen(), token, Limits(), share_bytes=lambda: share)


def feed(made: ResponseBuilder, *, found: int, scanned: int) -> None:
    values = [wire.encode_value("x" * 100)] * found
    list(made.feed(Batch([Key(f"/{number}") for number in range(found)], values, scanned=scanned)))


def test_while_all_entries_match_as_much_is_read_as_fills_a_message() -> None:
    made = builder()
    assert made.read_bytes() == FIRST_BATCH_BYTES
    for _ in range(10):
        feed(made, found=20, scanned=20)
        assert made.read_bytes() == made.batch_bytes()


def test_while_few_entries_match_more_is_read_up_to_the_share_of_the_stream() -> None:
    made = builder(share=100_000)
    feed(made, found=1, scanned=19)
    assert made.read_bytes() == 10 * made.batch_bytes()
    feed(made, found=0, scanned=1_000)
    assert made.read_bytes() == 100_000


@pytest.mark.parametrize("query", [Query(Key("/c")).filter("n", "<", 0), Query(Key("/c"), limit=1).order("-n")])
async def test_a_query_that_sends_little_is_read_in_large_steps(
    query: Query, start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LMDBDatastore(tmp_path, durability="async")
    running: Running = await start(aio.SerializerShimDatastore(lift(store), wire.lazy))
    await running.put_all({f"/c/{number}": {"n": number, "filler": "x" * 100} for number in range(ENTRIES)})
    reads: list[int] = []
    read = LMDBDatastore._read

    def counted(self: LMDBDatastore, *arguments: Any, **named: Any) -> Any:
        reads.append(1)
        return read(self, *arguments, **named)

    monkeypatch.setattr(LMDBDatastore, "_read", counted)
    async with connect(running.server.url) as client:
        found = [entry async for entry in client.query(query)]
    assert len(found) == (query.limit or 0)
    assert len(reads) <= 20


def test_the_last_entries_of_a_limit_are_sent_with_the_summary() -> None:
    query = Query(Key("/"), limit=20).frozen()
    token = Token(query_hash=0, limit=20, offset=0, epoch="")
    made = ResponseBuilder(query, token, Limits())
    value = wire.encode_value("x" * FIRST_BATCH_BYTES)
    begun = list(made.feed(Batch([Key(f"/{number}") for number in range(19)], [value] * 19)))
    assert begun
    assert list(made.feed(Batch([Key("/x")], [value]))) == []
    assert not made.is_due(waited_s=10.0)
    last = service_pb2.QueryResponse.FromString(made.finish(Summary(Reason.LIMIT, 20, 0, 20)))
    assert last.entries[-1].key.text == "/x"
    assert last.summary.entries == 20
