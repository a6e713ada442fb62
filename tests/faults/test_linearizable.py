"""Many clients of two proxies, while nodes and proxies are killed and suspended: one order explains all answers."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datastore.model.key import Key
from datastore_client.aio import connect
from tests.support import processes
from tests.support.histories import Call
from tests.support.registers import RegisterClient, check_histories

#: How many calls are made.
CALLS = 100_000
CLIENTS = 100
#: The longest time between two faults.
MOST_QUIET_S = 6.0
#: Short, so that clients call again while a server is away; its end makes the outcome of a write unknown.
TIMEOUT_S = 2.0
#: For calls before and after the faults.
PATIENCE_S = 300.0


async def break_things(servers: list[processes.ServerProcess], chooser: random.Random) -> None:
    """Kill and restart, or suspend, one server after the other, until cancelled."""
    while True:
        server = chooser.choice(servers)
        await asyncio.sleep(chooser.uniform(0, MOST_QUIET_S))
        if chooser.random() < 0.7:
            await asyncio.shield(asyncio.to_thread(restart, server))
        else:
            with server.paused():
                await asyncio.sleep(chooser.uniform(0, TIMEOUT_S))


def restart(server: processes.ServerProcess) -> None:
    server.kill()
    server.start()


@asynccontextmanager
async def under_faults(servers: list[processes.ServerProcess], seed: int) -> AsyncIterator[None]:
    """Break servers while the block runs; they all run at the end."""
    breaking = asyncio.create_task(break_things(servers, random.Random(seed)))
    try:
        yield
        assert not breaking.done(), breaking.exception()
    finally:
        breaking.cancel()
        await asyncio.wait([breaking])


@pytest.mark.long
@pytest.mark.timeout(0)
async def test_one_order_explains_all_answers(tmp_path: Path) -> None:
    history: dict[Key, list[Call]] = defaultdict(list)
    with processes.cluster(tmp_path, proxies=2) as cluster:
        async with (
            connect(cluster.urls[0], timeout_s=TIMEOUT_S) as first,
            connect(cluster.urls[1], timeout_s=TIMEOUT_S, retry_writes=True) as second,
        ):
            left = iter(range(CALLS))
            clients = [RegisterClient((first, second)[number % 2], number, history) for number in range(CLIENTS)]

            async def work(client: RegisterClient) -> None:
                for _ in left:
                    await client.call()

            async with under_faults([*cluster.nodes.values(), *cluster.proxies], seed=CALLS):
                await asyncio.gather(*map(work, clients))
    check_histories(history)
    answered = [call for calls in history.values() for call in calls if call.is_known]
    assert len(answered) > CALLS / 4
    assert {call.held for call in answered if call.kind == "put_if"} == {True, False}


@pytest.mark.long
async def test_increments_through_two_proxies_add_up(tmp_path: Path) -> None:
    """Each of 1,000 clients increments one of a few counters; lost answers make no difference."""
    counters = [Key(f"/counter:{number}") for number in range(5)]
    with processes.cluster(tmp_path, proxies=2) as cluster:
        async with (
            connect(cluster.urls[0], timeout_s=PATIENCE_S, retry_writes=True) as first,
            connect(cluster.urls[1], timeout_s=PATIENCE_S, retry_writes=True) as second,
        ):

            async def increment(number: int) -> None:
                store = (first, second)[number % 2]
                for _ in range(5):
                    await store.patch(counters[number % len(counters)], increment={"n": 1}, create=True)

            async with under_faults(list(cluster.nodes.values()), seed=1):
                await asyncio.gather(*map(increment, range(1000)))
            assert [(await first.get(key))["n"] for key in counters] == [1000] * len(counters)
