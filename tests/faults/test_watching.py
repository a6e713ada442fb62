"""Watches while servers are killed by SIGKILL: every change once, in order per key, none missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.watched import watched_writes


@pytest.mark.long
async def test_watches_continue_while_nodes_and_the_proxy_are_killed(tmp_path: Path) -> None:
    with processes.cluster(tmp_path, changes=True) as cluster:
        async with watched_writes(cluster.url) as (writer, _):
            for killed in (*cluster.nodes.values(), cluster.proxy):
                await writer.more()
                await asyncio.to_thread(killed.kill)
                await asyncio.to_thread(killed.start)
            await writer.more()
