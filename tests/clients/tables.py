"""What each client supports, as a table in its README between two marks. Pure, but for `write`.

A client supports what the suite runs: a case that it leaves out is in left_out.json, or the suite fails.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.clients.drivers import ROOT
from tests.clients.suite import all_cases, left_out

__all__ = ["BEGIN", "END", "readmes", "shown", "table", "write"]

BEGIN, END = "<!-- suite:begin -->", "<!-- suite:end -->"


def readmes() -> list[Path]:
    """The README of every client."""
    return sorted(ROOT.glob("client/*/README.md"))


def table(client: str) -> str:
    """A line for each topic: how many cases, and which of them the client leaves out and why."""
    reasons = left_out(client)
    lines = ["| Topic | Cases | Left out |", "|---|---|---|"]
    topics = Counter(case.topic for case in all_cases())
    for topic, count in sorted(topics.items()):
        missing = Counter(reason for case, reason in reasons.items() if case.startswith(f"{topic}-"))
        why = "; ".join(f"{number}: {reason}" for reason, number in missing.items())
        lines.append(f"| {topic.replace('_', ' ')} | {count - missing.total()} of {count} | {why} |")
    supported = sum(topics.values()) - len(reasons)
    return "\n".join([*lines, f"| all | {supported} of {sum(topics.values())} | |"])


def shown(path: Path) -> str:
    """The table that a README has. Raises ValueError without the marks."""
    _, begin, rest = path.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
    found, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    return found.strip()


def write() -> None:
    """Write every table."""
    for path in readmes():
        before, _, rest = path.read_text(encoding="utf-8").partition(f"{BEGIN}\n")
        after = rest.partition(END)[2]
        path.write_text(f"{before}{BEGIN}\n{table(path.parent.name)}\n{END}{after}", encoding="utf-8")
