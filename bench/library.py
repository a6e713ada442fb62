"""Benchmarks of the library alone, in this process: no server and no wire."""

from __future__ import annotations

import heapq
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

from bench.measure import Row, compare
from datastore.core import Cursor, Datastore, DictDatastore, Key, NamespaceDatastore, ShardedDatastore
from datastore.engine.pipeline import STEP_ENTRIES, Pipeline
from datastore.engine.sorting import NewFile
from datastore.filesystem import FileSystemDatastore
from datastore.model.entries import Batch
from datastore.model.limits import BATCH_ENTRIES
from datastore.model.query import Query
from datastore.spill import SpillFile
from datastore.wire import encode_value

__all__ = ["ROWS"]

#: How many keys are made in a run.
KEYS = 50_000
#: The maps that are queried, and how many results the limited query gives.
MAPS, TOP = 100_000, 10
#: The maps that are sorted: more than SORT_MEMORY_BYTES.
SORTED = 300_000
#: The stores that are merged, and the entries of each.
SHARDS, SHARD_ENTRIES = 8, 100_000
#: The files that are read, and the bytes of each.
FILES, VALUE_BYTES = 5_000, 1_000
#: The modules that a program of this kind imports anyway.
COMMON_IMPORTS = "import json, logging, typing"

Map = dict[str, Any]


async def key_vs_purepath() -> Row:
    """Making and hashing a Key of text, all texts different, against PurePosixPath of the same texts."""
    texts = [f"/Country:CH/City:Zurich/Person:{number:08}" for number in range(KEYS)]

    def make(kind: Callable[[str], Any]) -> float:
        return _per_second(KEYS, lambda: [hash(kind(text)) for text in texts])

    return await compare("keys/s", _later(make, Key), _later(make, PurePosixPath))


async def dict_query_vs_sorted() -> Row:
    """A DictDatastore of 100,000 maps, two filters, two orders, against a generator and sorted over a plain dict.

    A fifth of the maps pass. The reference too sorts ties by key.
    """
    rows = _rows(MAPS)
    store = _filled(rows)

    def query() -> list[Map]:
        return list(store.query(_query()))

    def by_hand() -> list[Map]:
        return [row for _, row in sorted(_passing(rows), key=_place)]

    return await _compare_answers(MAPS, query, by_hand)


async def topn_vs_heapq() -> Row:
    """The same with limit 10, against a generator and heapq.nsmallest."""
    rows = _rows(MAPS)
    store = _filled(rows)

    def query() -> list[Map]:
        return list(store.query(_query(limit=TOP)))

    def by_hand() -> list[Map]:
        return [row for _, row in heapq.nsmallest(TOP, _passing(rows), key=_place)]

    return await _compare_answers(MAPS, query, by_hand)


async def sharded_merge_vs_heapq() -> Row:
    """Eight stores of 100,000 sorted entries each, against heapq.merge of the same with a prepared key.

    The stores return batches, like one on disk; the reference merges pairs of the key's text, which is compared, and
    the value. Both sides return the values.
    """
    parts = [
        [(f"/Thing:{number:08}", number) for number in range(shard, SHARD_ENTRIES * SHARDS, SHARDS)]
        for shard in range(SHARDS)
    ]
    store = ShardedDatastore([_SortedDatastore(part) for part in parts])
    query = Query(Key("/Thing"))
    return await _compare_answers(
        SHARD_ENTRIES * SHARDS,
        lambda: list(store.query(query)),
        lambda: [value for _, value in heapq.merge(*parts, key=itemgetter(0))],
    )


async def shim_scan_vs_child() -> Row:
    """Reading 100,000 entries through a NamespaceDatastore, against reading them from its child.

    The overhead of the shim per entry is the difference of the two times: at most 2 microseconds.
    """
    child = DictDatastore()
    for text, row in _rows(MAPS).items():
        child.put(Key(f"/space{text}"), row)
    store = NamespaceDatastore("/space", child)

    def scan(of: Datastore, key: str) -> float:
        return _per_second(MAPS, lambda: deque(of.query(Query(Key(key))).entries(), maxlen=0))

    return await compare("entries/s", _later(scan, store, "/Airport"), _later(scan, child, "/space/Airport"))


async def spilled_sort_vs_memory_sort() -> Row:
    """Sorting 300,000 serialized maps of 200 bytes in 64 MiB of memory and files, against all in memory."""
    rows = _rows(SORTED)
    entries = list(rows.items())
    batches = [_serialized(entries[start : start + BATCH_ENTRIES]) for start in range(0, SORTED, BATCH_ENTRIES)]

    def sort(new_file: NewFile | None) -> None:
        pipeline = Pipeline(Query(Key("/Airport")).order("city"), new_file)
        for batch in batches:
            for part in batch.parts(STEP_ENTRIES):
                pipeline.feed(part)
                if pipeline.must_spill:
                    deque(pipeline.sort(), maxlen=0)
                    pipeline.spill()
        if pipeline.has_spilled is (new_file is None):
            raise RuntimeError("the two sides do not differ as they should")
        if sum(map(len, pipeline.finish())) < SORTED:
            raise RuntimeError("entries are missing")
        pipeline.close()

    spilled, held = partial(sort, SpillFile), partial(sort, None)
    return await compare("entries/s", _later(_per_second, SORTED, spilled), _later(_per_second, SORTED, held))


