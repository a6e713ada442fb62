"""A cluster on this machine: several nodes on LMDB and a proxy, each in its own process.

Starts new interpreters with the same commands that a person would type, reads their addresses from the line that each
prints when it is ready, and records them in `cluster.toml`. Does not fork after gRPC was loaded, and does not use gRPC.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from datastore.model.errors import ConfigError, StoreError, UnavailableError
from datastore_server.auth_config import AuthConfig
from datastore_server.config import (
    ClusterConfig,
    Config,
    ProxyConfig,
    ShardConfig,
    dump_config,
    dump_shards,
    load_config,
    parse_metrics_address,
    parse_server_url,
    secure_url,
)
from datastore_server.counting import counted
from datastore_server.store_urls import Durability, lmdb_url, parse_store_url
from datastore_server.tls_config import TlsConfig

__all__ = ["CONFIG_NAME", "Cluster", "Member", "command_again", "plan_cluster"]

_log = logging.getLogger("datastore.cluster")

CONFIG_NAME = "cluster.toml"

#: How long a server may take to start, in seconds. Interpreters are slow to start on a busy machine.
START_TIMEOUT_S = 180.0
#: How long a server may take to stop before it is killed, in seconds; more than its own limit.
STOP_TIMEOUT_S = 30.0
#: How many lines of its log are shown if a server fails to start.
SHOWN_LOG_LINES = 20


@dataclass(eq=False)
class Member:
    """One process of a cluster. `name` is the shard's, or `proxy`."""

    role: str
    name: str
    arguments: Sequence[str]
    log: Path
    directory: Path | None = None
    url: str = ""
    metrics_url: str | None = None
    process: Process | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process's id; 0 before the start."""
        return self.process.pid if self.process else 0

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode if self.process else None
        if code is None:
            return "is running"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def as_dict(self) -> dict[str, Any]:
        """For programs: what `datastore cluster --json` prints of each process."""
        return {
            "role": self.role,
            "name": self.name,
            "url": self.url,
            "metrics_url": self.metrics_url,
            "pid": self.pid,
            "directory": str(self.directory) if self.directory else None,
            "log": str(self.log),
        }


def plan_cluster(
    directory: Path,
    *,
    nodes: int | None,
    port: int | None,
    durability: Durability,
    tls: TlsConfig | None = None,
    auth: AuthConfig | None = None,
    changes: bool = False,
) -> Config:
    """The configuration of the cluster in this directory: that of its `cluster.toml`, or a new one.

    Port 0 means any free port. With `changes` every node keeps a log of its changes, from then on. The files of `tls`
    and `auth` override those of `cluster.toml`; with a certificate all servers listen with TLS. Raises ConfigError,
    with the commands that change it, if the directory has a cluster of a different number of nodes, because entries
    would have to move; and if the nodes would refuse the proxy.
    """
    path = directory / CONFIG_NAME
    if not path.exists():
        shards = [_new_shard(directory, f"shard-{number}", durability) for number in range(1, (nodes or 3) + 1)]
        new = Config(
            # A unique name, so that clusters on one machine cannot be mixed up.
            cluster=ClusterConfig(name=f"cluster-{os.urandom(4).hex()}"),
            proxy=ProxyConfig(listen=f"127.0.0.1:{port or 0}"),
            shards=sorted(shards, key=lambda shard: shard.name),
        )
        return _with_changes(_with_auth(_with_tls(new, tls), auth), changes)
    config = _with_changes(_with_auth(_with_tls(load_config(path), tls), auth), changes)
    if nodes is not None and nodes != len(config.shards):
        raise ConfigError(_how_to_change(path, config, nodes, durability))
    if port is not None:
        return msgspec.structs.replace(config, proxy=msgspec.structs.replace(config.proxy, listen=f"127.0.0.1:{port}"))
    return config


def _with_tls(config: Config, tls: TlsConfig | None) -> Config:
    """The configuration with these files, too, and all servers with TLS if there is a certificate."""
    if tls is None or tls == TlsConfig():
        return config
    tls = tls.completed(config.tls).checked(None, Path())
    shards = [msgspec.structs.replace(shard, url=secure_url(shard.url)) for shard in config.shards if tls.cert]
    return msgspec.structs.replace(config, tls=tls, shards=shards or config.shards)


def _with_auth(config: Config, auth: AuthConfig | None) -> Config:
    """The configuration with these files, too. Raises ConfigError if the proxy could not call its nodes."""
    auth = (auth or AuthConfig()).completed(config.auth)
    if auth.tokens is not None and auth.token_file is None and config.tls.client_cert is None:
        raise ConfigError(
            "the nodes would refuse the proxy: name the file of a token for it, with the right admin on /, with"
            f" --token-file; datastore token create proxy --rights admin --prefix / --tokens {auth.tokens} makes one"
        )
    return msgspec.structs.replace(config, auth=auth)


