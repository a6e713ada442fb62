"""`status`: what a server serves, and the health of its shards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from datastore import wire
from datastore.model.errors import DatastoreError, WrongShardError
from datastore.v1 import service_pb2
from datastore_client.tls import Credentials
from datastore_server.cli.connection import reaching
from datastore_server.cli.output import ExitCode, print_json, print_table
from datastore_server.cli.settings import CALL_TIMEOUT_S, Settings, server_options
from datastore_server.coordination.nodes import NodeClient

__all__ = ["status_command"]

#: Timeout for a node in seconds, so that one that does not answer does not delay the others.
NODE_TIMEOUT_S = 2.0

#: The health values of servers that answer reads.
_SERVES = ("serving", "read-only")

_DURABILITY = {
    service_pb2.DescribeStoreResponse.DURABILITY_MEMORY: "memory",
    service_pb2.DescribeStoreResponse.DURABILITY_ASYNC: "async",
    service_pb2.DescribeStoreResponse.DURABILITY_SYNC: "sync",
}


@click.command("status", short_help="Show what a server serves, and its health.")
@server_options()
@click.pass_obj
def status_command(settings: Settings) -> int:
    """Show what the server serves: its store or its shards, whether they answer, and how much they hold.

    \b
    Example:
      datastore status --json

    "health" is "serving"; "read-only" while a change of the placement is under way; "not serving" for a server that
    refuses every key, or whose store does not answer; "refused" for a shard whose node is not what the proxy expects,
    and "unavailable" for one that does not answer. "slots" is how many of the 16,384 slots the node owns. "bytes" is
    the disk space in use, including reusable space. "tiers" are the caches of a store and what they are before, with
    their hits and misses since the server started. A proxy shows the sum of its shards, or nothing while one of them
    does not answer.

    Exit code 4 if the server, or any shard behind it, does not serve or cannot be reached.
    """
    with reaching(settings):
        answer, rows = asyncio.run(_asked(settings))
    rows[0]["health"] = _health_before(rows)
    if settings.json:
        print_json(rows[0] | {"cluster": answer.cluster_name, "epoch": answer.placement_epoch, "shards": rows[1:]})
    else:
        columns = ["role", "name", "address", "health", "slots", "entries", "bytes", "store", "durability", "version"]
        print_table(columns, [[_cell(row[column]) for column in columns] for row in rows])
        _print_tiers(rows)
        _print_errors(rows)
    return ExitCode.OK if all(row["health"] in _SERVES for row in rows) else ExitCode.UNAVAILABLE


def _print_tiers(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how often each tier of each server had what was read."""
    tiers = [(row["name"] or row["address"], tier) for row in rows for tier in row["tiers"] or ()]
    cells = [
        [name, tier["store"], _cell(tier["hits"]), _cell(tier["misses"]), _cell(tier["hit_rate"])]
        for name, tier in tiers
    ]
    if tiers:
        click.echo()
        print_table(["server", "tier", "hits", "misses", "hit rate"], cells)


def _tiers_of(store: service_pb2.Store) -> list[dict[str, Any]]:
    """The hits and misses of every tier in a composition, from the outermost store inwards."""
    tiers = []
    if store.HasField("hits"):
        reads = store.hits + store.misses
        rate = store.hits / reads if reads else None
        tiers.append({"store": _store_text(store), "hits": store.hits, "misses": store.misses, "hit_rate": rate})
    return tiers + [tier for child in store.children for tier in _tiers_of(child)]


