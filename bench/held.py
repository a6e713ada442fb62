"""A node on LMDB that measures for how long its event loop is held at most. `python -m bench.held DIRECTORY`.

Its first line of output is its URL. When it has ended, the second one is the longest time between two turns of the
loop, in milliseconds of this process's processor time: what others do on a busy machine does not count. It has settings
of its own for neither threads nor memory: those of every server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from datastore import wire
from datastore.aio.lift import lift
from datastore.aio.serialize import SerializerShimDatastore
from datastore.lmdb import LMDBDatastore
from datastore_server.app import run_until_stopped, serve


class _Turns:
    """The turns of the event loop."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        """Look once a millisecond, if the loop lets it."""
        last_s = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now_s = time.process_time()
            self.longest_s = max(self.longest_s, now_s - last_s)
            last_s = now_s


async def _serve(directory: str) -> None:
    turns = _Turns()
    async with serve(SerializerShimDatastore(lift(LMDBDatastore(directory)), wire.lazy)) as server:
        watching: list[asyncio.Task[None]] = []

        def ready() -> None:
            print(json.dumps({"url": server.url}), flush=True)
            watching.append(asyncio.create_task(turns.watch()))

        await run_until_stopped(server, ready)
        for task in watching:
            task.cancel()
    print(json.dumps({"held_ms": turns.longest_s * 1000}), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
