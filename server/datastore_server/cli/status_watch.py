"""`status --watch`: the output of `status`, repeated, with what each server did in between."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from datastore.model.errors import DatastoreError
from datastore_server.cli.output import print_json, print_table, table_of
from datastore_server.cli.rates import hit_rate, rates
from datastore_server.cli.settings import Settings
from datastore_server.cli.status import Asked, Clients, ask, cell, json_of, lines_of

__all__ = ["watch_status"]

#: The columns of the live table, and the keys of their values. Those without values are left out.
_COLUMNS = {
    **{name: name for name in ("server", "health", "slots", "entries", "bytes")},
    "calls/s": "calls_per_s",
    "failed/s": "failed_per_s",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "streams": "open_streams",
    "hit rate": "hit_rate",
    "lag ms": "lag_ms",
}


def watch_status(settings: Settings, interval_s: float) -> None:
    """Show the status every `interval_s` seconds until Ctrl-C: on a terminal in place, elsewhere one after another.

    Raises a DatastoreError if the server does not answer at first; later that is shown, and it is asked again.
    """
    with ExitStack() as stack:
        show = _print_json if settings.json else _printer(stack)
        asyncio.run(_watch(settings, interval_s, show))


async def _watch(settings: Settings, interval_s: float, show: Callable[[Asked, list[dict[str, Any]]], None]) -> None:
    async with Clients(settings) as clients:
        before = await ask(settings, clients)
        show(before, _with_rates(None, before))
        while True:
            await asyncio.sleep(interval_s)
            try:
                after = await ask(settings, clients)
            except DatastoreError as error:
                after = Asked.unavailable(settings.server, error, before)
            show(after, _with_rates(before, after))
            before = after


def _with_rates(before: Asked | None, after: Asked) -> list[dict[str, Any]]:
    """The rows of a sample with what each server did since the sample before."""
    earlier: Mapping[Any, Any] = {} if before is None else dict(zip(_names(before), before.parts, strict=True))
    rows = []
    for name, (row, load) in zip(_names(after), after.parts, strict=True):
        earlier_row, earlier_load = earlier.get(name, ({}, None))
        hits = hit_rate(earlier_row.get("tiers"), row["tiers"])
        rows.append(row | rates(earlier_load, load)._asdict() | {"hit_rate": hits})
    return rows


def _names(asked: Asked) -> list[tuple[str, str]]:
    """What identifies the server of each row in other samples: a node may be in one twice, as a server and a shard."""
    return [("server" if not place else "shard", row["address"]) for place, (row, _) in enumerate(asked.parts)]


def _print_json(asked: Asked, rows: list[dict[str, Any]]) -> None:
    print_json({"time": _time()} | json_of(asked, rows))


def _printer(stack: ExitStack) -> Callable[[Asked, list[dict[str, Any]]], None]:
    """Shows a sample to people: on a terminal in place of the one before, elsewhere below it."""
    if not sys.stdout.isatty():
        return _print_table
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(auto_refresh=False, vertical_overflow="visible"))

    def replace(asked: Asked, rows: list[dict[str, Any]]) -> None:
        lines = "\n".join(lines_of(rows))
        live.update(Group(Text(_title(asked)), table_of(*_table(rows)), Text(lines)), refresh=True)

    return replace


def _print_table(asked: Asked, rows: list[dict[str, Any]]) -> None:
    print(_title(asked))  # noqa: T201 - followed by what rich prints
    print_table(*_table(rows))
    print("\n".join([*lines_of(rows), ""]), flush=True)  # noqa: T201


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The columns and the rows of a table. It is narrow: the addresses are in `status`."""
    named = [{"server": row["name"] or row["address"], **row} for row in rows]
    columns = {title: key for title, key in _COLUMNS.items() if any(row[key] is not None for row in named)}
    return [*columns], [[_cell(key, row[key]) for key in columns.values()] for row in named]


def _cell(key: str, value: Any) -> Any:
    """Rates with one decimal, times with three significant digits; others as in `status`."""
    if value is None or key == "hit_rate" or not isinstance(value, float):
        return cell(value)
    return f"{value:,.1f}" if key.endswith("_per_s") else f"{value:,.3g}"


def _title(asked: Asked) -> str:
    cluster = f"{asked.answer.cluster_name} " if asked.answer.cluster_name else ""
    epoch = f"epoch {asked.answer.placement_epoch} " if asked.answer.placement_epoch else ""
    return f"{cluster}{epoch}at {_time()}"


def _time() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
