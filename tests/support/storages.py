"""A fresh storage of any kind for nodes under test, by the name of its node."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from datastore_server.store_urls import parse_store_url
from datastore_server.topology import Topology, build_node
from tests.support.engines import Engine, engine

__all__ = ["EXPIRING", "KINDS", "QUERIED", "Storages"]

#: Every kind that needs no other server of ours.
KINDS = ("memory", "lmdb", "file", "redis", "memcached", "mongodb")
#: Those that answer queries.
QUERIED = ("memory", "lmdb", "file", "mongodb")
#: Those whose entries have versions and can expire.
EXPIRING = ("memory", "lmdb", "redis", "mongodb")

_COUNT = itertools.count()


class Storages:
    """Storages of one kind below a directory. Close it to end the servers that it started itself."""

    def __init__(self, kind: str, directory: Path, request: pytest.FixtureRequest, *, options: str = "") -> None:
        #: With `workers` it is LMDB, read by two processes of each node.
        self.workers = 2 if kind == "workers" else 1
        self.kind = "lmdb" if kind == "workers" else kind
        self.options = options
        self._directory = directory
        self._request = request
        self._own = ExitStack()
        self._urls: dict[str, str] = {}
        #: The servers of the storages, by their nodes.
        self.engines: dict[str, Engine] = {}

    def url(self, name: str) -> str:
        """The URL of the storage of a node, always the same."""
        if name not in self._urls:
            url = getattr(self, f"_{self.kind}")(name)
            mark = "&" if "?" in url else "?"
            self._urls[name] = f"{url}{mark}{self.options}" if self.options else url
        return self._urls[name]

    def _memory(self, _: str) -> str:
        return "memory:"

    def _lmdb(self, name: str) -> str:
        return f"lmdb:{self._directory / name}"

    def _file(self, name: str) -> str:
        return f"file:{self._directory / name}"

    def _redis(self, name: str) -> str:
        self.engines[name] = self._request.getfixturevalue("redis_server")
        return f"redis://127.0.0.1:{self.engines[name].port}/0?prefix=n{next(_COUNT)}:"

    def _mongodb(self, name: str) -> str:
        self.engines[name] = self._request.getfixturevalue("mongodb_server")
        return f"mongodb://127.0.0.1:{self.engines[name].port}/nodes?collection=n{next(_COUNT)}"

    def _memcached(self, name: str) -> str:
        # The names of its entries have no prefix: each node needs a server.
        self.engines[name] = self._own.enter_context(engine("memcached", self._directory / f"{name}-server"))
        return f"memcached://127.0.0.1:{self.engines[name].port}"

    def state_dir(self, name: str) -> Path | None:
        """Where the node keeps its records, if its engine cannot."""
        return self._directory / f"{name}-state" if self.kind == "memcached" else None

    def build(self, name: str, **settings: Any) -> Topology:
        """A node on the storage."""
        settings.setdefault("workers", self.workers)
        return build_node(parse_store_url(self.url(name)), state_dir=self.state_dir(name), **settings)

    def close(self) -> None:
        """End the servers."""
        self._own.close()
