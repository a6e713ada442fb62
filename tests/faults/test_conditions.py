"""Conditional writes of many callers through proxies are linearizable while connections break and servers die."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from datastore.model.errors import ConditionFailedError, DeadlineExceededError, UnavailableError
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, EXISTS, Precondition
from datastore.model.operations import Delete, Operation, Put
from datastore_client.aio import RemoteDatastore
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import Topology, build_node, build_proxy
from tests.support import processes
from tests.support.linearizability import Call, Outcome, is_linearizable
from tests.support.scripted import Wire, broken_wire
from tests.support.waiting import PATIENCE_S

KEYS = [Key(f"/a:{number}") for number in range(6)]
#: How many bytes of a server's pass before a connection breaks: those of some ten to a hundred answers.
BREAKS = range(2_000, 15_000)


class Unsteady(NamedTuple):
    """Clients of two proxies over the same two nodes, a client whose connection holds, and all wires."""

    clients: list[RemoteDatastore]
    steady: RemoteDatastore
    wires: list[Wire]


@asynccontextmanager
async def unsteady(chooser: random.Random) -> AsyncIterator[Unsteady]:
    """Every connection breaks, to the proxies and from them to the nodes, eight times on each way."""
    async with AsyncExitStack() as stack:
        wires = []

        async def serving(topology: Topology) -> Server:
            return await stack.enter_async_context(serve(topology.datastore, **topology.settings()))

        async def wired(server: Server) -> str:
            breaks = [chooser.choice(BREAKS) for _ in range(8)]
            url, wire = await stack.enter_async_context(broken_wire(server.port, breaks=breaks))
            wire.arm()
            wires.append(wire)
            return url

        nodes = {name: await serving(build_node(parse_store_url("memory:"))) for name in ("s1", "s2")}
        shards = [ShardConfig(name=name, url=await wired(node)) for name, node in nodes.items()]
        config = Config(cluster=ClusterConfig(name="c"), shards=shards)
        proxies = [await serving(build_proxy(config)) for _ in range(2)]
        clients = [
            await stack.enter_async_context(RemoteDatastore(await wired(proxy), timeout_s=PATIENCE_S))
            for proxy in proxies
        ]
        steady = await stack.enter_async_context(RemoteDatastore(proxies[0].url, timeout_s=PATIENCE_S))
        yield Unsteady(clients, steady, wires)


class Recorder:
    """Makes calls, and records what their callers know of them."""

    def __init__(self) -> None:
        self.calls: dict[Key, list[Call]] = {key: [] for key in KEYS}
        self._milestones: dict[int, asyncio.Event] = {}
        self._is_done = False

    async def reached(self, calls: int) -> None:
        """Wait until so many calls are recorded, or there will be no more."""
        if not self._is_done and sum(map(len, self.calls.values())) < calls:
            await self._milestones.setdefault(calls, asyncio.Event()).wait()

    def finish(self) -> None:
        """Note that there will be no more calls."""
        self._is_done = True
        for milestone in self._milestones.values():
            milestone.set()

    async def read(self, store: Any, key: Key) -> int:
        """Read an entry. Returns its version."""
        began = time.monotonic()
        try:
            entry = await store.entry(key)
        except (UnavailableError, DeadlineExceededError):
            return 0
        value, version = (None, 0) if entry is None else (entry.value, entry.version)
        self._record(key, Call("get", began, time.monotonic(), value, version))
        return version

    async def write(self, store: Any, operation: Operation) -> None:
        """Make a write."""
        began = time.monotonic()
        (result,) = await store.batch_write([operation])
        outcome, version = Outcome.DONE, 0 if result.metadata is None else result.metadata.version
        if isinstance(result.error, ConditionFailedError):
            outcome, version = Outcome.FAILED, result.error.version
        elif isinstance(result.error, UnavailableError) and result.error.retry_after_s is not None:
            return  # Nothing was done.
        elif isinstance(result.error, (UnavailableError, DeadlineExceededError)):
            outcome = Outcome.UNKNOWN
        else:
            assert result.error is None
        kind = "put" if isinstance(operation, Put) else "delete"
        call = Call(kind, began, time.monotonic(), operation.value, version, operation.condition, outcome)
        self._record(operation.key, call)

    def _record(self, key: Key, call: Call) -> None:
        self.calls[key].append(call)
        milestone = self._milestones.get(sum(map(len, self.calls.values())))
        if milestone is not None:
            milestone.set()


async def work(recorder: Recorder, clients: list[Any], name: str, steps: int) -> None:
    """Some calls, one after the other; a third of the conditions name a version that was read before."""
    chooser = random.Random(name)
    seen = dict.fromkeys(KEYS, 1)
    for step in range(steps):
        store, key = chooser.choice(clients), chooser.choice(KEYS)
        condition = chooser.choice([None, ABSENT, EXISTS, *[Precondition(version=seen[key])] * 3])
        match chooser.choice(["read", "put", "put", "delete"]):
            case "read":
                seen[key] = await recorder.read(store, key) or seen[key]
            case "put":
                await recorder.write(store, Put(key, f"{name} {step}", condition))
            case "delete":
                await recorder.write(store, Delete(key, condition))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
async def test_conditional_writes_through_proxies_are_linearizable_while_connections_break(seed: int) -> None:
    recorder = Recorder()
    async with unsteady(random.Random(seed)) as cluster:
        await asyncio.gather(*(work(recorder, cluster.clients, f"worker {seed}.{number}", 100) for number in range(8)))
        for key in KEYS:
            await recorder.read(cluster.steady, key)
        assert all(wire.faults for wire in cluster.wires)
    check(recorder)


def check(recorder: Recorder) -> None:
    """Whether each key's calls can have happened one after the other."""
    outcomes = {call.outcome for calls in recorder.calls.values() for call in calls}
    assert {Outcome.DONE, Outcome.FAILED} <= outcomes
    for key, calls in recorder.calls.items():
        assert is_linearizable(calls), key


@pytest.mark.long("conditional writes while servers are killed")
async def test_conditional_writes_are_linearizable_while_nodes_and_the_proxy_are_killed(tmp_path: Path) -> None:
    recorder = Recorder()
    with processes.cluster(tmp_path) as cluster:

        async def kill() -> None:
            victims = [*cluster.nodes.values(), cluster.proxy]
            for number, victim in enumerate(victims, start=1):
                await recorder.reached(80 * number)
                await asyncio.to_thread(victim.kill)
                await asyncio.to_thread(victim.start)

        async with RemoteDatastore(cluster.url, timeout_s=PATIENCE_S) as store:
            await recorder.read(store, KEYS[0])
            workers = [work(recorder, [store], f"worker {number}", 100) for number in range(6)]
            killing = asyncio.create_task(kill())
            await asyncio.gather(*workers)
            recorder.finish()
            await killing
            for key in KEYS:
                await recorder.read(store, key)
    check(recorder)


async def test_no_update_is_lost_or_made_twice_through_proxies_whose_connections_break() -> None:
    key, known, unknown = KEYS[0], 0, 0
    async with unsteady(random.Random(7)) as cluster:

        async def add(store: Any) -> None:
            nonlocal known, unknown
            for _ in range(15):
                try:
                    await store.update(key, lambda value: (value or 0) + 1)
                    known += 1
                except (UnavailableError, DeadlineExceededError, ConditionFailedError) as error:
                    unknown += not isinstance(error, ConditionFailedError)

        await asyncio.gather(*(add(cluster.clients[number % 2]) for number in range(10)))
        total = await cluster.steady.get(key)
    assert known <= total <= known + unknown
