"""`status`: what a server serves, and how its shards are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from datastore import wire
from datastore.model.errors import DatastoreError, UnavailableError, WrongShardError
from datastore.v1 import service_pb2
from datastore_client import connect
from datastore_client.remote import RemoteDatastore
from datastore_server.cli.connection import connected
from datastore_server.cli.output import ExitCode, print_json, print_table
from datastore_server.cli.settings import Settings, server_options
from datastore_server.coordination.comparison import Answer
from datastore_server.coordination.nodes import NodeClient

__all__ = ["status_command"]

#: A node that does not answer must not keep a person waiting for the others.
NODE_TIMEOUT_S = 2.0

#: The healths of a server that answers reads.
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
    refuses every key; "refused" for a shard whose node is not what the proxy expects, and "unavailable" for one that
    does not answer. "slots" is how many of the 16,384 slots the node owns. "bytes" is the disk space in use,
    including reusable space. A proxy shows the sum of its shards, or nothing while one of them does not answer.

    Exit code 4 if the server, or any shard behind it, does not serve or cannot be reached.
    """
    with connected(settings) as store:
        answer = store.describe_store()
        row = _server_row(settings.server, answer) | _health(store)
    placements = asyncio.run(_placements([settings.server, *(shard.url for shard in answer.shards)]))
    rows = [_placed(one, placements) for one in (row, *_shard_rows(answer))]
    rows[0]["health"] = _health_before(rows)
    if settings.json:
        print_json(rows[0] | {"cluster": answer.cluster_name, "epoch": answer.placement_epoch, "shards": rows[1:]})
    else:
        columns = ["role", "name", "address", "health", "slots", "entries", "bytes", "store", "durability", "version"]
        print_table(columns, [[_cell(row[column]) for column in columns] for row in rows])
        _print_errors(rows)
    return ExitCode.OK if all(row["health"] in _SERVES for row in rows) else ExitCode.UNAVAILABLE


def _print_errors(rows: Sequence[Mapping[str, Any]]) -> None:
    """Each error once, after the names of all that it holds for."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row["error"]:
            names.setdefault(row["error"], []).append(str(row["name"] or row["address"]))
    for error, concerned in names.items():
        click.echo(f"{', '.join(concerned)}: {error}")


def _health(store: RemoteDatastore) -> dict[str, str]:
    """The part of a row that says that the server does not serve; nothing if it does."""
    try:
        store.check_health()
    except UnavailableError:
        return {"health": "not serving", "error": "it answers, but refuses every key"}
    return {}


async def _placements(urls: Sequence[str]) -> dict[str, Answer]:
    """What servers say of their placement, by URL; without those that do not say it to us."""

    async def ask(url: str) -> Answer | None:
        async with NodeClient(url, timeout_s=NODE_TIMEOUT_S) as node:
            try:
                return await node.get_placement()
            except DatastoreError:
                return None

    answers = await asyncio.gather(*map(ask, urls))
    return {url: answer for url, answer in zip(urls, answers, strict=True) if answer is not None}


def _placed(row: dict[str, Any], placements: Mapping[str, Answer]) -> dict[str, Any]:
    """A row with what the node says of its placement."""
    answer = placements.get(row["address"])
    if answer is None:
        return row
    current, pending = answer.placement.current, answer.placement.pending
    changed: dict[str, Any] = {}
    if row["role"] != "proxy" and (current is not None or row["role"] == "shard"):
        changed["slots"] = 0 if current is None else current.slots_of(answer.placement.shard)
    if pending is not None and row["health"] == "serving":
        changed["health"] = "read-only"
        changed["error"] = (
            f"a change to epoch {pending.epoch} is under way: writes are refused, and entries and bytes include"
            " copies. If `datastore placement apply` was interrupted, run it again, or cancel the change:"
            " datastore placement abort CONFIG.toml"
        )
    return row | changed


def _health_before(rows: Sequence[Mapping[str, Any]]) -> str:
    """The health of the server in the first row, before the shards in the others."""
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
        "durability": _DURABILITY.get(answer.durability),
        "version": answer.server_version or None,
        "error": None,
    }


def _shard_rows(answer: service_pb2.DescribeStoreResponse) -> list[dict[str, Any]]:
    if not answer.shards:
        return []
    with ThreadPoolExecutor(len(answer.shards)) as pool:
        return list(pool.map(_shard_row, answer.shards))


def _shard_row(shard: service_pb2.Shard) -> dict[str, Any]:
    """What the proxy says of a shard, and what the shard's node says of itself."""
    row: dict[str, Any] = {"store": None, "durability": None, "version": None}
    failure = wire.status_to_error(shard.status) if shard.HasField("status") else None
    if failure is None:
        try:
            with connect(shard.url, timeout_s=NODE_TIMEOUT_S) as node:
                row = _server_row(shard.url, node.describe_store())
        except DatastoreError:
            # The proxy reaches it, which is what counts; from here it may be behind a wall.
            pass
    return row | {
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
    return f"{value:,}" if isinstance(value, int) else value


def _store_text(store: service_pb2.Store) -> str:
    """The storage at the bottom where there is one; else what kind of composition this is."""
    while len(store.children) == 1:
        store = store.children[0]
    return f"{store.kind}: {store.description}" if store.description else str(store.kind)
