"""Writes whose clients leave while they fail, or take long: a server logs them, and serves on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from datastore.model.key import Key
from datastore.v1 import service_pb2, service_pb2_grpc, value_pb2
from datastore_client.aio import connect
from tests.support.processes import ServerProcess
from tests.support.waiting import PATIENCE_S

#: Many times what it takes until gRPC has destroyed a call that is then logged.
ROUNDS = 10
CALLS = 100
#: From before a write reaches the store to after it has ended, in seconds.
LEFT_AFTER_S = (0.001, 0.02)


@pytest.fixture(params=["queue", "aio"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on LMDB to which every call is slow."""
    settings = ["--transport", request.param, "--slow-call-ms", "1"]
    process = ServerProcess("serve", f"lmdb:{tmp_path / 'data'}", *settings, log=tmp_path / "log")
    process.start()
    yield process
    assert process.stop() == 0


@pytest.mark.parametrize("fails", [True, False], ids=["failing", "slow"])
async def test_a_server_outlives_writes_whose_clients_leave(node: ServerProcess, tmp_path: Path, fails: bool) -> None:
    chooser = random.Random(ROUNDS)
    write = service_pb2.PutRequest(entry=value_pb2.Entry(key=value_pb2.Key(text="/left")))
    write.entry.value.int64_value = 1
    if fails:
        write.condition.exists = True
        write.entry.key.text = "/absent"
    async with grpc.aio.insecure_channel(node.url.removeprefix("grpc://")) as channel:
        put = service_pb2_grpc.DatastoreServiceStub(channel).Put
        for _ in range(ROUNDS):
            calls = [put(write, timeout=chooser.uniform(*LEFT_AFTER_S)) for _ in range(CALLS)]
            for call in calls:
                with suppress(grpc.aio.AioRpcError):
                    await call
    async with connect(node.url, timeout_s=PATIENCE_S) as store:
        await store.put(Key("/after"), 1)
    log = (tmp_path / "log").read_text()
    assert ("CONDITION_FAILED" if fails else "slow: Put /left from ") in log
