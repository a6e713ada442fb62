"""How the options of a store are written in URLs and TOML, and what is valid. Opens nothing; CALLABLE imports.

An option is a field of a Config: `size: int = field(metadata=option("how many entries", COUNT), default=1024)`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from datastore.model.errors import InvalidError
from datastore.model.key import Key
from datastore.model.text import UNITS, size_text
from datastore.model.urls import shown

__all__ = [
    "ANY_TEXT",
    "BOOLEAN",
    "CALLABLE",
    "COUNT",
    "DIRECTORY",
    "DURATION",
    "FILE",
    "KEY",
    "SERVER",
    "SIZE",
    "TEXT",
    "OptionType",
    "ServerUrl",
    "imported",
    "one_of",
    "option",
]


class OptionType:
    """One way to write an option. `valid` says what is valid, in words, for errors and for the docs' tables.

    `read` converts what TOML or Python gives to the option's value, and returns such a value unchanged; None if it is
    not valid. `dump` converts a value to what TOML writes, from which `read` restores it.
    """

    def __init__(
        self, valid: str, read: Callable[[Any], Any], dump: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self.valid = valid
        self._read = read
        self.dump = dump

    def read(self, given: Any) -> Any:
        """The value. Raises InvalidError, which says what is valid, without secrets."""
        reason = ""
        try:
            value = self._read(given)
        except InvalidError as error:
            value, reason = None, f": {error}"
        if value is None:
            quoted = shown(given) if isinstance(given, str) else _brief(given)
            raise InvalidError(f"{self.valid}, not {quoted}{reason}")
        return value

    def from_text(self, text: str) -> Any:
        """The value of an option in a URL, where everything is text."""
        return self.read({"true": True, "false": False}.get(text, text) if self is BOOLEAN else text)


def option(description: str, kind: OptionType) -> dict[str, Any]:
    """The metadata of a Config's field: what the option means, and how it is written."""
    return {"description": description, "option": kind}


def one_of(*choices: str) -> OptionType:
    """The option that has one of these values."""
    return OptionType(" or ".join(choices), lambda given: given if given in choices else None)


def _brief(given: object) -> str:
    if isinstance(given, int | float):
        return repr(given)
    is_empty = isinstance(given, list | tuple | Mapping) and not given
    return f"{'an empty' if is_empty else 'a'} {type(given).__name__}"


def _text(given: Any) -> str | None:
    return given if isinstance(given, str) and given and "\0" not in given else None


def _whole(given: Any) -> int | None:
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,18}", given):
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else None


_DURATIONS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _size(given: Any) -> int | None:
    match = re.fullmatch(r"([0-9]{1,18})\s*([A-Za-z]+)", given) if isinstance(given, str) else None
    if match is None:
        return _whole(given)
    return int(match[1]) * UNITS.get(match[2], 0) or None


def _duration(given: Any) -> float | None:
    if isinstance(given, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)\s*(ms|s|m|h|d)", given)
        if match is None:
            return None
        # Divided, because no float is exactly a thousandth.
        given = float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _DURATIONS[match[2]]
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
        return None
    return float(given)


def _duration_text(seconds: float) -> str:
    for unit, factor in _DURATIONS.items():
        if seconds % factor == 0:
            return f"{int(seconds // factor)}{unit}"
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds / 1000 == seconds else f"{seconds!r}s"


class ServerUrl(str):
    """The URL of a server. Its `repr` hides user and password, so that it can be part of any error or log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return shown(self)


def _server(given: Any) -> ServerUrl | None:
    return ServerUrl(given) if isinstance(given, str) and ":" in given else None


def _key(given: Any) -> Key | None:
    return Key(given) if isinstance(given, str | Key) else None


def _path(given: Any) -> str | None:
    return _text(os.fspath(given)) if isinstance(given, str | os.PathLike) else None


def imported(path: str) -> Any:
    """What an import path names: `package.module:name`, or a module. InvalidError if there is no such thing."""
    module, _, name = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in name.split(".") if name else ():
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidError(str(error)) from error
    return found


def _callable(given: Any) -> str | None:
    if not isinstance(given, str) or not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", given):
        return None
    if not callable(imported(given)):
        raise InvalidError("it is not callable")
    return given


TEXT = OptionType("text", _text)
ANY_TEXT = OptionType("text, which may be empty", lambda given: "" if given == "" else _text(given))
BOOLEAN = OptionType("true or false", lambda given: given if isinstance(given, bool) else None)
COUNT = OptionType("a whole number of at least 1", _whole)
#: In bytes.
SIZE = OptionType('a size, e.g. "256MiB"', _size, size_text)
#: In seconds.
DURATION = OptionType('a duration, e.g. "30s" or "5m"', _duration, _duration_text)
#: These two are relative to the file that names them, or to the current directory.
DIRECTORY = OptionType("a directory", _path)
FILE = OptionType("a file", _path)
KEY = OptionType('a key, e.g. "/archive"', _key, str)
SERVER = OptionType("the URL of a server", _server, str)
#: Its value is the import path, which was found to name something.
CALLABLE = OptionType('an import path, e.g. "package.module:name"', _callable)
