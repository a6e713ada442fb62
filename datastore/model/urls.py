"""What the URL of a store says: its parts, a directory, options. Pure; knows no store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlsplit

from datastore.model.errors import InvalidError

__all__ = ["directory_of", "options_of", "split"]

_CONTROL = re.compile("[\x00-\x1f\x7f]")


def split(url: str, form: str) -> SplitResult:
    """The parts of a URL. Raises InvalidError (a ValueError), which says what is expected, if it is malformed."""
    # Python leaves line feeds and tabs out without a word.
    if found := _CONTROL.search(url):
        raise InvalidError(f"{url!r}: a URL has no control characters; write %{ord(found[0]):02X}", field="url")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidError(f"{url!r}: expected {form}; {error}", field="url") from None


def directory_of(url: str) -> str:
    """The directory in `scheme:///absolute/directory` or `scheme:relative/directory`, percent escapes decoded.

    Raises InvalidError (a ValueError) if there is a host instead, or nothing.
    """
    parts = split(url, "SCHEME:///DIRECTORY")
    if parts.netloc:
        rest = "" if parts.netloc in ("localhost", "127.0.0.1") else f"/{parts.netloc}"
        raise InvalidError(
            f"{url!r} names the host {parts.netloc!r}; a directory has three slashes:"
            f" {parts.scheme}://{rest}{parts.path};"
            f" a relative directory has none: {parts.scheme}:{parts.netloc}{parts.path}",
            field="url",
        )
    directory = os.fsdecode(unquote_to_bytes(parts.path))
    if not directory.strip("/") or "\0" in directory:
        raise InvalidError(f"{url!r} names no directory: expected {parts.scheme}:///DIRECTORY", field="url")
    if parts.fragment:
        raise InvalidError(f"{url!r}: a # in a directory's name is written %23", field="url")
    return directory


def options_of(url: str, choices: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The options after the `?` of a URL, each of which may have one of its `choices`.

    Raises InvalidError (a ValueError) for any other option or choice, and for an option given twice.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(split(url, "SCHEME:///DIRECTORY?OPTIONS").query, keep_blank_values=True):
        if name not in choices:
            raise InvalidError(f"{url!r}: unknown option {name!r}; there are {' '.join(choices)}", field="url")
        if value not in choices[name]:
            raise InvalidError(f"{url!r}: {name} is {' or '.join(choices[name])}, not {value!r}", field="url")
        if name in options:
            raise InvalidError(f"{url!r}: {name} is given twice", field="url")
        options[name] = value
    return options
