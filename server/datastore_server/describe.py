"""DescribeStore: what a server reports about its store, its limits, and the shards behind it.

The conversion is pure; only the probes make calls. Knows descriptions and messages, but no stores.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from datastore import __version__, wire
from datastore.engine.placement import NodePlacement, Placement
from datastore.model.capability import Capability, Durability, Support
from datastore.model.description import Description
from datastore.model.errors import DatastoreError, UnavailableError
from datastore.v1 import service_pb2
from datastore_client.tls import Credentials
from datastore_server.limits import Limits

__all__ = [
    "ClusterInfo",
    "ShardAnswer",
    "ShardInfo",
    "ShardProbes",
    "Size",
    "describe_store",
    "without_contents",
]

#: Timeout of a probe in seconds. People wait for `status`: an unresponsive shard must not delay it.
PROBE_TIMEOUT_S = 1.0
#: How long a probe's result is reused, in seconds, so that many callers cost each shard one probe a second.
PROBE_FRESH_S = 1.0

_DURABILITY = {
    Durability.UNKNOWN: service_pb2.DescribeStoreResponse.DURABILITY_UNSPECIFIED,
    Durability.MEMORY: service_pb2.DescribeStoreResponse.DURABILITY_MEMORY,
    Durability.ASYNC: service_pb2.DescribeStoreResponse.DURABILITY_ASYNC,
    Durability.SYNC: service_pb2.DescribeStoreResponse.DURABILITY_SYNC,
}


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard behind a proxy: its name, its URL (`grpc://HOST:PORT`), its number of slots.

    `probe` raises a DatastoreError if the shard does not serve. `describe` calls its DescribeStore for its size and
    features; if None, the size is unknown and there are no features. `credentials` are for the URL.
    """

    name: str
    url: str
    slots: int
    probe: Callable[[], Awaitable[object]]
    describe: Callable[[], Awaitable[service_pb2.DescribeStoreResponse]] | None = None
    credentials: Credentials = field(default_factory=Credentials)


class Size(NamedTuple):
    """The number of entries and of bytes on disk; None if unknown."""

    entries: int | None = None
    stored_bytes: int | None = None


class ShardAnswer(NamedTuple):
    """The current state of a shard: the error of asking it, or None; its size, what its store can do, its warnings."""

    failure: DatastoreError | None
    size: Size = Size()
    features: frozenset[service_pb2.Feature.ValueType] = frozenset()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class ClusterInfo:
    """The cluster a server belongs to or serves. Empty for a single node. A proxy keeps it up to date."""

    cluster_name: str = ""
    shard_name: str = ""
    placement_epoch: str = ""
    shards: tuple[ShardInfo, ...] = ()

    def place(self, placement: Placement) -> None:
        """Update the slots of each shard, and the epoch, from a placement."""
        self.placement_epoch = str(placement.epoch)
        self.shards = tuple(replace(shard, slots=placement.slots_of(shard.name)) for shard in self.shards)

    def named_by(self, node: NodePlacement) -> ClusterInfo:
        """A copy with the names in the node's placement, which may differ from those it was started with.

        Not for a proxy, which serves a different cluster from the one it may be a node of.
        """
        if node.current is None:
            return self
        return replace(self, cluster_name=node.current.cluster, shard_name=node.shard)


def describe_store(
    description: Description, limits: Limits, cluster: ClusterInfo, answers: Sequence[ShardAnswer]
) -> service_pb2.DescribeStoreResponse:
    """The response to DescribeStore. `answers` has the state of each shard."""
    storage = description.storage
    size = (
        _total([answer.size for answer in answers]) if cluster.shards else Size(storage.entries, storage.stored_bytes)
    )
    response = service_pb2.DescribeStoreResponse(
        server_version=__version__,
        store=_store(description),
        limits=service_pb2.Limits(**asdict(limits)),
        durability=_DURABILITY[description.capability.durability],
        placement_epoch=cluster.placement_epoch,
        push_down=_pushed_down(description.capability),
        answers_queries=description.capability.queries,
        shard_name=cluster.shard_name,
        cluster_name=cluster.cluster_name,
        entries=size.entries,
        stored_bytes=size.stored_bytes,
        features=sorted(_common_features(answers) if cluster.shards else _features(description.capability)),
    )
    for shard, answer in sorted(zip(cluster.shards, answers, strict=True), key=lambda pair: pair[0].name):
        shown = response.shards.add(
            name=shard.name,
            url=shard.url,
            slots=shard.slots,
            entries=answer.size.entries,
            stored_bytes=answer.size.stored_bytes,
            warnings=answer.warnings,
        )
        if answer.failure is not None:
            shown.status.CopyFrom(wire.error_to_status(answer.failure))
    return response


