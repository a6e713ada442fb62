"""What a benchmark does: plain data, sent to the workers and kept in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

__all__ = ["OPERATIONS", "Assignment", "OperationName", "Plan", "Target", "default_workers"]

OperationName = Literal["get", "put", "put_if_exists", "batch_get", "batch_write", "query"]
#: What a mix can have.
OPERATIONS: Sequence[OperationName] = get_args(OperationName)

#: The calls per second that one worker makes with ease; it can make two to four times as many.
CALLS_PER_WORKER = 2_500


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The load, and the entries that it is for."""

    #: The weight of each operation.
    mix: dict[OperationName, float]
    #: The calls that are due each second, of all workers together, whether or not earlier ones were answered (an open
    #: loop). None: each call begins when another has ended (a closed loop).
    rate: float | None
    #: The calls in progress of a closed loop, of all workers together.
    in_flight: int
    duration_s: float
    #: The time before, with the same load, that is not measured.
    warm_up_s: float
    #: How many entries there are.
    keys: int
    #: The exponent of Zipf's law for the popularity of keys; 0: all are alike.
    zipf: float
    #: The smallest and the largest value; all sizes between them are equally likely.
    value_bytes: tuple[int, int]
    #: The items of a `batch_get` or a `batch_write`.
    batch_items: int
    #: The most entries that a `query` returns.
    query_entries: int
    workers: int


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the files that it is reached with."""

    url: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    token_file: str | None = None
    insecure: bool = False
    #: The deadline of each call; None for no limit.
    timeout_s: float | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker does."""

    plan: Plan
    target: Target
    #: The key below which the entries are.
    root: str
    #: The number of this worker, from 0.
    worker: int


def default_workers(rate: float | None, processors: int) -> int:
    """How many workers a rate needs, one per CALLS_PER_WORKER, and at most one per processor, as many as None gets."""
    return processors if rate is None else max(1, min(processors, -int(-rate // CALLS_PER_WORKER)))
