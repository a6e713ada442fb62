"""Parses the URLs of stores: parts, a directory, options; and shows them without their secrets. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlsplit

from datastore.model.errors import InvalidError

__all__ = ["SCHEME", "directory_of", "hidden", "options_of", "shown", "split", "without_options"]

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")

_CONTROL = re.compile("[\x00-\x1f\x7f]")
#: The user and password of a URL: everything before the last `@`, unless it is an absolute path. A password that was
#: not percent-encoded may hold anything, and the scheme or the slashes before it may have been forgotten.
_USER = re.compile(r"\A(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:)?+(?P<slashes>//)?+(?!/).*@", re.DOTALL)
_SECRET_OPTION = re.compile(
    r"([?&][^=&]*(?:pass|pwd|secret|token|credential|authMechanismProperties)[^=&]*=)[^&#]*", re.IGNORECASE
)


def hidden(url: str) -> str:
    """The URL with `***` in place of user and password, and of options that are secret by their names."""
    return _SECRET_OPTION.sub(r"\1***", _USER.sub(r"\g<scheme>\g<slashes>***@", url))


def shown(url: str) -> str:
    """The URL as an error quotes it: without its secrets."""
    return repr(hidden(url))


def split(url: str, form: str) -> SplitResult:
    """The parts of a URL. Raises InvalidError (a ValueError), which says what is expected, if it is malformed."""
    # Python silently drops line feeds and tabs.
    if found := _CONTROL.search(url):
        raise InvalidError(f"{shown(url)}: a URL has no control characters; write %{ord(found[0]):02X}", field="url")
    try:
        return urlsplit(url)
    except ValueError as error:
        raise InvalidError(f"{shown(url)}: expected {form}{because(url, error)}", field="url") from None


def because(url: str, error: Exception) -> str:
    """Why a parser or driver rejects a URL, to be added to a message. Empty if it might quote a secret."""
    return f"; {error}" if hidden(url) == url else ""


def directory_of(url: str) -> str:
    """The directory in `scheme:///absolute/directory` or `scheme:relative/directory`, percent escapes decoded.

    Raises InvalidError (a ValueError) if there is a host instead, or nothing.
    """
    parts = split(url, "SCHEME:///DIRECTORY")
    if "@" in parts.netloc:
        raise InvalidError(f"{shown(url)} names a host; expected {parts.scheme}:///DIRECTORY", field="url")
    if parts.netloc:
        rest = "" if parts.netloc in ("localhost", "127.0.0.1") else f"/{parts.netloc}"
        raise InvalidError(
            f"{shown(url)} names the host {parts.netloc!r}; a directory has three slashes:"
            f" {parts.scheme}://{rest}{parts.path};"
            f" a relative directory has none: {parts.scheme}:{parts.netloc}{parts.path}",
            field="url",
        )
    directory = os.fsdecode(unquote_to_bytes(parts.path))
    if not directory.strip("/") or "\0" in directory:
        raise InvalidError(f"{shown(url)} names no directory: expected {parts.scheme}:///DIRECTORY", field="url")
    if parts.fragment:
        raise InvalidError(f"{shown(url)}: a # in a directory's name is written %23", field="url")
    return directory


def options_of(url: str) -> dict[str, str]:
    """The options after the `?` of a URL. Raises InvalidError (a ValueError) for an option given twice."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(split(url, "SCHEME:...?NAME=VALUE").query, keep_blank_values=True):
        if name in options:
            raise InvalidError(f"{shown(url)}: {name} is given twice", field="url")
        options[name] = value
    return options


def without_options(url: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """A URL without some of its options, and the values of those; the rest of the URL stays as written.

    Raises InvalidError (a ValueError) for one of them that is given twice.
    """
    head, mark, query = url.partition("?")
    query, hash_mark, fragment = query.partition("#")
    kept: list[str] = []
    found: dict[str, str] = {}
    for option in query.split("&") if mark else ():
        ((name, value),) = parse_qsl(option, keep_blank_values=True) or [("", "")]
        if name not in names:
            kept.append(option)
        elif name in found:
            raise InvalidError(f"{shown(url)}: {name} is given twice", field="url")
        else:
            found[name] = value
    return head + ("?" if kept else "") + "&".join(kept) + hash_mark + fragment, found
