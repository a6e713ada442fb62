"""The default way to aggregate, which works over any store's scan. Knows the scan and no stores."""

from __future__ import annotations

from functools import partial
from typing import Any

from datastore.aio._concurrency import give_way, in_thread
from datastore.aio.scan import ask, exact
from datastore.engine.pipeline import has_long_value
from datastore.engine.room import sort_room
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.spellings import replaces

__all__ = ["scanned_tally", "tally_of"]


async def tally_of(store: Any, asked: Aggregate) -> Tally:
    """The tally of a store. Stores ask their children with this.

    A class that overrides `scan` or `query` below the `tally` that it inherits gets the default over its override.
    """
    if not replaces(store, "tally", ("scan", "query")):
        return await scanned_tally(store, asked)
    tally: Tally = await store.tally(asked)
    return tally


async def scanned_tally(store: Any, asked: Aggregate) -> Tally:
    """The tally of what a store's scan returns. Between its batches other tasks can run."""
    tally, room = Tally(asked), sort_room()
    query = asked.scan_query
    scan = exact(query, ask(store, query))
    try:
        async for batch in scan.batches:
            if has_long_value(batch) and not query.has_custom_code:
                await in_thread(partial(tally.add, batch))
            else:
                tally.add(batch)
                await give_way()
            room.hold(tally.held_bytes)
        return tally
    finally:
        room.close()
        await scan.aclose()
