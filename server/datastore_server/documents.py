"""TOML documents as structs, and errors that name the source, the key and what would be valid.

A key is a field of a struct whose type is annotated with `valid`. Only `read_text` reads a file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from datastore.model.config import did_you_mean
from datastore.model.errors import ConfigError

__all__ = ["converted", "parse_toml", "read_text", "valid", "within"]

_Given = TypeVar("_Given")
_Parsed = TypeVar("_Parsed")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def valid(text: str) -> msgspec.Meta:
    """The valid values of a key, quoted in errors and in docs/configuration.md."""
    return msgspec.Meta(description=text)


def read_text(path: Path) -> str:
    """The text of a configuration file. Raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this configuration file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: a configuration file is TOML in UTF-8, this is not: {error.reason}") from error


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The tables of a text. `source` names it in errors."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        # Not only TOMLDecodeError: Python reads no integers of thousands of digits.
        raise ConfigError(f"{source}: not TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: not TOML: it is nested too deeply") from error


def converted(document: Mapping[str, Any], kind: type[_Struct], source: str) -> _Struct:
    """The document as a struct. Raises ConfigError for an unknown or missing key, and for a value of a wrong type."""
    _refuse_unknown_keys(document, kind, source)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _as_config_error(str(error), kind, source) from error


def within(where: str, parse: Callable[[_Given], _Parsed], given: _Given) -> _Parsed:
    """The parsed value. Errors are prefixed with its place."""
    try:
        return parse(given)
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from error


def _refuse_unknown_keys(data: object, kind: type[msgspec.Struct], source: str, path: str = "") -> None:
    """Raise ConfigError, listing the valid ones, for the first key that `kind` does not have."""
    for key, value in data.items() if isinstance(data, Mapping) else ():
        if key not in kind.__struct_fields__:
            names = kind.__struct_fields__
            hint = did_you_mean(key, names)
            raise ConfigError(f"{source}: {path}{key}: unknown key; valid here: {', '.join(names)}{hint}")
        section = _struct_in(get_type_hints(kind)[key])
        if section is not None and isinstance(value, list):
            for index, item in enumerate(value):
                _refuse_unknown_keys(item, section, source, f"{path}{key}[{index}].")
        elif section is not None:
            _refuse_unknown_keys(value, section, source, f"{path}{key}.")


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct of a table, or of the tables of a list; None for other types."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next(filter(None, map(_struct_in, get_args(annotation))), None)


def _as_config_error(text: str, kind: type[msgspec.Struct], source: str) -> ConfigError:
    """The error for a wrong type or missing key, from msgspec's message."""
    problem, _, at = text.partition(" - at `$")
    path = at.rstrip("`").removeprefix(".")
    if missing := re.search(r"missing required field `(\w+)`", problem):
        path, problem = f"{path}.{missing[1]}".removeprefix("."), "missing"
    *sections, key = re.sub(r"\[\d+\]", "", path).split(".")
    for name in sections:
        kind = _struct_in(get_type_hints(kind)[name]) or kind
    annotation = get_type_hints(kind, include_extras=True)[key]
    metas = [meta for meta in get_args(annotation) if isinstance(meta, msgspec.Meta)]
    described = next(meta.description for meta in metas if meta.description)
    return ConfigError(f"{source}: {path}: {problem[0].lower()}{problem[1:]}; it should be {described}")
