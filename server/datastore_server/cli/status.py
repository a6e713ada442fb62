"""`status`: what a server serves, and the health of its shards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

import click

from datastore import wire
from datastore.model.errors import DatastoreError, WrongShardError
from datastore.v1 import service_pb2
from datastore_server.cli.connection import reaching
from datastore_server.cli.output import ExitCode, print_json, print_table
from datastore_server.cli.settings import CALL_TIMEOUT_S, Settings, server_options
from datastore_server.coordination.nodes import NodeClient

__all__ = ["Asked", "Clients", "ask", "cell", "json_of", "lines_of", "status_command"]

#: Timeout for a node in seconds, so that one that does not answer does not delay the others.
NODE_TIMEOUT_S = 2.0

#: The health values of servers that answer reads.
_SERVES = ("serving", "read-only")

_COLUMNS = (
    *("role", "name", "address", "health", "slots", "entries", "bytes"),
    *("store", "durability", "security", "version"),
)

_SECURITY = {
    service_pb2.TRANSPORT_SECURITY_LOOPBACK: "loopback",
    service_pb2.TRANSPORT_SECURITY_INSECURE: "insecure",
    service_pb2.TRANSPORT_SECURITY_TLS: "tls",
    service_pb2.TRANSPORT_SECURITY_MUTUAL_TLS: "mutual tls",
}
_DURABILITY = {
    service_pb2.DescribeStoreResponse.DURABILITY_MEMORY: "memory",
    service_pb2.DescribeStoreResponse.DURABILITY_ASYNC: "async",
    service_pb2.DescribeStoreResponse.DURABILITY_SYNC: "sync",
}


@click.command("status", short_help="Show what a server serves, and its health.")
@click.option("--watch", is_flag=True, help="Show it repeatedly, with what each server did in between.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two samples of --watch.",
)
@server_options()
@click.pass_obj
def status_command(settings: Settings, *, watch: bool, interval_s: float) -> int:
    """Show what the server serves: its store or its shards, whether they answer, and how much they hold.

    \b
    Examples:
      datastore status --json
      datastore status --watch

    "health" is "serving"; "read-only" while a change of the placement is under way; "not serving" for a server that
    refuses every key, or whose store does not answer; "refused" for a shard whose node is not what the proxy expects,
    and "unavailable" for one that does not answer. "slots" is how many of the 16,384 slots the node owns. "bytes" is
    the disk space in use, including reusable space. "security" is how connections are protected: "tls" or "mutual tls";
    "loopback" is not encrypted, and only for its own machine; "insecure" is not encrypted, for other machines too.
    "tiers" are the caches of a store and the store behind them, with their hits and misses since the server started. A
    proxy shows the sum of its shards, or nothing while one of them does not answer.

    With --watch, until Ctrl-C, there are also, from each server that can be reached from here, its calls and failed
    calls a second, the 50th and 99th percentiles of the durations of its unary calls ("p50", "p99"), its open streams,
    the part of its reads that a cache answered, and the maximum delay of its event loop in the last ten
    seconds ("lag"). Where the output is not a terminal, tables follow one another; with --json, a line each.

    Exit code 4 if the server, or any shard behind it, does not serve or cannot be reached.
    """
    if watch:
        from datastore_server.cli.status_watch import watch_status

        with reaching(settings):
            watch_status(settings, interval_s)
        return ExitCode.OK
    with reaching(settings):
        asked = asyncio.run(_asked_once(settings))
    rows = [row for row, _ in asked.parts]
    if settings.json:
        print_json(json_of(asked, rows))
    else:
        print_table(_COLUMNS, [[cell(row[column]) for column in _COLUMNS] for row in rows])
        _print_tiers(rows)
        for line in lines_of(rows):
            click.echo(line)
    return ExitCode.OK if all(row["health"] in _SERVES for row in rows) else ExitCode.UNAVAILABLE


def _print_tiers(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the hits and misses of each tier of each server."""
    tiers = [(row["name"] or row["address"], tier) for row in rows for tier in row["tiers"] or ()]
    cells = [
        [name, tier["store"], cell(tier["hits"]), cell(tier["misses"]), cell(tier["hit_rate"])] for name, tier in tiers
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


def lines_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each error and warning once, after the names of the servers that have it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        for text in [row["error"], *(f"warning: {warning}" for warning in row["warnings"])]:
            if text:
                names.setdefault(text, []).append(str(row["name"] or row["address"]))
    for text, concerned in names.items():
        yield f"{', '.join(concerned)}: {text}"


def json_of(asked: Asked, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows as an object for JSON."""
    cluster = {"cluster": asked.answer.cluster_name, "epoch": asked.answer.placement_epoch}
    return {**rows[0], **cluster, "shards": rows[1:]}


class Asked(NamedTuple):
    """The answers of a server and its shards in one sample."""

    answer: service_pb2.DescribeStoreResponse
    #: The row of the server, and those of its shards, each with its load if it could be reached.
    parts: Sequence[tuple[dict[str, Any], service_pb2.Load | None]]

    @classmethod
    def unavailable(cls, url: str, error: DatastoreError, before: Asked) -> Asked:
        """A server that answered before, and does not now."""
        row = _server_row(url, before.answer) | {"health": "unavailable", "error": str(error), "warnings": []}
        return cls(before.answer, [(row | dict.fromkeys(("entries", "bytes", "tiers")), None)])


class Clients:
    """One connection to each server that is asked, until the block ends."""

    def __init__(self, settings: Settings) -> None:
        self._credentials = settings.credentials()
        self._clients: dict[str, NodeClient] = {}

    def of(self, url: str, timeout_s: float) -> NodeClient:
        """The client of a server."""
        if url not in self._clients:
            self._clients[url] = NodeClient(url, timeout_s=timeout_s, credentials=self._credentials)
        return self._clients[url]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.aclose()


async def _asked_once(settings: Settings) -> Asked:
    async with Clients(settings) as clients:
        return await ask(settings, clients)


async def ask(settings: Settings, clients: Clients) -> Asked:
    """What a server and its shards say now. Raises a DatastoreError if the server itself does not answer."""
    server = clients.of(settings.server, settings.timeout_s or CALL_TIMEOUT_S)
    answer = await server.describe_store()
    row = _server_row(settings.server, answer)
    if not await server.is_serving():
        why = wire.status_to_error(answer.status) if answer.HasField("status") else None
        row |= {"health": "not serving", "error": str(why or "it answers, but refuses every key")}
    row = await _placed(row, server)
    shards = await asyncio.gather(*(_shard(shard, clients.of(shard.url, NODE_TIMEOUT_S)) for shard in answer.shards))
    row["health"] = _health_before([row, *(shard_row for shard_row, _ in shards)])
    return Asked(answer, [(row, _load_of(answer)), *shards])


async def _shard(shard: service_pb2.Shard, node: NodeClient) -> tuple[dict[str, Any], service_pb2.Load | None]:
    """The row of a shard, from the proxy and from the shard's node, and its load."""
    row: dict[str, Any] = dict.fromkeys(("store", "tiers", "durability", "security", "version"))
    load = None
    failure = wire.status_to_error(shard.status) if shard.HasField("status") else None
    # It is enough that the proxy reaches it; from here it may be behind a firewall.
    if failure is None:
        with suppress(DatastoreError):
            answer = await node.describe_store()
            row, load = _server_row(shard.url, answer), _load_of(answer)
    return await _placed(row | _of_shard(shard, failure), node), load


def _load_of(answer: service_pb2.DescribeStoreResponse) -> service_pb2.Load | None:
    return answer.load if answer.HasField("load") else None


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
    # Every server has a store, but only shows it to callers with the right.
    shows_store = answer.HasField("store")
    return {
        "role": "proxy" if answer.shards else "node" if shows_store else "server",
        "name": answer.shard_name or answer.cluster_name or None,
        "address": url,
        "health": "serving",
        "slots": None,
        "entries": answer.entries if answer.HasField("entries") else None,
        "bytes": answer.stored_bytes if answer.HasField("stored_bytes") else None,
        "store": _store_text(answer.store),
        "tiers": _tiers_of(answer.store) or None,
        "durability": _DURABILITY.get(answer.durability),
        "security": _SECURITY.get(answer.transport_security),
        "version": answer.server_version or None,
        "error": None if shows_store else "what it serves is only shown to callers that may read /",
        "warnings": list(answer.warnings),
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
        "warnings": list(shard.warnings),
    }


def _health_of(failure: DatastoreError | None) -> str:
    if failure is None:
        return "serving"
    return "refused" if isinstance(failure, WrongShardError) else "unavailable"


def cell(value: Any) -> Any:
    """A number with commas, a rate in per cent; anything else as it is."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.1%}" if isinstance(value, float) else value


def _store_text(store: service_pb2.Store) -> str:
    """The innermost store if there is only one; otherwise the kind of composition."""
    while len(store.children) == 1:
        store = store.children[0]
    return f"{store.kind}: {store.description}" if store.description else str(store.kind)
