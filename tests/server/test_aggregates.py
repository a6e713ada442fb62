"""Aggregate over the wire: of nodes, proxies and nested proxies, its limits, its refusals and its faults."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.model import errors
from datastore.model.aggregates import Aggregate, Avg, Count, Max, Min, Sum
from datastore.model.limits import FIELDS
from datastore.testing import aggregates
from datastore.v1 import query_pb2, service_pb2
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.limits import Limits
from tests.server.conftest import Start
from tests.support import clusters, growing
from tests.support.scripted import fails, scripted, sends
from tests.support.serving import Running

_Aggregation = service_pb2.Aggregation
COUNT = _Aggregation(name="n", function=_Aggregation.FUNCTION_COUNT)
MEAN = _Aggregation(name="mean", function=_Aggregation.FUNCTION_AVG, field_path="v")
PARTS = {"n": Count(), "s": Sum("v"), "mean": Avg("v"), "lo": Min("v"), "hi": Max("v"), "last": Max("__key__")}
#: Doubles whose sum depends on the order, if it is not exact.
VALUES = [1e16, 0.1, -1e16, 3, 1e308, 1e308, -1e308, 5e-324, 0.2, -0.0, 7]
CONTENTS = {
    Key(f"/a/{n:03}"): {"g": ["x", 1, 1.0, None][n % 4], "v": VALUES[n % len(VALUES)], "big": "b" * 500}
    for n in range(200)
}


def request(*aggregations: Any, **fields: Any) -> service_pb2.AggregateRequest:
    fields.setdefault("query", query_pb2.Query(key={"text": "/a"}))
    return service_pb2.AggregateRequest(aggregations=aggregations or [COUNT], **fields)


async def answer(running: Running, asked: Any) -> list[service_pb2.AggregateResponse]:
    return [message async for message in running.stub.Aggregate(asked)]


async def fill(store: Any, contents: Any = CONTENTS) -> None:
    await store.batch_write([(key, value) for key, value in contents.items()])


async def check(store: Any) -> None:
    """Every aggregate of CONTENTS is the exact one, to the bit."""
    for query in (Query(Key("/a")), Query(Key("/a")).filter("v", ">", 0), Query(Key("/a"), limit=50, offset=7)):
        for group_by in ([], ["g"], ["g", "v"]):
            found = await store.aggregate(query, PARTS, group_by=group_by)
            problem = aggregates.difference(found, aggregates.rows(query, CONTENTS, PARTS, group_by), PARTS)
            assert problem is None, problem


# What is answered


async def test_results_are_sorted_limited_and_summed_up(running: Running) -> None:
    await running.put_all({f"/a/{n}": {"g": n % 3, "v": n} for n in range(8)})
    orders = [
        query_pb2.Order(field_path="n", direction=query_pb2.Order.DIRECTION_DESCENDING),
        query_pb2.Order(field_path="mean"),
    ]
    (message,) = await answer(running, request(COUNT, MEAN, group_by=["g"], orders=orders, limit=2))
    plain = [
        [wire.decode_value(value.SerializeToString()) for value in (*group.values, *group.results)]
        for group in message.groups
    ]
    assert plain == [[0, 3, 3.0], [1, 3, 4.0]]
    assert not any(group.states for group in message.groups)
    assert message.summary.groups == 2


async def test_states_are_sent_instead_of_results_if_asked_for(running: Running) -> None:
    await running.put_all({"/a/1": {"v": 0.5}, "/a/2": {"v": -3}, "/a/3": {"v": math.inf}})
    (message,) = await answer(running, request(COUNT, MEAN, partial_state=True))
    (group,) = message.groups
    assert not group.results
    assert [state.WhichOneof("kind") for state in group.states] == ["count", "sum"]
    found = group.states[1].sum
    assert (found.numbers, found.mantissa, found.exponent) == (3, b"\xfb", -1)
    assert found.has_doubles
    assert found.non_finite == math.inf


async def test_many_groups_come_in_several_messages(running: Running) -> None:
    await running.put_all({f"/a/{n:04}": {"g": f"{n:04}" + "x" * 1000} for n in range(600)})
    messages = await answer(running, request(group_by=["g"]))
    assert len(messages) > 2
    assert [message.HasField("summary") for message in messages] == [False] * (len(messages) - 1) + [True]
    assert sum(len(message.groups) for message in messages) == messages[-1].summary.groups == 600
    async with RemoteDatastore(running.server.url) as store:
        rows = await store.aggregate(Query(Key("/a")), {"n": Count()}, group_by=["g"])
        assert [row["g"][:4] for row in rows] == [f"{n:04}" for n in range(600)]


async def test_a_node_a_proxy_and_a_nested_proxy_give_the_same_to_the_bit(tmp_path: Path) -> None:
    async with clusters.node(tmp_path / "node") as node, connect(node.url) as store:
        await fill(store)
        await check(store)
    async with growing.nodes(None, "a", "b", "c") as running, AsyncExitStack() as stack:
        left = await stack.enter_async_context(growing.proxy(running.config("a", "b")))
        right = await stack.enter_async_context(growing.proxy(running.config("c")))
        shards = [ShardConfig(name="left", url=left.url), ShardConfig(name="right", url=right.url)]
        async with growing.proxy(Config(cluster=ClusterConfig(name="outer"), shards=shards)) as outer:
            await fill(outer)
            await check(outer)


async def test_a_proxy_leaves_the_work_to_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_query(*_: Any) -> None:
        raise AssertionError("a proxy reads entries to aggregate them")

    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        await fill(store)
        monkeypatch.setattr(RemoteDatastore, "scan", no_query)
        (row,) = await store.aggregate(Query(Key("/a")).order("v"), {"n": Count()})
        assert row == {"n": 200}


async def test_a_proxy_with_a_cache_asks_the_nodes(tmp_path: Path) -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        tiered = aio.TieredDatastore([aio.DictDatastore(), store])
        await fill(tiered)
        await check(tiered)


async def test_a_query_with_custom_code_is_aggregated_in_the_client(start: Start) -> None:
    running = await start(aio.DictDatastore())
    await running.put_all({"/a/1": {"v": 2}, "/a/2": {"v": 3}})
    query = Query(Key("/a"), object_getattr=lambda value, field: value["v"] + len(field))
    async with connect(running.server.url) as store:
        assert await store.aggregate(query, {"s": Sum("xyz")}) == [{"s": 11}]


async def test_a_store_without_queries_answers_with_its_one_error(start: Start) -> None:
    running = await start(aio.NestedPathDatastore(aio.DictDatastore()))
    async with connect(running.server.url) as store:
        with pytest.raises(errors.QueryNotSupportedError):
            await store.aggregate(Query(Key("/a")), {"n": Count()})


# Limits


async def test_as_many_groups_as_the_limit_and_no_more(start: Start) -> None:
    running = await start(aio.DictDatastore(), limits=Limits(groups=5))
    async with connect(running.server.url) as store:
        for number in range(6):
            await store.put(Key(f"/a/{number}"), {"g": number})
            call = store.aggregate(Query(Key("/a")), {"n": Count()}, group_by=["g"])
            if number < 5:
                assert len(await call) == number + 1
                continue
            with pytest.raises(errors.LimitExceededError) as raised:
                await call
            assert (raised.value.limit, raised.value.maximum) == ("groups", 5)


async def test_a_proxy_limits_the_groups_of_all_its_nodes_together(start: Start) -> None:
    nodes = [await start(aio.DictDatastore(), limits=Limits(groups=100)) for _ in range(2)]
    stores = [RemoteDatastore(node.server.url, lazy=True) for node in nodes]
    running = await start(aio.ShardedDatastore(stores), check_values=False, limits=Limits(groups=60))
    async with connect(running.server.url) as store:
        await fill(store, {Key(f"/a/{n}"): {"g": n} for n in range(60)})
        assert len(await store.aggregate(Query(Key("/a")), {"n": Count()}, group_by=["g"])) == 60
        await store.put(Key("/a/60"), {"g": 60})
        with pytest.raises(errors.LimitExceededError) as raised:
            await store.aggregate(Query(Key("/a")), {"n": Count()}, group_by=["g"])
        assert (raised.value.limit, raised.value.maximum) == ("groups", 60)


async def test_a_client_takes_as_many_groups_as_its_server_allows(start: Start) -> None:
    running = await start(aio.DictDatastore(), limits=Limits(groups=100_000))
    await running.put_all({f"/a/{n}": n for n in range(10_001)})
    async with connect(running.server.url) as store:
        rows = await store.aggregate(Query(Key("/a")), {"n": Count()}, group_by=["__key__"])
        assert len(rows) == 10_001


@pytest.mark.parametrize("above", [-1, 0, 1])
async def test_as_many_fields_and_aggregations_as_the_limit_and_no_more(start: Start, above: int) -> None:
    for most, limits in ((4, Limits(fields=4)), (FIELDS, Limits())):
        running = await start(aio.DictDatastore(), limits=limits)
        async with connect(running.server.url) as store:
            parts = {f"n{n}": Count() for n in range(most - 2 + above)}
            call = store.aggregate(Query(Key("/a")), parts, group_by=["a", "b"])
            if above <= 0:
                assert await call == []
                continue
            with pytest.raises(errors.LimitExceededError) as raised:
                await call
            assert (raised.value.limit, raised.value.maximum) == ("fields", most)


async def test_a_group_that_is_larger_than_a_message_is_refused(start: Start) -> None:
    running = await start(aio.DictDatastore())
    for key in ("/a/1", "/a/2"):
        await running.put(key, {"g": "g" * 1_400_000, "v": key + "v" * 1_400_000})
    async with connect(running.server.url) as store:
        query = Query(Key("/a"))
        assert len(await store.aggregate(query, {"lo": Min("v")}, group_by=["g"])) == 1
        with pytest.raises(errors.LimitExceededError) as raised:
            await store.aggregate(query, {"lo": Min("v"), "hi": Max("v")}, group_by=["g"])
        assert raised.value.limit == "message_bytes"


async def test_an_aggregate_ends_at_the_time_limit_of_queries(start: Start) -> None:
    class Slow(aio.DictDatastore):
        async def tally(self, asked: Aggregate) -> Any:
            await asyncio.Event().wait()

    running = await start(Slow(), limits=Limits(query_time_ms=10))
    async with connect(running.server.url) as store:
        with pytest.raises(errors.DeadlineExceededError, match="query_time_ms"):
            await store.aggregate(Query(Key("/a")), {"n": Count()})


# Refusals


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (service_pb2.AggregateRequest(), "aggregations"),
        (request(_Aggregation(name="n")), "aggregations[0].function"),
        (request(_Aggregation(name="n", function=99)), "aggregations[0].function"),  # type: ignore[arg-type]
        (request(_Aggregation(function=_Aggregation.FUNCTION_COUNT)), "aggregations[0].name"),
        (request(_Aggregation(name="n", function=_Aggregation.FUNCTION_SUM)), "aggregations[0].field_path"),
        (request(COUNT, COUNT), "aggregations[1].name"),
        (request(_Aggregation(name="n" * 1025, function=_Aggregation.FUNCTION_COUNT)), "aggregations[0].name"),
        (request(group_by=[""]), "group_by[0]"),
        (request(group_by=["n"]), "group_by"),
        (request(group_by=["g", "g"]), "group_by"),
        (request(orders=[query_pb2.Order(field_path="m")]), "orders"),
        (request(orders=[query_pb2.Order()]), "orders[0].field_path"),
        (request(limit=-1), "limit"),
        (request(limit=1, partial_state=True), "partial_state"),
        (request(orders=[query_pb2.Order(field_path="n")], partial_state=True), "partial_state"),
        (request(query=query_pb2.Query(field_paths=["v"])), "query"),
        (request(query=query_pb2.Query(view=query_pb2.QUERY_VIEW_KEYS_ONLY)), "query"),
        (request(query=query_pb2.Query(key={"text": "\x00"})), "query.key"),
    ],
)
async def test_bad_requests_are_refused_with_the_field(start: Start, asked: Any, field: str) -> None:
    running = await start(aio.DictDatastore())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await answer(running, asked)
    error = wire.rpc_error_to_error(raised.value)
    assert isinstance(error, errors.InvalidError)
    assert error.field == field


# Faults


def states(count: int, *, groups: int | None = 1) -> service_pb2.AggregateResponse:
    """A group with a count, and a summary of `groups` unless None."""
    response = service_pb2.AggregateResponse()
    response.groups.add().states.add().count = count
    if groups is not None:
        response.summary.groups = groups
    return response


ASKED = (Query(Key("/a")), {"n": Count()})


async def test_an_aggregate_that_is_cut_off_begins_again_and_counts_nothing_twice() -> None:
    cut = sends(states(3, groups=None), error=errors.UnavailableError("gone", retry_after_s=0.01))
    async with scripted(Aggregate=[cut, sends(states(5))]) as server, connect(server.url) as store:
        assert await store.aggregate(*ASKED) == [{"n": 5}]
        assert [name for name, _ in server.calls] == ["Aggregate", "Aggregate"]


@pytest.mark.parametrize("message", [states(3, groups=None), states(3, groups=2)], ids=["no summary", "too few"])
async def test_an_incomplete_answer_is_an_error(message: Any) -> None:
    async with scripted(Aggregate=sends(message)) as server, connect(server.url) as store:
        with pytest.raises(errors.TruncatedStreamError):
            await store.aggregate(*ASKED)


@pytest.mark.parametrize(
    ("parts", "change"),
    [
        ({"n": Count(), "m": Count()}, lambda group: None),
        ({"n": Count()}, lambda group: group.values.add(null_value=0)),
        ({"n": Sum("v")}, lambda group: None),
        ({"n": Sum("v")}, lambda group: setattr(group.states[0].sum, "exponent", 1)),
        ({"n": Sum("v")}, lambda group: setattr(group.states[0].sum, "exponent", -1075)),
        ({"n": Max("v")}, lambda group: group.states[0].extreme.SetInParent()),
    ],
)
async def test_a_state_that_cannot_be_one_is_an_error(parts: Any, change: Any) -> None:
    message = states(3)
    change(message.groups[0])
    async with scripted(Aggregate=sends(message)) as server, connect(server.url) as store:
        with pytest.raises(errors.CorruptDataError):
            await store.aggregate(Query(Key("/a")), parts)


async def test_without_retries_a_cut_is_raised() -> None:
    cut = fails(errors.UnavailableError("gone", retry_after_s=0.01))
    async with scripted(Aggregate=cut) as server, connect(server.url, retry=False) as store:
        with pytest.raises(errors.UnavailableError):
            await store.aggregate(*ASKED)
        assert len(server.calls) == 1


async def test_a_server_without_aggregates_is_named() -> None:
    async with scripted() as server, connect(server.url) as store:
        with pytest.raises(errors.QueryNotSupportedError, match=server.url):
            await store.aggregate(*ASKED)


async def test_an_aggregate_of_a_proxy_fails_with_the_name_of_the_shard_that_failed(start: Start) -> None:
    class Broken(aio.DictDatastore):
        def scan(self, query: Query) -> Any:
            raise errors.StoreError("broken disk")

    stores = [aio.DictDatastore(), Broken()]
    running = await start(aio.ShardedDatastore(stores, names=["left", "right"]))
    async with connect(running.server.url) as store:
        with pytest.raises(errors.StoreError) as raised:
            await store.aggregate(*ASKED)
        assert raised.value.shard == "right"


@pytest.mark.long
async def test_aggregates_while_entries_move_are_whole_or_fail(tmp_path: Path) -> None:
    contents = {Key(f"/a/{n:04}"): {"v": n} for n in range(1500)}
    expected = [{"n": 1500, "s": sum(range(1500))}]
    async with growing.nodes(tmp_path, "a", "b", "c") as running, growing.proxy(running.config("a")) as store:
        await growing.fill(store, contents)
        moving = asyncio.create_task(growing.apply_now(running.config("a", "b", "c")))
        answered = 0
        while not moving.done():
            try:
                assert await store.aggregate(Query(Key("/a")), {"n": Count(), "s": Sum("v")}) == expected
                answered += 1
            except (errors.WrongShardError, errors.UnavailableError):
                pass
        await moving
        assert answered


async def test_a_proxy_verifies_its_nodes_again_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = clusters.refusals_of(monkeypatch, "aggregate")
    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        await fill(store)
        refusals.append(errors.WrongShardError("another", epoch=1))
        assert await store.aggregate(*ASKED) == [{"n": 200}]
        assert not refusals
