"""Changes of a cluster that are interrupted at some point, and the commands that repair the result."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datastore_server.config import Config, dump_config
from datastore_server.coordination import moving
from datastore_server.coordination.nodes import NodeClient
from tests.support.commands import command, run_here
from tests.support.growing import SOURCE, Nodes, apply_now, contents, fill, proxy

ENTRIES = contents(150)


class CrashError(Exception):
    """The coordinator crashed here."""


@contextmanager
def crash(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every call to a node from the given one on fails: odd ones after they were done, as if the response was lost."""
    done: list[str] = []
    call, stream = NodeClient._call, NodeClient.stream

    async def counted(self: Any, method: str, request: Any, timeout_s: float | None = None) -> Any:
        done.append(method)
        if len(done) > at:
            raise CrashError
        answer = await call(self, method, request, timeout_s)
        if len(done) == at and at % 2:
            raise CrashError
        return answer

    async def counted_stream(self: Any, method: str, request: Any) -> Any:
        done.append(method)
        if len(done) > at:
            raise CrashError
        async for data in stream(self, method, request):
            yield data
            if len(done) == at and at % 2:
                raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(NodeClient, "_call", counted)
        patch.setattr(NodeClient, "stream", counted_stream)
        yield done


async def formed(running: Nodes, *names: str) -> None:
    """A cluster of some of the nodes, with entries."""
    async with proxy(running.config(*names)) as store:
        await fill(store, ENTRIES)


async def interrupted_before(method: str, running: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow a cluster of a and b by c, and crash before the first call of a method."""
    call = NodeClient._call

    async def until(self: Any, name: str, *arguments: Any) -> Any:
        if name == method:
            raise CrashError
        return await call(self, name, *arguments)

    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(NodeClient, "_call", until)
        await apply_now(running.config("a", "b", "c"))


async def typed(config: Config, directory: Path, action: str, *options: str) -> tuple[int, str]:
    """A command `placement` on a configuration, as typed: its exit code and output."""
    path = directory / SOURCE
    path.write_text(dump_config(config))
    return await command("placement", action, str(path), *options)


async def status(url: str) -> tuple[int, dict[str, Any]]:
    """The output of `datastore status` for a server, and its exit code."""
    done = await asyncio.to_thread(run_here, "status", "--json", "--server", url)
    found: dict[str, Any] = json.loads(done.out)
    return done.code, found


async def cut_before_the_deletion(running: Nodes, monkeypatch: pytest.MonkeyPatch, config: Any, **options: Any) -> None:
    """Apply a configuration, and crash where entries that moved away are to be deleted."""
    with monkeypatch.context() as patch, pytest.raises(CrashError):

        async def cut(nodes: Any, *_: Any) -> None:
            if nodes:
                raise CrashError

        patch.setattr(moving, "_delete_moved", cut)
        await apply_now(config, **options)
