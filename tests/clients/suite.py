"""The cases: what is asked, and what must come. Knows files and JSON, but neither drivers nor servers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Case", "all_cases", "data_set", "left_out"]

FOLDER = Path(__file__).resolve().parent


class Case(NamedTuple):
    """One case: steps that a driver is asked to do, in order, and what it must answer."""

    topic: str
    name: str
    steps: list[dict[str, Any]]
    needs: str = "nothing"
    #: What the faulty server does.
    scenario: dict[str, Any] | None = None
    #: How its client is connected, besides the address.
    connect: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.topic}-{self.name}"


@cache
def all_cases() -> tuple[Case, ...]:
    """All cases, those of the files and those made of the golden vectors."""
    from tests.clients.vector_cases import vector_cases

    cases = [*vector_cases()]
    for path in sorted((FOLDER / "cases").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        shared = {name: content[name] for name in ("needs", "connect") if name in content}
        cases += [Case(**{"topic": path.stem, **shared, **case}) for case in content["cases"]]
    return tuple(cases)


@cache
def data_set() -> dict[str, dict[str, Any]]:
    """The entries that queries read, by the names that cases give them."""
    entries: dict[str, dict[str, Any]] = json.loads((FOLDER / "data.json").read_text(encoding="utf-8"))
    return entries


@cache
def left_out(client: str) -> dict[str, str]:
    """The cases that a client may answer as unsupported, each with the reason."""
    reasons: dict[str, dict[str, list[str]]] = json.loads((FOLDER / "left_out.json").read_text(encoding="utf-8"))
    # Both colours of Python's client are one client.
    found = reasons.get(client.removesuffix("-aio"), {})
    return {case: reason for reason, cases in found.items() for case in cases}
