"""`restore`: a backup into empty nodes."""

from __future__ import annotations

from pathlib import Path

import click

from datastore.model.errors import ConfigError, DatastoreError, InvalidError, PlacementError, UnsupportedError
from datastore_server.backups.catalog import Backup, Catalog
from datastore_server.backups.directories import restore_directory
from datastore_server.backups.merging import check_node, rows_of_all
from datastore_server.backups.rates import Rate
from datastore_server.backups.restoring import Restored, Restoring, restore
from datastore_server.backups.sources import lmdb_directory
from datastore_server.backups.targets import targets_of
from datastore_server.cli.output import Terminated, print_json, say
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import Settings, credential_options, json_option
from datastore_server.cli.transfer.interruption import run_terminable, terminable
from datastore_server.cli.transfer.throttle import rate_option
from datastore_server.counting import counted

__all__ = ["restore_command"]


@click.command("restore", short_help="Restore a backup into empty nodes.")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", metavar="TARGET")
@click.option("--number", type=int, metavar="N", help="Restore this backup.  [default: the latest]")
@click.option(
    "--only", metavar="SHARD", help="Restore only this shard: what it owns in CONFIG.toml, or its node as a directory."
)
@click.option("--abort", is_flag=True, help="Delete what an interrupted restore has restored, and serve.")
@rate_option
@credential_options()
@json_option
@click.pass_obj
def restore_command(
    settings: Settings,
    *,
    directory: Path,
    target: str,
    number: int | None,
    only: str | None,
    abort: bool,
    rate: int | None,
) -> None:
    """Restore a backup in DIRECTORY into TARGET, which is empty.

    \b
    TARGET is one of
      grpc://HOST:PORT    a running node
      CONFIG.toml         the nodes of a cluster, all running
      lmdb:///DIRECTORY   a new directory, of the same node as before: with its identity and its placement

    The cluster may have other shards than the one that was backed up: each entry goes to the node that owns it now.
    From the beginning to the end the nodes refuse all calls. In the end each node compares what it has with what was
    sent, and serves. After an interruption, run the same command again: it continues.

    Nodes on LMDB keep versions and times. Others give new ones, and the command says so. Entries that have expired
    since are left out.

    \b
    Examples:
      datastore restore /backups/node grpc://10.0.0.1:7420
      datastore restore /backups/cluster cluster.toml --rate 20MiB
    """
    if abort:
        say(f"Deleted {counted(run_terminable(_aborted(settings, target, only)), 'entries')}.")
        return
    catalog = Catalog(directory)
    backup = catalog.backup(number)
    for node in backup.nodes:
        check_node(catalog, node)
    try:
        if (path := lmdb_directory(target)) is not None:
            restored = _restored_directory(catalog, backup, path, only)
        else:
            restored = run_terminable(_restored(settings, catalog, backup, target, only, Rate(rate)))
    except (KeyboardInterrupt, Terminated, DatastoreError) as error:
        if not isinstance(error, InvalidError | ConfigError | UnsupportedError | PlacementError):
            say("The restore is not finished. Run the same command again: it continues; or with --abort, to cancel it.")
        raise
    _report(settings, backup, restored)


def _restored_directory(catalog: Catalog, backup: Backup, directory: Path, only: str | None) -> Restored:
    node = backup.node(only or "") if only or len(backup.nodes) > 1 else backup.nodes[0]
    if node is None:
        shards = ", ".join(one.shard for one in backup.nodes)
        raise ConfigError(f"a directory is of one node: say which with --only SHARD, one of {shards}")
    with terminable(), progress(str(directory), node.entries, unit="entries") as reported:
        return restore_directory(catalog, node, directory, reported.advance)


async def _aborted(settings: Settings, target: str, only: str | None) -> int:
    async with targets_of(target, only, settings.credentials_at(target)) as targets:
        return sum([await client.abort_restore() for client in targets.clients.values()])


async def _restored(
    settings: Settings, catalog: Catalog, backup: Backup, target: str, only: str | None, rate: Rate
) -> Restored:
    async with targets_of(target, only, settings.credentials_at(target)) as targets:
        with progress(target, backup.entries, unit="entries") as reported:
            rows = rows_of_all(catalog, backup.nodes)
            return await restore(rows, Restoring(backup, targets, rate, reported.advance))


def _report(settings: Settings, backup: Backup, restored: Restored) -> None:
    say(f"Restored {counted(restored.entries, 'entries')} of backup {backup.number}.")
    if restored.expired:
        say(f"{counted(restored.expired, 'entries')} had expired since, and were left out.")
    for name in restored.with_new_versions:
        say(f"{f'Shard {name}' if name else 'The node'} does not keep versions of a backup: its entries have new ones.")
    if settings.json:
        print_json({"number": backup.number, "entries": restored.entries, "expired": restored.expired})
