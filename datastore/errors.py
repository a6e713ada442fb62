"""The errors of the library under a short path: the same objects as in `datastore.core.errors`."""

from __future__ import annotations

from datastore.core.errors import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.core.errors import __all__ as __all__  # noqa: PLC0414 - said to type checkers
