"""`serve`, `proxy` and `cluster`: the servers."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from datastore.model.errors import ConfigError
from datastore_client.channel import parse_target
from datastore_client.tls import TlsFiles
from datastore_server import logs
from datastore_server.app import DRAIN_S, run_until_stopped, serve
from datastore_server.auth.access import load_access
from datastore_server.auth_config import AuthConfig
from datastore_server.cli.auth_options import token_file_option, tokens_option
from datastore_server.cli.observing_options import Observing, observing_options
from datastore_server.cli.output import ExitCode, print_json, print_table, say
from datastore_server.cli.settings import Settings, all_options, certificate_options, json_option
from datastore_server.cli.tls_options import insecure_option, tls_options
from datastore_server.cluster import Cluster, command_again, plan_cluster
from datastore_server.config import (
    DEFAULT_LISTEN,
    WAIT_S,
    Config,
    load_config,
    parse_address,
    parse_server_url,
)
from datastore_server.coordination.checking import Findings, check
from datastore_server.counting import counted
from datastore_server.documents import within
from datastore_server.limits import Limits, limits_of
from datastore_server.operating import LogConfig, MetricsConfig
from datastore_server.protection import protection_of
from datastore_server.server_config import ServerConfig, load_server
from datastore_server.shard_watch import watching
from datastore_server.signals import handle_reload_signal, handle_stop_signals
from datastore_server.store_urls import MOST_WORKERS, Durability, StoreUrl, parse_store_url, require_workers
from datastore_server.tls_config import TlsConfig
from datastore_server.topology import Topology, build_node, build_proxy
from datastore_server.tracing import Tracing, tracing_of
from datastore_server.transport import TRANSPORTS, TransportName
from datastore_server.workers.messages import Assignment

__all__ = ["cluster_command", "proxy_command", "serve_command"]


def _listen_option(default: str) -> Callable[..., Callable[..., None]]:
    return click.option(
        "--listen", metavar="HOST:PORT", help=f"Address to listen on; port 0 takes a free port.  [default: {default}]"
    )


_check_config_option = click.option(
    "--check-config", is_flag=True, help="Check all settings and exit, without opening anything."
)
_transport_option = click.option(
    "--transport",
    type=click.Choice(TRANSPORTS),
    default=TRANSPORTS[0],
    show_default=True,
    envvar="DATASTORE_TRANSPORT",
    help="How to serve gRPC: queue is faster, and uses a private interface of grpcio; aio uses the public one; auto is "
    "queue with the versions of grpcio that it is tested with.",
)
_stop_with_stdin_option = click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input is closed, e.g. when the parent process dies."
)


def _named_limits(context: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """The values of `--limit`, by name."""
    limits = {}
    for text in given:
        name, separator, limits[name] = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, e.g. batch_items=500", context, option)
    return limits


@click.command("serve", short_help="Serve a store: a node.")
@click.argument("store", required=False)
@_listen_option(DEFAULT_LISTEN)
@click.option(
    "--durability",
    type=click.Choice(["sync", "async"]),
    help="sync acknowledges a write when it is on disk; async before that: a power failure loses the last second.  "
    "[default: sync, or as the store URL says]",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the record of the node's placement, for a store that cannot keep it: memcached:, grpc:.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help=f"Time to wait at the start for a store that cannot be reached.  [default: {WAIT_S:g}]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    metavar="N",
    help="Number of processes that answer reads, beside one that writes: for lmdb: on Linux.  [default: 1, which also"
    " writes]",
)
@click.option(
    "--limit",
    "limits",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_named_limits,
    help="Set a limit, e.g. batch_items=500 or read_bytes=32MiB; may be repeated. docs/configuration.md lists them.",
)
@click.option("--cluster", "cluster_name", metavar="NAME", help="Name of the cluster the data belongs to.")
@click.option("--shard", "shard_name", metavar="NAME", help="Name of the shard this node serves.")
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read store, address and other settings from this file: those of shard --shard of a cluster, or of [server].",
)
@_check_config_option
@observing_options
@tls_options
@tokens_option
@insecure_option
@_transport_option
@_stop_with_stdin_option
@json_option
@click.pass_obj
def serve_command(
    settings: Settings,
    *,
    store: str | None,
    listen: str | None,
    durability: Durability | None,
    state_dir: Path | None,
    wait_s: float | None,
    workers: int | None,
    limits: dict[str, str],
    cluster_name: str | None,
    shard_name: str | None,
    config_path: Path | None,
    check_config: bool,
    tls: TlsConfig,
    tokens: str | None,
    insecure: bool,
    transport: TransportName,
    stop_with_stdin: bool,
    observing: Callable[[MetricsConfig, LogConfig], Observing],
) -> None:
    """Serve STORE over gRPC until stopped: lmdb:///DIRECTORY stores entries on disk, memory: in memory.

    Existing storage can be served too: a directory of files, Redis, memcached, MongoDB, or another server.

    \b
    Examples:
      datastore serve lmdb:///var/lib/datastore
      datastore serve memory: --listen 127.0.0.1:0
      datastore serve redis://127.0.0.1:6379/0?prefix=app:
      datastore serve --config cluster.toml --shard shard-1
      datastore serve --config server.toml

    Prints one line with the address when it is ready, and logs to standard error. Ctrl-C or SIGTERM finishes the
    calls in progress and stops.
    """
    given = _Served(
        None if store is None else parse_store_url(store),
        listen=listen,
        durability=durability,
        cluster=cluster_name,
        shard=shard_name,
        state_dir=state_dir,
        wait_s=wait_s,
        workers=workers,
        limits=limits,
        tls=tls,
        auth=AuthConfig(tokens),
    )
    served = given if config_path is None else _configured(given, config_path)
    if served.store is None:
        raise click.UsageError("name a store: datastore serve lmdb:///DIRECTORY (or memory:, or --config FILE)")
    served.store.with_durability(served.durability)
    require_workers(served.store, served.workers or 1)
    in_force = limits_of(served.limits)
    parse_address(served.listen or DEFAULT_LISTEN)
    observed = observing(served.metrics, served.log)
    job = _job_of(served, served.store, in_force, transport, observed, insecure=insecure)
    if check_config:
        _print_valid(job, config_path or served.store, as_json=settings.json, store=str(served.store))
    else:
        _run(job, as_json=settings.json, stop_with_stdin=stop_with_stdin)


def _job_of(
    served: _Served,
    store: StoreUrl,
    limits: Limits,
    transport: TransportName,
    observed: Observing,
    *,
    insecure: bool,
) -> _Job:
    """What a node does. Raises ConfigError for files that are not valid."""
    _check_tokens(served.auth)
    tls = served.tls.checked(None, Path())
    assignment = Assignment(
        insecure=insecure,
        tls=tls,
        tokens=served.auth.tokens,
        limits=limits.shown(),
        transport=transport,
        drain_s=DRAIN_S,
        log=observed.log,
    )
    return _Job(
        served.builder(store, assignment),
        served.listen or DEFAULT_LISTEN,
        insecure,
        *served.announcement,
        limits,
        transport,
        observed,
        WAIT_S if served.wait_s is None else served.wait_s,
        tls=tls.files(),
        tokens=served.auth.tokens,
    )


@dataclass(frozen=True)
class _Served:
    """The settings of a node from the command line and a file; None where neither has one."""

    store: StoreUrl | None
    listen: str | None = None
    durability: Durability | None = None
    cluster: str | None = None
    shard: str | None = None
    config: Config | None = None
    state_dir: Path | None = None
    wait_s: float | None = None
    workers: int | None = None
    #: By name. Those of the command line override those of the file.
    limits: dict[str, Any] = field(default_factory=dict)
    tls: TlsConfig = field(default_factory=TlsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)

    def builder(self, store: StoreUrl, assignment: Assignment) -> Callable[[], Topology]:
        """What makes the node, and its workers, which get this assignment."""
        named = {name: getattr(self, name) for name in ("durability", "cluster", "shard", "config", "state_dir")}
        return partial(build_node, store, **named, workers=self.workers or 1, assignment=assignment)

    @property
    def announcement(self) -> tuple[str, dict[str, str]]:
        """What is served, for people and for programs."""
        facts = {"role": "node", "store": str(self.store)} | ({"shard": self.shard} if self.shard else {})
        return f"Serving {self.store}, shard {self.shard} on" if self.shard else f"Serving {self.store} on", facts

    def completed(self, **found: Any) -> _Served:
        """A copy with settings of a file where the command line has none."""
        return replace(self, **{name: value for name, value in found.items() if getattr(self, name) is None})

    def with_tables(self, file: Config | ServerConfig, limits: Mapping[str, Any]) -> _Served:
        """A copy with the tables of a file, of which the command line may override single settings."""
        return replace(
            self,
            limits={**limits, **self.limits},
            tls=self.tls.completed(file.tls),
            auth=self.auth.completed(file.auth),
            metrics=file.metrics,
            log=file.log,
        )


def _configured(given: _Served, path: Path) -> _Served:
    """The node completed from a file, which describes a cluster with this shard, or one server."""
    if given.store is not None or given.cluster is not None:
        raise click.UsageError("--config takes store and cluster from the file: leave out STORE and --cluster")
    if given.shard is None:
        server = load_server(path)
        return given.with_tables(server, server.limits.shown()).completed(
            store=server.store,
            listen=server.listen,
            state_dir=server.state_dir,
            wait_s=server.wait_s,
            workers=server.workers,
        )
    config = load_config(path)
    try:
        shard = config.shard(given.shard)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if shard.store is None:
        raise ConfigError(
            f"{path}: shard {shard.name} has no store; add it to the file, or name it: "
            f"datastore serve STORE --cluster {config.cluster.name} --shard {shard.name}"
        )
    configured = given.with_tables(config, config.cluster.limits)
    if parse_server_url(shard.url).is_secure and configured.tls.cert is None:
        raise ConfigError(
            f"{path}: shard {shard.name} is reached at {shard.url}, so its node needs a certificate: cert and key of"
            " [tls], or --tls-cert and --tls-key"
        )
    return configured.completed(
        store=parse_store_url(shard.store),
        listen=str(parse_server_url(shard.url)),
        durability=shard.durability,
        cluster=config.cluster.name,
        config=config,
        state_dir=Path(shard.state_dir) if shard.state_dir else None,
        wait_s=shard.wait_s,
        workers=shard.workers,
    )


def _print_valid(job: _Job, source: object, *, as_json: bool, **facts: str) -> None:
    """Print that everything is valid, unless the server would not listen at its address."""
    address = parse_address(job.listen)
    # A name is looked up when the server starts.
    if address.is_number:
        protection_of(address, [address], tls=job.tls, insecure=job.insecure)
    if as_json:
        print_json({"valid": True, **facts, "listen": job.listen})
    else:
        click.echo(f"{source} is valid; nothing was opened.")


@click.command("proxy", short_help="Serve several nodes as one store.")
@click.argument("config_path", metavar="CONFIG.toml", type=click.Path(dir_okay=False, path_type=Path))
@_listen_option("proxy.listen of CONFIG.toml")
@_check_config_option
@observing_options
@tls_options
@tokens_option
@token_file_option
@insecure_option
@_transport_option
@_stop_with_stdin_option
@json_option
@click.pass_obj
def proxy_command(
    settings: Settings,
    *,
    config_path: Path,
    listen: str | None,
    check_config: bool,
    tls: TlsConfig,
    tokens: str | None,
    token_file: str | None,
    insecure: bool,
    transport: TransportName,
    stop_with_stdin: bool,
    observing: Callable[[MetricsConfig, LogConfig], Observing],
) -> None:
    """Serve the shards in CONFIG.toml behind one address, as if they were one store.

    \b
    Example:
      datastore proxy cluster.toml --listen 127.0.0.1:7420

    docs/configuration.md describes the file. Prints one line with the address when it is ready, and logs to standard
    error.
    """
    given = AuthConfig(tokens, token_file, insecure)

    def load() -> Config:
        config = load_config(config_path)
        return msgspec.structs.replace(config, auth=given.completed(config.auth))

    config = load()
    address = listen or config.proxy.listen
    parse_address(address)
    _check_tokens(config.auth)
    what = f"Serving {counted(len(config.shards), 'shards')} of {config.cluster.name} on"
    job = _Job(
        lambda: build_proxy(config, str(config_path), load),
        address,
        insecure,
        what,
        {"role": "proxy"},
        limits_of(config.cluster.limits),
        transport,
        observing(config.metrics, config.log),
        tls=tls.completed(config.tls).checked(None, Path()).files(),
        tokens=config.auth.tokens,
    )
    if check_config:
        _check_nodes(config, str(config_path))
        _print_valid(job, config_path, as_json=settings.json)
    else:
        _run(job, as_json=settings.json, stop_with_stdin=stop_with_stdin)


def _check_nodes(config: Config, source: str) -> None:
    """Raise ConfigError if the files with which nodes are reached are not valid, or cannot be used for one of them."""
    credentials = within(f"{source}: ", Config.credentials, config)
    for shard in config.shards:
        within(f"{source}: shard {shard.name}: ", credentials.check_target, parse_target(shard.url))


def _check_tokens(auth: AuthConfig) -> None:
    """Raise ConfigError if the file that names the callers is not valid."""
    if auth.tokens is not None:
        load_access(Path(auth.tokens))


@dataclass(frozen=True)
class _Job:
    """What to serve, at which address, and how to announce it."""

    #: Called in the running loop, because channels belong to the loop they are created in.
    build: Callable[[], Topology]
    listen: str
    insecure: bool
    #: For people, followed by the address; and for programs.
    text: str
    facts: dict[str, str]
    limits: Limits
    transport: TransportName
    observed: Observing
    #: How long to wait at the start for a store that cannot be reached.
    wait_s: float = WAIT_S
    tls: TlsFiles | None = None
    tokens: str | None = None


def _run(job: _Job, *, as_json: bool, stop_with_stdin: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    parse_address(job.listen)
    if stop_with_stdin:
        threading.Thread(target=_stop_when_stdin_ends, daemon=True).start()

    def announce(url: str, metrics_url: str | None) -> None:
        if as_json:
            metrics = {} if metrics_url is None else {"metrics_url": metrics_url}
            print_json({"ready": True, "url": url, "pid": os.getpid()} | metrics | job.facts)
        else:
            click.echo(f"{job.text} {url}" + (f", metrics at {metrics_url}" if metrics_url else ""))

    tracing = tracing_of(os.environ)
    # A page of LMDB's map that is gone, because the file was truncated or the disk fails, ends the process by SIGBUS.
    faulthandler.enable(2, all_threads=False)
    with logs.to_stderr(job.observed.log.level, job.observed.log.format):
        asyncio.run(_serve(job, tracing, announce))


async def _serve(job: _Job, tracing: Tracing | None, announce: Callable[[str, str | None], None]) -> None:
    topology = job.build()
    server = serve(
        topology.datastore,
        listen=job.listen,
        insecure=job.insecure,
        tls=job.tls,
        tokens=None if job.tokens is None else Path(job.tokens),
        **topology.settings(),
        wait_s=job.wait_s,
        limits=job.limits,
        transport=job.transport,
        drain_s=DRAIN_S,
        metrics=job.observed.metrics,
        slow_call_s=job.observed.log.slow_call_ms / 1000,
        tracing=tracing,
    )
    async with server, watching(topology.cluster.shards, server.note_shard):
        stopped = asyncio.create_task(run_until_stopped(server))
        # Signals must be handled before the address is announced.
        await asyncio.sleep(0)
        announce(server.url, server.metrics_url)
        await stopped


def _stop_when_stdin_ends() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@click.command("cluster", short_help="Start nodes and a proxy on this machine.")
@click.option(
    "--nodes", type=click.IntRange(min=1, max=64), metavar="N", help="Number of nodes.  [default: 3, or as before]"
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("datastore-cluster"),
    show_default=True,
    help="Directory for data, logs and cluster.toml.",
)
@click.option(
    "--port",
    type=click.IntRange(min=0, max=65535),
    metavar="PORT",
    help="Port of the proxy.  [default: as before; at first any free port]",
)
@click.option(
    "--durability",
    type=click.Choice(["sync", "async"]),
    default="sync",
    show_default=True,
    help="Durability of a new cluster, as for serve.",
)
@click.option(
    "--changes",
    is_flag=True,
    help="Keep a log of changes at every node, so that the cluster can be watched; recorded in cluster.toml.",
)
@observing_options
@tls_options
@all_options(*certificate_options())
@tokens_option
@token_file_option
@json_option
@click.pass_obj
def cluster_command(
    settings: Settings,
    *,
    nodes: int | None,
    directory: Path,
    port: int | None,
    durability: Durability,
    changes: bool,
    tls: TlsConfig,
    tokens: str | None,
    token_file: str | None,
    observing: Callable[[MetricsConfig, LogConfig], Observing],
) -> int:
    """Start several nodes on LMDB and a proxy on this machine, each in its own process, and watch them until stopped.

    \b
    Example:
      datastore cluster --nodes 3 --directory /tmp/try

    When started again in the same directory, it serves the same data at the same addresses. A process that dies is
    reported with the command that restarts it; its log is in DIRECTORY/logs. If the nodes do not match
    DIRECTORY/cluster.toml, nothing is served, and the command that resolves it is printed. Ctrl-C or SIGTERM stops all
    processes.
    """
    if tls.cert is not None:
        tls = tls.completed(TlsConfig.given(ca=settings.ca, client_cert=settings.cert, client_key=settings.key))
    auth = AuthConfig(tokens, token_file)
    config = plan_cluster(directory, nodes=nodes, port=port, durability=durability, tls=tls, auth=auth, changes=changes)
    observed = observing(config.metrics, config.log)
    config = msgspec.structs.replace(config, metrics=MetricsConfig(observed.metrics), log=observed.log)
    cluster = Cluster(directory.absolute(), config)
    cluster.make_directories()
    with logs.to_file(cluster.logs / "cluster.log", observed.log.level, observed.log.format):
        return asyncio.run(_run_cluster(settings, cluster))


async def _run_cluster(settings: Settings, cluster: Cluster) -> int:
    stopped = asyncio.Event()
    handle_stop_signals(stopped.set)
    handle_reload_signal(cluster.reload, stopped.set)
    stop = asyncio.create_task(stopped.wait())
    run = asyncio.create_task(_start_and_watch(settings, cluster))
    try:
        await asyncio.wait([stop, run], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await cluster.stop()
    if run.cancelled():
        if not settings.json:
            say("Stopped.")
        return ExitCode.OK
    return run.result()


async def _start_and_watch(settings: Settings, cluster: Cluster) -> int:
    await cluster.start()
    _print_running(settings, cluster, await check(cluster.config, str(cluster.config_path)))
    while (member := await cluster.ended()) is not None:
        command = shlex.join(["datastore", *command_again(cluster.config_path, member)])
        say(
            f"{member.name} (process {member.pid}) {member.ending}; its log is {member.log}. "
            f"To start it again:\n  {command}"
        )
    say("Every process has ended.")
    return ExitCode.FAILED


def _print_running(settings: Settings, cluster: Cluster, found: Findings) -> None:
    if settings.json:
        members = [member.as_dict() for member in cluster.members]
        print_json(
            {
                "ready": not found.differences,
                "differences": [one.as_dict() for one in found.all],
                "url": cluster.proxy.url,
                "directory": str(cluster.directory),
                "processes": members,
            }
        )
        return
    has_metrics = cluster.config.metrics.listen is not None
    print_table(
        ["role", "name", "address", "pid", "data", *(["metrics"] if has_metrics else [])],
        [
            [member.role, member.name, member.url, member.pid, member.directory]
            + ([member.metrics_url] if has_metrics else [])
            for member in cluster.members
        ],
    )
    click.echo(f"Configuration: {cluster.config_path}")
    if found.differences:
        click.echo("NOT SERVING: everything runs, but the nodes do not match the configuration.")
    for difference in found.all:
        click.echo(str(difference))
    if not found.differences:
        click.echo(f"Ready. In another terminal:\n  export DATASTORE_SERVER={cluster.proxy.url}")
        tls, auth = cluster.config.tls, cluster.config.auth
        files = {"CA": tls.ca, "CERT": tls.client_cert, "KEY": tls.client_key, "TOKEN_FILE": auth.token_file}
        for name, file in files.items():
            if file is not None:
                click.echo(f"  export DATASTORE_{name}={shlex.quote(file)}")
    sys.stdout.flush()
