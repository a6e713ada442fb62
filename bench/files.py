"""Benchmarks of the store in files."""

from __future__ import annotations

import tempfile
import time

from bench.measure import Row, compare
from datastore.filesystem import FileSystemDatastore
from datastore.model.key import Key

__all__ = ["ROWS"]

#: The number of files read in a run, and the bytes of each.
FILES, VALUE_BYTES = 5_000, 1_000


async def file_get_vs_read(files: int = FILES) -> Row:
    """FileSystemDatastore.get of text of 1,000 B, against open().read() of the same files; files per second."""
    with tempfile.TemporaryDirectory() as directory:
        store = FileSystemDatastore(directory)
        keys = [Key(f"/Country:CH/Person:{number:06}") for number in range(files)]
        for key in keys:
            store.put(key, "x" * VALUE_BYTES)
        paths = [store.object_path(key) for key in keys]

        async def ours() -> float:
            start = time.perf_counter()
            for key in keys:
                store.get(key)
            return files / (time.perf_counter() - start)

        async def bare() -> float:
            start = time.perf_counter()
            for path in paths:
                with open(path) as file:  # noqa: ASYNC230, PTH123 - the simplest way, as the reference
                    file.read()
            return files / (time.perf_counter() - start)

        return await compare("file_get_vs_read", "files/s", ours, bare)


ROWS = (file_get_vs_read,)
