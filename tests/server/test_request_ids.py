"""Request ids: what names a failed call in the log, in its error, and at every server that it passed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.model.errors import ConditionFailedError, DatastoreError, InternalError
from datastore.model.forwarding import set_forwarded
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore_client.aio import connect
from datastore_server import logs
from datastore_server.app import serve
from datastore_server.call import FORWARDED_CHARACTERS, Call
from tests.server.conftest import Start
from tests.support.clusters import background, proxy
from tests.support.commands import Commands
from tests.support.serving import Failing

RANDOM = r"[0-9a-f]{16}"


async def failed(call: Any) -> DatastoreError:
    """The error of a call of a stub."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return wire.rpc_error_to_error(caught.value)


GET = service_pb2.GetRequest(key={"text": "/a:1"})


async def test_an_error_has_the_id_of_the_line_in_the_log(start: Start, tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "log"):
        running = await start(Failing())
        error = await failed(running.stub.Get(GET))
        lines = (tmp_path / "log").read_text().splitlines()
    assert isinstance(error, InternalError)
    assert error.request_id and re.fullmatch(RANDOM, error.request_id)
    named = [line for line in lines if line.endswith(f"(request {error.request_id})")]
    assert [re.search(r"incident|failed", line)[0] for line in named] == ["incident", "failed"]


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [
        ("r", True),
        ("trace/7:a_b-c.d@e+f=", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("-a", False),
        ("a b", False),
    ],
)
async def test_the_caller_s_id_is_taken_if_it_is_well_formed(start: Start, given: str, is_taken: bool) -> None:
    running = await start(Failing())
    error = await failed(running.stub.Get(GET, metadata=(("x-request-id", given),)))
    assert error.request_id
    assert (error.request_id == given) == is_taken
    assert is_taken or re.fullmatch(RANDOM, error.request_id)


async def test_streams_have_ids_too(start: Start) -> None:
    running = await start(aio.DictDatastore())
    call = running.stub.Query(service_pb2.QueryRequest(query={"limit": -1}), metadata=(("x-request-id", "q-1"),))
    assert (await failed(call.read())).request_id == "q-1"


async def test_a_proxy_and_its_node_give_a_failed_call_the_same_id(tmp_path: Path) -> None:
    with logs.to_file(tmp_path / "log"):
        async with proxy() as running, connect(running.url) as remote:
            await remote.put(Key("/a:1"), 1)
            with pytest.raises(ConditionFailedError) as caught:
                await remote.put(Key("/a:1"), 1, if_absent=True)
            random = caught.value.request_id
            set_forwarded(lambda: (("x-request-id", "mine"),))
            with pytest.raises(ConditionFailedError) as caught:
                await remote.put(Key("/a:1"), 1, if_absent=True)
            assert caught.value.request_id == "mine"
    lines = (tmp_path / "log").read_text().splitlines()
    for request_id in (random, "mine"):
        assert len([line for line in lines if line.endswith(f"CONDITION_FAILED (request {request_id})")]) == 2


async def test_a_server_that_sends_a_malformed_id_is_not_believed() -> None:
    status = wire.error_to_status(InternalError("no"))
    wire.set_request_id(status, "a\nb")
    assert wire.status_to_error(status).request_id is None


async def test_a_call_that_succeeds_needs_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_random(_: int) -> str:
        raise AssertionError("an id was made")

    async with serve(aio.DictDatastore()) as server, connect(server.url) as remote:
        monkeypatch.setattr("secrets.token_hex", no_random)
        await remote.put(Key("/a:1"), 1)
        assert await remote.get(Key("/a:1")) == 1


@pytest.mark.parametrize(
    ("arguments", "is_shown"), [(["get", "/a:1"], True), (["put", "/a:2", "1", "--if-version", "7"], False)]
)
def test_the_command_line_shows_the_id_of_what_is_not_its_user_s_fault(arguments: list[str], is_shown: bool) -> None:
    with background() as loop, loop.running(serve(Failing())) as server:
        done = Commands(server.url)(*arguments)
    assert done.code in (5, 6)
    assert bool(re.search(rf" \(request {RANDOM}\)$", done.err.strip())) == is_shown


@pytest.mark.parametrize(("length", "is_passed_on"), [(FORWARDED_CHARACTERS, True), (FORWARDED_CHARACTERS + 1, False)])
def test_only_so_much_of_the_caller_s_metadata_is_passed_on(length: int, is_passed_on: bool) -> None:
    state = ("tracestate", "x" * length)
    call = Call(metadata=(("user-agent", "u"), ("tracestate", "earlier"), state, ("x-request-id", "r-1")))
    assert set(call.forwarded()) == {("x-request-id", "r-1")} | ({state} if is_passed_on else set())
