"""The options for observing a server: its metrics and its log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec

from datastore_server.cli.settings import all_options
from datastore_server.config import parse_metrics_address
from datastore_server.logs import FORMATS, LEVELS
from datastore_server.operating import LogConfig, MetricsConfig

__all__ = ["Observing", "observing_options"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Observing:
    """How a server can be observed."""

    #: The address of the metrics; None if they are not served.
    metrics: str | None
    log: LogConfig


def observing_options(function: _Function) -> _Function:
    """Add `--metrics` and the options of the log, given to the command as a function, `observing`.

    It completes them from the tables of a file, and raises ConfigError for an invalid address.
    """

    @wraps(function)
    def command(
        *arguments: Any,
        metrics: str | None,
        log_level: str | None,
        log_format: str | None,
        slow_call_ms: int | None,
        **rest: Any,
    ) -> Any:
        def observing(metrics_table: MetricsConfig, log_table: LogConfig) -> Observing:
            listen = metrics or metrics_table.listen
            if listen is not None:
                parse_metrics_address(listen)
            given = {"level": log_level, "format": log_format, "slow_call_ms": slow_call_ms}
            changed = {name: value for name, value in given.items() if value is not None}
            return Observing(listen, msgspec.structs.replace(log_table, **changed))

        return function(*arguments, observing=observing, **rest)

    add = all_options(
        click.option(
            "--metrics",
            metavar="HOST:PORT",
            help="Address for metrics (Prometheus) and probes by HTTP; port 0 takes a free one.  [default: none]",
        ),
        click.option(
            "--log-level", type=click.Choice(LEVELS), help="The least important events to log.  [default: info]"
        ),
        click.option("--log-format", type=click.Choice(FORMATS), help="Lines for people or programs.  [default: text]"),
        click.option(
            "--slow-call-ms",
            type=click.IntRange(min=1),
            metavar="N",
            help="Log calls that take at least N milliseconds, and streams that take ten times that.  [default: 1000]",
        ),
    )
    return add(command)  # type: ignore[return-value]
