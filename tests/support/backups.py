"""Backups taken and restored within the test, and what the nodes then have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.model.query import Query
from datastore_client import aio as client
from datastore_server.backups.catalog import Backup, Catalog
from datastore_server.backups.merging import rows_of_all
from datastore_server.backups.rates import Rate
from datastore_server.backups.restoring import Restored, Restoring, restore
from datastore_server.backups.sources import sources_of
from datastore_server.backups.taking import Taking, take_backup
from datastore_server.backups.targets import targets_of


async def back_up(
    source: str,
    directory: Path,
    *,
    full: bool = False,
    advance: Callable[[int], None] = lambda _: None,
    said: list[str] | None = None,
) -> Backup:
    """Take a backup as the command does."""
    say = [].append if said is None else said.append
    with Catalog.locked(directory) as catalog:
        async with sources_of(source) as sources:
            return await take_backup(sources, Taking(catalog, source, full, Rate(None), advance, say))


async def restore_into(
    target: str,
    directory: Path,
    *,
    number: int | None = None,
    only: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Restored:
    """Restore a backup as the command does."""
    catalog = Catalog(directory)
    backup = catalog.backup(number)
    async with targets_of(target, only) as targets:
        return await restore(rows_of_all(catalog, backup.nodes), Restoring(backup, targets, Rate(None), advance))


async def stored(*urls: str) -> dict[str, tuple[Any, Metadata]]:
    """All entries of some nodes, with their metadata."""
    found: dict[str, tuple[Any, Metadata]] = {}
    for url in urls:
        async with client.connect(url) as store:
            async for batch in store.query(Query(Key("/"), recursive=True, metadata=True)).batches():
                stamps = [Metadata(*stamp) for stamp in batch.required_metadata()]
                found |= zip(map(str, batch.keys), zip(batch.values, stamps, strict=True), strict=True)
    return found


class CutError(Exception):
    """The command ended here."""


def interrupts_after(entries: int) -> Callable[[int], None]:
    """What ends a backup or a restore after so many entries."""
    left = [entries]

    def advance(count: int) -> None:
        left[0] -= count
        if left[0] <= 0:
            raise CutError

    return advance
