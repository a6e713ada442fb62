"""No request, whatever its bytes, makes a server crash, hang, grow, fail unexpectedly, or show what it should not.

Nodes and a proxy, over both transports. A failure prints its seed: `DATASTORE_FUZZ_SEED=... pytest tests/fuzz`
repeats it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import settings

import datastore.v1
from datastore import aio, wire
from datastore.model.errors import DatastoreError
from datastore.model.key import Key
from datastore_server.app import Server, serve
from tests.support import clusters
from tests.support.fuzzing import SECRET, Requests
from tests.support.waiting import PATIENCE_S

#: How many requests there are in all, by the profile of random tests.
MESSAGES = {"quick": 2_000, "ci": 100_000, "soak": 10_000_000}[settings.get_current_profile_name()]
SEED = os.environ.get("DATASTORE_FUZZ_SEED") or str(random.SystemRandom().randrange(10**9))
#: How many requests are under way at once.
AT_ONCE = 32
#: After so many requests a server is replaced: by then it may be placed, and refuse every key.
PER_SERVER = 5_000
#: What a server may grow by between its first quarter and its end, in bytes: entries, remembered requests, changes.
GROWTH_BYTES = 60_000_000
#: What is found only in the texts of exceptions, and in objects shown by mistake.
LEAKS = ("Traceback", 'File "', " object at 0x", "<class", "google.protobuf", "Error(", SECRET)
#: What gRPC itself says: of messages, methods, and the health of services.
FROM_GRPC = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}

OURS = [
    method
    for module in iter_modules(datastore.v1.__path__, "datastore.v1.")
    if module.name.endswith("_pb2")
    for service in import_module(module.name).DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
#: They change what a server is, so that it may refuse all the others: they are rare, and a proxy's nodes get none.
CHANGING = {"PlaceNode", "PrepareMove", "CommitMove", "AbortMove", "ClearSlots", "WriteSlots", "PutRecord"} | {
    method.name for method in OURS if "Restore" in method.name
}


class Target:
    """A server under attack, and what its answers were."""

    def __init__(self, port: int, channel: grpc.aio.Channel, requests: Requests) -> None:
        self.port = port
        self._channel = channel
        self._requests = requests
        self.codes: dict[str, Counter[grpc.StatusCode]] = {}

    async def send(self, method: MethodDescriptor) -> None:
        """Send one request, and check what comes back."""
        data = self._requests.make(method.input_type)
        path = f"/{method.containing_service.full_name}/{method.name}"
        code = grpc.StatusCode.OK
        try:
            for answer in await self._answers(method, path, data):
                self._requests.note(GetMessageClass(method.output_type).FromString(answer))
        except grpc.aio.AioRpcError as error:
            code = error.code()
            problem = _problem(error)
            assert problem is None, f"seed {SEED}: {path} {problem}: {error.details()!r}, request {data[:2000].hex()}"
        self.codes.setdefault(path, Counter())[code] += 1

    async def _answers(self, method: MethodDescriptor, path: str, data: bytes) -> list[bytes]:
        if not method.server_streaming:
            return [await self._channel.unary_unary(path)(data, timeout=PATIENCE_S)]
        if method.client_streaming:
            call: Any = self._channel.stream_stream(path)(iter([data]), timeout=PATIENCE_S)
        else:
            call = self._channel.unary_stream(path)(data, timeout=PATIENCE_S)
        answers = []
        try:
            # A watch does not end by itself.
            while len(answers) < 3 and (answer := await call.read()) is not grpc.aio.EOF:
                answers.append(answer)
                if method.name == "Watch":
                    break
        finally:
            call.cancel()
        return answers


def _problem(error: grpc.aio.AioRpcError) -> str | None:
    """Why this error is not one that a client may get."""
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED):
        return f"failed with {code.name}"
    seen = details + repr(error.trailing_metadata())
    if leaked := [leak for leak in LEAKS if leak in seen]:
        return f"shows {leaked}"
    read: DatastoreError = wire.rpc_error_to_error(error)
    if type(read) is DatastoreError and code not in FROM_GRPC:
        return f"failed with {code.name} without a reason"
    return None


@asynccontextmanager
async def target(kind: str, requests: Requests) -> AsyncIterator[Target]:
    """A new server, with a few entries."""
    async with AsyncExitStack() as stack:
        if kind == "node":
            store = aio.DictDatastore(most_changes=1_000, most_requests=1_000)
            server = await stack.enter_async_context(serve(store, grace_s=0.1))
        else:
            cluster = await stack.enter_async_context(clusters.proxy())
            assert cluster.proxy is not None
            store, server = cluster.proxy._service._datastore, cluster.proxy
        for place in range(20):
            await store.put(Key(f"/T:{place}"), wire.encode_value({"a": place, "b": SECRET}))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options)
        )
        yield Target(server.port, channel, requests)


def methods_of(kind: str) -> list[MethodDescriptor]:
    """What is attacked at a server: all of it, and at a proxy, which is a node too, most of it."""
    pool = descriptor_pool.Default()
    standard = [
        method
        for name in ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
        for method in pool.FindServiceByName(name).methods
    ]
    return [method for method in OURS + standard if kind == "node" or method.name not in CHANGING]


async def attack(kind: str, count: int, requests: Requests) -> dict[str, Counter[Any]]:
    """Send so many requests; the codes of all, by the path of the method."""
    methods, codes, sent = methods_of(kind), {}, 0
    chosen, weights = random.Random(f"{SEED} methods"), [0.1 if one.name in CHANGING else 1 for one in methods]
    while sent < count:
        # One of each, in case the rare ones are not chosen.
        order = [*methods, *chosen.choices(methods, weights, k=min(PER_SERVER, count - sent))]
        async with target(kind, requests) as attacked:
            for start in range(0, len(order), AT_ONCE):
                await asyncio.gather(*map(attacked.send, order[start : start + AT_ONCE]))
        sent += len(order)
        for path, counter in attacked.codes.items():
            codes.setdefault(path, Counter()).update(counter)
    return codes


@pytest.mark.parametrize("transport", ["queue", "aio"])
@pytest.mark.parametrize("kind", ["node", "proxy"])
async def test_no_request_does_harm(
    kind: str, transport: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Server.__init__.__kwdefaults__, "transport", transport)
    requests = Requests(f"{SEED} {kind} {transport}")
    count = MESSAGES // 4
    codes = await attack(kind, count // 4, requests)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for path, counter in (await attack(kind, count - count // 4, requests)).items():
        codes.setdefault(path, Counter()).update(counter)
    gc.collect()
    assert psutil.Process().memory_info().rss - before < GROWTH_BYTES
    # Requests get past the first checks.
    assert sum(counter[grpc.StatusCode.OK] for counter in codes.values()) > count // 10
    for method in methods_of(kind):
        path = f"/{method.containing_service.full_name}/{method.name}"
        assert codes[path].total(), f"no request was made for {path}"
    faults = [record for record in caplog.records if record.levelname == "ERROR" or record.exc_info]
    assert faults == [], f"seed {SEED}: {faults[0].getMessage()}"
    assert SECRET not in caplog.text


async def test_valid_requests_of_every_method_are_among_them() -> None:
    """Otherwise no request would get past the first check of a new RPC."""
    requests = Requests("valid")
    for method in OURS:
        kind = GetMessageClass(method.input_type)
        found = 0
        for _ in range(200):
            try:
                found += bool(kind.FromString(requests.make(method.input_type)).ListFields())
            except Exception:  # noqa: BLE001 - most are not messages
                continue
        assert found or not method.input_type.fields, method.full_name
