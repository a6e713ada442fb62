"""One server: a Datastore behind an address, from start to graceful shutdown.

Used by the commands and by tests. Knows the service, gRPC's settings and signals, but no configuration files.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from google.protobuf.internal import api_implementation
from msgspec.structs import replace

from datastore.aio.base import Datastore
from datastore.engine.placement import Placement
from datastore.model.capability import Durability
from datastore.model.errors import ConfigError, DatastoreError, DeadlineExceededError, UnavailableError
from datastore_client.reloading import reload_all
from datastore_client.tls import TlsFiles
from datastore_server import supervisor
from datastore_server.auth.gate import Gate
from datastore_server.call import ServedMethod
from datastore_server.calls import SLOW_CALL_S, CallLog
from datastore_server.config import WAIT_S, Address, parse_address, parse_metrics_address
from datastore_server.counting import counted
from datastore_server.describe import ClusterInfo
from datastore_server.introspection import Health, reflection_of
from datastore_server.limits import Limits
from datastore_server.listening import listen_on, listen_together, open_many_files, resolve
from datastore_server.logs import kind
from datastore_server.maintenance.engines import no_snapshots
from datastore_server.maintenance.readers import SnapshotReaders
from datastore_server.maintenance.restores import Restores
from datastore_server.maintenance.service import MaintenanceService
from datastore_server.membership import Membership
from datastore_server.observation import Observation, space_warnings
from datastore_server.placement.listing import Listing
from datastore_server.placement.node import PlacedNode
from datastore_server.placement.service import PLACEMENT_SERVICE, PlacementService
from datastore_server.placement.system import SystemSpace
from datastore_server.protection import protection_of
from datastore_server.pulse import Pulse
from datastore_server.service import SERVICE, DatastoreService
from datastore_server.signals import handle_reload_signal, handle_stop_signals, leave_signals
from datastore_server.store_watch import StoreWatch, WatchedDatastore
from datastore_server.transport import Transport, TransportName, new_transport
from datastore_server.trimming import trim_regularly
from datastore_server.workers.beside import Beside
from datastore_server.workers.fleet import Fleet
from datastore_server.workers.service import ReaderService

if TYPE_CHECKING:
    from datastore_server.metrics.http import HttpPort
    from datastore_server.metrics.samples import Sample
    from datastore_server.tracing import Tracing

__all__ = ["DRAIN_S", "Server", "run_until_stopped", "serve"]

_log = logging.getLogger("datastore.server")

#: How long health is NOT_SERVING before calls are refused, in seconds, so that load balancers can react.
DRAIN_S = 0.2
#: How long clients take to notice that their connections are closing, in seconds.
GOAWAY_S = 0.02
#: How long the last responses may take to be sent after all calls have ended, in seconds.
STATUS_S = 1.0

#: How long a proxy waits before it retries to read its own placement from its nodes, in seconds.
LOAD_AGAIN_S = 0.25

#: How often the server checks for nearly full stores and expiring certificates: in beats of the pulse, so seconds.
SOON_BEATS = 30

#: How many new objects trigger garbage collection. A stream creates two for each entry, which reference counting
#: frees: collecting every 700, Python's default, took an eighth of a stream's time.
GC_OBJECTS = 20_000
#: Python's switch interval, in seconds. LMDB's binding releases the interpreter at every call, so with Python's default
#: of 5 ms the committing thread waited for a busy event loop: 20,000 puts took 1.9 s instead of 0.2 s.
SWITCH_INTERVAL_S = 0.0005


class Server:
    """Serves `datastore` at `listen` ("HOST:PORT"; port 0 takes a free one) in an `async with`.

    The server owns the datastore and closes it when it stops. With `tls` it listens over TLS. Without, it only listens
    on loopback addresses unless `insecure` is set, because connections are not encrypted. `check_values` is False for a
    proxy, which leaves that to its nodes.
    `cluster` is reported by DescribeStore. `system` stores the node's placement; without it, the placement ends with
    the server. `place_as` is the shard and placement for an empty, unplaced node. `listing` lists a node's entries;
    without it they are queried. `snapshots` reads those of its store, if it has any. If `watched` names the store,
    health follows it, and the server waits for it when it starts, at most `wait_s` (UnavailableError). `membership` is
    that of a proxy; while the nodes do not match its configuration, health is NOT_SERVING. `tokens` is the file that
    lists the callers to serve; without one, anyone who can connect is served. `transport` is what carries the
    calls, see the package of that name. Metrics and probes are served by HTTP at `metrics`, from the beginning of
    the start, unless that is None. Calls that take `slow_call_s` are logged, and all are traced with `tracing`,
    which the server closes. With a `fleet` its processes listen at `listen`, and this one only for them; `beside` says
    that this is one of them.
    """

    def __init__(
        self,
        datastore: Datastore,
        *,
        listen: str,
        insecure: bool = False,
        tls: TlsFiles | None = None,
        limits: Limits | None = None,
        check_values: bool = True,
        cluster: ClusterInfo | None = None,
        system: SystemSpace | None = None,
        place_as: tuple[str, Placement] | None = None,
        membership: Membership | None = None,
        listing: Listing | None = None,
        tokens: Path | None = None,
        snapshots: SnapshotReaders | None = None,
        watched: str = "",
        wait_s: float = WAIT_S,
        drain_s: float = 0.0,
        grace_s: float | None = None,
        transport: TransportName = "auto",
        metrics: str | None = None,
        slow_call_s: float = SLOW_CALL_S,
        tracing: Tracing | None = None,
        fleet: Fleet | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._address = replace(parse_address(listen), is_secure=tls is not None)
        self._tls = tls
        self._insecure = insecure
        self._transport = transport
        self._datastore = datastore
        self._limits = limits or Limits()
        self._cluster = cluster or ClusterInfo()
        self._calls = CallLog(slow_call_s=slow_call_s)
        self._pulse = Pulse()
        self._beating: asyncio.Task[None] | None = None
        self._warned: set[str] = set()
        self._metrics_at = None if metrics is None else parse_metrics_address(metrics)
        self._http: HttpPort | None = None
        self._serves = False
        self._tracing = tracing
        self._place_as = place_as
        self._watch = StoreWatch(watched, self._check_store, self._store_changed) if watched else None
        served = datastore if self._watch is None else WatchedDatastore(datastore, self._watch.suspect)
        self._fleet = fleet
        self._beside = beside
        self._node = PlacedNode(served, system, listing) if beside is None else beside.node
        self._wait_s = wait_s
        self._gate = None if tokens is None or fleet is not None else Gate(tokens)
        self._service = self._new_service(check_values=check_values, is_proxy=membership is not None)
        self._placement = PlacementService(self._node, check_values=check_values, calls=self._calls, gate=self._gate)
        self._maintenance = self._maintained(snapshots, is_proxy=membership is not None)
        self._drain_s = drain_s
        self._grace_s = self._limits.grace_ms / 1000 if grace_s is None else grace_s
        self._membership = membership
        self._following: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._health: Health | None = None
        self._server: Transport | None = None
        self._stopping: asyncio.Task[None] | None = None

    def _new_service(self, *, check_values: bool, is_proxy: bool) -> DatastoreService:
        beside = self._beside
        make = DatastoreService if beside is None else partial(ReaderService, beside.writer)
        return make(
            self._node.datastore if beside is None else self._datastore,
            limits=self._limits,
            check_values=check_values,
            cluster=self._cluster,
            require_expected=self._node.require_expected,
            placement=None if is_proxy else lambda: self._node.known_placement,
            store_failure=self._store_failure,
            calls=self._calls,
            gate=self._gate,
            pulse=self._pulse,
            combined=None if self._fleet is None else self._fleet.observed,
        )

    def _maintained(self, snapshots: SnapshotReaders | None, *, is_proxy: bool) -> MaintenanceService:
        return MaintenanceService(
            None if is_proxy else Restores(self._node, self._restore_changed),
            snapshots,
            why_none=lambda: no_snapshots(self._datastore.describe().storage.kind, is_proxy=is_proxy),
            calls=self._calls,
            gate=self._gate,
        )

    @property
    def address(self) -> Address:
        """The address; it has the actual port once the server has started."""
        return self._address

    @property
    def port(self) -> int:
        """The port."""
        return self._address.port

    @property
    def url(self) -> str:
        """The URL for clients: grpc://HOST:PORT, or grpcs://HOST:PORT over TLS."""
        return self._address.url

    @property
    def metrics_url(self) -> str | None:
        """Where the metrics are, once the server has started: http://HOST:PORT/metrics, or https. None without them."""
        if self._metrics_at is None:
            return None
        return f"{'https' if self._metrics_at.is_secure else 'http'}://{self._metrics_at}/metrics"

    async def start(self) -> None:
        """Start to serve. Raises ConfigError, with the address, if it cannot or must not listen there."""
        resolved = await resolve(self._address)
        self._service.protection = protection_of(self._address, resolved, tls=self._tls, insecure=self._insecure)
        if self._metrics_at is not None:
            await self._serve_metrics(self._metrics_at)
        if api_implementation.Type() == "python":
            raise ConfigError(
                "protobuf runs in its slow pure-Python form; unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
            )
        if self._watch is None:
            await self._begin()
        else:
            await self._watch.wait(self._wait_s, self._begin_watched)
        self._beating = asyncio.create_task(self._pulse.beat(self._check_soon))
        self._health = Health()
        methods = self._methods()
        if self._tracing is not None:
            methods = self._tracing.traced(methods)
        methods += self._health.methods()
        shares_port = self._beside is not None
        server = new_transport(
            self._transport, self._limits, [*methods, *reflection_of(methods)], shares_port=shares_port
        )
        self._address = await self._listen(server, resolved)
        # A proxy's own placement is unknown until its nodes answer.
        info = self._cluster if self._membership is not None else self._cluster.named_by(self._node.known_placement)
        _log.info("%s %s at %s (pid %d)", self._verb("serving"), _served(self._datastore, info), self.url, os.getpid())
        if self._membership is None:
            await self._report(True)
            if self._watch is not None:
                self._following = asyncio.create_task(self._watch.follow())
            if self._beside is not None:
                self._following = asyncio.create_task(self._beside.node.follow(partial(self._report, True)))
        else:
            await self._membership.check()
            await self._report(not self._membership.differences)
            follow = self._membership.follow(self._report)
            self._following = asyncio.create_task(follow)

    def _methods(self) -> list[ServedMethod]:
        """Every RPC, apart from those of the standard services."""
        if self._beside is not None:
            return [*self._service.methods(), *self._beside.admin_methods(self._calls, self._gate)]
        return [*self._service.methods(), *self._placement.methods(), *self._maintenance.methods()]

    async def _listen(self, server: Transport, resolved: Sequence[Address]) -> Address:
        """Start the transport. Returns the address with its port."""
        tls, address = self._tls, self._address
        add_port = server.add_insecure_port if tls is None else partial(server.add_secure_port, files=tls)
        if self._fleet is not None:
            server.add_insecure_port(self._fleet.open_socket())
        elif self._beside is not None:
            listen_together(add_port, address, self._beside.addresses)
        else:
            address = listen_on(add_port, address, resolved)
        await server.start()
        self._server = server
        return address if self._fleet is None else await self._fleet.start(address, resolved)

    async def _begin(self) -> None:
        """Enforce the placement in the node's records, or a first one if there are none."""
        await self._load()
        await self._maintenance.load()
        if self._place_as is not None:
            await self._node.place_if_new(*self._place_as)

    async def _begin_watched(self) -> None:
        """The same, of a store that answers: its records may be elsewhere, and loaded without it."""
        await self._begin()
        await self._check_store()

    async def _check_store(self) -> None:
        await self._node.check_store()

    async def _store_changed(self, failure: DatastoreError | None) -> None:
        """Refuse calls while the store does not answer, with the reason."""
        if failure is None:
            self._node.datastore.become_known()
        else:
            self._node.datastore.become_unknown(failure)
        await self._report(failure is None)

    def _store_failure(self) -> DatastoreError | None:
        """Why the store does not answer, if its health is followed; None if it does."""
        return None if self._watch is None else self._watch.failure

    async def _restore_changed(self) -> None:
        """Report that calls are now refused, because the node is being restored, or served again."""
        await self._report(self._store_failure() is None)

    async def _load(self) -> None:
        if self._membership is None:
            await self._node.load(cluster=self._cluster.cluster_name, shard=self._cluster.shard_name)
            return
        try:
            # It reports the cluster it serves, not the one it may be a node of.
            await self._node.load()
        except (UnavailableError, DeadlineExceededError) as error:
            # Its nodes store its placement, and none of them answers yet.
            self._node.datastore.become_unknown(error)
            self._loading = asyncio.create_task(self._load_later())

    async def _load_later(self) -> None:
        while True:
            await asyncio.sleep(LOAD_AGAIN_S)
            try:
                await self._node.load()
            except (UnavailableError, DeadlineExceededError) as error:
                self._node.datastore.become_unknown(error)
            else:
                return

    async def _report(self, serves: bool) -> None:
        self._serves = serves = serves and self._node.datastore.refusal is None
        if self._health is not None:
            await self._health.report(serves, SERVICE, PLACEMENT_SERVICE)
            if self._membership is None:
                await self._health.note("store", serves=self._store_failure() is None)

    async def note_shard(self, name: str, is_up: bool) -> None:
        """Set the health of a shard of a proxy, which has the name `shard/NAME`."""
        if self._health is not None:
            await self._health.note(f"shard/{name}", serves=is_up)

    async def _serve_metrics(self, address: Address) -> None:
        """Serve metrics and probes under the same rules as calls: to other machines over TLS, if the server has it."""
        # Loaded only when needed: a server without metrics starts faster.
        from datastore_server.metrics.http import HttpPort

        first, *_ = await resolve(address)
        tls = None if first.is_loopback else self._tls
        address = replace(address, is_secure=tls is not None)
        protection_of(address, [first], tls=tls, insecure=self._insecure)
        self._http = HttpPort(self._samples, self._why_not_ready)
        self._metrics_at = replace(address, port=self._http.start(first, tls).port)
        _log.info("metrics at %s", self.metrics_url)

    async def _samples(self) -> Iterable[Sample]:
        from datastore_server.metrics.samples import samples

        return samples(await self.observe(), serves=not await self._why_not_ready())

    async def _why_not_ready(self) -> str:
        """Why the server should get no calls now; empty if it should."""
        if self._stopping is not None:
            return "the server is shutting down"
        if self._server is None:
            return "the server is starting"
        failure = self._store_failure() or self._node.datastore.refusal
        if failure is not None:
            return str(failure)
        return "" if self._serves else "the nodes do not match the configuration: see datastore status"

    async def observe(self) -> Observation:
        """The state of the server."""
        return await self._service.observe()

    def reload(self) -> None:
        """Read changed certificates and other files again, in all processes of the server."""
        _log.info("SIGHUP: reading changed certificates and other files again")
        reload_all()
        if self._fleet is not None:
            self._fleet.reload()

    def _check_soon(self, beat: int) -> None:
        """Log what is nearly full, and which certificates expire soon; each text once, until there are no warnings."""
        if beat % SOON_BEATS:
            return
        warnings = [*space_warnings(self._datastore.describe()), *self._service.protection.expiring()]
        for text in warnings:
            if text not in self._warned:
                _log.warning("%s", text, extra=kind("warnings of full stores and expiring certificates"))
        self._warned = self._warned.union(warnings) if warnings else set()

    async def stop(self) -> None:
        """Shut down gracefully, and close the datastore. Idempotent; every caller waits for the end.

        Health becomes NOT_SERVING. Then new calls are refused with UNAVAILABLE, streams end with UNAVAILABLE, so that
        clients resume them elsewhere, and other active calls have time to finish. Only then are connections closed.
        Every write that was started is completed, also if its client has disconnected, unless that takes longer.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        try:
            if self._fleet is not None:
                # They have the clients.
                await self._fleet.stop(self._drain_s + self._grace_s)
            for task in (self._following, self._loading, self._beating):
                if task is not None:
                    task.cancel()
            if self._server is not None and self._health is not None:
                await self._health.enter_graceful_shutdown()
                await asyncio.sleep(0 if self._fleet is not None else self._drain_s)
                self._health.end_watches()
                ends_at = time.monotonic() + self._grace_s
                await self._service.drain(self._grace_s)
                await self._service.hold()
                stopped = asyncio.create_task(self._server.stop(max(STATUS_S, ends_at - time.monotonic())))
                await asyncio.sleep(GOAWAY_S)
                self._service.release()
                await stopped
                await self._placement.finish(self._grace_s)
                await self._maintenance.finish(self._grace_s)
        finally:
            self._service.close()
            if self._gate is not None:
                self._gate.close()
            if self._watch is not None:
                await self._watch.aclose()
            await self._datastore.aclose()
            await self._node.system.aclose()
            if self._http is not None:
                await self._http.stop()
            if self._tracing is not None:
                await self._tracing.aclose()
            if self._server is not None:
                _log.info(
                    "%s at %s; calls: %s", self._verb("stopped serving"), self.url, self._calls.summary() or "none"
                )

    def _verb(self, verb: str) -> str:
        """The beginning of a log line about the whole process."""
        return verb if self._beside is None else f"worker {self._beside.number} {verb}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _served(datastore: Datastore, cluster: ClusterInfo) -> str:
    """What is served, for the log: `shard-1 of trial, lmdb in /var/lib/ds (sync), 34,006 entries`."""
    parts = [f"{cluster.shard_name} of {cluster.cluster_name}" if cluster.shard_name else cluster.cluster_name]
    if cluster.shards:
        parts.append(counted(len(cluster.shards), "shards"))
    else:
        bottom = datastore.describe().storage
        durability = bottom.capability.durability
        known = "" if durability is Durability.UNKNOWN else f"({durability.value})"
        parts.append(" ".join(filter(None, [bottom.kind, bottom.text, known])))
        parts.append("" if bottom.entries is None else counted(bottom.entries, "entries"))
    return ", ".join(filter(None, parts))


def serve(datastore: Datastore, *, listen: str = "127.0.0.1:0", **settings: Any) -> Server:
    """A Server on a free loopback port by default, for `async with`. Settings are those of Server."""
    return Server(datastore, listen=listen, **settings)


async def run_until_stopped(server: Server, ready: Callable[[], object] | None = None) -> None:
    """Wait for SIGTERM or SIGINT, then shut down the running server gracefully. SIGHUP reads changed files again.

    `ready` is called once signals are handled, and the service manager is notified then and when the shutdown begins. A
    second signal does not shorten the shutdown.
    """
    stopped = asyncio.Event()
    handle_stop_signals(stopped.set)
    handle_reload_signal(server.reload, stopped.set)
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(GC_OBJECTS, *thresholds[1:])
    # Loaded modules are never freed; traversing them in each collection blocked the event loop for up to 100 ms.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    open_many_files()
    trimming = asyncio.create_task(trim_regularly())
    try:
        if ready is not None:
            ready()
        supervisor.ready(server.url)
        await stopped.wait()
        supervisor.stopping()
        await server.stop()
    finally:
        trimming.cancel()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval_s)
        leave_signals()
