"""The options of `bench`: how much load, of what, and for which entries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from datastore.model.errors import InvalidError
from datastore.model.limits import ENTRY_BYTES, KEY_BYTES
from datastore.model.options import DURATION, SIZE
from datastore_client._messages import BATCH_ITEMS, BATCH_MESSAGE_BYTES
from datastore_server.bench.plan import OPERATIONS, OperationName, Plan, default_workers
from datastore_server.bench.requests import COLLECTION_ENTRIES
from datastore_server.cli.settings import all_options

__all__ = ["plan_of", "plan_options"]

#: The most entries: their keys have so many digits.
KEYS = 10_000_000_000
#: The most worker processes.
WORKERS = 256
#: The most calls in progress with `--rate max`.
IN_FLIGHT = 100_000
#: The most calls per second that can be asked for.
RATE = 10_000_000.0
#: The largest value, in bytes: with its key and framing it is an entry that servers accept.
VALUE_BYTES = ENTRY_BYTES - 2 * KEY_BYTES

#: The maximum overhead of an item of a batch, in bytes: its key, and its framing.
_ITEM_BYTES = KEY_BYTES + 64


class _RateType(click.ParamType[float | None]):
    """Calls per second; None for `max`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """The number in this text; a usage error for anything but a positive number and `max`."""
        if value == "max":
            return None
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= RATE:
            self.fail(f"{value!r} is not a number of calls per second, e.g. 5000, or max", param, ctx)
        return rate


class _DurationType(click.ParamType[float]):
    """A duration in seconds, e.g. of 30s or 5m."""

    name = "duration"

    def __init__(self, *, may_be_0: bool = False) -> None:
        self._may_be_0 = may_be_0

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; a usage error, with what is valid, for anything else."""
        if self._may_be_0 and value in ("0", "0s"):
            return 0.0
        try:
            return float(DURATION.read(value))
        except InvalidError as error:
            self.fail(str(error), param, ctx)


class _MixType(click.ParamType[dict[OperationName, float]]):
    """Operations and their weights."""

    name = "mix"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[OperationName, float]:
        """The weights of `get=90,put=10`, or of the names alone; a usage error for anything else."""
        mix: dict[OperationName, float] = {}
        for part in value.split(","):
            name, _, weight = part.partition("=")
            known: OperationName | None = next((each for each in OPERATIONS if each == name), None)
            if known is None:
                self.fail(f"{name!r} is not an operation; valid: {', '.join(OPERATIONS)}", param, ctx)
            if known in mix:
                self.fail(f"{name} is there twice", param, ctx)
            mix[known] = self._weight(weight or "1", param, ctx)
        return mix

    def _weight(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            weight = float(text)
        except ValueError:
            weight = 0.0
        if not 0 < weight < 1e9:
            self.fail(f"{text!r} is not a weight, a number above 0, e.g. get=90,put=10", param, ctx)
        return weight


class _SizesType(click.ParamType[tuple[int, int]]):
    """A size, or a range of sizes."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The smallest and the largest of `100`, `10KiB` or `100-10KiB`; a usage error for anything else."""
        lowest, dash, highest = value.partition("-")
        try:
            sizes = int(SIZE.read(lowest)), int(SIZE.read(highest if dash else lowest))
        except InvalidError as error:
            self.fail(f"{error}; a range is written like 100-10KiB", param, ctx)
        if not sizes[0] <= sizes[1] <= VALUE_BYTES:
            self.fail(f"{value!r}: the sizes must ascend, and at most be {VALUE_BYTES:,} bytes", param, ctx)
        return sizes


#: The options that say what to do; `plan_of` takes them by the names of their arguments.
plan_options: Callable[[Any], Any] = all_options(
    click.option(
        "--rate",
        type=_RateType(),
        default="1000",
        show_default=True,
        metavar="N|max",
        help="Make N calls per second, each when it is due, even if earlier ones are not answered yet (an open loop); "
        "or as many as --in-flight allows (a closed loop).",
    ),
    click.option(
        "--in-flight",
        type=click.IntRange(1, IN_FLIGHT),
        default=64,
        show_default=True,
        metavar="N",
        help="With --rate max: how many calls are in progress, of all workers together.",
    ),
    click.option(
        "--duration",
        "duration_s",
        type=_DurationType(),
        default="10s",
        show_default=True,
        metavar="DURATION",
        help="How long to measure, e.g. 30s or 5m.",
    ),
    click.option(
        "--warm-up",
        "warm_up_s",
        type=_DurationType(may_be_0=True),
        default="2s",
        show_default=True,
        metavar="DURATION",
        help="How long to make the same calls before that, without measuring them.",
    ),
    click.option(
        "--mix",
        type=_MixType(),
        default="get=90,put=9,query=1",
        show_default=True,
        metavar="OPERATION=WEIGHT,...",
        help=f"Which calls to make, and how often: {', '.join(OPERATIONS)}.",
    ),
    click.option(
        "--keys",
        type=click.IntRange(1, KEYS),
        default=10_000,
        show_default=True,
        metavar="N",
        help="How many entries to write first, which the calls are for.",
    ),
    click.option(
        "--zipf",
        type=click.FloatRange(0, 10),
        default=0.0,
        metavar="EXPONENT",
        help="Some keys are more popular, by Zipf's law, e.g. 0.99.  [default: all keys are alike]",
    ),
    click.option(
        "--value-size",
        "value_bytes",
        type=_SizesType(),
        default="100",
        show_default=True,
        metavar="SIZE",
        help="The bytes of a value, e.g. 100, 10KiB, or a range: 100-10KiB.",
    ),
    click.option(
        "--batch-items",
        type=click.IntRange(1, BATCH_ITEMS),
        default=100,
        show_default=True,
        metavar="N",
        help="How many entries a batch_get reads and a batch_write writes.",
    ),
    click.option(
        "--query-entries",
        type=click.IntRange(1, COLLECTION_ENTRIES),
        default=100,
        show_default=True,
        metavar="N",
        help="How many entries a query returns at most.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, WORKERS),
        metavar="N",
        help="How many processes make the calls.  [default: one per 2,500 calls/s, at most one per processor]",
    ),
)


def plan_of(*, workers: int | None, **options: Any) -> Plan:
    """The plan of these options. Raises UsageError for options that do not fit together."""
    rate, in_flight = options["rate"], options["in_flight"]
    found = workers or min(default_workers(rate, os.cpu_count() or 1), in_flight if rate is None else WORKERS)
    plan = Plan(workers=found, **options)
    if plan.rate is None and plan.in_flight < plan.workers:
        raise click.UsageError(f"--workers {plan.workers} need at least one of --in-flight {plan.in_flight} each")
    batch_bytes = plan.batch_items * (plan.value_bytes[1] + _ITEM_BYTES)
    if {"batch_get", "batch_write"} & plan.mix.keys() and batch_bytes > BATCH_MESSAGE_BYTES:
        raise click.UsageError(
            f"--batch-items {plan.batch_items} of {plan.value_bytes[1]:,} bytes do not fit in a message, which has at"
            f" most {BATCH_MESSAGE_BYTES:,}"
        )
    return plan
