"""The URL of a node's store: any URL of `datastore.open`, and how its values are stored.

Pure: text in, data out, or a ConfigError that says what is valid. Opens no stores.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import quote

from datastore.model.errors import ConfigError, InvalidError
from datastore.model.options import DIRECTORY
from datastore.model.urls import SCHEME, hidden, options_of, shown, without_options
from datastore.spec import Config, parse_url

__all__ = [
    "MOST_WORKERS",
    "SERIALIZERS",
    "STORE_FORMS",
    "Durability",
    "SerializerName",
    "StoreUrl",
    "lmdb_url",
    "parse_store_url",
    "require_workers",
]

Durability = Literal["sync", "async"]
SerializerName = Literal["plain", "json", "wire"]

SERIALIZERS: tuple[str, ...] = get_args(SerializerName)
STORE_FORMS = "lmdb:///DIRECTORY, memory: or another store URL"

#: How many processes may read one store: more than there are cores are not faster, and each takes some 50 MB.
MOST_WORKERS = 64

#: The kinds that store values in wire form, without a serializer.
_WITHOUT_SERIALIZER = ("memory", "lmdb", "grpc")
#: The characters of a directory that need no quoting in a URL.
_UNQUOTED = "/ ,;=@+()[]'!$&*:"


@dataclass(frozen=True)
class StoreUrl:
    """The store of a node. `str` shows the URL without its secrets.

    `text` is the whole URL, which `parse_store_url` parses to an equal object, and `tree` the store that it describes.
    `durability` is None if the URL does not set it; `serializer` is None for the default of the kind of store.
    """

    text: str
    tree: Config
    durability: Durability | None = None
    serializer: SerializerName | None = None

    @property
    def kind(self) -> str:
        """The kind of store, e.g. `lmdb`."""
        return self.tree.kind

    @property
    def directory(self) -> Path | None:
        """The store's directory; None if it has none."""
        found = next((name for name, part in self.tree.options().items() if part.metadata["option"] is DIRECTORY), None)
        return None if found is None else Path(getattr(self.tree, found))

    def __str__(self) -> str:
        return hidden(self.text)

    __repr__ = __str__

    def with_durability(self, durability: Durability | None) -> StoreUrl:
        """The URL with a durability given separately.

        Raises ConfigError if the URL has a different one, or if this kind of store has none.
        """
        if durability and self.durability and durability != self.durability:
            raise ConfigError(
                f'durability is "{durability}", but {self} says "{self.durability}"; leave one of them out'
            )
        if durability is None or self.kind == "memory":
            return self
        names = self.tree.options()
        if "durability" in names:
            return replace(self, tree=_changed(self.tree, durability=durability), durability=durability)
        if "fsync" in names:
            return replace(self, tree=_changed(self.tree, fsync=durability == "sync"), durability=durability)
        raise ConfigError(f"{self}: durability is for lmdb: and file:; here it is configured in the storage itself")


def parse_store_url(text: str, *, base: Path = Path()) -> StoreUrl:
    """The store that a URL names, e.g. `memory:`, `lmdb:///absolute/directory` or `redis://HOST:PORT/0`.

    A URL means the same store as for `datastore.open`, except that a file store syncs writes by default.
    `?serializer=plain|json|wire` is for nodes only. A relative directory is below `base`. Raises ConfigError, with what
    is valid, for anything else, or with the command that installs a driver that is missing.
    """
    if ":" not in text:
        hint = f"; for LMDB in the directory {text} write lmdb:{quote(text, safe=_UNQUOTED)}" if text else ""
        raise ConfigError(f"{text!r} is not a store URL: expected {STORE_FORMS}{hint}")
    try:
        bare, own = without_options(text, ["serializer"])
        tree = parse_url(bare, base=base)
        named = options_of(bare) if SCHEME.match(bare) else {}
    except (InvalidError, ImportError) as error:
        raise ConfigError(str(error)) from error
    durability = cast("Durability | None", named.get("durability") if "durability" in tree.options() else None)
    if "fsync" in tree.options():
        if "fsync" in named:
            durability = "sync" if getattr(tree, "fsync") else "async"  # noqa: B009 - not every Config has it
        tree = _changed(tree, fsync=durability != "async")
    url = StoreUrl(text, tree, durability, _serializer(own.get("serializer"), tree.kind, text))
    return replace(url, text=_absolute(text, url.directory)) if url.directory is not None else url


def lmdb_url(directory: Path) -> str:
    """The URL of LMDB in a directory."""
    return _absolute("lmdb:", directory)


def require_workers(store: StoreUrl, workers: int) -> None:
    """Raise ConfigError if so many workers cannot serve a store on this system."""
    if workers == 1:
        return
    if not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"workers must be from 1 to {MOST_WORKERS}, got {workers}")
    if store.kind != "lmdb":
        raise ConfigError(
            f"{store} is served by one process: several workers can read only lmdb: itself; leave workers out"
        )
    if sys.platform != "linux":
        raise ConfigError(
            "several workers need Linux, where processes share the connections of one address: leave workers out"
        )


def _serializer(name: str | None, kind: str, text: str) -> SerializerName | None:
    if name is None:
        return None
    if kind in _WITHOUT_SERIALIZER:
        raise ConfigError(f"{shown(text)}: a {kind}: store needs no serializer; leave it out")
    if name not in SERIALIZERS:
        valid = f"{', '.join(SERIALIZERS[:-1])} or {SERIALIZERS[-1]}"
        raise ConfigError(f"{shown(text)}: serializer is {valid}, not {name!r}")
    return cast("SerializerName", name)


def _changed(tree: Config, **options: object) -> Config:
    return replace(tree, **options)  # type: ignore[arg-type]


def _absolute(text: str, directory: Path) -> str:
    """The URL of a store with another `directory`, and the same options."""
    scheme, _, rest = text.partition(":")
    _, mark, options = rest.partition("?")
    slashes = "//" if directory.is_absolute() else ""
    return f"{scheme.lower()}:{slashes}{quote(os.fsencode(directory), safe=_UNQUOTED)}{mark}{options}"