def _print_errors(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print each error once, after the names of the servers that have it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row["error"]:
            names.setdefault(row["error"], []).append(str(row["name"] or row["address"]))
    for error, concerned in names.items():
        click.echo(f"{', '.join(concerned)}: {error}")


async def _asked(settings: Settings) -> tuple[service_pb2.DescribeStoreResponse, list[dict[str, Any]]]:
    """The server's description, and the rows of the server and its shards. Opens one connection to each.

    Raises a DatastoreError if the server itself does not answer.
    """
    credentials, timeout_s = settings.credentials(), settings.timeout_s or CALL_TIMEOUT_S
    async with NodeClient(settings.server, timeout_s=timeout_s, credentials=credentials) as server:
        answer = await server.describe_store()
        row = _server_row(settings.server, answer)
        if not await server.is_serving():
            why = wire.status_to_error(answer.status) if answer.HasField("status") else None
            row |= {"health": "not serving", "error": str(why or "it answers, but refuses every key")}
        row = await _placed(row, server)
    return answer, [row, *await asyncio.gather(*(_shard_row(shard, credentials) for shard in answer.shards))]


async def _shard_row(shard: service_pb2.Shard, credentials: Credentials) -> dict[str, Any]:
    """The row of a shard, from the proxy and from the shard's node."""
    row: dict[str, Any] = {"store": None, "tiers": None, "durability": None, "version": None}
    failure = wire.status_to_error(shard.status) if shard.HasField("status") else None
    async with NodeClient(shard.url, timeout_s=NODE_TIMEOUT_S, credentials=credentials) as node:
        # It is enough that the proxy reaches it; from here it may be behind a firewall.
        if failure is None:
            with suppress(DatastoreError):
                row = _server_row(shard.url, await node.describe_store())
        return await _placed(row | _of_shard(shard, failure), node)


async def _placed(row: dict[str, Any], node: NodeClient) -> dict[str, Any]:
    """The row with the node's placement added; unchanged if the node does not answer."""
    try:
        answer = await node.get_placement()
    except DatastoreError:
        return row
    current, pending = answer.placement.current, answer.placement.pending
    changed: dict[str, Any] = {}
    if row["role"] != "proxy" and (current is not None or row["role"] == "shard"):
        changed["slots"] = answer.owned_slots
    if pending is not None and row["health"] == "serving":
        changed["health"] = "read-only"
        changed["error"] = (
            f"a change to epoch {pending.epoch} is under way: writes are refused, and entries and bytes include"
            " copies. If `datastore placement apply` was interrupted, run it again, or cancel the change:"
            " datastore placement abort CONFIG.toml"
        )
    elif answer.placement.may_hold_foreign and row["health"] == "serving":
        changed["error"] = (
            "entries and bytes may include copies of entries that moved away; to delete them:"
            " datastore placement apply CONFIG.toml"
        )
    return row | changed


def _health_before(rows: Sequence[Mapping[str, Any]]) -> str:
    """The health of the server in the first row, given its shards in the other rows."""
    server, *shards = rows
    if server["health"] == "serving" and any(shard["health"] == "read-only" for shard in shards):
        return "read-only"
    return str(server["health"])


def _server_row(url: str, answer: service_pb2.DescribeStoreResponse) -> dict[str, Any]:
    return {
        "role": "proxy" if answer.shards else "node",
        "name": answer.shard_name or answer.cluster_name or None,
        "address": url,
        "health": "serving",
        "slots": None,
        "entries": answer.entries if answer.HasField("entries") else None,
        "bytes": answer.stored_bytes if answer.HasField("stored_bytes") else None,
        "store": _store_text(answer.store),
        "tiers": _tiers_of(answer.store) or None,
        "durability": _DURABILITY.get(answer.durability),
        "version": answer.server_version or None,
        "error": None,
    }


def _of_shard(shard: service_pb2.Shard, failure: DatastoreError | None) -> dict[str, Any]:
    """The part of a shard's row that the proxy reports."""
    return {
        "role": "shard",
        "name": shard.name,
        "address": shard.url,
        "health": _health_of(failure),
        "slots": shard.slots,
        "entries": shard.entries if shard.HasField("entries") else None,
        "bytes": shard.stored_bytes if shard.HasField("stored_bytes") else None,
        "error": None if failure is None else str(failure),
    }


def _health_of(failure: DatastoreError | None) -> str:
    if failure is None:
        return "serving"
    return "refused" if isinstance(failure, WrongShardError) else "unavailable"


def _cell(value: Any) -> Any:
    """A number with commas, a rate in per cent; anything else as it is."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}" if isinstance(value, float) else value


def _store_text(store: service_pb2.Store) -> str:
    """The innermost store if there is only one; otherwise the kind of composition."""
    while len(store.children) == 1:
        store = store.children[0]
    return f"{store.kind}: {store.description}" if store.description else str(store.kind)
