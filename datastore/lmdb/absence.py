"""Whether the search of LMDB went where it should: no damaged page hides an entry.

LMDB keeps no checksums of its pages: a flipped bit in a key, or in what a search passes, leads it astray. It then ends
beside what misled it, so the entries around its end must be sound and in order. That costs a few records, and only for
keys that are absent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import lmdb

from datastore.lmdb.records import unpack
from datastore.model.errors import CorruptDataError

__all__ = ["check_absent", "check_key", "seek"]

#: How many entries are checked on each side. With one, a damaged pointer to another whole entry would be missed.
_NEIGHBOURS = 2
#: Larger records are not in the page of their keys, and take longer to check; the order of their keys is.
_CHECKED_BYTES = 2000


def check_absent(cursor: lmdb.Cursor[Any], text: bytes) -> None:
    """Raise CorruptDataError if the entries around where the key of this text would be are not sound."""
    found = _around(cursor, text)
    keys = [bytes(key) for key, _ in found]
    is_in_order = all(first < second for first, second in pairwise(keys)) and text not in keys
    if not is_in_order or (len(keys) == 2 * _NEIGHBOURS and not keys[0] < text < keys[-1]):
        raise CorruptDataError(f"the entries next to {_shown(text)} are out of order: whether it exists is not known")
    for key, (_, record) in zip(keys, found, strict=True):
        try:
            check_key(key, record)
        except CorruptDataError as error:
            raise CorruptDataError(
                f"an entry next to {_shown(text)} is damaged, so whether that exists is not known: {error}"
            ) from error


def _around(cursor: lmdb.Cursor[Any], text: bytes) -> list[tuple[Any, Any]]:
    """The entries around where a key would be."""
    if not (cursor.set_range(text) or cursor.last()):
        return []
    is_there = True
    for _ in range(_NEIGHBOURS):
        is_there = is_there and cursor.prev()
    is_there = is_there or cursor.first()
    found: list[tuple[Any, Any]] = []
    while is_there and len(found) < 2 * _NEIGHBOURS:
        found.append(cursor.item())
        is_there = cursor.next()
    return found


def check_key(text: bytes, record: Any) -> None:
    """Raise CorruptDataError if a key is not that of its record, unless that is large."""
    if len(record) <= _CHECKED_BYTES:
        try:
            unpack(text, bytes(record))
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"the record of {_shown(text)} is damaged: {error}") from error


def seek(cursor: lmdb.Cursor[bytes], text: bytes) -> bool:
    """Move to the first entry not before `text`; False if there is none.

    Raises CorruptDataError if an entry is passed that should not be, by what the one before shows.
    """
    is_there = cursor.set_range(text)
    has_before = cursor.prev() if is_there else cursor.last()
    before = cursor.key() if has_before else b""
    if before >= text > b"":
        raise CorruptDataError(f"the entries next to {_shown(text)} are out of order: a page is damaged")
    # Usually it is the last entry that was read.
    if has_before and before != text[:-1]:
        check_key(before, cursor.value())
    return is_there and (cursor.next() if has_before else cursor.first())


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "backslashreplace"))
