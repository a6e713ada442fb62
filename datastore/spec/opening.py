"""A store by its URL: the scheme says which installed package opens it.

Knows the store in memory, and of all others only where packages announce them: as entry points of the group
`datastore.stores`, named by scheme, each a function of the URL that gives a Datastore.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from datastore.model.errors import ConfigError, InvalidError, UnsupportedTypeError
from datastore.sync.base import Datastore, DictDatastore

__all__ = ["closest", "find_opener", "known_schemes", "open", "open_memory", "opened", "scheme_of"]

T = TypeVar("T")

GROUP = "datastore.stores"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def open(url: str) -> Datastore:  # noqa: A001 - the name that users know, as in gzip and shelve
    """The store that `url` names, as `memory:`, `file:///var/lib/ds` or `grpc://127.0.0.1:7420`: `datastore.open`.

    The store is of the class that its module documents, with no serializer added: `datastore.serialize.shim`
    does that. The caller must close it. Raises UnsupportedTypeError (a TypeError) for anything but a str,
    InvalidError (a ValueError) for an unknown scheme or what the scheme does not take, ImportError with the
    command that helps where a driver is not installed, and what the store raises when it is made.
    """
    scheme = scheme_of(url)
    opener = find_opener(GROUP, scheme)
    if opener is None:
        known = known_schemes(GROUP)
        raise InvalidError(
            f"{url!r}: unknown scheme {scheme!r}; known are {known}{closest(scheme, known.split())}", field="url"
        )
    return opened(opener, scheme, url, Datastore)


def opened(opener: Callable[[str], Any], scheme: str, url: str, kind: type[T]) -> T:
    """What an opener gives for a URL, whose scheme it gets in lower case; ConfigError if it is not a store."""
    store = opener(scheme + url[len(scheme) :])
    if not isinstance(store, kind):
        raise ConfigError(
            f"{url!r}: what opens {scheme}: URLs, {opener.__module__}, returned a {type(store).__name__!r}, not a"
            f" {kind.__module__.removesuffix('.base').removesuffix('.sync')}.{kind.__name__}"
        )
    return store


def closest(scheme: str, known: Iterable[str]) -> str:
    """`; did you mean lmdb:?` for a scheme close to one of `known`, which end with their colons; else ''."""
    near = get_close_matches(f"{scheme}:", known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def open_memory(url: str) -> DictDatastore:
    """A new DictDatastore for `memory:`."""
    check_memory(url)
    return DictDatastore()


def check_memory(url: str) -> None:
    """Raise InvalidError unless the URL is `memory:` alone."""
    if url.partition(":")[2].strip("/"):
        raise InvalidError(f"{url!r}: memory: takes nothing after its colon", field="url")


def scheme_of(url: str) -> str:
    """The scheme before the colon, in lower case; UnsupportedTypeError or InvalidError where there is none."""
    if not isinstance(url, str):
        raise UnsupportedTypeError(
            f"url must be a str, e.g. 'file:///var/lib/ds', got {type(url).__name__}", path="url"
        )
    match = _SCHEME.match(url)
    if match is None:
        hint = f"; for files in the directory {url} write file:{url}" if url else ""
        raise InvalidError(f"{url!r} is not a store URL: expected SCHEME:..., e.g. memory:{hint}", field="url")
    return match[1].lower()


def find_opener(group: str, scheme: str) -> Callable[[str], Any] | None:
    """What installed packages announce for a scheme; ConfigError if two of them disagree."""
    # Looking through what is installed takes longer than all else in the library, so only who opens loads it.
    from importlib.metadata import entry_points

    announced = {found.value: found for found in entry_points(group=group, name=scheme)}
    if len(announced) > 1:
        raise ConfigError(
            f"several packages open {scheme}: URLs: {', '.join(sorted(announced))}; uninstall all but one"
        )
    for found in announced.values():
        try:
            opener: Callable[[str], Any] = found.load()
        except AttributeError as error:
            raise ConfigError(f"the package that announces {scheme}: URLs lacks {found.value}: {error}") from error
        return opener
    return None


def known_schemes(group: str) -> str:
    """The schemes that installed packages announce, as text."""
    from importlib.metadata import entry_points

    return (
        " ".join(sorted(f"{name}:" for name in entry_points(group=group).names)) or "none: is datastore-grpc installed?"
    )
