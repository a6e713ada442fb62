"""What a server says about itself: its store, its limits, and the shards behind it, as DescribeStore answers.

The conversion is pure; the probes alone call out, to the shards. Knows descriptions and messages; knows no store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from datastore import wire
from datastore.core.composition import Description, Durability, PushDown
from datastore.core.errors import DatastoreError, UnavailableError
from datastore.v1 import service_pb2
from datastore_client.channel import CHANNEL_OPTIONS, parse_target
from datastore_server.checks import Limits

__all__ = ["ClusterInfo", "ShardInfo", "ShardProbes", "describe_store", "probe_shard", "server_version"]

#: DescribeStore is what `status` shows to a person who waits: a shard that does not answer must not hold it
#: up.
PROBE_TIMEOUT_S = 1.0
#: How long a probe's result is good for: so many callers of DescribeStore cost the shards one probe a second.
PROBE_FRESH_S = 1.0

_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

_DURABILITY = {
    Durability.UNKNOWN: service_pb2.DescribeStoreResponse.DURABILITY_UNSPECIFIED,
    Durability.MEMORY: service_pb2.DescribeStoreResponse.DURABILITY_MEMORY,
    Durability.ASYNC: service_pb2.DescribeStoreResponse.DURABILITY_ASYNC,
    Durability.SYNC: service_pb2.DescribeStoreResponse.DURABILITY_SYNC,
}
_PUSH_DOWN = {
    PushDown.SCOPE: service_pb2.PUSH_DOWN_SCOPE,
    PushDown.KEY_FILTERS: service_pb2.PUSH_DOWN_KEY_FILTERS,
    PushDown.FIELD_FILTERS: service_pb2.PUSH_DOWN_FIELD_FILTERS,
    PushDown.ORDERS: service_pb2.PUSH_DOWN_ORDERS,
}


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard behind a proxy: its name, where it is (`grpc://HOST:PORT`), how many slots it has.

    `probe` raises a DatastoreError if the shard cannot be asked just now; None asks its health service.
    """

    name: str
    url: str
    slots: int
    probe: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """What a server was set up to be, and what it stands in front of. Nothing, for a single node."""

    cluster_name: str = ""
    shard_name: str = ""
    placement_epoch: str = ""
    shards: tuple[ShardInfo, ...] = ()


def server_version() -> str:
    """The version of the software, as "0.4.0"; empty where it runs uninstalled."""
    try:
        return metadata.version("datastore-grpc")
    except metadata.PackageNotFoundError:
        return ""


def describe_store(
    description: Description,
    limits: Limits,
    cluster: ClusterInfo,
    failures: Sequence[DatastoreError | None],
) -> service_pb2.DescribeStoreResponse:
    """The answer to DescribeStore. `failures` tells of each shard why it could not be asked, or None."""
    response = service_pb2.DescribeStoreResponse(
        server_version=server_version(),
        store=_store(description),
        limits=service_pb2.Limits(**asdict(limits)),
        durability=_DURABILITY[description.durability],
        placement_epoch=cluster.placement_epoch,
        push_down=[_PUSH_DOWN[part] for part in PushDown if part in description.push_down],
        shard_name=cluster.shard_name,
        cluster_name=cluster.cluster_name,
    )
    for shard, failure in sorted(zip(cluster.shards, failures, strict=True), key=lambda pair: pair[0].name):
        shown = response.shards.add(name=shard.name, url=shard.url, slots=shard.slots)
        if failure is not None:
            shown.status.CopyFrom(wire.error_to_status(failure))
    return response


def _store(description: Description) -> service_pb2.Store:
    return service_pb2.Store(
        kind=description.kind,
        description=description.text,
        children=[_store(child) for child in description.children],
    )


class ShardProbes:
    """Whether each shard serves just now. All callers share one probe, and its result for PROBE_FRESH_S."""

    def __init__(self, shards: Sequence[ShardInfo], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shards = shards
        self._clock = clock
        self._probe: asyncio.Future[list[DatastoreError | None]] | None = None
        self._ended_at = 0.0

    async def failures(self) -> list[DatastoreError | None]:
        """For each shard None, or why it does not serve. Takes PROBE_TIMEOUT_S at most."""
        if self._probe is None or (self._probe.done() and self._clock() >= self._ended_at + PROBE_FRESH_S):
            # In a context of its own: one caller's short deadline must not fail the others' probe.
            self._probe = asyncio.create_task(self._probe_all(), context=Context())
        # A caller that leaves does not take the probe from the others.
        return await asyncio.shield(self._probe)

    async def _probe_all(self) -> list[DatastoreError | None]:
        try:
            return list(await asyncio.gather(*map(_probe, self._shards)))
        finally:
            self._ended_at = self._clock()


async def _probe(shard: ShardInfo) -> DatastoreError | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await (shard.probe() if shard.probe is not None else probe_shard(shard.url))
    except DatastoreError as error:
        return error if error.shard else _unavailable(shard, str(error))
    except TimeoutError:
        return _unavailable(shard, f"no answer within {PROBE_TIMEOUT_S:g} s")
    return None


def _unavailable(shard: ShardInfo, why: str) -> UnavailableError:
    return UnavailableError(f"shard {shard.name} at {shard.url}: {why}", shard=shard.name)


async def probe_shard(url: str) -> None:
    """Ask a server whether it serves. Raises UnavailableError if it does not, or cannot be reached."""
    request = health_pb2.HealthCheckRequest().SerializeToString()
    async with grpc.aio.insecure_channel(parse_target(url), options=CHANNEL_OPTIONS) as channel:
        check: Any = channel.unary_unary(_HEALTH_CHECK)
        try:
            answer = health_pb2.HealthCheckResponse.FromString(await check(request, timeout=PROBE_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise UnavailableError(error.details() or error.code().name) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise UnavailableError("it is shutting down")
