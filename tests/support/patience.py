"""The time limits of the product, raised for the tests: only a test that is about a limit may fail because of it.

A machine ten times slower than any of ours would trip over the defaults, e.g. over the ten seconds that a client gives
a call. A limit that a test sets itself holds.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import datastore_client
from datastore import aio, core
from datastore.memcached import MemcachedConfig
from datastore.redis import config as redis_config
from datastore_client.config import GrpcConfig
from datastore_server.cli import connection
from datastore_server.coordination import nodes, records
from tests.support.waiting import PATIENCE_S

__all__ = ["be_patient"]

#: What has a limit as a parameter, and its name.
_PARAMETERS: list[tuple[Callable[..., Any], str]] = [
    (datastore_client.connect, "timeout_s"),
    (datastore_client.RemoteDatastore.__init__, "timeout_s"),
    (datastore_client.aio.connect, "timeout_s"),
    (datastore_client.aio.RemoteDatastore.__init__, "timeout_s"),
    (core.TieredDatastore.__init__, "timeout_s"),
    (aio.TieredDatastore.__init__, "timeout_s"),
    (nodes.NodeClient.__init__, "timeout_s"),
    (GrpcConfig.__init__, "timeout"),
    (MemcachedConfig.__init__, "timeout"),
]
#: Limits that are read when they are used.
_CONSTANTS: list[tuple[ModuleType, str]] = [
    (redis_config, "TIMEOUT_S"),
    (connection, "CALL_TIMEOUT_S"),
    (records, "RECORD_TIMEOUT_S"),
]


def be_patient(patched: pytest.MonkeyPatch) -> None:
    """Raise the defaults in this process."""
    for function, name in _PARAMETERS:
        patched.setitem(function.__kwdefaults__, name, PATIENCE_S)
    for module, name in _CONSTANTS:
        patched.setattr(module, name, PATIENCE_S)
