"""Compositions as data: a store by its URL, or a tree of stores by a table.

`registry` knows the kinds of stores, by entry point; `reading` parses a URL or a document to a tree of Configs, and
opens nothing; `checks` has the rules for a whole tree; `building` opens it for threads or for tasks; `writing` formats
a tree as TOML. `shims` and `collections` are the library's own kinds; a backend has its Config beside its code.
"""

from __future__ import annotations

from datastore.model.config import CHILD, CHILDREN, MOUNTS, NAMED_CHILDREN, Composed, Config
from datastore.model.options import (
    ANY_TEXT,
    BOOLEAN,
    CALLABLE,
    COUNT,
    DIRECTORY,
    DURATION,
    KEY,
    SERVER,
    SIZE,
    TEXT,
    OptionType,
    ServerUrl,
    one_of,
    option,
)
from datastore.spec.building import build, build_async
from datastore.spec.reading import parse_child, parse_tree, parse_url, tree_of
from datastore.spec.registry import Registry
from datastore.spec.writing import dump_tree, dump_value, show_tree

__all__ = [
    "ANY_TEXT",
    "BOOLEAN",
    "CALLABLE",
    "CHILD",
    "CHILDREN",
    "COUNT",
    "DIRECTORY",
    "DURATION",
    "KEY",
    "MOUNTS",
    "NAMED_CHILDREN",
    "SERVER",
    "SIZE",
    "TEXT",
    "Composed",
    "Config",
    "OptionType",
    "Registry",
    "ServerUrl",
    "build",
    "build_async",
    "dump_tree",
    "dump_value",
    "one_of",
    "option",
    "parse_child",
    "parse_tree",
    "parse_url",
    "show_tree",
    "tree_of",
]
