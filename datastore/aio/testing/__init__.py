"""The suite that every async store must pass; the source of the generated part of `datastore.testing`.

`conformance.DatastoreConformance` is a class for pytest with pytest-asyncio in auto mode: a subclass of a few
lines gives an async `store` fixture and declares what the store can do.
"""

from __future__ import annotations

import pytest

# Before the first import of the module, so that its asserts show what they compared.
pytest.register_assert_rewrite("datastore.aio.testing.conformance")
