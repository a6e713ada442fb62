"""DeleteMatching and PatchMatching over the wire: of nodes and proxies, their limits, refusals, cuts and moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.model import errors
from datastore.model.operations import Patch
from datastore.testing import model
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore_client.aio import RemoteDatastore, connect
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.limits import Limits
from tests.server.conftest import Start
from tests.support import clusters, growing
from tests.support.scripted import broken_wire, fails, scripted, sends
from tests.support.serving import Running, value

ALL = Query(Key("/a"))
SCOPE = query_pb2.Query(key={"text": "/a"})
VISIT = value_pb2.FieldChange(field_path="visits", increment=value(1))


async def fill(store: Any, count: int, text: str = "") -> dict[Key, Any]:
    contents = {Key(f"/a/{n:05}"): {"n": n % 7, "visits": 0, "text": text} for n in range(count)}
    await growing.fill(store, contents)
    return contents


async def visits(store: Any) -> Counter[int]:
    """How many entries have been visited how many times."""
    return Counter([entry["visits"] async for entry in store.query(ALL)])


# What is answered


async def test_the_first_message_comes_before_the_work_and_the_last_sums_up(running: Running) -> None:
    await running.put_all({f"/a/{n:04}": {"n": n} for n in range(1200)} | {"/b/1": 1})
    asked = service_pb2.DeleteMatchingRequest(query=SCOPE)
    messages = [message async for message in running.stub.DeleteMatching(asked)]
    first, *middle, last = messages
    assert (first.progress.total, first.progress.changed) == (1200, 0)
    assert not any(message.progress.HasField("total") for message in middle)
    assert all(message.resume_token for message in messages)
    assert [message.HasField("summary") for message in messages] == [False] * (len(messages) - 1) + [True]
    assert sum(message.progress.changed for message in messages) == last.summary.changed == last.summary.total == 1200
    contained = await running.stub.Contains(service_pb2.ContainsRequest(key={"text": "/b/1"}))
    assert contained.contains


async def test_failures_of_single_entries_are_counted_and_some_are_named(running: Running) -> None:
    await running.put_all({f"/a/{n:03}": n for n in range(300)} | {"/a/map": {}})
    asked = service_pb2.PatchMatchingRequest(query=SCOPE, changes=[VISIT])
    messages = [message async for message in running.stub.PatchMatching(asked)]
    assert (messages[-1].summary.changed, messages[-1].summary.failed) == (1, 300)
    failures = [failure for message in messages for failure in message.progress.failures]
    assert len(failures) == 100
    assert "only a map can be patched" in failures[0].status.message
    async with connect(running.server.url) as store:
        progress = await store.patch_matching(ALL, increment={"visits": 1}).finish()
    assert (progress.changed, progress.failed, len(progress.failures)) == (1, 300, 100)
    assert isinstance(progress.failures[0].error, errors.InvalidValueError)


async def test_values_that_become_too_large_fail_by_themselves(start: Start) -> None:
    running = await start(aio.DictDatastore(), limits=Limits(entry_bytes=1000))
    await running.put_all({"/a/1": {"text": "x" * 900}, "/a/2": {"text": ""}})
    async with connect(running.server.url) as store:
        progress = await store.patch_matching(ALL, {"more": "x" * 200}).finish()
        assert (progress.changed, progress.failed) == (1, 1)
        (failure,) = progress.failures
        assert failure.key == Key("/a/1")
        assert isinstance(failure.error, errors.LimitExceededError)


async def test_many_large_values_are_all_patched(running: Running) -> None:
    async with connect(running.server.url) as store:
        await fill(store, 30, text="x" * 300_000)
        assert (await store.patch_matching(ALL, increment={"visits": 1}).finish()).changed == 30
        assert await visits(store) == {1: 30}


async def test_a_proxy_leaves_the_work_to_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        await fill(store, 100)

        def refuse(*_: Any) -> None:
            raise AssertionError("a proxy reads entries to change them")

        with monkeypatch.context() as patch:
            patch.setattr(RemoteDatastore, "scan", refuse)
            patch.setattr(RemoteDatastore, "write", refuse)
            progress = await store.patch_matching(ALL.copy().order("-n"), increment={"visits": 1}).finish()
            assert (progress.total, progress.changed) == (100, 100)
        assert await visits(store) == {1: 100}


async def test_limits_select_over_all_nodes_also_of_nested_proxies() -> None:
    async with growing.nodes(None, "a", "b", "c") as running, AsyncExitStack() as stack:
        left = await stack.enter_async_context(growing.proxy(running.config("a", "b")))
        right = await stack.enter_async_context(growing.proxy(running.config("c")))
        shards = [ShardConfig(name="left", url=left.url), ShardConfig(name="right", url=right.url)]
        async with growing.proxy(Config(cluster=ClusterConfig(name="outer"), shards=shards)) as outer:
            contents = await fill(outer, 200)
            query = Query(Key("/a"), limit=50, offset=13).order("-n")
            selected = set(model.answer(query, contents).keys)
            begun = await anext(outer.patch_matching(query, increment={"visits": 1}))
            await outer.patch_matching(query, increment={"visits": 1}, resume_token=begun.token).finish()
            await outer.patch_matching(query, increment={"visits": 1}, resume_token=begun.token).finish()
            assert {entry.key async for entry in outer.query(ALL).entries() if entry.value["visits"]} == selected
            assert await visits(outer) == {0: 150, 1: 50}


async def test_a_cache_returns_nothing_that_was_deleted_or_patched_through_it(start: Start) -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        tiered = aio.TieredDatastore([aio.DictDatastore(), store])
        contents = await fill(tiered, 50)
        for key in contents:
            await tiered.get(key)
        await tiered.patch_matching(ALL, increment={"visits": 1}).finish()
        assert {(await tiered.get(key))["visits"] for key in contents} == {1}
        await tiered.delete_matching(ALL).finish()
        assert not any([await tiered.contains(key) for key in contents])


async def test_a_store_without_versions_deletes_and_does_not_patch(start: Start, tmp_path: Path) -> None:
    class Plain(aio.DictDatastore):
        @property
        def capability(self) -> Any:
            return super().capability._replace(versions=False)

    running = await start(Plain())
    async with connect(running.server.url) as store:
        await fill(store, 10)
        with pytest.raises(errors.UnsupportedError):
            await store.patch_matching(ALL, {"n": 1}).finish()
        assert (await store.delete_matching(ALL.copy().filter("n", "=", 3)).finish()).changed == 1
        assert await visits(store) == {0: 9}


async def test_custom_code_selects_in_the_client(running: Running) -> None:
    async with connect(running.server.url) as store:
        await fill(store, 10)
        query = Query(Key("/a"), object_getattr=lambda found, field: found[field] * 2).filter("n", ">", 10)
        assert (await store.delete_matching(query).finish()).changed == 1
        assert await visits(store) == {0: 9}


# Refusals


@pytest.mark.parametrize(
    ("method", "asked", "field"),
    [
        ("PatchMatching", service_pb2.PatchMatchingRequest(query=SCOPE), "changes"),
        ("PatchMatching", service_pb2.PatchMatchingRequest(query=SCOPE, changes=[VISIT, VISIT]), "changes"),
        ("PatchMatching", service_pb2.PatchMatchingRequest(changes=[VISIT], resume_token=b"x"), "resume_token"),
        ("DeleteMatching", service_pb2.DeleteMatchingRequest(query={"field_paths": ["v"]}), "query"),
        ("DeleteMatching", service_pb2.DeleteMatchingRequest(query={"view": query_pb2.QUERY_VIEW_KEYS_ONLY}), "query"),
        ("DeleteMatching", service_pb2.DeleteMatchingRequest(query={"key": {"text": "\x00"}}), "query.key"),
        ("DeleteMatching", service_pb2.DeleteMatchingRequest(query=SCOPE, resume_token=b"nonsense"), "resume_token"),
    ],
)
async def test_bad_requests_are_refused_with_the_field(start: Start, method: str, asked: Any, field: str) -> None:
    running = await start(aio.DictDatastore())
    await running.put("/a/1", {})
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await getattr(running.stub, method)(asked).read()
    error = wire.rpc_error_to_error(raised.value)
    assert isinstance(error, errors.InvalidError)
    assert error.field == field
    async with connect(running.server.url) as store:
        assert await store.get(Key("/a/1")) == {}


async def test_a_token_of_a_proxy_is_refused_by_a_node_and_the_other_way_round() -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store, connect(cluster.nodes[0].url) as node:
        await fill(store, 20)
        for one, other in ((store, node), (node, store)):
            token = (await anext(one.delete_matching(ALL.copy().filter("n", "=", 99)))).token
            with pytest.raises(errors.InvalidTokenError, match="shards"):
                await other.delete_matching(ALL.copy().filter("n", "=", 99), resume_token=token).finish()


# Ends and cuts


async def test_a_run_goes_on_over_the_time_limit_of_queries(start: Start) -> None:
    running = await start(aio.DictDatastore(), limits=Limits(query_time_ms=1))
    async with connect(running.server.url) as store:
        await fill(store, 3000)
        progress = await store.patch_matching(ALL, increment={"visits": 1}).finish()
        assert (progress.total, progress.changed) == (3000, 3000)
        # Queries that take longer make no progress here.
        assert {(await store.get(Key(f"/a/{n:05}")))["visits"] for n in range(0, 3000, 100)} == {1}


async def test_a_server_that_shuts_down_ends_it_and_another_continues(start: Start) -> None:
    backend = aio.DictDatastore()
    first, second = await start(backend), await start(backend)
    async with connect(second.server.url) as other:
        await fill(other, 20_000)
        request = service_pb2.PatchMatchingRequest(query=SCOPE, changes=[VISIT])
        messages, changed = aiter(first.stub.PatchMatching(request)), 0
        request.resume_token = (await anext(messages)).resume_token
        closing = asyncio.create_task(first.server.stop())
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down; continue by the last token") as raised:
            async for message in messages:
                changed += message.progress.changed
                request.resume_token = message.resume_token
        assert isinstance(wire.rpc_error_to_error(raised.value), errors.UnavailableError)
        await closing
        assert 0 < changed < 20_000
        async for message in second.stub.PatchMatching(request):
            changed += message.progress.changed
        assert changed == 20_000
        assert await visits(other) == {1: 20_000}


@pytest.mark.parametrize("through", ["node", "proxy"])
async def test_cuts_anywhere_never_patch_an_entry_twice(through: str) -> None:
    cluster_of = clusters.proxy if through == "proxy" else clusters.node
    async with cluster_of() as cluster:
        async with connect(cluster.url) as store:
            await fill(store, 6000)
        port = int(cluster.url.rpartition(":")[2])
        async with broken_wire(port, breaks=[400, 900, 700, 1500]) as (url, cuts):
            async with connect(url) as store:
                # So that the server is known to be there.
                await store.get(Key("/a/00000"))
                cuts.arm()
                run = store.patch_matching(ALL, increment={"visits": 1})
                try:
                    await run.finish()
                except errors.UnavailableError:
                    # The very first answer was lost: nobody knows what was done.
                    assert run.progress.token is None
            assert cuts.faults
        async with connect(cluster.url) as store:
            counted = await visits(store)
            assert counted.keys() <= {0, 1}
            if run.progress.token is not None:
                assert counted == {1: 6000}


async def test_a_patch_whose_first_answer_is_lost_is_not_repeated() -> None:
    lost = fails(grpc.StatusCode.UNAVAILABLE)
    async with scripted(PatchMatching=lost) as server, connect(server.url) as store:
        run = store.patch_matching(ALL, {"n": 1})
        with pytest.raises(errors.UnavailableError):
            await run.finish()
        assert len(server.calls) == 1
        assert run.progress.token is None


async def test_a_refusal_before_the_beginning_is_repeated() -> None:
    busy = fails(errors.OverloadedError("busy", retry_after_s=0.01))
    done = service_pb2.PatchMatchingResponse(resume_token=b"end")
    done.summary.changed = 0
    async with scripted(PatchMatching=[busy, sends(done)]) as server, connect(server.url) as store:
        await store.patch_matching(ALL, {"n": 1}).finish()
        assert len(server.calls) == 2


async def test_progress_without_its_summary_is_an_error() -> None:
    begun = service_pb2.DeleteMatchingResponse(resume_token=b"begun")
    async with scripted(DeleteMatching=sends(begun)) as server, connect(server.url) as store:
        with pytest.raises(errors.TruncatedStreamError):
            await store.delete_matching(ALL).finish()


async def test_a_client_that_leaves_ends_it(start: Start) -> None:
    running = await start(aio.DictDatastore())
    async with connect(running.server.url) as store:
        await fill(store, 50_000)
        async with store.delete_matching(ALL) as run:
            await anext(run)
        # Ends only once no call is in progress.
        await running.server.stop()


# Others who write meanwhile


async def test_concurrent_increments_are_all_counted() -> None:
    async with clusters.proxy() as cluster, connect(cluster.url) as store, connect(cluster.url) as other:
        contents = await fill(store, 2000)
        run = store.patch_matching(ALL, increment={"visits": 1})
        await anext(run)
        keys = list(contents)[::-20]
        working = asyncio.create_task(run.finish())
        for key in keys:
            await other.patch(key, increment={"visits": 1000})
        done = await working
        counted = await visits(store)
        assert done.changed + done.passed_over == 2000
        assert sum(number * count for number, count in counted.items()) == 1000 * len(keys) + done.changed
        assert counted.keys() <= {1, 1000, 1001}


async def test_a_failing_shard_ends_it_with_its_name_and_a_token_continues(start: Start) -> None:
    class Failing(aio.DictDatastore):
        is_broken = True

        async def write(self, operations: Any) -> Any:
            if self.is_broken and isinstance(operations[0], Patch):
                raise errors.UnavailableError("gone")
            return await super().write(operations)

    stores = [aio.DictDatastore(), Failing()]
    sharded = aio.ShardedDatastore(stores, names=["left", "right"])
    await fill(sharded, 1500)
    run = sharded.patch_matching(ALL, increment={"visits": 1})
    with pytest.raises(errors.UnavailableError) as raised:
        await run.finish()
    assert raised.value.shard == "right"
    Failing.is_broken = False
    token, before = run.progress.token, run.progress.changed
    done = await sharded.patch_matching(ALL, increment={"visits": 1}, resume_token=token).finish()
    assert before > 0
    assert before + done.changed == 1500
    assert await visits(sharded) == {1: 1500}


async def test_a_proxy_verifies_its_nodes_again_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = clusters.refusals_of(monkeypatch, "delete_matching")
    async with clusters.proxy() as cluster, connect(cluster.url) as store:
        await fill(store, 200)
        refusals.append(errors.WrongShardError("another", epoch=1))
        async with store.delete_matching(ALL) as run:
            try:
                await run.finish()
            except errors.WrongShardError:
                # Others had begun.
                await store.delete_matching(ALL, resume_token=run.progress.token).finish()
        assert not await visits(store)
        assert not refusals


@pytest.mark.long
async def test_no_entry_is_patched_twice_while_entries_move(tmp_path: Path) -> None:
    async with growing.nodes(tmp_path, "a", "b", "c") as running:
        async with growing.proxy(running.config("a")) as store:
            await fill(store, 3000)
            run = store.patch_matching(ALL, increment={"visits": 1})
            await anext(run)
            moving = asyncio.create_task(growing.apply_now(running.config("a", "b", "c")))
            with suppress(errors.WrongShardError, errors.UnavailableError):
                await run.finish()
            await moving
        async with growing.proxy(running.config("a", "b", "c")) as store:
            counted = await visits(store)
            assert counted.keys() <= {0, 1}
            assert counted[1] >= run.progress.changed
            assert (await store.delete_matching(ALL).finish()).changed == 3000
            assert not await visits(store)
