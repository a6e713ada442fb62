"""The record of the progress of a restore, in a node's system space. Pure."""

from __future__ import annotations

import json

from datastore.model.errors import CorruptDataError

__all__ = ["RESTORE_RECORD", "backup_under_way", "pack", "unpack"]

RESTORE_RECORD = "restore"


def pack(backup: str, restored_key: str | None) -> bytes:
    """The record of a backup, and the last key that is restored of it; None once all of it is."""
    return json.dumps([backup, restored_key]).encode()


def unpack(record: bytes) -> tuple[str, str | None]:
    """The backup and the key. Raises CorruptDataError for bytes that `pack` did not make."""
    try:
        backup, restored_key = json.loads(record)
    except ValueError as error:
        raise CorruptDataError(f"the record of this node's restore cannot be read: {error}") from error
    return backup, restored_key


def backup_under_way(record: bytes | None) -> str:
    """The backup that a node is being restored from; '' if it is not."""
    backup, restored_key = unpack(record) if record else ("", None)
    return "" if restored_key is None else backup
