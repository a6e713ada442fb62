"""The current values of the metrics. Pure: an Observation in, samples out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from datastore import __version__
from datastore.model.histogram import Histogram
from datastore_server.metrics.definitions import METRICS, STORE_PREFIX
from datastore_server.observation import Observation, parts_of

__all__ = ["Sample", "samples"]


class Sample(NamedTuple):
    """One value of a metric, with the values of its labels."""

    name: str
    value: float | Histogram
    labels: tuple[str, ...] = ()


def samples(seen: Observation, *, serves: bool) -> Iterator[Sample]:
    """Every metric of a server that has a value."""
    yield Sample("datastore_build_info", 1, (__version__,))
    yield Sample("datastore_serving", serves)
    yield Sample("datastore_warnings", len(seen.warnings))
    yield Sample("datastore_event_loop_lag_seconds", seen.lag_s)
    if seen.workers is not None:
        yield Sample("datastore_workers", seen.workers)
    yield from _of_calls(seen)
    yield from _of_stores(seen)
    yield from _of_placement(seen)
    yield from _of_shards(seen)


def _of_calls(seen: Observation) -> Iterator[Sample]:
    yield Sample("datastore_calls_in_hand", seen.calls_in_hand)
    for method, total in seen.totals.items():
        labels = (method,)
        yield Sample("datastore_calls_total", total.calls, labels)
        for reason, count in sorted(total.errors.items()):
            yield Sample("datastore_call_errors_total", count, (method, reason))
        yield Sample("datastore_call_duration_seconds", total.seconds, labels)
        yield Sample("datastore_received_bytes_total", total.received_bytes, labels)
        yield Sample("datastore_sent_bytes_total", total.sent_bytes, labels)
        yield Sample("datastore_entries_total", total.entries, labels)
        if total.is_stream:
            yield Sample("datastore_open_streams", total.open_streams, labels)
            yield Sample("datastore_oldest_stream_seconds", total.oldest_stream_s, labels)


def _of_stores(seen: Observation) -> Iterator[Sample]:
    if not seen.cluster.shards:
        yield Sample("datastore_store_up", seen.failure is None)
    for store, part in parts_of(seen.description):
        known: dict[str, float | Histogram | None] = {
            "hits_total": part.hits,
            "misses_total": part.misses,
            **part.figures,
        }
        if not part.children:
            known |= {"entries": part.entries, "stored_bytes": part.stored_bytes}
        for name, value in known.items():
            # A store of another package may measure more than is defined here.
            if value is not None and STORE_PREFIX + name in METRICS:
                yield Sample(STORE_PREFIX + name, value, (store,))


def _of_placement(seen: Observation) -> Iterator[Sample]:
    if seen.cluster.placement_epoch:
        yield Sample("datastore_placement_epoch", int(seen.cluster.placement_epoch))
    elif seen.placement is not None and seen.placement.current is not None:
        yield Sample("datastore_placement_epoch", seen.placement.epoch)
        yield Sample("datastore_owned_slots", seen.placement.current.slots_of(seen.placement.shard))


def _of_shards(seen: Observation) -> Iterator[Sample]:
    for shard, answer in zip(seen.cluster.shards, seen.answers, strict=True):
        labels = (shard.name,)
        yield Sample("datastore_shard_up", answer.failure is None, labels)
        yield Sample("datastore_shard_slots", shard.slots, labels)
        if answer.size.entries is not None:
            yield Sample("datastore_shard_entries", answer.size.entries, labels)
        if answer.size.stored_bytes is not None:
            yield Sample("datastore_shard_stored_bytes", answer.size.stored_bytes, labels)
