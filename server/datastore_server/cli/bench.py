"""`bench`: measures a server under load."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore_client.aio.remote import RemoteDatastore
from datastore_server.bench.comparison import as_builtins
from datastore_server.bench.entries import BenchEntries
from datastore_server.bench.fleet import Measurement, measured
from datastore_server.bench.plan import Plan, Target
from datastore_server.bench.report import Collected, Report, read_report
from datastore_server.cli.bench_options import plan_of, plan_options
from datastore_server.cli.bench_report import print_comparison, print_report
from datastore_server.cli.connection import call_timeout_s, reaching
from datastore_server.cli.output import print_json, say
from datastore_server.cli.progress import progress
from datastore_server.cli.settings import KEY, Settings, server_argument, server_options
from datastore_server.cli.transfer.interruption import run_terminable
from datastore_server.counting import counted

__all__ = ["bench_command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("bench", short_help="Measure a server under load.")
@server_argument
@plan_options
@click.option(
    "--under", type=KEY, default="/Bench", show_default=True, metavar="KEY", help="Write the entries below KEY."
)
@click.option("--keep", is_flag=True, help="Do not delete the entries at the end.")
@click.option(
    "--compare", nargs=2, type=_FILE, metavar="FILE FILE", help="Measure nothing, and compare two outputs of --json."
)
@server_options()
@click.pass_obj
def bench_command(
    settings: Settings, /, *, under: Key, keep: bool, compare: tuple[Path, Path] | None, **options: Any
) -> None:
    """Measure the latencies and the rate of the server at URL, a node or a proxy.

    \b
    Examples:
      datastore bench grpc://127.0.0.1:7420
      datastore bench --rate 5000 --duration 1m --mix get=95,put=5 --zipf 0.99 --json > monday.json
      datastore bench --rate max --in-flight 256 --workers 4 --mix get
      datastore bench --compare monday.json tuesday.json

    It writes entries under a new key below /Bench, or --under, makes calls for them, and deletes them. It reads and
    writes no others. With a --rate, each call is made when it is due and its latency counts from that moment, so that a
    pause of the server appears in all calls that it delays. With --rate max it finds out how many calls per second
    the server can answer; the latencies are then those of that many calls in flight.
    Ctrl-C ends it early, and reports what was measured until then. docs/benchmarking.md explains the report.
    """
    if compare is not None:
        _compare(settings, *(read_report(path.read_bytes(), str(path)) for path in compare))
        return
    with reaching(settings):
        _bench(settings, plan_of(**options), under, keep=keep)


def _compare(settings: Settings, first: Report, second: Report) -> None:
    if settings.json:
        print_json(as_builtins(first, second))
    else:
        print_comparison(first, second)


def _bench(settings: Settings, plan: Plan, under: Key, *, keep: bool) -> None:
    timeout_s = call_timeout_s(settings)
    target = Target(
        url=settings.server,
        # JSON has no infinity.
        timeout_s=None if timeout_s == math.inf else timeout_s,
        insecure=settings.insecure,
        **{name: str(path) for name in ("ca", "cert", "key", "token_file") if (path := getattr(settings, name))},
    )
    store = RemoteDatastore(settings.server, timeout_s=timeout_s, credentials=settings.credentials())
    entries = BenchEntries(store, plan, under)

    def show(report: Report) -> None:
        if settings.json:
            print_json(msgspec.to_builtins(report))
            for warning in report.warnings:
                say(f"Warning: {warning}.")
        else:
            print_report(report)

    try:
        run_terminable(_run(store, entries, plan, target, show, keep=keep))
    finally:
        if entries.left:
            say(
                f"{counted(entries.left, 'entries')} are left. To delete them:\n"
                f"  datastore delete {entries.root} --recursive"
            )


async def _run(
    store: RemoteDatastore,
    entries: BenchEntries,
    plan: Plan,
    target: Target,
    show: Callable[[Report], None],
    *,
    keep: bool,
) -> None:
    async with store:
        try:
            server = _described(await store.describe_store())
            with progress("writing entries", plan.keys, unit="entries") as counts:
                await entries.write(counts.advance)
            began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            collected, interrupted_s = await _measured(plan, target, str(entries.root))
            show(collected.report(plan, url=target.url, server=server, began=began, interrupted_s=interrupted_s))
        finally:
            if not keep:
                with progress("deleting entries", entries.left, unit="entries") as counts:
                    await entries.delete(counts.advance)
    if interrupted_s is not None:
        raise asyncio.CancelledError


async def _measured(plan: Plan, target: Target, root: str) -> Measurement:
    with progress("measuring", round(plan.duration_s), unit="calls") as counts:

        def advance(collected: Collected, second: int) -> None:
            counts.advance(collected.calls - counts.rows, second)

        return await measured(plan, target, root, advance)


def _described(answer: service_pb2.DescribeStoreResponse) -> str:
    """What a server is, in words."""
    what = f"proxy, {counted(len(answer.shards), 'shards')}" if answer.shards else answer.store.kind or "server"
    return f"{what}, version {answer.server_version}"
