"""`list`: the collections below a key, with their sizes."""

from __future__ import annotations

from dataclasses import dataclass

import click

from datastore.model.key import Key
from datastore.model.query import Query
from datastore_server.cli.connection import connected
from datastore_server.cli.hints import hint_at_nothing
from datastore_server.cli.output import print_json, print_table
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import KEY, Settings, server_options

__all__ = ["COLLECTIONS", "Listing", "list_command"]

#: The number of collections listed by name; further ones are summed in one row.
COLLECTIONS = 10_000
OTHERS = "(others)"


@dataclass
class Held:
    """The size of a collection. `below` is the number of entries deeper below it; `bytes` includes those."""

    entries: int = 0
    below: int = 0
    bytes: int = 0


class Listing:
    """Sums up entries by collection: that of `key` itself, and those one level below it."""

    def __init__(self, key: Key) -> None:
        self.rows: dict[str, Held] = {}
        self._key = key
        self._prefix = "" if key == Key("/") else str(key)

    def add(self, key: Key, value_bytes: int) -> None:
        """Count an entry below the key."""
        name = self._collection_of(key)
        if name not in self.rows and len(self.rows) >= COLLECTIONS:
            name = OTHERS
        held = self.rows.setdefault(name, Held())
        if name == str(key.path):
            held.entries += 1
        else:
            held.below += 1
        held.bytes += len(str(key).encode()) + value_bytes

    def _collection_of(self, key: Key) -> str:
        if key.path == self._key:
            return str(self._key)
        rest = str(key)[len(self._prefix) :]
        first, slash, _ = rest[1:].partition("/")
        kind, colon, _ = first.partition(":")
        if rest[0] == "/" and colon and kind:
            return f"{self._prefix}/{kind}"
        # Another instance, e.g. /a:b:c below /a:b, is not in a collection below the key.
        return f"{self._prefix}{rest[0]}{first}" if slash else str(self._key)


@click.command("list", short_help="Show the collections below a key, with counts and bytes.")
@click.argument("key", type=KEY, default="/")
@server_options()
@click.pass_obj
def list_command(settings: Settings, key: Key) -> None:
    """Show the collection of KEY (default: /) and the collections one level below it, with their sizes.

    \b
    Examples:
      datastore list
      datastore list /Person

    "entries" is the number that `datastore count COLLECTION` prints, "below" the number of entries deeper below the
    collection, and "bytes" the size of the keys and values of both. Every entry is read, so this takes as long as an
    export. With --json each collection is a line: {"collection": ..., "entries": ..., "below": ..., "bytes": ...}.
    """
    listing = Listing(key)
    query = Query(key, recursive=True)
    with connected(settings, lazy=True) as store:
        with progress("list", unit="entries") as reported, store.query(query) as cursor:
            for batch in cursor.batches():
                for entry_key, value in zip(batch.keys, batch.values, strict=True):
                    listing.add(entry_key, len(value.data))
                reported.advance(len(batch))
        if not listing.rows:
            hint_at_nothing(store, query)
    rows = sorted(listing.rows.items(), key=lambda row: (row[0] == OTHERS, row[0]))
    if settings.json:
        for name, held in rows:
            print_json({"collection": name, "entries": held.entries, "below": held.below, "bytes": held.bytes})
    elif rows:
        print_table(
            ["collection", "entries", "below", "bytes"],
            [[name, f"{held.entries:,}", f"{held.below:,}", f"{held.bytes:,}"] for name, held in rows],
        )
