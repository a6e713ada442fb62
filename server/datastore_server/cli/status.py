"""`status`: what a server serves, and how its shards are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from datastore.core.errors import DatastoreError
from datastore.v1 import service_pb2
from datastore_client import connect
from datastore_server.cli.connection import connected
from datastore_server.cli.output import ExitCode, print_json, print_table
from datastore_server.cli.settings import Settings, server_options

__all__ = ["status_command"]

#: A node that does not answer must not keep a person waiting for the others.
NODE_TIMEOUT_S = 2.0

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

    "bytes" is the room that the data take on disk, including what is kept for reuse. A proxy shows the sum of its
    shards, or nothing while one of them cannot be asked.

    Exit code 4 if the server, or any shard behind it, cannot be reached.
    """
    with connected(settings) as store:
        answer = store.describe_store()
    rows = [_server_row(settings.server, answer), *_shard_rows(answer)]
    if settings.json:
        print_json(rows[0] | {"cluster": answer.cluster_name, "epoch": answer.placement_epoch, "shards": rows[1:]})
    else:
        columns = ["role", "name", "address", "health", "slots", "entries", "bytes", "store", "durability", "version"]
        print_table(columns, [[_cell(row[column]) for column in columns] for row in rows])
        for row in rows:
            if row["error"]:
                click.echo(f"{row['name']}: {row['error']}")
    return ExitCode.OK if all(row["health"] == "serving" for row in rows) else ExitCode.UNAVAILABLE


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
    healthy = not shard.HasField("status")
    if healthy:
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
        "health": "serving" if healthy else "unavailable",
        "slots": shard.slots,
        "entries": shard.entries if shard.HasField("entries") else None,
        "bytes": shard.stored_bytes if shard.HasField("stored_bytes") else None,
        "error": None if healthy else shard.status.message,
    }


def _cell(value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) else value


def _store_text(store: service_pb2.Store) -> str:
    """The storage at the bottom where there is one; else what kind of composition this is."""
    while len(store.children) == 1:
        store = store.children[0]
    return f"{store.kind}: {store.description}" if store.description else str(store.kind)
