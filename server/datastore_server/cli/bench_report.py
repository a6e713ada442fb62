"""The report of `bench` as people read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from datastore_server.bench.charts import latency_chart, throughput_chart
from datastore_server.bench.comparison import changes_of, differences_of
from datastore_server.bench.plan import Plan
from datastore_server.bench.report import Figures, Report
from datastore_server.cli.output import print_table
from datastore_server.counting import counted

__all__ = ["print_comparison", "print_report"]


def print_report(report: Report) -> None:
    """Print the report: what was done, a table of the operations, pictures, and warnings."""
    click.echo("\n".join(_heading(report)) + "\n")
    columns = dict(report.operations)
    if len(columns) > 1:
        columns["total"] = report.total
    rows = [[name, *map(shown, columns.values())] for name, shown in _FIGURES.items()]
    print_table(["", *columns], rows)
    click.echo("\n" + "\n".join(_pictures(report)))
    for warning in report.warnings:
        click.echo(f"\nWarning: {warning}.")


def print_comparison(first: Report, second: Report) -> None:
    """Print the figures of both, and what else differs."""
    rows = [
        [change.operation, change.figure, _number(change.first), _number(change.second), _percent(change.ratio)]
        for change in changes_of(first, second)
    ]
    print_table(["", "", "first", "second", "change"], rows)
    for difference in differences_of(first, second):
        click.echo(f"\nNot the same: {difference}.")


def _heading(report: Report) -> Iterator[str]:
    plan = report.plan
    yield f"{report.url}: {report.server}"
    if plan.rate is not None:
        yield f"{report.seconds:.4g} s at {plan.rate:,.6g} calls/s, each made when it is due (open loop)"
    else:
        flight = f"{report.seconds:.4g} s with {plan.in_flight:,} calls in flight"
        yield f"{flight}, each made when another ends (closed loop: the"
        yield "latencies are those of this many calls, not those of users, who do not wait for one another)"
    entries = f"{counted(plan.keys, 'entries')} of {_sizes(plan)} bytes, {_popularity(plan)}"
    yield f"{entries}; {counted(plan.workers, 'workers')}"
    intended = "" if plan.rate is None else f" of {plan.rate:,.6g}"
    yield f"achieved: {report.achieved_per_s:,.1f}{intended} calls/s"
    if report.is_interrupted:
        yield f"interrupted after {report.seconds:.1f} of {plan.duration_s:.4g} s"


def _sizes(plan: Plan) -> str:
    lowest, highest = plan.value_bytes
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"


def _popularity(plan: Plan) -> str:
    return f"Zipf {plan.zipf:g}" if plan.zipf else "all alike"


def _latency(name: str) -> Callable[[Figures], str]:
    return lambda figures: _number(figures.latency_ms[name]) if figures.latency_ms else "-"


#: The rows of the table, and what each shows of an operation.
_FIGURES: dict[str, Callable[[Figures], str]] = {
    "calls": lambda figures: f"{figures.calls:,}",
    "calls/s": lambda figures: f"{figures.calls_per_s:,.1f}",
    "entries/s": lambda figures: f"{figures.entries_per_s:,.1f}",
    "failed": lambda figures: f"{sum(figures.failures.values()):,}",
    **{f"{name} ms": _latency(name) for name in ("mean", "p50", "p90", "p99", "p99.9", "max")},
}


def _pictures(report: Report) -> Iterator[str]:
    if report.histogram_us:
        yield "latency in ms, by percentile"
        yield from latency_chart(report.latencies())
        yield ""
    yield "calls/s, over time"
    yield from throughput_chart(report.calls_per_second(), report.plan.rate)


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio - 1:+.1%}"
