"""The servers that cases need: a node, a proxy, one with a killed shard, guarded ones, and faulty ones. All are real.

Each is started when it is first needed, and shared by all cases: these write below keys of their own. A faulty server
is started for one case.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from datastore.model.key import Key
from datastore.model.operations import Put
from datastore_client import aio as client
from datastore_server.app import Server, serve
from datastore_server.auth.access import Grant, Quota
from datastore_server.auth.editing import added
from datastore_server.auth.rights import Right, Rights
from datastore_server.auth.secrets import hash_of, new_token
from datastore_server.certificates.authority import new_authority
from datastore_server.config import ClusterConfig, Config, ShardConfig
from datastore_server.store_urls import parse_store_url
from datastore_server.topology import build_node, build_proxy
from tests.clients.faulty import Faulty
from tests.clients.matching import Variables
from tests.clients.notation import plain
from tests.clients.suite import Case, data_set
from tests.support.certificates import HOSTS, Files, write_files, write_pair
from tests.support.clusters import Background
from tests.support.waiting import PATIENCE_S

__all__ = ["Servers"]

SHARDS = ("shard-1", "shard-2")
#: How long a server that is stopped waits for its clients, in seconds: they are those of cases, and do not matter.
_GRACE_S = 0.1


class Servers:
    """The servers of one run. `variables` are what cases need to know of one."""

    def __init__(self, background: Background, folder: Path, stack: ExitStack) -> None:
        self._background = background
        self._folder = folder
        self._stack = stack
        self._started: dict[str, Variables] = {}
        self._files: Files | None = None
        #: Connections are made and never served, as those of a server that is suspended.
        self._silent_server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    @contextmanager
    def of(self, case: Case) -> Iterator[tuple[Variables, Faulty | None]]:
        """What a case has to know of its server; the server itself if it is a faulty one."""
        if case.needs == "nothing":
            yield {}, None
        elif case.needs not in _FAULTY:
            yield self._shared(case.needs), None
        else:
            tls = _FAULTY[case.needs]
            faulty = Faulty(case.scenario or {}, None if tls is None else tls(self))
            self._background.run(faulty.start())
            try:
                yield {"address": faulty.address, "silent": self._silent, **self.names}, faulty
            finally:
                self._background.run(faulty.stop())

    @property
    def files(self) -> Files:
        """Certificates, also an expired one, of other authorities."""
        if self._files is None:
            self._files = write_files(self._folder / "tls")
            expired = new_authority("expired")
            self.beside("expired-ca.pem").write_bytes(expired.pair.cert)
            pair = expired.server("server", HOSTS, days=-1)
            write_pair(pair, self.beside("expired.pem"), self.beside("expired-key.pem"))
            self.beside("other-ca.pem").write_bytes(new_authority("other").pair.cert)
        return self._files

    @property
    def names(self) -> Variables:
        """Where the certificates are, for cases."""
        mine = {"ca": self.files.ca, "cert": self.files.client_cert, "key_file": self.files.client_key}
        others = {name: self.beside(f"{name.replace('_', '-')}.pem") for name in ("other_ca", "expired_ca")}
        return {name: str(path) for name, path in (mine | others).items()}

    @property
    def _silent(self) -> str:
        host, port = self._silent_server.getsockname()
        return f"{host}:{port}"

    def beside(self, name: str) -> Path:
        """A file in the folder of the certificates."""
        return self.files.ca.with_name(name)

    def until(self, faulty: Faulty, name: str, number: int, patience_s: float) -> None:
        """Wait until a faulty server has counted so many. Raises TimeoutError if it does not."""
        self._background.run(asyncio.wait_for(faulty.until(name, number), patience_s))

    def release(self, faulty: Faulty) -> None:
        """Let an answer of a faulty server that `waits` go on."""
        self._background.run(faulty.release())

    @contextmanager
    def empty(self) -> Iterator[str]:
        """An empty node while the block runs; where it listens."""
        with self._background.running(_serving("memory:")) as server:
            yield _address(server)

    def address(self, needs: str) -> str:
        """Where a shared server listens."""
        return str(self._shared(needs)["address"])

    def _shared(self, needs: str) -> Variables:
        if needs not in self._started:
            server: Callable[[Servers], AbstractAsyncContextManager[Variables]] = _SHARED[needs]
            started: Any = self._background.running(server(self))
            self._started[needs] = self._stack.enter_context(started)
        return self._started[needs]


@asynccontextmanager
async def _node(servers: Servers) -> AsyncIterator[Variables]:
    async with _serving("memory:") as server:
        await _fill(server.url)
        yield {"address": _address(server)}


@asynccontextmanager
async def _proxy(servers: Servers, *, killed: bool = False) -> AsyncIterator[Variables]:
    """A proxy over two nodes. If one is `killed`, it is gone once all of the data have been stored."""
    async with AsyncExitStack() as stack:
        nodes = [AsyncExitStack() for _ in SHARDS]
        shards = []
        for name, each in zip(SHARDS, nodes, strict=True):
            stack.push_async_exit(each)
            server = await each.enter_async_context(_serving("memory:", cluster="test", shard=name))
            shards.append(ShardConfig(name=name, url=server.url))
        topology = build_proxy(Config(cluster=ClusterConfig(name="test"), shards=shards))
        proxy = await stack.enter_async_context(serve(topology.datastore, grace_s=_GRACE_S, **topology.settings()))
        await _fill(proxy.url)
        if killed:
            await nodes[1].aclose()
            stack.enter_context(_taken(shards[1].url))
        yield {"address": _address(proxy)}


@asynccontextmanager
async def _secure(servers: Servers, *, mutual: bool) -> AsyncIterator[Variables]:
    async with _serving("memory:", tls=servers.files.server(mutual=mutual)) as server:
        yield {"address": _address(server), **servers.names}


@asynccontextmanager
async def _guarded(servers: Servers) -> AsyncIterator[Variables]:
    """A server with two tokens: `writer` may do everything, `reader` may read below /read."""
    writer, reader = new_token("writer"), new_token("reader")
    everything = Rights(**{str(right): ("/",) for right in Right})
    text = added("", Grant("writer", everything, Quota(), hash_of(writer)), "tokens")
    text = added(text, Grant("reader", Rights(read=("/read",)), Quota(), hash_of(reader)), "tokens")
    path = servers._folder / "tokens.toml"
    path.write_text(text, encoding="utf-8")
    async with _serving("memory:", tokens=path) as server:
        yield {"address": _address(server), "writer": writer, "reader": reader}


def _serving(store: str, **settings: Any) -> AbstractAsyncContextManager[Server]:
    placed = {name: settings.pop(name) for name in ("cluster", "shard") if name in settings}
    topology = build_node(parse_store_url(store), **placed)
    return serve(topology.datastore, grace_s=_GRACE_S, **topology.settings(), **settings)


async def _fill(url: str) -> None:
    """Store the data set."""
    async with client.connect(url, timeout_s=PATIENCE_S) as store:
        writes = [Put(Key(entry["key"]), plain(entry["value"])) for entry in data_set().values()]
        assert all(result.error is None for result in await store.batch_write(writes))


@contextmanager
def _taken(url: str) -> Iterator[None]:
    """Keep the port of a server that is gone, and refuse connections: another server of a case would be given it."""
    _, _, address = url.partition("://")
    host, _, port = address.rpartition(":")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, int(port)))
        yield


def _address(server: Server) -> str:
    return server.url.partition("://")[2]


def _expired(servers: Servers) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(servers.beside("expired.pem"), servers.beside("expired-key.pem"))
    context.set_alpn_protocols(["h2"])
    return context


_SHARED: dict[str, Any] = {
    "node": _node,
    "proxy": _proxy,
    "partial": partial(_proxy, killed=True),
    "tls": partial(_secure, mutual=False),
    "mutual_tls": partial(_secure, mutual=True),
    "tokens": _guarded,
}
#: Faulty servers, each with what makes its TLS of the files, if it has some.
_FAULTY: dict[str, Any] = {"faulty": None, "expired": _expired}
