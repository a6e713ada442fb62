"""`compact`: gives the free space in a data file back to the file system."""

from __future__ import annotations

from pathlib import Path

import click

from datastore.lmdb import LMDBConfig
from datastore.lmdb.directory import compact_directory
from datastore.model.errors import ConfigError
from datastore_server.cli.output import print_json, say
from datastore_server.cli.settings import Settings, json_option
from datastore_server.store_urls import parse_store_url

__all__ = ["compact_command"]


@click.command("compact", short_help="Give the free space of a data directory back.")
@click.argument("store", metavar="lmdb:///DIRECTORY")
@json_option
@click.pass_obj
def compact_command(settings: Settings, store: str) -> None:
    """Rewrite the data file of a stopped node without its free pages.

    A data file never shrinks by itself: deletes free pages in it, which later writes use. The file system needs room
    for the new file beside the old one, which is replaced once the new one is complete and on disk. An interruption
    changes nothing.

    \b
    Example:
      datastore compact lmdb:///var/lib/datastore
    """
    tree = parse_store_url(store).tree
    if not isinstance(tree, LMDBConfig):
        raise ConfigError(f"a store of kind {tree.kind} cannot be compacted: this is for lmdb:///DIRECTORY")
    before, after = compact_directory(Path(tree.directory))
    say(f"{tree.directory} has {after:,} bytes now, and had {before:,}.")
    if settings.json:
        print_json({"bytes_before": before, "bytes": after})
