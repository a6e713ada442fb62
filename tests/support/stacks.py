"""Stores on stores on stores: descriptions of them drawn at random, and the stores they describe, in either colour.

A description is plain data, so that a failure prints it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from hypothesis import strategies as st

from datastore import aio, core, serialize
from datastore.aio.lift import lift
from datastore.filesystem import FileSystemDatastore
from datastore.lmdb import LMDBDatastore

#: How many stores lie upon one another at most.
DEPTH = 4


class Stack(NamedTuple):
    """A kind of store, and what it is built on."""

    kind: str
    children: tuple[Stack, ...] = ()

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.children))})" if self.children else self.kind

    def kinds(self) -> set[str]:
        """Every kind in it."""
        return {self.kind}.union(*(child.kinds() for child in self.children))


def upon(*kinds: str | Stack) -> Stack:
    """Shims upon one another, the topmost first; the last is a stack itself."""
    *shims, stack = kinds
    for shim in reversed(shims):
        stack = Stack(str(shim), (stack,))
    return stack


def stacks(depth: int = DEPTH) -> st.SearchStrategy[Stack]:
    """Any stack, at most `depth` high."""
    leaves = st.sampled_from([*_LEAVES]).map(Stack)
    if depth == 1:
        return leaves
    below = stacks(depth - 1)
    one = st.builds(Stack, st.sampled_from([*_SHIMS]), st.tuples(below))
    several = st.builds(Stack, st.sampled_from([*_COLLECTIONS]), st.lists(below, min_size=1, max_size=3).map(tuple))
    cached = st.builds(Stack, st.just("cache"), st.tuples(below, stacks(1)))
    return st.one_of(one, several, cached, leaves)


def build(stack: Stack, colour: ModuleType, directory: Path) -> Any:
    """The store, whose classes are those of `colour`: `datastore.core` or `datastore.aio`. Files lie in `directory`."""
    if stack.kind in _LEAVES:
        leaf = _LEAVES[stack.kind](colour, tempfile.mkdtemp(dir=directory))
        return lift(leaf) if colour is aio and isinstance(leaf, core.Datastore) else leaf
    children = [build(child, colour, directory) for child in stack.children]
    if stack.kind == "cache":
        return colour.CacheShimDatastore(children[0], cache=children[1])
    if stack.kind in _SHIMS:
        return _SHIMS[stack.kind](colour, children[0])
    return _COLLECTIONS[stack.kind](colour, children)


def _file(colour: ModuleType, directory: str) -> Any:
    files = FileSystemDatastore(directory)
    return colour.SerializerShimDatastore(lift(files) if colour is aio else files, json)


def _lmdb(colour: ModuleType, directory: str) -> Any:
    pages = LMDBDatastore(directory, durability="async")
    return colour.SerializerShimDatastore(lift(pages) if colour is aio else pages, _JsonBytes)


class _JsonBytes:
    """JSON as bytes."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        return json.dumps(value).encode()

    loads = staticmethod(json.loads)


_LEAVES: dict[str, Callable[[ModuleType, str], Any]] = {
    "dict": lambda colour, _: colour.DictDatastore(),
    "lru": lambda colour, _: colour.LRUCacheDatastore(100_000),
    "file": _file,
    "lmdb": _lmdb,
}
_SHIMS: dict[str, Callable[[ModuleType, Any], Any]] = {
    "json": lambda colour, child: colour.SerializerShimDatastore(child),
    "maps": lambda colour, child: colour.SerializerShimDatastore(child, serialize.map_serializer),
    "stack": lambda colour, child: colour.SerializerShimDatastore(
        child, serialize.Stack([serialize.map_serializer, serialize.prettyjson])
    ),
    "namespace": lambda colour, child: colour.NamespaceDatastore("/n:s", child),
    "identity": lambda colour, child: colour.KeyTransformDatastore(child),
    "lowercase": lambda colour, child: colour.LowercaseKeyDatastore(child),
    "logging": lambda colour, child: colour.LoggingDatastore(child),
    "symlink": lambda colour, child: colour.SymlinkDatastore(child),
}
_COLLECTIONS: dict[str, Callable[[ModuleType, list[Any]], Any]] = {
    "tiered": lambda colour, children: colour.TieredDatastore(children),
    "tiers with a small cache": lambda colour, children: colour.TieredDatastore(
        [colour.LRUCacheDatastore(3), *children]
    ),
    "sharded": lambda colour, children: colour.ShardedDatastore(children),
    "sharded by length": lambda colour, children: colour.ShardedDatastore(children, lambda key: len(str(key))),
}
