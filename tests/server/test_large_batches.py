"""A batch of more than any server should hold is answered in parts: only its reader holds all of it."""

from __future__ import annotations

import os
from pathlib import Path

from datastore.model.entries import Write
from datastore.model.key import Key
from datastore_client.aio import connect
from tests.support import processes
from tests.support.memory import growth

MB = 1_000_000
VALUE_BYTES = 3 * MB
COUNT = 40
#: How much a server may grow: by an answer, which it holds in pieces and as a message, for each shard.
MOST_SERVER_BYTES = 60 * MB
#: How much the client may hold besides the values: an answer, and what its transport has read of the next.
MOST_CLIENT_BYTES = 60 * MB


async def test_a_batch_of_large_values_is_held_by_its_reader_alone(tmp_path: Path) -> None:
    keys = [Key(f"/Large:{place}") for place in range(COUNT)]
    with processes.cluster(tmp_path) as cluster:
        pids = {name: node.pid for name, node in cluster.nodes.items()} | {"proxy": cluster.proxy.pid}
        async with connect(cluster.url) as store:
            for key in keys:
                await store.batch_write([Write(key, bytes(VALUE_BYTES))])
            async with growth(pids | {"client": os.getpid()}) as grown:
                results = await store.batch_get(keys)
    assert [len(result.value) for result in results] == [VALUE_BYTES] * COUNT
    client_bytes = grown.most_bytes.pop("client")
    assert max(grown.most_bytes.values()) < MOST_SERVER_BYTES
    assert client_bytes < COUNT * VALUE_BYTES + MOST_CLIENT_BYTES
