"""The rules for a whole tree of stores, beyond what each Config checks by itself. Opens nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from datastore.model.config import Config, type_of
from datastore.model.errors import ConfigError
from datastore.model.options import DIRECTORY

__all__ = ["MAX_DEPTH", "check_tree", "said", "walk"]

#: The maximum number of stores built on one another: each adds a step to every call, and Python's stack is limited.
MAX_DEPTH = 50


def walk(tree: Config) -> Iterator[tuple[str, Config]]:
    """Every store of a tree once, with its place: where it was written, otherwise its path from the root."""
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
    """Raise ConfigError if stores share a directory, or if one has a child twice or a child that must be outermost."""
    directories: dict[str, str] = {}
    for place, config in walk(tree):
        _check_children(config, place)
        _check_directories(config, place, directories)


def _check_children(config: Config, place: str) -> None:
    labels: dict[int, str] = {}
    for label, child in config.parts():
        below = f"{place}.{label}" if place else label
        if id(child) in labels:
            raise ConfigError(f"{below}: this is the same store as {labels[id(child)]}, and must differ")
        labels[id(child)] = label
        if child.outermost:
            problem = f"a store of the kind {child.kind} must be the outermost, not below one of the kind {config.kind}"
            raise ConfigError(f"{below}: {problem}")


def _check_directories(config: Config, place: str, seen: dict[str, str]) -> None:
    """Add the directories of a store, by their real paths, to those seen; raise ConfigError if one is among these."""
    for name, part in config.options().items():
        if type_of(part) is not DIRECTORY:
            continue
        directory = os.path.realpath(getattr(config, name))
        if directory in seen:
            raise ConfigError(said(place, f"{name}: {directory!r} is also the directory of {seen[directory]}"))
        seen[directory] = place or "the outermost store"


def said(place: str, text: str) -> str:
    """The text, after the place if there is one."""
    return f"{place}: {text}" if place else text
