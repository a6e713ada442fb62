"""Writes that are sent again because their answers were lost: made once, or refused if that cannot be known."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio
from datastore.model.attempts import REQUEST_ID_BYTES
from datastore.model.entries import Write
from datastore.model.errors import (
    BatchAbortedError,
    ConditionFailedError,
    DatastoreError,
    InvalidError,
    OverloadedError,
    RequestForgottenError,
    UnavailableError,
)
from datastore.model.key import Key
from datastore.model.metadata import ABSENT
from datastore.model.operations import Delete, Patch, Put
from datastore.model.patches import changes_of
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import error_to_status, rpc_error_to_error, status_to_error
from datastore_client.aio import RemoteDatastore
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node
from tests.support import clusters, processes
from tests.support.colours import connected
from tests.support.scripted import Answer, fails, replies, scripted
from tests.support.serving import Running, entry
from tests.support.waiting import PATIENCE_S

KEY = Key("/a/b")
NAMED = value_pb2.Key(text="/a/b")
SERVICE = "/datastore.v1.DatastoreService/"
WRITES = ("Put", "Delete", "Patch", "Touch", "BatchWrite")


def attempt(request_id: bytes = b"x" * REQUEST_ID_BYTES, age_us: int = 0) -> value_pb2.Attempt:
    return value_pb2.Attempt(request_id=request_id, age_us=age_us)


def passed_on(channel: Any, method: str, *, loses: Any = None) -> Answer:
    """Passes calls on to a server. With `loses` its answer is lost, and the call fails with that code."""

    async def answer(request: bytes, context: Any) -> bytes:
        made = await answered(channel, method, request, context)
        if loses is not None:
            await context.abort(loses, "the answer was lost")
        return made

    return answer


async def answered(channel: Any, method: str, request: bytes, context: Any) -> bytes:
    """The answer of a server; its errors end the call in the same way."""
    try:
        return bytes(await channel.unary_unary(SERVICE + method)(request, wait_for_ready=True))
    except grpc.aio.AioRpcError as error:
        context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
        await context.abort(error.code(), error.details() or "")
        raise


def losing(channel: Any, code: Any = grpc.StatusCode.UNAVAILABLE) -> dict[str, Any]:
    """The methods of a server; the first answer to each kind of write is lost."""
    reads = {name: passed_on(channel, name) for name in ("Get", "BatchGet")}
    return reads | {name: [passed_on(channel, name, loses=code), passed_on(channel, name)] for name in WRITES}


def attempt_of(request: bytes, kind: Any = service_pb2.PutRequest) -> value_pb2.Attempt:
    found: value_pb2.Attempt = kind.FromString(request).attempt
    return found


# Lost answers


Calls = dict[str, Callable[[Any, Any], Awaitable[Any]]]
CALLS: Calls = {
    "put": lambda colour, store: colour.call(store.put, KEY, {"n": 1}, if_absent=True),
    "patch": lambda colour, store: colour.call(store.patch, KEY, increment={"n": 1}, create=True),
    "update": lambda colour, store: colour.call(store.update, KEY, lambda value: {"n": (value or {"n": 0})["n"] + 1}),
    "batch": lambda colour, store: colour.call(
        store.batch_write, [Put(KEY, {"n": 7}, ABSENT), Write(Key("/c"), 2), Delete(Key("/d")), Put(KEY, {"n": 1})]
    ),
}


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
@pytest.mark.parametrize("call", CALLS)
async def test_a_write_whose_answer_is_lost_is_made_once(colour: Any, call: str, code: Any, start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    async with scripted(**losing(running.channel, code)) as server:
        async with connected(colour, server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            answer = await CALLS[call](colour, store)
            if call == "batch":
                assert [result.error for result in answer] == [None] * 4
            elif call != "put":
                assert answer == {"n": 1}
            found = await colour.call(store.entry, KEY)
        # The first attempt, and the one that was answered.
        assert len([name for name, _ in server.calls if name in WRITES]) == 2
    assert found.value == {"n": 1}


async def test_a_touch_and_a_delete_whose_answers_are_lost_are_made_once(colour: Any, start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    async with scripted(**losing(running.channel)) as server:
        async with connected(colour, server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            await running.put("/a/b", 1)
            assert await colour.call(store.touch, KEY, expires_in_s=PATIENCE_S)
            await colour.call(store.delete, KEY, if_exists=True)
            assert await colour.call(store.get, KEY) is None


async def test_without_retries_a_write_of_unknown_outcome_is_not_repeated(colour: Any, start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    async with scripted(**losing(running.channel)) as server:
        async with connected(colour, server.url) as store:
            with pytest.raises(UnavailableError) as failed:
                await colour.call(store.put, KEY, 1)
            assert failed.value.retry_after_s is None
        [(name, request)] = server.calls
        assert name == "Put"
        assert not service_pb2.PutRequest.FromString(request).HasField("attempt")


async def test_an_attempt_says_how_long_ago_the_first_that_may_have_been_made_was_sent(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    busy, cut = fails(OverloadedError("busy", retry_after_s=0.0)), fails(grpc.StatusCode.UNAVAILABLE)
    async with scripted(Put=[busy, cut, busy, cut, passed_on(running.channel, "Put")]) as server:
        async with RemoteDatastore(server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            await store.put(KEY, 1)
        sent = [attempt_of(request) for _, request in server.calls]
    assert len({one.request_id for one in sent}) == 1
    assert len(sent[0].request_id) == REQUEST_ID_BYTES
    ages = [one.age_us for one in sent]
    assert ages[:2] == [0, 0]
    assert ages[1:] == sorted(set(ages))


async def test_each_write_has_another_id(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    async with scripted(Put=passed_on(running.channel, "Put")) as server:
        async with RemoteDatastore(server.url, retry_writes=True) as store:
            await asyncio.gather(*(store.put(Key(f"/{number}"), number) for number in range(20)))
        assert len({attempt_of(request).request_id for _, request in server.calls}) == 20


def results_of(*errors: DatastoreError | None) -> service_pb2.BatchWriteResponse:
    results = [
        service_pb2.BatchWriteResponse.Result(status=None if error is None else error_to_status(error))
        for error in errors
    ]
    return service_pb2.BatchWriteResponse(results=results)


async def test_of_a_batch_only_writes_without_an_answer_are_repeated() -> None:
    lost, failed = UnavailableError("cut off"), ConditionFailedError("no", version=3)
    first, second = results_of(None, lost, failed, lost, None), results_of(None)
    # A later write of /d was made, so the earlier one must not follow it.
    keys = [Key(text) for text in ("/a", "/b", "/c", "/d", "/d")]
    async with scripted(BatchWrite=[replies(first), replies(second)]) as server:
        async with RemoteDatastore(server.url, retry_writes=True) as store:
            results = await store.batch_write([Write(key, 1) for key in keys])
        requests = [service_pb2.BatchWriteRequest.FromString(request) for _, request in server.calls]
    assert [type(result.error) for result in results] == [
        type(None),
        type(None),
        ConditionFailedError,
        UnavailableError,
        type(None),
    ]
    assert [[write.put.key.text for write in request.writes] for request in requests] == [list(map(str, keys)), ["/b"]]
    [again] = requests[1].writes
    assert again.attempt.request_id == requests[0].writes[1].attempt.request_id
    assert again.attempt.age_us > 0


@pytest.mark.parametrize("size", [1, 2])
async def test_an_outcome_that_is_unknown_stays_so_although_the_last_attempt_did_nothing(size: int) -> None:
    cut, busy = fails(grpc.StatusCode.UNAVAILABLE), fails(OverloadedError("busy", retry_after_s=3600.0))
    async with scripted(Put=[cut, busy], BatchWrite=[cut, busy]) as server:
        async with RemoteDatastore(server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            results = await store.batch_write([Write(Key(f"/{number}"), 1) for number in range(size)])
    for result in results:
        assert type(result.error) is UnavailableError
        assert result.error.retry_after_s is None


async def test_an_atomic_batch_whose_answer_is_lost_is_made_once(colour: Any, start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    increment = Patch(KEY, changes_of(increment={"n": 1}), create=True)
    async with scripted(**losing(running.channel)) as server:
        async with connected(colour, server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            results = await colour.call(store.batch_write, [increment, increment, Delete(Key("/c"))], atomic=True)
            assert [result.error for result in results] == [None] * 3
            assert await colour.call(store.get, KEY) == {"n": 2}


async def test_of_an_atomic_batch_whose_shard_was_cut_off_all_writes_are_repeated() -> None:
    lost, failed = UnavailableError("cut off"), ConditionFailedError("no", version=3)
    answers = [results_of(lost, lost), results_of(BatchAbortedError("no", index=1), failed)]
    async with scripted(BatchWrite=list(map(replies, answers))) as server:
        async with RemoteDatastore(server.url, retry_writes=True) as store:
            results = await store.batch_write([Write(KEY, 1), Write(KEY, 2)], atomic=True)
        requests = [service_pb2.BatchWriteRequest.FromString(request) for _, request in server.calls]
    assert [type(result.error) for result in results] == [BatchAbortedError, ConditionFailedError]
    first, second = ([write.attempt for write in request.writes] for request in requests)
    assert [one.request_id for one in first] == [one.request_id for one in second]
    assert all(one.age_us == 0 for one in first)
    assert all(one.age_us > 0 for one in second)
    assert all(request.atomic for request in requests)


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async with RemoteDatastore("grpc://127.0.0.1:1", retry_writes=True, timeout_s=math.inf) as store:
        with pytest.raises(UnavailableError, match="nothing answers"):
            await store.put(KEY, 1)


async def test_writes_cannot_be_retried_without_retries() -> None:
    with pytest.raises(InvalidError):
        RemoteDatastore("grpc://127.0.0.1:1", retry=False, retry_writes=True)


# What servers make of attempts


@pytest.fixture(params=["memory", "files"])
async def running(request: pytest.FixtureRequest, start: Any, tmp_path: Path) -> Running:
    """A server on a store that remembers requests, and on one that does not."""
    running: Running = await start(on_files(tmp_path) if request.param == "files" else aio.DictDatastore())
    return running


def on_files(directory: Path) -> Any:
    return build_node(parse_store_url(f"file://{directory}/files")).datastore


async def refused(call: Any) -> DatastoreError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return rpc_error_to_error(failed.value)


async def error_of(running: Running, method: str, request: Any) -> DatastoreError | None:
    """The error of a write: that of the call or, of a batch, that of its only item."""
    if method != "BatchWrite":
        return await refused(getattr(running.stub, method)(request))
    [result] = (await running.stub.BatchWrite(request)).results
    return status_to_error(result.status)


def requests_with(attempt: value_pb2.Attempt) -> dict[str, Any]:
    """A request of each kind."""
    patch = value_pb2.Patch(key=NAMED, create=True)
    patch.changes.add(field_path="n").set.int64_value = 1
    return {
        "Put": service_pb2.PutRequest(entry=entry("/a/b", 1), attempt=attempt),
        "Delete": service_pb2.DeleteRequest(key=NAMED, attempt=attempt),
        "Patch": service_pb2.PatchRequest(patch=patch, attempt=attempt),
        "Touch": service_pb2.TouchRequest(key=NAMED, attempt=attempt),
        "BatchWrite": service_pb2.BatchWriteRequest(
            writes=[service_pb2.BatchWriteRequest.Write(put=entry("/a/b", 1), attempt=attempt)]
        ),
    }


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (attempt(b""), "attempt.request_id"),
        (attempt(b"x" * 15), "attempt.request_id"),
        (attempt(b"x" * 17), "attempt.request_id"),
        (attempt(age_us=-1), "attempt.age_us"),
    ],
)
async def test_a_bad_attempt_is_refused(start: Any, bad: value_pb2.Attempt, field: str) -> None:
    running: Running = await start(aio.DictDatastore())
    for method, request in requests_with(bad).items():
        error = await error_of(running, method, request)
        assert isinstance(error, InvalidError)
        assert error.field == field
    assert not (await running.stub.Get(service_pb2.GetRequest(key=NAMED))).HasField("value")


async def test_a_write_from_before_the_server_is_refused_and_not_made(running: Running) -> None:
    for method in ("Put", "Delete", "BatchWrite"):
        request = requests_with(attempt(age_us=10**12))[method]
        assert isinstance(await error_of(running, method, request), RequestForgottenError)
    assert not (await running.stub.Get(service_pb2.GetRequest(key=NAMED))).HasField("value")


async def test_the_answer_of_a_patch_has_its_value_only_as_long_as_that_is_there(start: Any) -> None:
    running: Running = await start(aio.DictDatastore())
    first = requests_with(attempt())["Patch"]
    first.include_value = True
    made = await running.stub.Patch(first)
    first.attempt.age_us = 1
    assert await running.stub.Patch(first) == made
    await running.put("/a/b", 2)
    later = await running.stub.Patch(first)
    assert later.metadata == made.metadata
    assert not later.HasField("value")


async def test_a_client_learns_that_a_store_does_not_remember(colour: Any, start: Any, tmp_path: Path) -> None:
    running: Running = await start(on_files(tmp_path))
    async with scripted(**losing(running.channel)) as server:
        async with connected(colour, server.url, retry_writes=True) as store:
            with pytest.raises(RequestForgottenError):
                await colour.call(store.put, KEY, 1)
            assert await colour.call(store.get, KEY) == 1


async def test_a_proxy_passes_attempts_on(tmp_path: Path) -> None:
    async with clusters.proxy(tmp_path) as cluster, RemoteDatastore(cluster.url) as store:
        channel = grpc.aio.insecure_channel(cluster.url.removeprefix("grpc://"))
        put = channel.unary_unary(SERVICE + "Put")
        first = service_pb2.PutRequest(entry=entry("/a/b", 1), attempt=attempt())
        made = await put(first.SerializeToString())
        await store.put(KEY, 2)
        first.attempt.age_us = 1000
        assert await put(first.SerializeToString()) == made
        assert await store.get(KEY) == 2
        first.attempt.request_id, first.attempt.age_us = os.urandom(REQUEST_ID_BYTES), 10**12
        assert isinstance(await refused(put(first.SerializeToString())), RequestForgottenError)
        await channel.close()


# Nodes that are killed


async def answer_of(node: processes.ServerProcess) -> Any:
    """What a client gets for an increment if the node makes it and is killed before it has answered."""

    async def made_and_killed(request: bytes, context: Any) -> bytes:
        await called(request, context)
        await asyncio.to_thread(restart, node)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return b""

    async def called(request: bytes, context: Any) -> bytes:
        async with grpc.aio.insecure_channel(node.url.removeprefix("grpc://")) as channel:
            return await answered(channel, "Patch", request, context)

    async with scripted(Patch=[made_and_killed, called]) as server:
        async with RemoteDatastore(server.url, retry_writes=True, timeout_s=PATIENCE_S) as store:
            return await store.patch(KEY, increment={"n": 1}, create=True)


def restart(node: processes.ServerProcess) -> None:
    node.kill()
    node.start()


@pytest.fixture(params=["lmdb://{}", "memory:"])
async def killed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[processes.ServerProcess]:
    store = request.param.format(tmp_path / "data")
    process = processes.ServerProcess("serve", store, log=tmp_path / "node.log")
    try:
        await asyncio.to_thread(process.start)
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def test_a_node_that_was_killed_remembers_what_it_has_on_disk(
    killed: processes.ServerProcess, tmp_path: Path
) -> None:
    if (tmp_path / "data").exists():
        assert await answer_of(killed) == {"n": 1}
        expected = {"n": 1}
    else:
        # It cannot know what the process before it did.
        with pytest.raises(RequestForgottenError):
            await answer_of(killed)
        expected = None
    async with RemoteDatastore(killed.url, timeout_s=PATIENCE_S) as store:
        assert await store.get(KEY) == expected
