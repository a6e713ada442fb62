"""The configuration of one server of any composition of stores: its `[store.NAME]` tables and its `[server]` table.

Pure, except for `load_server`, which reads the file: text in, data out, and a ConfigError that names the file, the key
and what would be valid. Opens no stores.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from datastore.model.config import did_you_mean
from datastore.model.errors import ConfigError
from datastore.spec import parse_tree, show_tree
from datastore_server.config import DEFAULT_LISTEN, WAIT_S, dump_table, parse_address, read_text
from datastore_server.limits import Limits, limits_of
from datastore_server.store_urls import StoreUrl, parse_store_url

__all__ = ["ServerConfig", "load_server", "parse_server", "show_server"]


class _Server(msgspec.Struct, frozen=True):
    """The table `[server]` as written."""

    store: str
    listen: str = DEFAULT_LISTEN
    state_dir: str | None = None
    wait_s: Annotated[float, msgspec.Meta(ge=0)] = WAIT_S
    limits: dict[str, Any] = {}


_VALID = {
    "store": "the name of a [store.NAME] of this file, or a store URL",
    "listen": "HOST:PORT, e.g. 127.0.0.1:7420",
    "state_dir": "a directory for the record of the node's placement",
    "wait_s": "seconds, 0 or more",
    "limits": f"a table with any of {', '.join(Limits.settable())}",
}


@dataclass(frozen=True)
class ServerConfig:
    """What a server serves, and where."""

    store: StoreUrl
    listen: str
    state_dir: Path | None
    wait_s: float
    limits: Limits


def load_server(path: Path) -> ServerConfig:
    """Read a file. Raises ConfigError if it cannot be read or is invalid."""
    return parse_server(read_text(path), source=str(path), base=path.absolute().parent)


def parse_server(text: str, *, source: str, base: Path = Path()) -> ServerConfig:
    """The server that a TOML text describes.

    `source` names the text in errors; relative directories are below `base`. Raises ConfigError, or ImportError if the
    driver of a store is missing.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from error
    if "server" not in document and "shards" in document:
        raise ConfigError(f"{source} describes a cluster: say which shard to serve with --shard NAME")
    for name in document:
        if name not in ("server", "store"):
            near = did_you_mean(name, ["server", "store"])
            raise ConfigError(f"{source}: {name}: unknown key; valid here: server, store{near}")
    section = _section(document.get("server"), source)
    try:
        limits = limits_of(section.limits)
    except ConfigError as error:
        raise ConfigError(f"{source}: server.{error}") from error
    try:
        parse_address(section.listen)
    except ConfigError as error:
        raise ConfigError(f"{source}: server.listen: {error}") from error
    return ServerConfig(
        _store(document, section.store, source, base),
        section.listen,
        None if section.state_dir is None else base / section.state_dir,
        section.wait_s,
        limits,
    )


def _section(table: object, source: str) -> _Server:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{source}: server: {'missing' if table is None else 'not a table'}; expected [server]")
    for name in table:
        if name not in _VALID:
            near = did_you_mean(name, list(_VALID))
            raise ConfigError(f"{source}: server.{name}: unknown key; valid here: {', '.join(_VALID)}{near}")
    if "store" not in table:
        raise ConfigError(f"{source}: server.store: missing; it should be {_VALID['store']}")
    for name, value in table.items():
        try:
            msgspec.convert({"store": "", name: value}, _Server)
        except msgspec.ValidationError as error:
            problem = str(error).partition(" - at")[0]
            problem = f"{problem[0].lower()}{problem[1:]}"
            raise ConfigError(f"{source}: server.{name}: {problem}; it should be {_VALID[name]}") from error
    return msgspec.convert(table, _Server)


def _store(document: Mapping[str, Any], name: str, source: str, base: Path) -> StoreUrl:
    """The store to serve, given by the name of a table or by a URL."""
    if ":" in name:
        try:
            return parse_store_url(name, base=base)
        except ConfigError as error:
            raise ConfigError(f"{source}: server.store: {error}") from error
    tables = document.get("store", {})
    if isinstance(tables, Mapping) and name not in tables:
        known = ", ".join(tables) or "none"
        near = did_you_mean(name, tables)
        raise ConfigError(f"{source}: server.store: there is no [store.{name}]; the stores are {known}{near}")
    return StoreUrl(f"store.{name}", parse_tree(document, name, source=source, base=base))


def show_server(config: ServerConfig) -> str:
    """The effective configuration as TOML: every setting of the server, without secrets."""
    named = config.store.tree.origin.name
    server = {
        "store": named or str(config.store),
        "listen": config.listen,
        "state_dir": None if config.state_dir is None else str(config.state_dir),
        "wait_s": config.wait_s,
    }
    tables = [show_tree(config.store.tree)] if named else []
    return "\n".join([*tables, dump_table("server", server), dump_table("server.limits", config.limits.shown())])
