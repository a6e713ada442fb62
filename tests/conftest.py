"""Settings of all tests: how long the random ones go on, and what they say when they fail."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick",
    max_examples=40,
    # No test fails for being slow: the machine may be busy.
    deadline=None,
    # A failure shows how to repeat it.
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
# `make test` is quick; continuous integration and `make soak` choose the others.
settings.register_profile("ci", settings.get_profile("quick"), max_examples=250)
settings.register_profile("soak", settings.get_profile("quick"), max_examples=10_000)
settings.load_profile(os.environ.get("DATASTORE_HYPOTHESIS", "quick"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out and why, a line for each reason."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    if reasons:
        terminalreporter.section("left out")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")
