"""Maps that a client encoded in another way than protobuf does: queries see what a get returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore.model.aggregates import Count, Max, Min
from datastore.model.key import Key
from datastore.model.query import Query
from datastore.testing import aggregates, model
from datastore.v1 import service_pb2
from datastore.wire import raw
from datastore_client.aio import connect
from tests.support import odd_maps
from tests.support.serving import Running

ALL = Query(Key("/a"))
PARTS = {"n": Count(), "of": Count("a"), "lo": Min("a"), "hi": Max("a")}
FIVE = odd_maps.scalar(5)
REPEATED = {
    "emptied": odd_maps.of(odd_maps.entry("a", FIVE, b"")),
    "a map in two parts": odd_maps.of(
        odd_maps.entry("a", *(odd_maps.of(odd_maps.entry(name, FIVE)) for name in ("x", "y")))
    ),
    # As long as it would be without the repetition and with the other name.
    "as long as usual": odd_maps.of(
        odd_maps.entry("a", FIVE, b""), odd_maps.field(odd_maps.VALUE, FIVE), odd_maps.entry("b", FIVE)
    ),
}


@pytest.fixture(params=["memory", "lmdb"])
async def running(request: pytest.FixtureRequest, start: Any, tmp_path: Path) -> Running:
    store = aio.DictDatastore()
    if request.param == "lmdb":
        store = aio.SerializerShimDatastore(lift(LMDBDatastore(tmp_path / "data", durability="async")), wire.lazy)
    found: Running = await start(store)
    return found


async def put(running: Running, datas: list[bytes]) -> dict[Key, Any]:
    """Put these values as they are; what they are."""
    request = raw.BatchWriteRequest()
    for index, data in enumerate(datas):
        entry = request.writes.add().put
        entry.key.text, entry.value = f"/a/{index}", data
    call: Any = running.channel.unary_unary("/datastore.v1.DatastoreService/BatchWrite")
    response = service_pb2.BatchWriteResponse.FromString(await call(request.SerializeToString()))
    assert not any(result.HasField("status") for result in response.results)
    return {Key(f"/a/{index}"): wire.decode_value(data) for index, data in enumerate(datas)}


async def check(running: Running, contents: dict[Key, Any]) -> None:
    """Gets, filters, orders and aggregates agree with the values."""
    wanted = [value["a"] for value in contents.values() if "a" in value]
    async with connect(running.server.url) as store:
        for key, value in contents.items():
            assert model.same(await store.get(key), value)
        operators = [(operator, value) for operator in ("=", "!=", ">") for value in (*wanted, None, 0)]
        queries = [ALL.copy().filter("a", *pair) for pair in operators]
        for query in (*queries, ALL.copy().order("a"), ALL.copy().order("-a").order("b")):
            found = [entry async for entry in store.query(query).entries()]
            problem = model.difference(found, model.answer(query, contents).entries)
            assert problem is None, (query, problem)
        for group_by in ([], ["a"]):
            rows = await store.aggregate(ALL, PARTS, group_by=group_by)
            problem = aggregates.difference(rows, aggregates.rows(ALL, contents, PARTS, group_by), PARTS)
            assert problem is None, problem


@pytest.mark.parametrize("data", REPEATED.values(), ids=REPEATED)
async def test_an_entry_of_a_map_may_repeat_its_value(running: Running, data: bytes) -> None:
    usual = wire.encode_value({"a": 4, "b": "text"}).data
    await check(running, await put(running, [data, usual]))


@given(datas=st.lists(odd_maps.maps(), min_size=1, max_size=5))
async def test_queries_see_maps_as_gets_do_however_they_are_encoded(running: Running, datas: list[bytes]) -> None:
    contents = await put(running, datas)
    try:
        await check(running, contents)
    finally:
        async with connect(running.server.url) as store:
            await store.batch_write([(key, None) for key in contents])
