"""Tests that every store must pass: the conformance suite, the naive model it compares with, and faults.

`conformance.DatastoreConformance` is a class for pytest: a subclass of a few lines gives a `store` fixture and
declares what the store can do. Needs pytest and hypothesis, which the library itself does not. The suite for
async stores is `datastore.aio.testing`.
"""

from __future__ import annotations

import pytest

# Before the first import of the module, so that its asserts show what they compared.
pytest.register_assert_rewrite("datastore.testing.conformance")
