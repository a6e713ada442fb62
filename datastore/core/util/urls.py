"""What the URL of a store on this machine says: a directory, and options. Pure; knows no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

from datastore.core.errors import InvalidError

__all__ = ["directory_of", "options_of"]


def directory_of(url: str) -> str:
    """The directory in `scheme:///absolute/directory` or `scheme:relative/directory`, percent escapes decoded.

    Raises InvalidError (a ValueError) where a host stands in its place, or nothing.
    """
    parts = urlsplit(url)
    if parts.netloc:
        form = f"{parts.scheme}:///{parts.netloc}{parts.path}"
        raise InvalidError(
            f"{url!r} names the host {parts.netloc!r}; a directory has three slashes: {form}", field="url"
        )
    directory = unquote(parts.path)
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
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in choices:
            known = " ".join(choices) or "it takes none"
            raise InvalidError(f"{url!r}: unknown option {name!r}: {known}", field="url")
        if value not in choices[name]:
            raise InvalidError(f"{url!r}: {name} is {' or '.join(choices[name])}, not {value!r}", field="url")
        if name in options:
            raise InvalidError(f"{url!r}: {name} is given twice", field="url")
        options[name] = value
    return options
