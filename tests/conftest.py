"""Settings of all tests: how long the random ones go on, and what to print when one hangs."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
}
# `make test` on a desk; continuous integration; `make soak`.
settings.register_profile("quick", max_examples=40, **_COMMON)
settings.register_profile("ci", max_examples=250, **_COMMON)
settings.register_profile("soak", max_examples=10_000, **_COMMON)
settings.load_profile(os.environ.get("DATASTORE_HYPOTHESIS", "quick"))
