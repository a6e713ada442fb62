"""Channels to the servers that rows measure: a node on LMDB with entries, and the reference."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from bench import servers
from bench.calls import channel
from bench.things import AT_ONCE, STREAM_ENTRIES, fill, text
from datastore.model.expiry import Expiry

__all__ = ["bare", "lmdb"]


@asynccontextmanager
async def lmdb(
    entries: int = STREAM_ENTRIES,
    value_of: Callable[[int], object] = text,
    *,
    expiry: Expiry | None = None,
    options: str = "",
    at_once: int = AT_ONCE,
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a node on LMDB that holds these entries, by default those of the stream rows."""
    with tempfile.TemporaryDirectory() as directory, servers.node(f"lmdb://{directory}/data{options}") as url:
        await fill(url, entries, value_of, expiry, at_once=at_once)
        async with channel(url) as on:
            yield on


@asynccontextmanager
async def bare() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the reference server."""
    with servers.bare() as url:
        async with channel(url) as on:
            yield on
