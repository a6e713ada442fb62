"""The groups of an aggregate as messages, split by size. Pure; knows tallies and messages, but no stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from datastore import wire
from datastore.engine.tally import Tally
from datastore.model.aggregates import Aggregate
from datastore.model.limits import BATCH_BYTES
from datastore.v1 import service_pb2
from datastore_server import checks
from datastore_server.limits import Limits

__all__ = ["responses"]


def responses(asked: Aggregate, tally: Tally, limits: Limits, *, partial_state: bool) -> Iterator[bytes]:
    """The messages, the last with the summary. Raises LimitExceededError for a group that is larger than a message."""
    groups: Iterable[service_pb2.AggregateResponse.Group]
    if partial_state:
        groups = map(wire.encode_group, tally.groups())
    else:
        groups = (wire.encode_row(asked, row) for row in tally.rows())
    response = service_pb2.AggregateResponse()
    size = count = 0
    for group in groups:
        group_bytes = group.ByteSize()
        if size and size + group_bytes > BATCH_BYTES:
            yield _message(response, limits)
            response, size = service_pb2.AggregateResponse(), 0
        response.groups.append(group)
        size += group_bytes
        count += 1
    response.summary.groups = count
    yield _message(response, limits)


def _message(response: service_pb2.AggregateResponse, limits: Limits) -> bytes:
    message = response.SerializeToString()
    checks.check_fits(len(message), limits, "a message of the groups")
    return message
