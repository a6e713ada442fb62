"""Checks a directory: each record, and the index of expiries and the log of changes against the entries.

Reads one snapshot, in bounded memory; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import lmdb

from datastore.lmdb.changelog import DELETE, EXPIRE, logged_after, logged_items
from datastore.lmdb.directory import CHANGES, EXPIRIES
from datastore.lmdb.errors import raise_translated
from datastore.lmdb.expiries import index_key
from datastore.lmdb.records import unpack_stored
from datastore.lmdb.snapshot import SNAPSHOT_ENTRIES, Snapshot
from datastore.model.errors import CorruptDataError, InvalidKeyError
from datastore.model.key import Key
from datastore.model.metadata import Metadata
from datastore.model.operations import attempt

__all__ = ["Checked", "check_entries", "check_log"]


class Checked(NamedTuple):
    """What was checked: the number of entries, the findings, and the key text and value of each sound entry."""

    entries: int
    findings: list[str]
    sound: Sequence[tuple[bytes, bytes | str]] = ()


def check_entries(snapshot: Snapshot) -> Iterator[Checked]:
    """Check each record: its key, its checksum, its version, and that the index has it if it expires."""
    before = b""
    for texts, records in snapshot.batches(with_expired=True):
        checked = Checked(len(texts), [], sound := [])
        for text, record in zip(texts, records, strict=True):
            stored = attempt(unpack_stored, text, record, catching=(CorruptDataError, UnicodeDecodeError))
            if stored.error is not None:
                checked.findings.append(str(stored.error))
                continue
            checked.findings.extend(_faults(snapshot, text, stored.value.metadata))
            sound.append((text, stored.value.value))
        steps = pairwise(filter(None, [before, *texts]))
        checked.findings.extend(
            f"the key {later!r} is stored after {earlier!r}" for earlier, later in steps if earlier >= later
        )
        before = texts[-1] if texts else before
        yield checked


def _faults(snapshot: Snapshot, text: bytes, metadata: Metadata) -> Iterator[str]:
    try:
        is_key = str(Key(text.decode())).encode() == text
    except (UnicodeDecodeError, InvalidKeyError):
        is_key = False
    if not is_key:
        yield f"{text!r} is not a key in canonical form"
    if metadata.version > snapshot.version:
        yield f"{text!r} has the version {metadata.version}, above the latest that was given, {snapshot.version}"
    if metadata.expires_us:
        index = snapshot.databases.get(EXPIRIES)
        found = None if index is None else snapshot.transaction.get(index_key(metadata), db=index)
        if found != text:
            yield f"{text!r} expires, and is missing in the index of what expires: it will never be removed"


def check_log(snapshot: Snapshot) -> Iterator[Checked]:
    """Check that each item of the log can be read, and that no entry is older than a change of it."""
    log = snapshot.databases.get(CHANGES)
    if log is None:
        return
    try:
        with snapshot.transaction.cursor(db=log) as cursor:
            floor = logged_after(cursor)
            if floor > snapshot.version:
                yield Checked(0, [f"the log begins after the version {floor}, above the latest, {snapshot.version}"])
            for first, (version, kind, text, value) in enumerate(logged_items(cursor)):
                findings = list(_log_faults(snapshot, floor, version, kind, text, value))
                if findings or first % SNAPSHOT_ENTRIES == 0:
                    yield Checked(0, findings)
    except lmdb.Error as error:
        raise_translated(error, snapshot.directory)


def _log_faults(snapshot: Snapshot, floor: int, version: int, kind: int, text: bytes, value: Any) -> Iterator[str]:
    if not floor < version <= snapshot.version:
        yield f"the log has a change of the version {version}, outside of {floor + 1} to {snapshot.version}"
    record = snapshot.entry(text)
    if record is None:
        return
    stored = attempt(unpack_stored, text, record, catching=(CorruptDataError, UnicodeDecodeError))
    if stored.error is not None:
        return
    found, metadata = stored.value
    if metadata.version < version:
        yield f"{text!r} has the version {metadata.version}, and the log a later change of it, {version}"
    elif metadata.version == version and kind in (DELETE, EXPIRE):
        yield f"{text!r} has the version {version}, with which the log says that it was removed"
    elif metadata.version == version and (found.encode() if isinstance(found, str) else found) != value:
        yield f"{text!r} has another value than the log at its version {version}"
