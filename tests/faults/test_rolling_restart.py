"""Servers are restarted one after the other under load: clients that retry as documented see no failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from datastore.model.errors import UnavailableError
from datastore.model.key import Key
from datastore_client import aio as client
from tests.support import processes

T = TypeVar("T")

CLIENTS = 16
RESTARTS = 2
#: Longer than any restart takes; the test ends when the restarts do.
PATIENCE_S = 300.0


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call as docs/protocol.md requires: a get or put that ended with UNAVAILABLE may be repeated."""
    while True:
        try:
            return await call()
        except UnavailableError as error:
            await asyncio.sleep(error.retry_after_s or 0.05)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["node", "cluster"])
async def test_a_rolling_restart_fails_no_call(tmp_path: Path, kind: str) -> None:
    servers = processes.node(tmp_path / "node") if kind == "node" else processes.cluster(tmp_path)
    with servers as running:
        members = [running] if kind == "node" else [*running.nodes.values(), running.proxy]
        done = asyncio.Event()
        written = [0] * CLIENTS
        async with client.connect(running.url, timeout_s=PATIENCE_S) as store:

            async def write_and_read(number: int) -> None:
                key = Key(f"/client:{number}")
                while not done.is_set():
                    await repeated(partial(store.put, key, written[number] + 1))
                    written[number] += 1
                    assert await repeated(partial(store.get, key)) == written[number]

            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(write_and_read(number))
                for member in members * RESTARTS:
                    before = sum(written)
                    await asyncio.to_thread(member.stop)
                    await asyncio.to_thread(member.start)
                    while sum(written) < before + CLIENTS:
                        await asyncio.sleep(0.01)
                done.set()
            for number, count in enumerate(written):
                assert await repeated(partial(store.get, Key(f"/client:{number}"))) == count
