"""Whether something is sound: a backup, a directory, a node, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from datastore.lmdb.directory import DATA_FILE
from datastore.lmdb.snapshot import Snapshot
from datastore.model.errors import ConfigError, CorruptDataError
from datastore.v1 import maintenance_pb2
from datastore_client.tls import Credentials
from datastore_server.backups.catalog import MANIFEST, Catalog
from datastore_server.backups.merging import check_node
from datastore_server.backups.sources import is_node_url, lmdb_directory
from datastore_server.config import load_config
from datastore_server.coordination.maintenance import MaintenanceClient
from datastore_server.maintenance.checks import check_messages

__all__ = ["Verdict", "verify"]

_Checks = AsyncGenerator[maintenance_pb2.VerifyStoreResponse]


@dataclass
class Verdict:
    """What was found. Sound without findings."""

    entries: int = 0
    #: How many findings there are; the first of them are in `findings`.
    found: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        """Add a finding."""
        self.found += 1
        self.findings.append(finding)


async def verify(target: str, advance: Callable[[int], None], credentials: Credentials | None = None) -> Verdict:
    """Check a target: the URL of a node or of a directory, or the path of a backup, a directory or a configuration.

    `advance` is called with the number of entries that were checked since. Changes nothing.
    """
    verdict = Verdict()
    if is_node_url(target):
        await _collect(_node_checks(target, credentials), "", verdict, advance)
    elif (directory := _directory(target)) is not None:
        await _collect(_directory_checks(directory), "", verdict, advance)
    elif (Path(target) / MANIFEST).exists():
        _check_backups(Catalog(Path(target)), verdict, advance)
    else:
        config = load_config(Path(target))
        for shard in config.shards:
            await _collect(_node_checks(shard.url, config.credentials()), f"shard {shard.name}: ", verdict, advance)
    return verdict


def _directory(target: str) -> Path | None:
    """The data directory that is meant; None for anything else."""
    directory = lmdb_directory(target)
    if directory is not None:
        return directory
    if not Path(target).exists():
        raise ConfigError(
            f"{target}: there is no such file or directory; name the URL of a node, a directory, or a configuration"
        )
    if (Path(target) / DATA_FILE).exists():
        return Path(target)
    if Path(target).is_dir() and not (Path(target) / MANIFEST).exists():
        raise ConfigError(f"{target} has neither {MANIFEST}, like backups, nor {DATA_FILE}, like the data of a node")
    return None


async def _node_checks(url: str, credentials: Credentials | None) -> _Checks:
    async with MaintenanceClient(url, credentials=credentials) as client, aclosing(client.verify_store()) as messages:
        async for message in messages:
            yield message


async def _directory_checks(directory: Path) -> _Checks:
    with Snapshot(directory) as snapshot:
        for message in check_messages(snapshot, is_served=False):
            yield maintenance_pb2.VerifyStoreResponse.FromString(message)


async def _collect(checks: _Checks, of: str, verdict: Verdict, advance: Callable[[int], None]) -> None:
    entries = found = 0
    is_complete = False
    async with aclosing(checks):
        async for message in checks:
            verdict.findings.extend(of + finding for finding in message.findings)
            advance(message.entries - entries)
            entries, found = message.entries, message.found
            is_complete = message.is_complete
    verdict.entries += entries
    verdict.found += found
    if not is_complete:
        verdict.add(f"{of}the check ended early")


def _check_backups(catalog: Catalog, verdict: Verdict, advance: Callable[[int], None]) -> None:
    for backup in catalog.backups:
        for node in backup.nodes:
            try:
                check_node(catalog, node)
            except CorruptDataError as error:
                verdict.add(f"backup {backup.number}: {error}")
            advance(node.entries)
            verdict.entries += node.entries
    if not catalog.backups:
        verdict.add(f"{catalog.directory} has no complete backup")
