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
from datastore.model.query import Query
from datastore_client._slots import CALLS_AT_ONCE
from datastore_client.aio import connect
from datastore_server.silence import CALLS_UNANSWERED
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


#: More calls than a client makes at once, so that those to other shards have to wait for a place.
MANY = CALLS_AT_ONCE + 50


async def test_calls_that_wait_for_a_suspended_node_do_not_hold_up_those_for_other_shards(tmp_path: Path) -> None:
    with processes.cluster(tmp_path) as cluster:
        keys = {name: [key for key in KEYS if cluster.shard_of(key) == name] for name in cluster.nodes}
        async with connect(cluster.url) as store:
            for key in KEYS:
                await store.put(key, 1)
            with cluster.nodes["shard-1"].paused():
                waiting = [asyncio.create_task(store.get(keys["shard-1"][0])) for _ in range(MANY)]
                others = [*keys["shard-2"], *keys["shard-3"]] * 5
                assert await asyncio.gather(*map(store.get, others)) == [1] * len(others)
                # Although all of these still wait.
                assert not any(call.done() for call in waiting)
            assert await asyncio.gather(*waiting) == [1] * MANY


@pytest.mark.long("the refusal of a shard that has stopped")
async def test_a_call_says_when_a_node_has_stopped_to_answer_and_is_answered_when_it_does(tmp_path: Path) -> None:
    with processes.cluster(tmp_path) as cluster:
        key = next(key for key in KEYS if cluster.shard_of(key) == "shard-1")
        other = next(key for key in KEYS if cluster.shard_of(key) == "shard-2")
        async with (
            connect(cluster.url) as store,
            connect(cluster.url, retry=False) as impatient,
            connect(cluster.url, retry=False, timeout_s=0.2) as hasty,
        ):
            await store.put(key, 1)
            await store.put(other, 2)
            with cluster.nodes["shard-1"].paused():
                waiting = [asyncio.create_task(store.get(key)) for _ in range(CALLS_UNANSWERED)]
                refusal: Exception | None = DeadlineExceededError()
                while isinstance(refusal, DeadlineExceededError):
                    [result] = await hasty.batch_get([key])
                    refusal = result.error
                assert isinstance(refusal, UnavailableError)
                assert refusal.shard == "shard-1"
                assert refusal.retry_after_s
                assert "has answered nothing for" in str(refusal)
                # A batch and a query say so of this shard alone.
                late, found = await impatient.batch_get([key, other])
                assert (type(late.error), found.value) == (UnavailableError, 2)
                cursor = impatient.query(Query(Key("/K"), allow_partial=True))
                assert [value async for value in cursor] == [2]
                assert cursor.summary is not None
                assert [report.shard for report in cursor.summary.shards if report.error] == ["shard-1"]
                with pytest.raises(UnavailableError, match="shard-1"):
                    await anext(impatient.query(Query(Key("/K"))))
            assert await asyncio.gather(*waiting) == [1] * CALLS_UNANSWERED
            assert await impatient.get(key) == 1


def _status(url: str) -> str:
    """The shards that `datastore status` reports as unavailable."""
    command = [sys.executable, "-m", "datastore_server.cli", "status", "--json", "--server", url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    rows = json.loads(done.stdout)["shards"]
    return " ".join(row["name"] for row in rows if row["health"] == "unavailable")
