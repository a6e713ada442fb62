"""Checks that a search of LMDB ended in the right place, so that a damaged page does not hide entries.

LMDB keeps no checksums of its pages, so a flipped bit in a key on the path of a search can mislead it. The search then
ends next to the damage, so the entries around its end must be sound and in order. That costs reading a few records, and
only for keys that are absent.
"""

from __future__ import annotations

from typing import Any

import lmdb

from datastore.lmdb.records import unpack
from datastore.model.errors import CorruptDataError

__all__ = ["check_absent", "check_key", "seek"]

#: Larger records are not stored in the page of their keys, and take longer to check: only the order of their keys is.
_CHECKED_BYTES = 2000


def check_absent(cursor: lmdb.Cursor[Any], text: bytes) -> None:
    """Raise CorruptDataError if the entries before and after where the key of this text would be are not sound."""
    # One search: the next may go another way.
    is_there = cursor.set_range(text)
    after = cursor.item() if is_there else None
    is_there = cursor.prev() if is_there else cursor.last()
    before = cursor.item() if is_there else None
    if (after is not None and bytes(after[0]) <= text) or (before is not None and bytes(before[0]) >= text):
        raise CorruptDataError(f"the entries next to {_shown(text)} are out of order: whether it exists is not known")
    for found in (before, after):
        if found is None:
            continue
        try:
            check_key(bytes(found[0]), found[1])
        except CorruptDataError as error:
            raise CorruptDataError(
                f"an entry next to {_shown(text)} is damaged, so whether that exists is not known: {error}"
            ) from error


def check_key(text: bytes, record: Any) -> None:
    """Raise CorruptDataError if a key does not belong to its record; large records are not checked."""
    if len(record) <= _CHECKED_BYTES:
        try:
            unpack(text, bytes(record))
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"the record of {_shown(text)} is damaged: {error}") from error


def seek(cursor: lmdb.Cursor[bytes], text: bytes, checked: bytes | None = None) -> bool:
    """Move to the first entry not before `text`; False if there is none.

    `checked` is a key whose record has been checked already. Raises CorruptDataError if an entry is passed that should
    not be, by what the one before shows.
    """
    is_there = cursor.set_range(text)
    has_before = cursor.prev() if is_there else cursor.last()
    before = cursor.key() if has_before else b""
    if before >= text > b"":
        raise CorruptDataError(f"the entries next to {_shown(text)} are out of order: a page is damaged")
    # Usually it is the last entry that was read.
    if has_before and before not in (text[:-1], checked):
        check_key(before, cursor.value())
    return is_there and (cursor.next() if has_before else cursor.first())


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "backslashreplace"))
