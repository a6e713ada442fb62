"""Stores on stores on stores: trees of Configs drawn at random, written to TOML, read back and opened in either colour.

A tree is plain data, so that a failure prints it.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from datastore import aio, spec
from datastore.filesystem import FileConfig
from datastore.lmdb import LMDBConfig
from datastore.model.config import Config
from datastore.model.key import Key
from datastore.spec.checks import walk
from datastore.spec.collections import LRUConfig, MemoryConfig, MountConfig, ShardedConfig, TieredConfig
from datastore.spec.shims import (
    CacheConfig,
    KeyTransformConfig,
    LoggingConfig,
    LowercaseConfig,
    NamespaceConfig,
    SerializerConfig,
    SymlinkConfig,
)

#: The maximum number of stores built on one another.
DEPTH = 4


def kinds(tree: Config) -> list[str]:
    """The kind of every store in a tree."""
    return [config.kind for _, config in walk(tree)]


def leaf(name: str) -> Config:
    """A store that is not built on another."""
    return _LEAVES[name]()


def upon(*names: str | Config) -> Config:
    """Shims on top of one another, the topmost first; the last is a store."""
    *shims, store = names
    made: Any = store
    for shim in reversed(shims):
        made = _SHIMS[str(shim)](made)
    return made


def trees(depth: int = DEPTH) -> st.SearchStrategy[Config]:
    """Any composition, at most `depth` deep. Stores on disk share one directory until they are `placed`."""
    leaves = st.sampled_from([*_LEAVES.values()]).map(lambda leaf: leaf())
    if depth == 1:
        return leaves
    below = trees(depth - 1)
    one = st.builds(lambda shim, child: shim(child), st.sampled_from([*_SHIMS.values()]), below)
    several = st.builds(
        lambda collection, children: collection(children),
        st.sampled_from([*_COLLECTIONS.values()]),
        st.lists(below, min_size=1, max_size=3),
    )
    cached = st.builds(lambda child, cache: CacheConfig(child=child, cache=cache), below, trees(1))
    return st.one_of(one, several, cached, below.map(_rooms), leaves)


def placed(tree: Config) -> Config:
    """The tree with a separate directory for each store; shared stores stay shared."""
    return _placed(tree, itertools.count(), {})


def _placed(tree: Config, numbers: Iterator[int], done: dict[int, Config]) -> Config:
    if id(tree) not in done:
        changes: dict[str, Any] = {}
        for name in tree.options():
            value = getattr(tree, name)
            if isinstance(value, Config):
                changes[name] = _placed(value, numbers, done)
            elif isinstance(value, dict):
                changes[name] = {label: _placed(child, numbers, done) for label, child in value.items()}
            elif name == "children":
                changes[name] = tuple(_placed(child, numbers, done) for child in value)
            elif name == "directory":
                changes[name] = f"{tree.kind}-{next(numbers)}"
        done[id(tree)] = replace(tree, **changes)
    return done[id(tree)]


def build(tree: Config, colour: ModuleType, directory: Path) -> Any:
    """The store of a tree that went through TOML, its directories below `directory`."""
    text = spec.dump_tree(placed(tree), "it")
    read = spec.parse_tree(tomllib.loads(text), "it", source="drawn.toml")
    assert read == placed(tree), text
    assert spec.dump_tree(read) == text
    read = spec.parse_tree(tomllib.loads(text), "it", base=directory)
    return spec.build_async(read) if colour is aio else spec.build(read)


def identity(key: Key) -> Key:
    """The key itself: a transform of keys, found by its import path."""
    return key


def _mounted(children: list[Config]) -> Config:
    """Stores at prefixes of the keys that the cases use, one within another; the last has the rest."""
    prefixes = ["/a/b", "/a", "/"]
    return MountConfig(mounts=dict(zip(prefixes[-len(children) :], children, strict=True)))


def _rooms(child: Config) -> Config:
    """Shards that are two namespaces of one store."""
    rooms = {name: NamespaceConfig(namespace=Key(f"/{name}"), child=child) for name in ("r1", "r2")}
    return ShardedConfig(children=dict(rooms))


_MAPS = "datastore.serialize:map_serializer"
_LEAVES: dict[str, Callable[[], Config]] = {
    "memory": MemoryConfig,
    "lru": lambda: LRUConfig(max_entries=100_000),
    "file": lambda: SerializerConfig(child=FileConfig(directory="file")),
    "lmdb": lambda: SerializerConfig(child=LMDBConfig(directory="lmdb", durability="async")),
}
_SHIMS: dict[str, Callable[[Config], Config]] = {
    "json": lambda child: SerializerConfig(child=child),
    "maps": lambda child: SerializerConfig(child=child, serializer=_MAPS),
    "stack": lambda child: SerializerConfig(child=child, serializer=(_MAPS, "datastore.serialize:prettyjson")),
    "namespace": lambda child: NamespaceConfig(child=child, namespace=Key("/n:s")),
    "identity": lambda child: KeyTransformConfig(
        child=child, transform=f"{__name__}:identity", inverse=f"{__name__}:identity", prefix_preserving=True
    ),
    "lowercase": lambda child: LowercaseConfig(child=child),
    "logging": lambda child: LoggingConfig(child=child),
    "symlink": lambda child: SymlinkConfig(child=child),
}
_COLLECTIONS: dict[str, Callable[[list[Config]], Config]] = {
    "tiered": lambda children: TieredConfig(children=tuple(children)),
    "tiers with a small cache": lambda children: TieredConfig(children=(LRUConfig(max_entries=3), *children)),
    "mount": _mounted,
    "sharded": lambda children: ShardedConfig(children=tuple(children)),
    "sharded by collection": lambda children: ShardedConfig(children=tuple(children), by="collection"),
    "sharded by name": lambda children: ShardedConfig(
        children={f"s{number}": child for number, child in enumerate(children)}
    ),
    "slots by collection": lambda children: ShardedConfig(
        children={f"s{number}": child for number, child in enumerate(children)}, by="collection"
    ),
}
