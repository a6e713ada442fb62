"""The documented short path of `datastore.core.serialize`: the same objects."""

from __future__ import annotations

from datastore.core.serialize import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.core.serialize import __all__ as __all__  # noqa: PLC0414 - said to type checkers
