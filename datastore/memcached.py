"""A memcached server as a Datastore: a cache that may forget any entry at any time.

This module alone knows memcached and its driver, pymemcache, which is loaded where a store is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, quote

from datastore.core.base import InterfaceMappingDatastore, check_key, check_query
from datastore.core.composition import Description, Durability
from datastore.core.cursor import Cursor
from datastore.core.errors import (
    DatastoreClosedError,
    DeadlineExceededError,
    InvalidError,
    LimitExceededError,
    QueryNotSupportedError,
    StoreError,
    StoreFullError,
    UnavailableError,
    UnsupportedTypeError,
)
from datastore.core.key import Key
from datastore.core.query import Query
from datastore.core.util.extras import require
from datastore.core.util.urls import split

__all__ = ["DEFAULT_PORT", "NAME_BYTES", "VALUE_BYTES", "MemcachedDatastore", "name_of", "open_url"]

DEFAULT_PORT = 11211
#: The longest name that the protocol takes.
NAME_BYTES = 250
#: The largest value: servers take items of 1 MiB unless told otherwise, name and bookkeeping included. A larger
#: one is refused here, as a server that refuses it deletes the old value.
VALUE_BYTES = 1024 * 1024 - 1024


def name_of(key: Key) -> str:
    """The name of an entry: the key's text, with all but the plainest characters as %XX.

    Where that is longer than NAME_BYTES it is `sha256:` and the hash of the text; no other name begins so.
    """
    name = quote(str(key), safe="/:")
    return name if len(name) <= NAME_BYTES else f"sha256:{hashlib.sha256(str(key).encode()).hexdigest()}"


class MemcachedDatastore(InterfaceMappingDatastore):
    """Keeps bytes on the server of a pymemcache client, which stays the caller's, until the server forgets them.

    Values are bytes, of at most VALUE_BYTES (LimitExceededError); others raise UnsupportedTypeError: wrap the store
    in a serializer that makes bytes. Threads may share the store if they may share the client: a PooledClient, as
    `open_url` makes. No queries.
    Raises ImportError where pymemcache is missing, UnavailableError where the server cannot be reached,
    DeadlineExceededError where the client's timeout ends, StoreError for what the server refuses.
    """

    def __init__(self, client: Any) -> None:
        require("pymemcache", "memcached")
        super().__init__(client, put="set", key=name_of)
        self._client = client
        self._closed = False
        self.owned = False

    def get(self, key: Key) -> bytes | None:
        """The bytes of `key`, or None."""
        from pymemcache.exceptions import MemcacheUnexpectedCloseError

        with self._faults():
            value: bytes | None
            try:
                value = super().get(key)
            except MemcacheUnexpectedCloseError:
                # A server that was started anew has closed what the pool still holds.
                value = super().get(key)
            return value

    def put(self, key: Key, value: object) -> None:
        """Store `value` under `key`, and wait until the server has."""
        if value is None:
            self.delete(key)
            return
        key = check_key(key)
        if not isinstance(value, bytes):
            raise UnsupportedTypeError(
                f"memcached keeps bytes, got {type(value).__name__}: wrap the store in a serializer", path="value"
            )
        if len(value) > VALUE_BYTES:
            raise LimitExceededError(
                f"the value of {key} has {len(value):,} bytes, memcached takes {VALUE_BYTES:,}",
                limit="value_bytes",
                maximum=VALUE_BYTES,
            )
        with self._faults():
            if not self._client.set(name_of(key), value, noreply=False):
                raise StoreError(f"memcached did not store {key}")

    def delete(self, key: Key) -> None:
        """Remove the entry of `key`, and wait until the server has."""
        key = check_key(key)
        with self._faults():
            self._client.delete(name_of(key), noreply=False)

    def query(self, query: Query) -> Cursor:
        """Not supported: QueryNotSupportedError."""
        check_query(query)
        raise QueryNotSupportedError("MemcachedDatastore does not support queries: a memcached server lists no keys")

    def close(self) -> None:
        """Disconnect, if the store was opened by its URL; a client of the caller's stays as it is."""
        self._closed = True
        if self.owned:
            self._client.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        if self._closed:
            # The driver would connect again.
            raise DatastoreClosedError("this MemcachedDatastore was closed")
        with _translated():
            yield

    def describe(self) -> Description:
        """Kind `memcached`."""
        return Description("memcached", "may forget", Durability.MEMORY)


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's errors as the library's."""
    from pymemcache.exceptions import MemcacheError, MemcacheUnexpectedCloseError

    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceededError(f"memcached: {error}") from error
    except MemcacheUnexpectedCloseError as error:
        raise UnavailableError("memcached closed the connection") from error
    except MemcacheError as error:
        kind = StoreFullError if "out of memory" in str(error) else StoreError
        raise kind(f"memcached: {error or type(error).__name__}") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise UnavailableError(f"memcached: {error}") from error


def open_url(url: str) -> MemcachedDatastore:
    """The store of `memcached://host:port`; without a port it is 11211. Closing it disconnects.

    Raises InvalidError (a ValueError) for a URL that says anything else.
    """
    require("pymemcache", "memcached")
    from pymemcache.client.base import PooledClient

    parts = split(url, "memcached://HOST:PORT")
    if not _names_a_server(parts):
        raise InvalidError(f"{url!r}: expected memcached://HOST:PORT", field="url")
    store = MemcachedDatastore(
        PooledClient(
            (parts.hostname, parts.port or DEFAULT_PORT), connect_timeout=10, timeout=10, default_noreply=False
        )
    )
    store.owned = True
    return store


def _names_a_server(parts: SplitResult) -> bool:
    """Whether a URL says which server, and nothing else."""
    try:
        (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        # A port that is no number or too large; a name that cannot be looked up.
        return False
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    return bool(parts.hostname) and port != 0 and not more