def _with_changes(config: Config, changes: bool) -> Config:
    """The configuration, in which all stores that can keep a log of their changes do if `changes` is set."""
    if not changes:
        return config
    return msgspec.structs.replace(config, shards=[_with_log(shard) for shard in config.shards])


def _with_log(shard: ShardConfig) -> ShardConfig:
    # Kinds of store without the option have nothing to add.
    if shard.store is None or getattr(parse_store_url(shard.store).tree, "changes", True):
        return shard
    mark = "&" if "?" in shard.store else "?"
    return msgspec.structs.replace(shard, store=f"{shard.store}{mark}changes=true")


def _how_to_change(path: Path, config: Config, nodes: int, durability: Durability) -> str:
    """How to change the number of nodes of an existing cluster."""
    text = f"{path} has {counted(len(config.shards), 'shards')}, not {nodes}, and entries have to move for that."
    start = shlex.join(["datastore", "cluster", "--directory", str(path.parent)])
    move = shlex.join(["datastore", "placement", "apply", str(path), "--offline"])
    if nodes < len(config.shards):
        names = ", ".join(shard.name for shard in config.shards[nodes:])
        return (
            f"{text} While the cluster runs ({start}), take the [[shards]] of those to go out of that file,"
            f" e.g. {names}, then\n  {move}\nand start the cluster again."
        )
    taken = {shard.name for shard in config.shards}
    free = [name for number in range(1, nodes + len(taken)) if (name := f"shard-{number}") not in taken]
    shards = [_new_shard(path.parent, name, durability) for name in free[: nodes - len(taken)]]
    return (
        f"{text} Stop the cluster if it runs, add to that file\n{dump_shards(shards)}"
        f"(port 0 takes a free one), start it\n  {start}\nand while it runs\n  {move}"
    )


def _new_shard(directory: Path, name: str, durability: Durability) -> ShardConfig:
    return ShardConfig(
        name=name, url="grpc://127.0.0.1:0", store=lmdb_url(directory.absolute() / name), durability=durability
    )


class Cluster:
    """The processes of a cluster: starts, watches and stops them.

    They end with this process, even if it is killed: each stops when its standard input ends.
    """

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.config = config
        self.config_path = directory / CONFIG_NAME
        self.members: list[Member] = []

    @property
    def proxy(self) -> Member:
        """The proxy. Valid after `start`."""
        return self.members[-1]

    @property
    def logs(self) -> Path:
        """The directory of the processes' logs, including this one's, cluster.log."""
        return self.directory / "logs"

    def make_directories(self) -> None:
        """Create the directories of the cluster and its logs. Raises StoreError if that fails."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.directory}: cannot make this directory: {error.strerror}") from error

    async def start(self) -> None:
        """Start the nodes, record their addresses, and start the proxy.

        If one does not start, all are stopped, and UnavailableError is raised with the end of its log.
        """
        self.make_directories()
        self._require_data()
        try:
            nodes = [self._node(shard) for shard in self.config.shards]
            self.members += nodes
            await _all(*(self._start(node) for node in nodes))
            self._write_config()
            proxy = Member(
                "proxy",
                "proxy",
                ["proxy", str(self.config_path), "--listen", self.config.proxy.listen],
                self.logs / "proxy.log",
            )
            self.members.append(proxy)
            await self._start(proxy)
            self._write_config()
        except BaseException:
            await self.stop()
            raise

    def _require_data(self) -> None:
        """Raise StoreError if the directory of a shard that ran before (it has a log) is missing.

        A new, empty one would hide that its entries are lost.
        """
        for shard in self.config.shards:
            directory = parse_store_url(shard.store or "memory:").directory
            if directory is not None and not directory.exists() and self._log_of(shard).exists():
                raise StoreError(
                    f"{directory}: the data directory of {shard.name!r} is not there. Bring it back from where it was"
                    f" moved to or from a backup. If the shard is new or its entries are lost, make an empty one and"
                    f" start the cluster again:\n  {shlex.join(['mkdir', str(directory)])}"
                )

    def _log_of(self, shard: ShardConfig) -> Path:
        return self.logs / f"{shard.name}.log"

    def _node(self, shard: ShardConfig) -> Member:
        address = parse_server_url(shard.url)
        store = shard.store or "memory:"
        arguments = ["serve", store, "--listen", str(address)]
        for option, value in (
            ("--durability", shard.durability),
            ("--state-dir", shard.state_dir),
            ("--wait", shard.wait_s),
            ("--workers", shard.workers),
        ):
            arguments += [] if value is None else [option, str(value)]
        for option, path in (self.config.tls.listening() | self.config.auth.listening()).items():
            arguments += [option, path]
        for name, limit in self.config.cluster.limits.items():
            arguments += ["--limit", f"{name}={limit}"]
        arguments += ["--cluster", self.config.cluster.name, "--shard", shard.name, *_observing(self.config)]
        return Member("node", shard.name, arguments, self._log_of(shard), parse_store_url(store).directory)

    async def _start(self, member: Member) -> None:
        with member.log.open("ab") as log:
            begin = log.tell()
            member.process = await asyncio.create_subprocess_exec(
                *command_line(member.arguments),
                "--stop-with-stdin",
                "--json",
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                # Only this process receives Ctrl-C; it stops the others in order.
                start_new_session=True,
            )
        line = await _ready_line(member)
        if not line:
            await member.process.wait()
            raise _failed_start(member, begin)
        ready = json.loads(line)
        member.url, member.metrics_url = ready["url"], ready.get("metrics_url")
        _log.info("started %s at %s (pid %d)", member.name, member.url, member.pid)

    def _write_config(self) -> None:
        """Record the addresses, so that each process restarts where the others expect it."""
        urls = {member.name: member.url for member in self.members if member.role == "node"}
        shards = [msgspec.structs.replace(shard, url=urls[shard.name]) for shard in self.config.shards]
        self.config = msgspec.structs.replace(self.config, shards=shards)
        if self.proxy.role == "proxy":
            listen = str(parse_server_url(self.proxy.url))
            proxy = msgspec.structs.replace(self.config.proxy, listen=listen)
            self.config = msgspec.structs.replace(self.config, proxy=proxy)
        temporary = self.config_path.with_suffix(".tmp")
        temporary.write_text(_HEADER + dump_config(self.config), encoding="utf-8")
        temporary.replace(self.config_path)

    async def ended(self) -> Member | None:
        """Wait for the next process that ends by itself, and remove it. None if there are none left."""
        waits = {
            asyncio.create_task(member.process.wait()): member for member in self.members if member.process is not None
        }
        if not waits:
            return None
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            member = waits[done.pop()]
            self.members.remove(member)
            _log.warning("%s (pid %d) %s", member.name, member.pid, member.ending)
            return member
        finally:
            for task in waits:
                task.cancel()

    def reload(self) -> None:
        """Have all processes read changed files again."""
        for member in self.members:
            if member.process is not None and member.process.returncode is None:
                member.process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Stop all, the proxy first, and wait until they have ended. Those that take too long are killed."""
        _log.info("stopping %s", ", ".join(member.name for member in self.members) or "nothing")
        for role in ("proxy", "node"):
            await asyncio.gather(
                *(_stop(member.process) for member in self.members if member.role == role and member.process)
            )


