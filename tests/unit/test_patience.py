"""No default time limit of the product can end a test on a slow machine: tests/support/patience.py raises them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from tests.support.waiting import PATIENCE_S

#: A tier that is late is skipped, and fails no call.
HARMLESS = "datastore.spec.collections.TieredConfig.__init__"


def limits() -> Iterator[tuple[str, float]]:
    """The defaults of the parameters that limit one call, in everything that this process has loaded of the product."""
    for module in [module for name, module in sys.modules.items() if name.split(".")[0].startswith("datastore")]:
        for found in vars(module).values():
            function = found.__init__ if inspect.isclass(found) else found
            if inspect.isfunction(function) and function.__module__.startswith("datastore"):
                for name in ("timeout", "timeout_s"):
                    if name in (defaults := function.__kwdefaults__ or {}):
                        yield f"{function.__module__}.{function.__qualname__}", defaults[name]


def test_a_test_that_sets_no_time_limit_has_hardly_any():
    assert {name: limit for name, limit in limits() if limit < PATIENCE_S and name != HARMLESS} == {}
    assert dict(limits())
