"""From a URL, a table or a document to a tree of Configs. Opens nothing; an error names the place and what is valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, replace
from pathlib import Path
from typing import Any

from datastore.engine.placement import NAME, NAME_FORM
from datastore.model.config import CHILD, Config, Origin, did_you_mean, is_child, is_required, type_of
from datastore.model.errors import ConfigError, InvalidError, UnsupportedTypeError
from datastore.model.options import DIRECTORY, FILE
from datastore.spec.checks import MAX_DEPTH, check_tree, said
from datastore.spec.registry import Registry

__all__ = ["parse_child", "parse_tree", "parse_url", "tree_of"]


def parse_url(url: str, *, base: Path | None = None) -> Config:
    """The store that a URL names, e.g. `memory:`, `lmdb:///d?durability=async` or `grpc://127.0.0.1:7420`.

    A relative directory is below `base`, if given. Raises UnsupportedTypeError (a TypeError) for anything but a str,
    InvalidError (a ValueError) for an unknown scheme or a URL that is invalid for its scheme, and ImportError, with the
    command that helps, if the driver is not installed. No error shows a secret.
    """
    if not isinstance(url, str):
        raise UnsupportedTypeError(
            f"url must be a str, e.g. 'file:///var/lib/ds', or a table, got {type(url).__name__}", path="url"
        )
    return _of_url(url, Registry(), base)


def parse_tree(
    document: Mapping[str, Any], store: str | None = None, *, source: str = "", base: Path | None = None
) -> Config:
    """The tree of one store of a document as parsed from TOML, which has a table `[store.NAME]` for each.

    `store` may be omitted if there is only one. `source` names the document in errors; relative directories are below
    `base`. A store that several others name is shared by them. Other tables, and stores that this one does not need,
    are ignored. Raises ConfigError (a ValueError), and ImportError like `parse_url`.
    """
    tables = document.get("store")
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise ConfigError(said(source, "store: expected a table for each store, each beginning with [store.NAME]"))
    if store is None:
        if len(tables) != 1:
            raise ConfigError(said(source, f"store: say which store is meant: {', '.join(tables) or 'there is none'}"))
        (store,) = tables
    reader = _Reader(tables, source, base)
    tree = reader.named(store, source)
    check_tree(tree)
    return tree


def parse_child(given: Any, place: str, *, base: Path | None = None) -> Config:
    """The store that a URL or a table at some place of a document describes.

    Relative directories are below `base`. Raises ConfigError, with the place, and ImportError as `parse_url` does.
    """
    tree = _Reader({}, "", base).child(given, place)
    check_tree(tree)
    return tree


def tree_of(described: object, store: str | None = None) -> Config:
    """The tree that a URL, a table of one store, a document of several or a Config describes."""
    if isinstance(described, Mapping) and "kind" not in described and "store" in described:
        return parse_tree(described, store)
    if store is not None:
        raise ConfigError(f"store {store!r} can be named only in a document, with a table [store.NAME] for each store")
    if isinstance(described, Config):
        return described
    if isinstance(described, Mapping):
        return _Reader({}, "", None).table(described, Origin())
    return parse_url(described)  # type: ignore[arg-type]


class _Reader:
    """Reads the stores of one document, each named one once."""

    def __init__(self, tables: Mapping[str, Mapping[str, Any]], source: str, base: Path | None) -> None:
        self._tables = tables
        self._source = source
        self._base = base
        self._registry = Registry()
        self._read: dict[str, Config] = {}
        #: The names of the stores that are being read, each built on the next.
        self._path: list[str] = []
        self._depth = 0

    def named(self, name: str, place: str) -> Config:
        """The store of a name that is mentioned at `place`."""
        if name in self._path:
            cycle = " -> ".join([*self._path[self._path.index(name) :], name])
            raise ConfigError(f"{place}: {cycle} is a cycle; a store cannot be built on itself")
        if name not in self._tables:
            known = ", ".join(self._tables) or "none"
            near = did_you_mean(name, self._tables) or self._registry.near_kind(name)
            raise ConfigError(said(place, f"there is no store {name!r}; the stores are {known}{near}"))
        if name not in self._read:
            place = said(self._source, f"store.{name}")
            if not NAME.fullmatch(name):
                raise ConfigError(f"{place}: {name!r} is not a valid name: expected {NAME_FORM}")
            self._path.append(name)
            self._read[name] = self.table(self._tables[name], Origin(name, place))
            self._path.pop()
        return self._read[name]

    def child(self, given: Any, place: str) -> Config:
        """The store that an option gives: by name, by URL, as a table or as a Config."""
        if isinstance(given, str):
            return self._url(given, place) if ":" in given else self.named(given, place)
        if isinstance(given, Mapping):
            return self.table(given, Origin(place=place))
        if isinstance(given, Config):
            return given
        raise ConfigError(f"{place}: expected {CHILD.valid}, not a {type(given).__name__}")

    def _url(self, url: str, place: str) -> Config:
        with _placed(place):
            return replace(_of_url(url, self._registry, self._base), origin=Origin(place=place))

    def table(self, table: Mapping[str, Any], origin: Origin) -> Config:
        """The store that a table describes."""
        kind = self._kind(table, origin.place)
        options = kind.options()
        for name in table:
            if name not in options and name != "kind":
                valid = ", ".join(["kind", *options])
                raise ConfigError(
                    f"{_at(origin.place, name)}: unknown key; {kind.kind} has {valid}{did_you_mean(name, [*options])}"
                )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError(said(origin.place, f"at most {MAX_DEPTH} stores can be built on one another"))
        values = {name: self._option(part, table, _at(origin.place, name)) for name, part in options.items()}
        self._depth -= 1
        with _placed(origin.place):
            given = {name: value for name, value in values.items() if value is not _ABSENT}
            return _within(self._base, kind(**given, origin=origin))

    def _kind(self, table: Mapping[str, Any], place: str) -> type[Config]:
        name = table.get("kind")
        if not isinstance(name, str):
            problem = "missing" if name is None else f"not a {type(name).__name__}"
            raise ConfigError(f"{_at(place, 'kind')}: {problem}; expected one of {', '.join(self._registry.kinds)}")
        with _placed(_at(place, "kind")):
            return self._registry.kind(name)

    def _option(self, part: Field[Any], table: Mapping[str, Any], place: str) -> Any:
        kind = type_of(part)
        if part.name not in table:
            if is_required(part):
                raise ConfigError(f"{place}: missing; expected {kind.valid}")
            return _ABSENT
        given = table[part.name]
        if kind is CHILD:
            return self.child(given, place)
        if is_child(kind):
            given = self._children(given, place)
        try:
            return kind.read(given)
        except InvalidError as error:
            raise ConfigError(f"{place}: expected {error}") from error

    def _children(self, given: Any, place: str) -> Any:
        if isinstance(given, Mapping):
            return {name: self.child(child, f"{place}.{name}") for name, child in given.items()}
        if isinstance(given, list | tuple):
            return [self.child(child, f"{place}[{index}]") for index, child in enumerate(given)]
        return given


_ABSENT = object()


def _of_url(url: str, registry: Registry, base: Path | None) -> Config:
    kind = registry.scheme(url)
    scheme, _, rest = url.partition(":")
    return _within(base, kind.from_url(f"{scheme.lower()}:{rest}"))


def _at(place: str, name: str) -> str:
    """The place of a key: `cluster.toml: store.main.child` of `child` in `cluster.toml: store.main`."""
    return f"{place}.{name}" if place else name


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Add the place to errors, as ConfigErrors."""
    try:
        yield
    except ImportError as error:
        raise ImportError(said(place, str(error))) from error
    except (InvalidError, ConfigError) as error:
        part = error.field if isinstance(error, InvalidError) else ""
        raise ConfigError(said(_at(place, part) if part not in ("", "kind", "url") else place, str(error))) from error


def _within(base: Path | None, config: Config) -> Config:
    """The config with its relative directories and files below `base`."""
    if base is None:
        return config
    named = [name for name, part in config.options().items() if type_of(part) in (DIRECTORY, FILE)]
    moved: dict[str, Any] = {name: str(base / path) for name in named if (path := getattr(config, name)) is not None}
    return replace(config, **moved) if moved else config
