"""The configuration of one server of any composition of stores: its `[store.NAME]` tables and its `[server]` table.

Pure, except for `load_server`, which reads the file: text in, data out, and a ConfigError that names the file, the key
and what would be valid. Opens no stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from datastore.model.config import did_you_mean
from datastore.model.errors import ConfigError
from datastore.spec import parse_tree, show_tree
from datastore_server.auth_config import AuthConfig
from datastore_server.config import (
    DEFAULT_LISTEN,
    WAIT_S,
    dump_auth,
    dump_operating,
    dump_table,
    dump_tls,
    parse_address,
    parse_metrics_address,
)
from datastore_server.documents import converted, parse_toml, read_text, valid, within
from datastore_server.limits import Limits, limits_of
from datastore_server.operating import LogConfig, MetricsConfig
from datastore_server.store_urls import MOST_WORKERS, StoreUrl, parse_store_url, require_workers
from datastore_server.tls_config import TlsConfig

__all__ = ["ServerConfig", "load_server", "parse_server", "show_server"]


class _Server(msgspec.Struct, frozen=True):
    """The table `[server]` as written."""

    store: Annotated[str, valid("the name of a [store.NAME] of this file, or a store URL")]
    listen: Annotated[str, valid("HOST:PORT, e.g. 127.0.0.1:7420")] = DEFAULT_LISTEN
    state_dir: Annotated[str | None, valid("a directory for the record of the node's placement")] = None
    wait_s: Annotated[Annotated[float, msgspec.Meta(ge=0)], valid("seconds, 0 or more")] = WAIT_S
    workers: Annotated[int, valid(f"the number of processes that read, 1 to {MOST_WORKERS}")] = 1
    limits: Annotated[dict[str, Any], valid(f"a table with any of {', '.join(Limits.settable())}")] = {}


class _Document(msgspec.Struct, frozen=True):
    """A file with a server."""

    server: Annotated[_Server, valid("a table: [server]")]
    tls: Annotated[TlsConfig, valid("a table: [tls]")] = TlsConfig()
    metrics: Annotated[MetricsConfig, valid("a table: [metrics]")] = MetricsConfig()
    log: Annotated[LogConfig, valid("a table: [log]")] = LogConfig()
    auth: Annotated[AuthConfig, valid("a table: [auth]")] = AuthConfig()
    #: Read by `parse_tree`.
    store: Annotated[Any, valid("tables, each beginning with [store.NAME]")] = None


@dataclass(frozen=True)
class ServerConfig:
    """What a server serves, and where."""

    store: StoreUrl
    listen: str
    state_dir: Path | None
    wait_s: float
    workers: int
    limits: Limits
    tls: TlsConfig
    metrics: MetricsConfig
    log: LogConfig
    auth: AuthConfig


def load_server(path: Path) -> ServerConfig:
    """Read a file. Raises ConfigError if it cannot be read or is invalid."""
    return parse_server(read_text(path), source=str(path), base=path.absolute().parent)


def parse_server(text: str, *, source: str, base: Path = Path()) -> ServerConfig:
    """The server that a TOML text describes.

    `source` names the text in errors; relative directories are below `base`. Raises ConfigError, or ImportError if the
    driver of a store is missing.
    """
    document = parse_toml(text, source)
    if "server" not in document and "shards" in document:
        raise ConfigError(f"{source} describes a cluster: say which shard to serve with --shard NAME")
    read = converted(document, _Document, source)
    server = read.server
    limits = within(f"{source}: server.", limits_of, server.limits)
    within(f"{source}: server.listen: ", parse_address, server.listen)
    if read.metrics.listen is not None:
        within(f"{source}: metrics.listen: ", parse_metrics_address, read.metrics.listen)
    store = _store(document, server.store, source, base)
    within(f"{source}: server.workers: ", partial(require_workers, store), server.workers)
    return ServerConfig(
        store,
        server.listen,
        None if server.state_dir is None else base / server.state_dir,
        server.wait_s,
        server.workers,
        limits,
        read.tls.checked(source, base),
        read.metrics,
        read.log,
        read.auth.checked(base),
    )


def _store(document: Mapping[str, Any], name: str, source: str, base: Path) -> StoreUrl:
    """The store to serve, given by the name of a table or by a URL."""
    if ":" in name:
        return within(f"{source}: server.store: ", lambda url: parse_store_url(url, base=base), name)
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
        "workers": config.workers,
    }
    tables = [show_tree(config.store.tree)] if named else []
    watched = [dump_tls(config.tls), dump_auth(config.auth), *dump_operating(config.metrics, config.log)]
    limits = dump_table("server.limits", config.limits.shown())
    return "\n".join(filter(None, [*tables, dump_table("server", server), limits, *watched]))
