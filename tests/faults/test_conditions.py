"""Conditional writes of many clients through two proxies, while connections break anywhere on the way."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest

from datastore.model.errors import ConditionFailedError, DeadlineExceededError, UnavailableError
from datastore.model.key import Key
from datastore.model.operations import Patch
from datastore.model.patches import changes_of
from datastore_client.aio import RemoteDatastore
from datastore_server.app import Server, serve
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import Topology, build_node, build_proxy
from tests.support.histories import Call
from tests.support.registers import RegisterClient, check_histories
from tests.support.scripted import Wire, broken_wire
from tests.support.waiting import PATIENCE_S

#: How many bytes of a server's pass before a connection breaks: those of some ten to a hundred answers.
BREAKS = range(2_000, 15_000)


class Unsteady(NamedTuple):
    """Clients of two proxies over the same two nodes, a client whose connection holds, and all wires.

    The clients of `repeating` repeat writes whose outcome is unknown.
    """

    clients: list[RemoteDatastore]
    repeating: list[RemoteDatastore]
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

        async def connected(url: str, **settings: Any) -> RemoteDatastore:
            return await stack.enter_async_context(RemoteDatastore(url, timeout_s=PATIENCE_S, **settings))

        nodes = {name: await serving(build_node(parse_store_url("memory:"))) for name in ("s1", "s2")}
        shards = [ShardConfig(name=name, url=await wired(node)) for name, node in nodes.items()]
        config = Config(cluster=ClusterConfig(name="c"), shards=shards)
        proxies = [await serving(build_proxy(config)) for _ in range(2)]
        urls = [await wired(proxy) for proxy in proxies]
        clients = [await connected(url) for url in urls]
        repeating = [await connected(url, retry_writes=True) for url in urls]
        yield Unsteady(clients, repeating, await connected(proxies[0].url), wires)


async def test_one_order_explains_all_answers_although_connections_break() -> None:
    history: dict[Key, list[Call]] = defaultdict(list)
    async with unsteady(random.Random(3)) as cluster:

        async def work(client: RegisterClient) -> None:
            for _ in range(100):
                await client.call()

        clients = [RegisterClient(cluster.clients[number % 2], number, history) for number in range(8)]
        await asyncio.gather(*map(work, clients))
        assert all(wire.faults for wire in cluster.wires)
    check_histories(history)
    answered = [call for calls in history.values() for call in calls if call.is_known]
    assert {call.held for call in answered if call.kind == "put_if"} == {True, False}


@pytest.mark.long
async def test_no_update_is_lost_or_made_twice_although_connections_break() -> None:
    key, made, unknown = Key("/counter"), 0, 0
    async with unsteady(random.Random(7)) as cluster:

        async def add(store: Any) -> None:
            nonlocal made, unknown
            for _ in range(15):
                try:
                    await store.update(key, lambda value: (value or 0) + 1)
                    made += 1
                except ConditionFailedError:
                    pass  # Too many others were faster.
                except (UnavailableError, DeadlineExceededError):
                    unknown += 1

        await asyncio.gather(*(add(cluster.clients[number % 2]) for number in range(10)))
        total = await cluster.steady.get(key)
    assert made <= total <= made + unknown


async def test_repeated_increments_add_up_exactly_although_connections_break() -> None:
    keys = [Key(f"/counter:{number}") for number in range(4)]
    async with unsteady(random.Random(11)) as cluster:

        async def add(number: int) -> None:
            store, key = cluster.repeating[number % 2], keys[number % 4]
            for _ in range(10):
                await store.patch(key, increment={"n": 1}, create=True)
                for result in await store.batch_write([increment(key), increment(keys[0]), increment(key)]):
                    assert result.error is None

        await asyncio.gather(*map(add, range(20)))
        totals = [(await cluster.steady.get(key))["n"] for key in keys]
        assert all(wire.faults for wire in cluster.wires)
    assert totals == [350, 150, 150, 150]


def increment(key: Key) -> Patch:
    return Patch(key, changes_of(increment={"n": 1}), create=True)
