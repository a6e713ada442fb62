"""Servers for tests: real ones on free ports, with channels on the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from datastore import aio, wire
from datastore.aio.lift import lift
from datastore.lmdb import LMDBDatastore
from datastore_server.app import serve
from tests.support.colours import Tasks, Threads
from tests.support.commands import Commands, server_process
from tests.support.guarded import Guarded
from tests.support.serving import Running

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers, each with a channel, and ends them with the test."""
    async with AsyncExitStack() as stack:

        async def start(datastore: Any, **settings: Any) -> Running:
            settings.setdefault("grace_s", 1.0)
            server = await stack.enter_async_context(serve(datastore, **settings))
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(
                    f"127.0.0.1:{server.port}",
                    options=[
                        ("grpc.use_local_subchannel_pool", 1),
                        # Without its bandwidth estimates, gRPC buffers little more than is read.
                        ("grpc.http2.bdp_probe", 0),
                    ],
                )
            )
            return Running(server, channel)

        yield start


@pytest.fixture
async def guarded(start: Start, tmp_path: Path) -> Guarded:
    """A server that only serves callers with its token, which has no rights yet."""
    path = tmp_path / "tokens.toml"
    path.touch()
    store = aio.DictDatastore(keep_changes=True)
    return Guarded(store, await start(store, tokens=path), path)


@pytest.fixture(params=[Tasks(), Threads()], ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    """The client of either colour."""
    return request.param


@pytest.fixture(params=["memory", "lmdb"])
async def running(start: Start, request: pytest.FixtureRequest, tmp_path: Path) -> Running:
    """A server on an empty store: the two that a node has."""
    if request.param == "memory":
        return await start(aio.DictDatastore())
    blocking = LMDBDatastore(tmp_path / "data", durability="async")
    return await start(aio.SerializerShimDatastore(lift(blocking), wire.lazy))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a server on memory in its own process, one for the tests of a module."""
    with server_process("serve", "memory:", "--listen", "127.0.0.1:0") as ready:
        yield ready["url"]


@pytest.fixture
def commands(url: str) -> Commands:
    """Runs commands against that server."""
    return Commands(url)


@pytest.fixture
def run(commands: Commands) -> Commands:
    """Runs commands against that server, which is empty at first."""
    commands("delete", "/", "--recursive", "--yes")
    return commands
