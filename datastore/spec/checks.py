"""What a whole tree of stores must fulfil, beyond what each Config checks of itself. Opens nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from datastore.model.config import Config, type_of
from datastore.model.errors import ConfigError
from datastore.model.options import DIRECTORY

__all__ = ["MAX_DEPTH", "check_tree", "said", "walk"]

#: How many stores can be built on one another: each costs every call a step, and Python's stack has an end.
MAX_DEPTH = 50


def walk(tree: Config) -> Iterator[tuple[str, Config]]:
    """Every store of a tree once, with its place: where it was written, or else its path from the root."""
    seen: set[int] = set()
    waiting = [(tree.origin.place, tree, 1)]
    while waiting:
        place, config, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ConfigError(said(place, f"at most {MAX_DEPTH} stores can be built on one another"))
        if id(config) in seen:
            continue
        seen.add(id(config))
        yield place, config
        for label, child in config.parts():
            path = f"{place}.{label}" if place else label
            waiting.append((child.origin.place or path, child, depth + 1))


def check_tree(tree: Config) -> None:
    """Raise ConfigError if two stores have one directory, or a store has one child twice."""
    directories: dict[str, str] = {}
    for place, config in walk(tree):
        labels: dict[int, str] = {}
        for label, child in config.parts():
            if id(child) in labels:
                raise ConfigError(said(place, f"{label} is the same store as {labels[id(child)]}, and must differ"))
            labels[id(child)] = label
        for name, part in config.options().items():
            if type_of(part) is DIRECTORY:
                directory = getattr(config, name)
                other = directories.setdefault(os.path.realpath(directory), place or "the topmost store")
                if other != (place or "the topmost store"):
                    raise ConfigError(
                        said(place, f"{name}: {directory!r} is also the directory of {other}; each store needs its own")
                    )


def said(place: str, text: str) -> str:
    """The text, after the place where there is one."""
    return f"{place}: {text}" if place else text
