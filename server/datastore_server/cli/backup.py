"""`backup`: a consistent copy of a node or of a cluster, while it serves."""

from __future__ import annotations

from pathlib import Path

import click

from datastore.model.errors import ConfigError, DatastoreError, InvalidError, UnsupportedError
from datastore_server.backups.catalog import Backup, Catalog
from datastore_server.backups.rates import Rate
from datastore_server.backups.sources import sources_of
from datastore_server.backups.taking import Taking, take_backup
from datastore_server.cli.output import Terminated, print_json, say
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import Settings, credential_options, json_option
from datastore_server.cli.transfer.interruption import run_terminable
from datastore_server.cli.transfer.throttle import rate_option

__all__ = ["backup_command"]


@click.command("backup", short_help="Copy a node or a cluster, while it serves.")
@click.argument("source", metavar="SOURCE")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(file_okay=False, path_type=Path))
@click.option("--full", is_flag=True, help="Read all values, also those that the backup before has.")
@rate_option
@credential_options()
@json_option
@click.pass_obj
def backup_command(settings: Settings, *, source: str, directory: Path, full: bool, rate: int | None) -> None:
    """Add a backup of SOURCE to DIRECTORY: all entries with their versions, times and expiry, and the placement.

    \b
    SOURCE is one of
      grpc://HOST:PORT    a node on LMDB
      CONFIG.toml         all nodes of the cluster; each as of one moment, all at one epoch
      lmdb:///DIRECTORY   the directory of a node on this machine, running or not

    The first backup in DIRECTORY is a full one. A later one reads only the values that have changed since, and needs
    the ones before. It is complete once it is in DIRECTORY/manifest.json. After an interruption, run the same command
    again: it continues.

    \b
    Examples:
      datastore backup grpc://10.0.0.1:7420 /backups/node
      datastore backup cluster.toml /backups/cluster --rate 20MiB
    """
    try:
        with Catalog.locked(directory) as catalog:
            taken = run_terminable(_taken(settings, catalog, source, full=full, rate=Rate(rate)))
    except (KeyboardInterrupt, Terminated, DatastoreError) as error:
        if not isinstance(error, InvalidError | ConfigError | UnsupportedError):
            say("The backup is not complete. Run the same command again: it continues.")
        raise
    backup, summary = taken
    kind = "incremental" if backup.incremental else "full"
    say(f"Backup {backup.number} ({kind}): {summary}.")
    if settings.json:
        print_json(
            {
                "number": backup.number,
                "incremental": backup.incremental,
                "cluster": backup.cluster or None,
                "epoch": backup.epoch,
                "entries": backup.entries,
            }
        )


async def _taken(settings: Settings, catalog: Catalog, name: str, *, full: bool, rate: Rate) -> tuple[Backup, str]:
    """The backup, and a summary of how it went."""
    async with sources_of(name, settings.credentials_at(name)) as sources:
        counts = [await source.stored_entries() or 0 for source in sources]
        with progress(name, sum(counts), unit="entries") as reported:
            backup = await take_backup(sources, Taking(catalog, name, full, rate, reported.advance, say))
            return backup, reported.summary()
