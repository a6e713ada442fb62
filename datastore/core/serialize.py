"""Serializers and their shim under their documented path: the same objects as `datastore.sync.serialize`."""

from __future__ import annotations

from datastore.sync.serialize import *  # noqa: F403 - each lists its public names, and all of them belong here
from datastore.sync.serialize import __all__ as __all__  # noqa: PLC0414 - said to type checkers
