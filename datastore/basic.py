"""The documented short path of `datastore.core.basic`: the same objects."""

from __future__ import annotations

from datastore.core.basic import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.core.basic import __all__ as __all__  # noqa: PLC0414 - said to type checkers