def without_contents(full: service_pb2.DescribeStoreResponse) -> service_pb2.DescribeStoreResponse:
    """What every client needs of a response: nothing about entries, where they are stored, or the shards."""
    return service_pb2.DescribeStoreResponse(
        server_version=full.server_version,
        limits=full.limits,
        durability=full.durability,
        transport_security=full.transport_security,
        push_down=full.push_down,
        answers_queries=full.answers_queries,
        features=full.features,
        status=full.status if full.HasField("status") else None,
    )


def _pushed_down(capability: Capability) -> list[service_pb2.PushDown.ValueType]:
    """The parts of a query that the storage evaluates itself, at least in part."""
    parts = {
        service_pb2.PUSH_DOWN_SCOPE: capability.scope,
        service_pb2.PUSH_DOWN_KEY_FILTERS: capability.key_filters is not Support.NONE,
        service_pb2.PUSH_DOWN_FIELD_FILTERS: capability.field_filters is not Support.NONE,
        service_pb2.PUSH_DOWN_ORDERS: capability.orders is not Support.NONE,
        service_pb2.PUSH_DOWN_LIMIT: capability.limit is not Support.NONE,
    }
    return [part for part, is_pushed in parts.items() if is_pushed]


def _features(capability: Capability) -> set[service_pb2.Feature.ValueType]:
    features = {
        service_pb2.FEATURE_VERSIONS: capability.versions,
        service_pb2.FEATURE_EXPIRY: capability.expiry,
        service_pb2.FEATURE_CHANGES: capability.changes,
        service_pb2.FEATURE_ATOMIC: capability.atomic,
    }
    return {feature for feature, is_there in features.items() if is_there}


def _common_features(answers: Sequence[ShardAnswer]) -> frozenset[service_pb2.Feature.ValueType]:
    """What all shards that answer can do."""
    known = [answer.features for answer in answers if answer.failure is None]
    return frozenset.intersection(*known) if known else frozenset()


def _total(sizes: Sequence[Size]) -> Size:
    """The sum of the shards' sizes; None if one is unknown."""
    entries = [size.entries for size in sizes if size.entries is not None]
    stored_bytes = [size.stored_bytes for size in sizes if size.stored_bytes is not None]
    return Size(
        sum(entries) if len(entries) == len(sizes) else None,
        sum(stored_bytes) if len(stored_bytes) == len(sizes) else None,
    )


def _store(description: Description) -> service_pb2.Store:
    return service_pb2.Store(
        kind=description.kind,
        description=description.text,
        children=[_store(child) for child in description.children],
        hits=description.hits,
        misses=description.misses,
    )


class ShardProbes:
    """Probes whether each shard serves. Callers share a probe, and its result for PROBE_FRESH_S."""

    def __init__(self, shards: Sequence[ShardInfo], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shards = shards
        self._clock = clock
        self._probe: asyncio.Future[list[ShardAnswer]] | None = None
        self._ended_at = 0.0

    async def failures(self) -> list[DatastoreError | None]:
        """For each shard None, or why it does not serve. Takes at most PROBE_TIMEOUT_S."""
        return [answer.failure for answer in await self.answers()]

    async def answers(self) -> list[ShardAnswer]:
        """The state and size of each shard. Takes at most PROBE_TIMEOUT_S."""
        if self._probe is None or (self._probe.done() and self._clock() >= self._ended_at + PROBE_FRESH_S):
            # In a separate context, so that one caller's short deadline does not fail the shared probe.
            self._probe = asyncio.create_task(self._probe_all(), context=Context())
        # A caller that is cancelled must not cancel the shared probe.
        return await asyncio.shield(self._probe)

    async def _probe_all(self) -> list[ShardAnswer]:
        try:
            return list(await asyncio.gather(*map(_probe, self._shards)))
        finally:
            self._ended_at = self._clock()


async def _probe(shard: ShardInfo) -> ShardAnswer:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await shard.probe()
            return ShardAnswer(None) if shard.describe is None else _answer_of(await shard.describe())
    except DatastoreError as error:
        return ShardAnswer(error if error.shard else _unavailable(shard, str(error)))
    except TimeoutError:
        return ShardAnswer(_unavailable(shard, f"no answer within {PROBE_TIMEOUT_S:g} s"))


def _answer_of(described: service_pb2.DescribeStoreResponse) -> ShardAnswer:
    size = Size(
        described.entries if described.HasField("entries") else None,
        described.stored_bytes if described.HasField("stored_bytes") else None,
    )
    return ShardAnswer(None, size, frozenset(described.features), tuple(described.warnings))


def _unavailable(shard: ShardInfo, why: str) -> UnavailableError:
    return UnavailableError(f"shard {shard.name} at {shard.url}: {why}", shard=shard.name)
