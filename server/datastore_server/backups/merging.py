"""The entries of a node's backup, from its parts. Pure, apart from reading the files; in bounded memory.

The last part lists every key with its metadata. A value that it leaves out is in an earlier part, under the same key
and version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path

from datastore.model.errors import CorruptDataError
from datastore_server.backups.catalog import Catalog, NodeBackup
from datastore_server.backups.parts import read_part
from datastore_server.maintenance.columns import SUM_MASK, Times, listing_checksum, stamps_of

__all__ = ["Row", "check_node", "rows_of", "rows_of_all"]

#: The text of a key, its value in wire form, and its metadata.
Row = tuple[str, bytes, Times]
#: How many entries are checked at once.
_CHECKED = 2000


def rows_of(paths: Sequence[Path]) -> Iterator[Row]:
    """The entries of a node in key order, with all values. Raises CorruptDataError if one is missing."""
    *earlier, last = paths
    older = [_Older(path) for path in reversed(earlier)]
    for key, value, times in _rows(last):
        if value:
            yield key, value, times
            continue
        found = next((known for one in older if (known := one.value_of(key, times[0]))), b"")
        if not found:
            raise CorruptDataError(f"{last} needs the value of {key} at the version {times[0]}, which no part has")
        yield key, found, times


def rows_of_all(catalog: Catalog, nodes: Sequence[NodeBackup]) -> Iterator[Row]:
    """The entries of several nodes in key order."""
    return merge(*(rows_of(catalog.paths(node)) for node in nodes), key=itemgetter(0))


class _Older:
    """The values of one part, which are asked for in key order."""

    def __init__(self, path: Path) -> None:
        self._rows = _rows(path)
        self._row: Row | None = next(self._rows, None)

    def value_of(self, key: str, version: int) -> bytes:
        """The value of a key at a version; b"" if this part does not have it."""
        while self._row is not None and self._row[0] < key:
            self._row = next(self._rows, None)
        row = self._row
        return row[1] if row is not None and row[0] == key and row[2][0] == version else b""


def _rows(path: Path) -> Iterator[Row]:
    for message in read_part(path):
        columns = message.entries
        yield from zip(columns.keys, columns.values, stamps_of(columns), strict=True)


def check_node(catalog: Catalog, node: NodeBackup) -> None:
    """Raise CorruptDataError unless the parts have all entries of a node, with their values."""
    paths = catalog.paths(node)
    for path, size in zip(paths, node.part_bytes, strict=True):
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            raise CorruptDataError(f"{path} has {found:,} bytes instead of {size:,}")
    entries = checksum = 0
    listed = ((key.encode(), times) for key, _, times in rows_of(paths))
    while some := list(islice(listed, _CHECKED)):
        entries += len(some)
        checksum = (checksum + listing_checksum(*zip(*some, strict=True))) & SUM_MASK
    if (entries, checksum) != (node.entries, node.checksum):
        raise CorruptDataError(
            f"the backup of {node.shard or 'the node'} has {entries:,} entries with the checksum {checksum:016x}, and"
            f" the node had {node.entries:,} with {node.checksum:016x}"
        )
