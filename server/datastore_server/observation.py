"""A snapshot of a server for DescribeStore and the metrics, and the warnings that its operator should see.

Pure data and decisions. Knows no stores and makes no calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from datastore.engine.placement import NodePlacement
from datastore.model.description import Description
from datastore.model.errors import DatastoreError
from datastore.model.histogram import SECONDS_BOUNDS
from datastore.v1 import service_pb2
from datastore_server.calls import Totals
from datastore_server.describe import ClusterInfo, ShardAnswer

__all__ = ["DISK_FREE_PART", "MAP_USED_PART", "Observation", "load_of", "parts_of", "space_warnings"]

#: The part of the map that may be in use before the server warns: there is time to raise the limit.
MAP_USED_PART = 0.8
#: The part of the disk that should be free.
DISK_FREE_PART = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The state of one server at one moment."""

    description: Description
    cluster: ClusterInfo = field(default_factory=ClusterInfo)
    #: The state of each shard of a proxy, in the order of `cluster.shards`.
    answers: Sequence[ShardAnswer] = ()
    #: Of a node; None for a proxy.
    placement: NodePlacement | None = None
    #: Why the store does not answer, or None.
    failure: DatastoreError | None = None
    #: The calls since the start, by method.
    totals: Mapping[str, Totals] = field(default_factory=dict)
    calls_in_hand: int = 0
    uptime_s: float = 0.0
    #: The maximum delay of the event loop in recent seconds: calls waited this long before they began. In seconds.
    lag_s: float = 0.0
    #: The readers that run, of a server that has them; otherwise None.
    workers: int | None = None
    #: What an operator should act on soon.
    warnings: Sequence[str] = ()


def parts_of(description: Description, name: str = "") -> Iterator[tuple[str, Description]]:
    """Every store of a composition, with a name made of its position and kind.

    A store with a single child is left out of the names below it: `lmdb`, `tiered.0.lru`, `tiered.1.lmdb`.
    """
    named = f"{name}{description.kind}"
    yield named, description
    if len(description.children) == 1:
        yield from parts_of(description.children[0], name)
    else:
        for place, child in enumerate(description.children):
            yield from parts_of(child, f"{named}.{place}.")


def load_of(seen: Observation) -> service_pb2.Load:
    """What a server has done since it started, as a message."""
    load = service_pb2.Load(
        uptime_ms=round(seen.uptime_s * 1000),
        duration_bounds_us=[round(bound * 1_000_000) for bound in SECONDS_BOUNDS],
        calls_in_hand=seen.calls_in_hand,
        lag_us=round(seen.lag_s * 1_000_000),
    )
    for method, total in seen.totals.items():
        load.methods.add(
            method=method,
            calls=total.calls,
            failed=total.failed,
            durations=total.seconds.counts,
            entries=total.entries,
            open_streams=total.open_streams,
        )
    return load


def space_warnings(description: Description) -> list[str]:
    """What is nearly full in a composition, and what to do about it, each as a sentence for people."""
    return [text for _, part in parts_of(description) for text in _nearly_full(part)]


def _nearly_full(part: Description) -> Iterator[str]:
    figures = {name: figure for name, figure in part.figures.items() if isinstance(figure, int | float)}
    used, most = figures.get("map_used_bytes"), figures.get("map_limit_bytes")
    if used is not None and most and used >= most * MAP_USED_PART:
        yield (
            f"{part.kind} {part.text}: {used / most:.0%} of max_map_bytes is in use: raise it, delete entries, or add a"
            " shard; writes fail when it is reached"
        )
    free, disk = figures.get("disk_free_bytes"), figures.get("disk_bytes")
    if free is not None and disk and free < disk * DISK_FREE_PART:
        yield (
            f"{part.kind} {part.text}: {free / disk:.0%} of the disk is free: enlarge it, or remove other files;"
            " writes fail when it is full"
        )
