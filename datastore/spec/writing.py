"""A tree of Configs as TOML: a table for each store, children first. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from datastore.model.config import Config, is_child, type_of
from datastore.model.errors import InvalidError
from datastore.model.options import ServerUrl
from datastore.model.urls import hidden
from datastore.spec.checks import walk

__all__ = ["dump_tree", "dump_value", "show_tree"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dump_tree(tree: Config, name: str = "") -> str:
    """The TOML text that `parse_tree` reads to an equal tree: that of the store `name`, by default its current name.

    Stores keep their names; those without one are named after their kind, with a number. Secrets in URLs are written
    too. Raises InvalidError for a directory whose name is not valid UTF-8, which TOML cannot hold.
    """
    return _dumped(tree, name, lambda value: value)


def show_tree(tree: Config, name: str = "") -> str:
    """The same TOML text with `***` for user, password and other secrets of URLs."""
    return _dumped(tree, name, lambda value: hidden(value) if isinstance(value, ServerUrl) else value)


def _dumped(tree: Config, name: str, show: Callable[[Any], Any]) -> str:
    configs = [config for _, config in walk(tree)]
    names = _names(configs, name)
    tables = []
    for config in reversed(configs):
        lines = [f"[store.{_key(names[id(config)])}]", f"kind = {_text(config.kind)}"]
        for option, part in config.options().items():
            value = getattr(config, option)
            if value is None or value == part.default:
                continue
            written = _named(value, names) if is_child(type_of(part)) else type_of(part).dump(show(value))
            lines.append(f"{option} = {dump_value(written)}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)


def _names(configs: list[Config], root: str) -> dict[int, str]:
    """A name for each store, by identity: its own, or that of its kind, with a number if there are several."""
    names = {id(configs[0]): root or configs[0].origin.name or "main"}
    taken = set(names.values())
    # URLs in two places, or two documents, may describe stores that are equal and have the same name.
    for own in (True, False):
        for config in configs[1:]:
            stem = config.origin.name if own else config.kind
            if id(config) in names or not stem or (own and stem in taken):
                continue
            number = 1
            while (name := stem if number == 1 else f"{stem}-{number}") in taken:
                number += 1
            names[id(config)] = name
            taken.add(name)
    return names


def _named(value: Any, names: Mapping[int, str]) -> Any:
    """The names of the stores in an option."""
    if isinstance(value, Config):
        return names[id(value)]
    if isinstance(value, Mapping):
        return {label: names[id(child)] for label, child in value.items()}
    return [names[id(child)] for child in value]


def dump_value(value: Any) -> str:
    """A value in TOML's notation."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {dump_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(dump_value, value))}]"
    return repr(value)


def _text(text: str) -> str:
    """A basic string of TOML: like JSON's, but without DEL and lone surrogates."""
    if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidError(f"{text!r} is not valid UTF-8, which TOML cannot hold; rename it", field="directory")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)
