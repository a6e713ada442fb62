"""Reads copies of a data file that have one flipped bit each, as a program, because a damaged file may end it.

A line of its input is a place and a bit; a line of its output is how that went: `refused` when it was opened, or
`right` or `wrong`, and how many entries were read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datastore.lmdb import LMDBDatastore
from datastore.model.errors import CorruptDataError, StoreFormatError
from datastore.model.key import Key
from datastore.model.query import Query

__all__ = ["CONTENTS"]

CONTENTS = {Key(f"/T:{number:04}"): b"%d" % number + b"x" * (number % 300) for number in range(600)}
_DAMAGED = "CORRUPT_DATA"


def _answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except CorruptDataError:
        return _DAMAGED


def _read(directory: Path) -> str:
    try:
        store = LMDBDatastore(directory)
    except (CorruptDataError, StoreFormatError):
        return "refused"
    with store:
        found = {key: _answer(lambda key=key: store.get(key)) for key in CONTENTS}
        batch = dict(zip(CONTENTS, store.batch_get(list(CONTENTS)), strict=True))
        scanned = _answer(lambda: {entry.key: entry.value for entry in store.query(Query(Key("/T"))).entries()})
    wrong = [key for key, value in CONTENTS.items() if found[key] not in (value, _DAMAGED)]
    wrong += [key for key, value in CONTENTS.items() if batch[key].error is None and batch[key].value != value]
    wrong += [] if scanned in (CONTENTS, _DAMAGED) else [Key("/T")]
    right = sum(found[key] == value for key, value in CONTENTS.items())
    return f"{'wrong' if wrong else 'right'} {right} {' '.join(map(str, wrong[:5]))}"


def main() -> None:
    """Damage the data file in a directory bit by bit."""
    directory = Path(sys.argv[1])
    data = directory / "data.mdb"
    whole = data.read_bytes()
    for line in sys.stdin:
        place, bit = map(int, line.split())
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        data.write_bytes(damaged)
        print(_read(directory), flush=True)  # noqa: T201 - this is a program


if __name__ == "__main__":
    main()
