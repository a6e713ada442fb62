"""Fixtures for tests that are written once and run for threads and for tasks."""

from __future__ import annotations

from typing import Any

import pytest

from datastore import aio, core
from tests.support.colours import Tasks, Threads


@pytest.fixture(params=[Threads(), Tasks()], ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    """How to call the stores of a colour."""
    return request.param


@pytest.fixture
def library(colour: Any) -> Any:
    """The package of the colour's stores."""
    return {"threads": core, "tasks": aio}[colour.name]
