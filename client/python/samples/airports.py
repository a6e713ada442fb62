"""Imports airports, reads a query and watches: python client/python/samples/airports.py HOST:PORT airports.csv.

The file is that of the package airportsdata: a line for each airport, with its columns named in the first line.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from datastore import Datastore, Key, Query, Write
from datastore_client import connect

NUMBERS = {"elevation", "lat", "lon"}


def import_all(store: Datastore, path: Path) -> int:
    """Store every line under its code; returns how many there are."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            {name: float(text) if name in NUMBERS else text for name, text in row.items()}
            for row in csv.DictReader(file)
        ]
    results = store.batch_write([Write(Key(f"/Airport:{row['icao']}"), row) for row in rows])
    for result in results:
        if result.error is not None:
            raise result.error
    return len(rows)


def main(address: str, path: Path) -> None:
    """Import, query, watch."""
    with connect(f"grpc://{address}") as store:
        print(import_all(store, path), "airports")

        highest = Query(Key("/Airport"), limit=5).filter("country", "=", "CH").order("-elevation")
        for entry in store.query(highest).entries():
            print(entry.key, entry.value["name"], entry.value["elevation"])

        with store.watch(Query(Key("/Airport"))) as changes:
            store.patch(Key("/Airport:LSZS"), {"note": "the highest airport of Europe"})
            change = next(changes)
            print(change.kind.name, change.key, change.value["note"])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
