"""A node that is suspended, as noticed by its clients and its proxy."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from datastore.model.errors import DeadlineExceededError, UnavailableError
from datastore.model.key import Key
from datastore_client.aio import connect
from tests.support import processes
from tests.support.waiting import PATIENCE_S

KEYS = [Key(f"/K:{number:02}") for number in range(30)]
#: Longer than a slow machine needs to start a server.
LONG_S = PATIENCE_S


@pytest.mark.long
async def test_a_suspended_node_is_noticed_by_calls_and_by_the_proxy_which_serves_the_other_shards(
    tmp_path: Path,
) -> None:
    with processes.cluster(tmp_path) as cluster:
        held = {cluster.shard_of(key): key for key in KEYS}
        node = cluster.nodes["shard-1"]
        async with (
            connect(cluster.url, timeout_s=LONG_S, retry=False) as store,
            connect(node.url, timeout_s=LONG_S, retry=False) as direct,
        ):
            for key in KEYS:
                await store.put(key, 1)
            await direct.get(held["shard-1"])
            with node.paused():
                # It has minutes: only an abandoned connection ends it.
                with pytest.raises(UnavailableError):
                    await direct.get(held["shard-1"])
                with pytest.raises((UnavailableError, DeadlineExceededError)) as raised:
                    await store.get(held["shard-1"])
                assert raised.value.shard == "shard-1"
                await store.check_health()
                assert await store.get(held["shard-2"]) == 1
                shards = {shard.name: shard for shard in (await store.describe_store()).shards}
                assert [name for name, shard in shards.items() if shard.HasField("status")] == ["shard-1"]
                assert "shard-1" in _status(cluster.url)
                log = tmp_path / "proxy.log"
                while "shard shard-1 at" not in log.read_text() or " is down" not in log.read_text():
                    await asyncio.sleep(0.1)


def _status(url: str) -> str:
    """The shards that `datastore status` reports as unavailable."""
    command = [sys.executable, "-m", "datastore_server.cli", "status", "--json", "--server", url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    rows = json.loads(done.stdout)["shards"]
    return " ".join(row["name"] for row in rows if row["health"] == "unavailable")
