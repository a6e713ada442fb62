"""Keys and namespaces under their documented path: the same objects as `datastore.model.key`."""

from __future__ import annotations

from datastore.model.key import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.model.key import __all__ as __all__  # noqa: PLC0414 - said to type checkers