def command_line(arguments: Sequence[str]) -> list[str]:
    """The command `datastore` of this installation, with these arguments."""
    # -P: a file in the current directory must not shadow a module.
    return [sys.executable, "-P", "-m", "datastore_server.cli", *arguments]


def command_again(config_path: Path, member: Member) -> list[str]:
    """The arguments to restart a member by hand."""
    if member.role == "proxy":
        return ["proxy", str(config_path)]
    # The port for metrics in the file is that of the proxy.
    place = member.arguments.index("--metrics") if "--metrics" in member.arguments else len(member.arguments)
    return ["serve", "--config", str(config_path), "--shard", member.name, *member.arguments[place : place + 2]]


def _observing(config: Config) -> list[str]:
    """What `[metrics]` and `[log]` say, as options of a node, whose metrics are at any free port."""
    log, listen = config.log, config.metrics.listen
    options = ["--log-level", log.level, "--log-format", log.format, "--slow-call-ms", str(log.slow_call_ms)]
    if listen is None:
        return options
    return [*options, "--metrics", str(msgspec.structs.replace(parse_metrics_address(listen), port=0))]


async def _all(*starts: Any) -> None:
    """Wait for all. The first error cancels the others and is raised."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ready_line(member: Member) -> bytes:
    """The line that a server prints when it is ready; '' if it ended first."""
    if member.process is None or member.process.stdout is None:
        return b""
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            return await member.process.stdout.readline()
    except TimeoutError:
        seconds = f"{START_TIMEOUT_S:.0f} s"
        raise UnavailableError(f"{member.name} is not ready after {seconds}; see {member.log}") from None


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _failed_start(member: Member, log_start: int) -> UnavailableError:
    with member.log.open("rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").strip().splitlines()[-SHOWN_LOG_LINES:]
    reported = "\n".join(f"  {line}" for line in lines) or "  (no output)"
    return UnavailableError(f"{member.name} {member.ending} at its start with this output:\n{reported}")


_HEADER = """\
# Written by `datastore cluster`, which reads it when it starts again in this directory.
# One shard by hand:  datastore serve --config THIS_FILE --shard NAME
# The proxy by hand:  datastore proxy THIS_FILE

"""
