"""Queries for some fields of each value: cut at the node that has the value, on every path to the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datastore import Key, Query, aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.v1 import service_pb2
from datastore_client.aio import RemoteDatastore
from datastore_server import streaming
from tests.support.serving import Running

ENTRIES, FILLER = 40, 5000


@pytest.fixture(params=["node", "proxy"])
async def running(request: pytest.FixtureRequest, start: Any, tmp_path: Path) -> Running:
    """A node on LMDB, or a proxy over two."""

    async def node(name: str) -> Running:
        blocking = LMDBDatastore(tmp_path / name, durability="async")
        found: Running = await start(aio.SerializerShimDatastore(lift(blocking), wire.lazy))
        return found

    if request.param == "node":
        return await node("1")
    stores = [RemoteDatastore((await node(name)).server.url, lazy=True, timeout_s=600) for name in "12"]
    found: Running = await start(aio.ShardedDatastore(stores), check_values=False)
    return found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every message of results that a server sends, nodes behind a proxy included."""
    lengths: list[int] = []
    message = streaming.ResponseBuilder._message

    def counted(self: Any, *arguments: Any) -> bytes:
        data = message(self, *arguments)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(streaming.ResponseBuilder, "_message", counted)
    return lengths


async def fill(running: Running) -> None:
    filler = "x" * FILLER
    await running.put_all(
        {f"/f/{n:02}": {"n": n, "geo": {"lat": -n, "of": filler}, "t": filler} for n in range(ENTRIES)}
    )


@pytest.mark.parametrize("orders", [[], ["-n"], ["t", "n"]], ids=["by key", "by a field asked for", "by others"])
async def test_only_the_requested_fields_are_sent(running: Running, sent: list[int], orders: list[str]) -> None:
    await fill(running)
    query = Query(Key("/f"), fields=["n", "geo.lat"]).filter("t", "!=", None)
    for order in orders:
        query.order(order)
    async with RemoteDatastore(running.server.url, timeout_s=600) as store:
        found = [value async for value in store.query(query)]
        expected = [{"n": n, "geo": {"lat": -n}} for n in range(ENTRIES)]
        assert found == (expected[::-1] if orders == ["-n"] else expected)
        with_fields = sum(sent)
        sent.clear()
        query.fields = None
        assert len([value async for value in store.query(query)]) == ENTRIES
    # Of the fields of the orders the proxy may need the values.
    assert with_fields * (1.5 if "t" in orders else 20) < sum(sent)


@pytest.mark.parametrize("order", [None, "-n"])
async def test_pages_have_only_the_requested_fields(running: Running, order: str | None) -> None:
    await fill(running)
    query = Query(Key("/f"), fields=["geo.lat"])
    if order is not None:
        query.order(order)
    request = service_pb2.ListEntriesRequest(query=wire.encode_query(query), page_size=7)
    found: list[Any] = []
    while True:
        page = await running.stub.ListEntries(request)
        assert page.ByteSize() < FILLER
        found += [wire.decode_value(entry.value.SerializeToString()) for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    expected = [{"geo": {"lat": -n}} for n in range(ENTRIES)]
    assert found == (expected if order is None else expected[::-1])
