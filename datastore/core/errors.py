"""The errors of the library under their documented path: the same objects as `datastore.model.errors`."""

from __future__ import annotations

from datastore.model.errors import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.model.errors import __all__ as __all__  # noqa: PLC0414 - said to type checkers
