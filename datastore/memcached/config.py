"""The store as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult

from datastore.memcached.store import MemcachedDatastore, expiry_of
from datastore.model.config import Config
from datastore.model.errors import InvalidError
from datastore.model.options import DURATION, SERVER, ServerUrl, option
from datastore.model.urls import shown, split

__all__ = ["DEFAULT_PORT", "MemcachedConfig"]

DEFAULT_PORT = 11211

_FORM = "memcached://HOST:PORT"


@dataclass(frozen=True, kw_only=True)
class MemcachedConfig(Config):
    """Stores text and bytes on a memcached server, which may forget any entry at any time. No queries."""

    kind = "memcached"
    url_form = _FORM
    driver = ("pymemcache", "memcached")
    url: ServerUrl = field(metadata=option(f"`{_FORM}`; without a port it is {DEFAULT_PORT}", SERVER))
    timeout: float = field(default=10.0, metadata=option("how long to wait for a connection or an answer", DURATION))
    expire: float | None = field(
        default=None,
        metadata=option(
            "how long after its last put the server drops an entry, in whole seconds, rounded up", DURATION
        ),
    )

    def check(self) -> None:
        """Raise InvalidError for a URL that says anything but a server."""
        if not _names_a_server(split(self.url, _FORM)):
            raise InvalidError(f"{shown(self.url)}: expected {_FORM}", field="url")
        if self.expire is not None:
            expiry_of(self.expire, "expire")

    def can_query(self) -> bool:
        """False: a server cannot list its keys."""
        return False

    def open(self) -> MemcachedDatastore:
        """A store with its own client, which it closes. Connects at the first call."""
        from pymemcache.client.base import PooledClient

        parts = split(self.url, _FORM)
        server = (parts.hostname, parts.port or DEFAULT_PORT)
        store = MemcachedDatastore(
            PooledClient(server, connect_timeout=self.timeout, timeout=self.timeout, default_noreply=False),
            expire_s=self.expire,
        )
        store.owned = True
        return store


def _names_a_server(parts: SplitResult) -> bool:
    """Whether a URL says which server, and nothing else."""
    try:
        (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        # The port is not a number or is too large, or the name cannot be resolved.
        return False
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    return parts.scheme == "memcached" and bool(parts.hostname) and port != 0 and not more
