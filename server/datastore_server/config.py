"""Configuration files, store URLs and server addresses.

Pure: text in, data out, and a ConfigError that names the file, the key and what would be valid. Only `load_config`
reads a file. Knows nothing of stores or the network.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from datastore.engine.placement import NAME, NAME_FORM, ShardBy
from datastore.model.config import Config as StoreTree
from datastore.model.errors import ConfigError
from datastore.model.urls import hidden, shown, without_options
from datastore.spec import dump_value, parse_child
from datastore_client.channel import DEFAULT_PORT
from datastore_client.tls import Credentials
from datastore_server.auth_config import AuthConfig
from datastore_server.documents import converted, parse_toml, read_text, valid, within
from datastore_server.limits import Limits, limits_of
from datastore_server.operating import LogConfig, MetricsConfig
from datastore_server.store_urls import MOST_WORKERS, STORE_FORMS, Durability, parse_store_url, require_workers
from datastore_server.tls_config import TlsConfig

__all__ = [
    "DEFAULT_LISTEN",
    "DEFAULT_PORT",
    "METRICS_PORT",
    "WAIT_S",
    "Address",
    "ClusterConfig",
    "Config",
    "ProxyConfig",
    "ShardConfig",
    "dump_auth",
    "dump_config",
    "dump_operating",
    "dump_shards",
    "dump_table",
    "dump_tls",
    "load_config",
    "parse_address",
    "parse_config",
    "parse_metrics_address",
    "parse_server_url",
    "secure_url",
    "show_config",
    "tiers_of",
]

#: How long a node waits at its start for a store that cannot be reached, in seconds.
WAIT_S = 10.0
DEFAULT_LISTEN = f"127.0.0.1:{DEFAULT_PORT}"

#: The default port of the metrics.
METRICS_PORT = 9420

SERVER_FORM = "grpc://HOST:PORT"


class Address(msgspec.Struct, frozen=True):
    """The address of a server. Port 0 means any free port."""

    host: str
    port: int
    #: Whether it is reached over TLS.
    is_secure: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for clients: grpc://HOST:PORT, or grpcs://HOST:PORT over TLS."""
        return f"{'grpcs' if self.is_secure else 'grpc'}://{self}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return ipaddress.ip_address(self.host).is_loopback if self.is_number else self.host == "localhost"

    @property
    def is_number(self) -> bool:
        """Whether the host is an IP address; otherwise it is a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


class ClusterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that all servers of a cluster share."""

    name: Annotated[str, valid(f"the cluster's name: {NAME_FORM}")]
    shard_by: Annotated[ShardBy, valid('"key" or "collection"')] = "key"
    #: Of both the nodes and the proxy, if they are not the defaults.
    limits: Annotated[dict[str, Any], valid(f"a table with any of {', '.join(Limits.settable())}")] = {}


class ProxyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of the proxy."""

    listen: Annotated[str, valid("HOST:PORT, e.g. 127.0.0.1:7420")] = DEFAULT_LISTEN
    #: As written in the file; `tiers_of` parses them.
    tiers: Annotated[list[Any], valid("a list of caches before the shards, each a store URL or a table")] = []
    #: Whether the caches follow the changes of the shards.
    invalidate: Annotated[Literal["watch"] | None, valid('"watch", or left out')] = None


class ShardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One shard: where the proxy reaches it and, for `datastore serve --config`, what it serves."""

    name: Annotated[str, valid(f"the shard's name, which its share of the keys depends on: {NAME_FORM}")]
    url: Annotated[str, valid(f"where its node listens: {SERVER_FORM}")]
    store: Annotated[str | None, valid(f"what its node serves: {STORE_FORMS}")] = None
    #: After `parse_config`, as set here or in the store's URL; otherwise "sync", or None if the engine determines it.
    durability: Annotated[Durability | None, valid('"sync" or "async"')] = None
    state_dir: Annotated[str | None, valid("a directory for the record of the node's placement")] = None
    wait_s: Annotated[Annotated[float, msgspec.Meta(ge=0)] | None, valid("seconds, 0 or more")] = None
    workers: Annotated[int | None, valid(f"the number of processes that read, 1 to {MOST_WORKERS}")] = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A configuration file. Shards are sorted by name."""

    cluster: Annotated[ClusterConfig, valid("a table: [cluster]")]
    shards: Annotated[list[ShardConfig], valid("tables, each beginning with [[shards]]")]
    proxy: Annotated[ProxyConfig, valid("a table: [proxy]")] = ProxyConfig()
    #: After `parse_config`, with absolute paths.
    tls: Annotated[TlsConfig, valid("a table: [tls]")] = TlsConfig()
    metrics: Annotated[MetricsConfig, valid("a table: [metrics]")] = MetricsConfig()
    log: Annotated[LogConfig, valid("a table: [log]")] = LogConfig()
    #: After `parse_config`, with absolute paths.
    auth: Annotated[AuthConfig, valid("a table: [auth]")] = AuthConfig()

    def credentials(self) -> Credentials:
        """What the nodes are reached with. Raises ConfigError for files that are not valid."""
        return self.tls.credentials(token_file=self.auth.token_file, insecure=self.auth.insecure)

    def shard(self, name: str) -> ShardConfig:
        """The shard with this name. Raises ConfigError, listing the valid names, if there is none."""
        for shard in self.shards:
            if shard.name == name:
                return shard
        raise ConfigError(f"there is no shard {name!r}; the shards are {', '.join(one.name for one in self.shards)}")


def load_config(path: Path) -> Config:
    """Read a configuration file. Raises ConfigError if it cannot be read or is invalid."""
    return parse_config(read_text(path), source=str(path), base=path.absolute().parent)


def parse_config(text: str, *, source: str, base: Path = Path()) -> Config:
    """Parse a configuration in TOML.

    `source` names the text in errors; relative directories are below `base`. Raises ConfigError if anything is unknown,
    missing, of the wrong type or out of range.
    """
    return _check(converted(parse_toml(text, source), Config, source), source, base)


def dump_config(config: Config) -> str:
    """The TOML text that `parse_config` parses to this configuration."""
    cluster, proxy = map(msgspec.structs.asdict, (config.cluster, config.proxy))
    limits = cluster.pop("limits")
    proxy["tiers"] = proxy["tiers"] or None
    tables = [dump_table("cluster", cluster), dump_table("cluster.limits", limits) if limits else None]
    tables += [dump_tls(config.tls) or None, dump_auth(config.auth) or None]
    watched = dump_operating(config.metrics, config.log)
    return "\n".join([*filter(None, tables), dump_table("proxy", proxy), *watched]) + dump_shards(config.shards)


def dump_operating(metrics: MetricsConfig, log: LogConfig) -> list[str]:
    """The tables `[metrics]` and `[log]` as TOML, without one that has only defaults."""
    tables = {"metrics": (metrics, MetricsConfig()), "log": (log, LogConfig())}
    return [
        dump_table(name, msgspec.structs.asdict(table)) for name, (table, default) in tables.items() if table != default
    ]


def dump_tls(tls: TlsConfig) -> str:
    """The table `[tls]`; empty without any files."""
    return "" if tls == TlsConfig() else dump_table("tls", msgspec.structs.asdict(tls))


def dump_auth(auth: AuthConfig) -> str:
    """The table `[auth]`; empty without any settings."""
    settings = msgspec.structs.asdict(auth) | {"insecure": auth.insecure or None}
    return "" if auth == AuthConfig() else dump_table("auth", settings)


def show_config(config: Config) -> str:
    """The same text with every setting, including defaults, and `***` for the secrets in store URLs."""
    shards = [
        msgspec.structs.replace(
            shard,
            store=None if shard.store is None else hidden(shard.store),
            wait_s=WAIT_S if shard.wait_s is None else shard.wait_s,
            workers=1 if shard.workers is None else shard.workers,
        )
        for shard in config.shards
    ]
    cluster = msgspec.structs.replace(config.cluster, limits=limits_of(config.cluster.limits).shown())
    proxy = msgspec.structs.replace(config.proxy, tiers=_without_secrets(config.proxy.tiers))
    return dump_config(msgspec.structs.replace(config, cluster=cluster, proxy=proxy, shards=shards))


def _without_secrets(given: Any) -> Any:
    """The same TOML with `***` for the secrets in URLs."""
    if isinstance(given, Mapping):
        return {name: _without_secrets(value) for name, value in given.items()}
    if isinstance(given, list):
        return list(map(_without_secrets, given))
    return hidden(given) if isinstance(given, str) and "://" in given else given


def tiers_of(config: Config, source: str) -> tuple[StoreTree, ...]:
    """The caches before the shards, fastest first. `source` is the file, to whose directory others are relative.

    Raises ConfigError, or ImportError for one whose driver is not installed.
    """
    base = Path(source).absolute().parent
    places = (f"{source}: proxy.tiers[{index}]" for index in range(len(config.proxy.tiers)))
    return tuple(parse_child(tier, place, base=base) for tier, place in zip(config.proxy.tiers, places, strict=True))


def dump_table(name: str, values: Mapping[str, Any]) -> str:
    """A table as TOML, without the keys whose value is None."""
    return "\n".join([f"[{name}]", *_assignments(values)]) + "\n"


def dump_shards(shards: Iterable[ShardConfig]) -> str:
    """The part of a configuration file that defines these shards."""
    return "".join(
        "\n".join(["", "[[shards]]", *_assignments(msgspec.structs.asdict(shard))]) + "\n" for shard in shards
    )


def parse_server_url(text: str) -> Address:
    """The address in `grpc://HOST:PORT` or `grpcs://HOST:PORT`; without a port it is 7420.

    Raises ConfigError for anything else.
    """
    scheme, separator, rest = text.partition("://")
    is_secure = scheme.lower() == "grpcs"
    if not (is_secure or scheme.lower() == "grpc") or not separator or not rest:
        example = f"grpc://127.0.0.1:{DEFAULT_PORT}"
        with suppress(ConfigError):
            # Suggest the same host and port.
            address = (rest if separator else text).removesuffix("/")
            example = _address(_after_port_alone(address), text, SERVER_FORM).url
        raise ConfigError(
            f"{shown(text)} is not a server URL: expected {SERVER_FORM}, or grpcs: for TLS, e.g. {example}"
        )
    form = SERVER_FORM.replace("grpc:", "grpcs:") if is_secure else SERVER_FORM
    return msgspec.structs.replace(_address(rest.removesuffix("/"), text, form), is_secure=is_secure)


def secure_url(url: str) -> str:
    """The URL of the same server, reached over TLS."""
    return msgspec.structs.replace(parse_server_url(url), is_secure=True).url


def parse_address(text: str, port: int = DEFAULT_PORT) -> Address:
    """The address in `HOST:PORT`, or in `HOST` at `port`; IPv6 in brackets. ConfigError for anything else."""
    if "://" in text:
        raise ConfigError(f"{shown(text)}: expected HOST:PORT without a scheme, e.g. 127.0.0.1:{port}")
    return _address(text, text, "HOST:PORT", port)


def parse_metrics_address(text: str) -> Address:
    """The address of the metrics: like `parse_address`, with another default port."""
    return parse_address(text, METRICS_PORT)


def _address(text: str, given: str, form: str, port: int = DEFAULT_PORT) -> Address:
    if (meant := _after_port_alone(text)) != text:
        prefix = form.removesuffix("HOST:PORT")
        raise ConfigError(f"{shown(given)} is a port without a host: expected {form}, e.g. {prefix}{meant}")
    match = re.fullmatch(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s:/@\[\]]+))(?::(?P<port>[0-9]{1,5}))?", text)
    if match is None or int(match["port"] or 0) > 65535:
        raise ConfigError(f"{shown(given)}: expected {form}, e.g. 127.0.0.1:{port} or [::1]:{port}, port 0 to 65535")
    return Address(match["ipv6"] or match["host"], port if match["port"] is None else int(match["port"]))


def _after_port_alone(text: str) -> str:
    """A port alone (`17650` or `:17650`) with this machine's address before it; any other text unchanged.

    The resolver would take 17650 for the address 0.0.68.242.
    """
    return f"127.0.0.1:{text.removeprefix(':')}" if re.fullmatch(r":?[0-9]+", text) else text


def _check(config: Config, source: str, base: Path) -> Config:
    """Check what types cannot express: names, addresses, and that shard names are unique."""
    _check_name(config.cluster.name, f"{source}: cluster.name")
    within(f"{source}: cluster.", limits_of, config.cluster.limits)
    within(f"{source}: proxy.listen: ", parse_address, config.proxy.listen)
    if config.metrics.listen is not None:
        within(f"{source}: metrics.listen: ", parse_metrics_address, config.metrics.listen)
    if not tiers_of(config, source) and config.proxy.invalidate:
        raise ConfigError(f"{source}: proxy.invalidate: there are no caches to invalidate; list them in proxy.tiers")
    if not config.shards:
        raise ConfigError(f"{source}: shards: at least one is needed; begin each with a line [[shards]]")
    seen: dict[str, int] = {}
    addresses: dict[str, int] = {}
    checked = []
    for index, shard in enumerate(config.shards):
        at = f"{source}: shards[{index}]"
        _check_name(shard.name, f"{at}.name")
        if shard.name in seen:
            raise ConfigError(
                f"{at}.name: {shard.name!r} is also the name of shards[{seen[shard.name]}], and must differ"
            )
        seen[shard.name] = index
        address = within(f"{at}.url: ", parse_server_url, shard.url)
        # Port 0 is any free port.
        if address.port and str(address) in addresses:
            first = addresses[str(address)]
            raise ConfigError(f"{at}.url: {shard.url!r} is also the url of shards[{first}], and must differ")
        addresses[str(address)] = index
        _check_encryption(config.tls, address, f"{at}.url")
        checked.append(_with_one_durability(shard, at, base))
    _check_storage(checked, source)
    tls = config.tls.checked(source, base)
    auth = config.auth.checked(base)
    return msgspec.structs.replace(config, tls=tls, auth=auth, shards=sorted(checked, key=lambda shard: shard.name))


def _check_encryption(tls: TlsConfig, address: Address, where: str) -> None:
    """Refuse a shard that is reached without the TLS that its node listens with."""
    if tls.cert is not None and not address.is_secure:
        url = secure_url(address.url)
        raise ConfigError(f"{where}: the table [tls] makes the servers of this file listen with TLS: write {url!r}")


def _check_storage(shards: Iterable[ShardConfig], source: str) -> None:
    """Refuse two shards on one machine with the same storage. The same directory on two machines is not the same."""
    seen: dict[tuple[str, str], int] = {}
    for index, shard in enumerate(shards):
        host = parse_server_url(shard.url).host
        for key, storage in _storage(shard):
            first = seen.setdefault((host, storage), index)
            if first != index:
                shown = hidden(str(getattr(shard, key)))
                raise ConfigError(
                    f"{source}: shards[{index}].{key}: {shown} is also the {key} of shards[{first}], and must differ"
                )


def _storage(shard: ShardConfig) -> Iterator[tuple[str, str]]:
    """What the node of a shard must have to itself, each with its key."""
    if shard.store is not None:
        store = parse_store_url(shard.store)
        if store.kind != "memory":
            yield "store", repr(store.tree) if store.directory is None else os.path.normpath(store.directory)
    if shard.state_dir is not None:
        yield "state_dir", os.path.normpath(shard.state_dir)


def _with_one_durability(shard: ShardConfig, at: str, base: Path) -> ShardConfig:
    """The shard with a checked, absolute store, and the durability taken from the store's URL."""
    if shard.store is None:
        return msgspec.structs.replace(shard, durability=shard.durability or "sync")
    store = within(f"{at}.store: ", lambda text: parse_store_url(text, base=base), shard.store)
    durability = within(f"{at}.durability: ", store.with_durability, shard.durability).durability or shard.durability
    within(f"{at}.workers: ", partial(require_workers, store), 1 if shard.workers is None else shard.workers)
    if durability is None and store.kind in ("memory", "lmdb", "file"):
        durability = "sync"
    state_dir = None if shard.state_dir is None else str(base / shard.state_dir)
    # The durability has a separate key.
    text, _ = without_options(store.text, ["durability", "fsync"])
    return msgspec.structs.replace(shard, store=text, durability=durability, state_dir=state_dir)


def _check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is not a valid name: expected {NAME_FORM}")


def _assignments(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {dump_value(value)}" for key, value in values.items() if value is not None]