async def import_datastore() -> Row:
    """`import datastore` in a fresh interpreter, against `import json, logging, typing`; 20 a second are 50 ms each."""
    return await compare(
        "imports/s",
        _later(_imports_per_second, "import datastore"),
        _later(_imports_per_second, COMMON_IMPORTS),
    )


async def file_get_vs_read() -> Row:
    """FileSystemDatastore.get of text of 1,000 B, against open().read() of the same files; files per second."""
    with tempfile.TemporaryDirectory() as directory:
        store = FileSystemDatastore(directory)
        keys = [Key(f"/Country:CH/Person:{number:06}") for number in range(FILES)]
        for key in keys:
            store.put(key, "x" * VALUE_BYTES)
        paths = [store.object_path(key) for key in keys]

        def get_all() -> None:
            for key in keys:
                store.get(key)

        def read_all() -> None:
            for path in paths:
                with open(path) as file:  # noqa: PTH123 - the simplest way, as the reference
                    file.read()

        return await compare("files/s", _later(_per_second, FILES, get_all), _later(_per_second, FILES, read_all))


# Shared by the rows


def _later(call: Callable[..., float], *arguments: Any) -> Callable[[], Awaitable[float]]:
    """A measurement of this process in the form that `compare` expects."""

    async def measure() -> float:
        return call(*arguments)

    return measure


def _per_second(items: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return items / (time.perf_counter() - start)


async def _compare_answers(items: int, ours: Callable[[], list[Any]], by_hand: Callable[[], list[Any]]) -> Row:
    """The row for two ways to compute an answer, after checking that both give the same one."""
    if ours() != by_hand():
        raise RuntimeError("the two sides give different answers")
    return await compare("entries/s", _later(_per_second, items, ours), _later(_per_second, items, by_hand))


def _rows(maps: int) -> dict[str, Map]:
    """Maps by the text of their keys, in an order unrelated to the queries."""
    return {
        f"/Airport:{number * 7919 % maps:08}": {
            "name": f"Airport number {number}",
            "country": ("AT", "CH", "DE", "FR")[number % 4],
            "city": f"City {number * 31 % 997}",
            "elevation": number * 17 % 5000,
        }
        for number in range(maps)
    }


def _serialized(entries: Sequence[tuple[str, Map]]) -> Batch:
    return Batch([Key(text) for text, _ in entries], [encode_value(row | {"padding": "x" * 100}) for _, row in entries])


def _filled(rows: dict[str, Map]) -> DictDatastore:
    store = DictDatastore()
    for text, row in rows.items():
        store.put(Key(text), row)
    return store


def _query(limit: int | None = None) -> Query:
    query = Query(Key("/Airport"), limit)
    return query.filter("country", "=", "CH").filter("elevation", ">=", 1000).order("city").order("-elevation")


def _passing(rows: dict[str, Map]) -> Iterator[tuple[str, Map]]:
    """The filters of `_query`, by hand."""
    return (entry for entry in rows.items() if entry[1]["country"] == "CH" and entry[1]["elevation"] >= 1000)


def _place(entry: tuple[str, Map]) -> tuple[str, int, str]:
    """The orders of `_query`, by hand."""
    text, row = entry
    return row["city"], -row["elevation"], text


class _SortedDatastore(Datastore):
    """Answers every query with all of its entries, in batches; the merge does the rest."""

    ordered_queries = True

    def __init__(self, entries: Sequence[tuple[str, Any]]) -> None:
        self._keys = [Key(text) for text, _ in entries]
        self._values = [value for _, value in entries]

    def query(self, query: Query) -> Cursor:
        return Cursor.from_batches(query, self._batches())

    def _batches(self) -> Any:
        for start in range(0, len(self._keys), BATCH_ENTRIES):
            stop = start + BATCH_ENTRIES
            yield Batch(self._keys[start:stop], self._values[start:stop])


def _imports_per_second(statement: str) -> float:
    program = f"import time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    seconds = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return 1 / float(seconds)


ROWS: tuple[Callable[[], Awaitable[Row]], ...] = (
    key_vs_purepath,
    dict_query_vs_sorted,
    topn_vs_heapq,
    sharded_merge_vs_heapq,
    shim_scan_vs_child,
    spilled_sort_vs_memory_sort,
    import_datastore,
    file_get_vs_read,
)
