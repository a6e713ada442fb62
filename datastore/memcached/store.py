"""The store: names, limits and types of values. `clients` calls the drivers."""

from __future__ import annotations

import hashlib
from math import ceil
from typing import Any
from urllib.parse import quote

from datastore.memcached.clients import Connection, connection_of
from datastore.model.capability import Capability, Durability
from datastore.model.description import Description
from datastore.model.durations import check_seconds
from datastore.model.errors import (
    DatastoreClosedError,
    InvalidError,
    LimitExceededError,
    QueryNotSupportedError,
    StoreError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.operations import Operation, Put
from datastore.model.query import Query
from datastore.model.text import utf8_of
from datastore.sync.mapping import InterfaceMappingDatastore
from datastore.sync.scan import Scan

__all__ = ["EXPIRE_S", "NAME_BYTES", "VALUE_BYTES", "MemcachedDatastore", "expiry_of", "name_of"]

#: The longest name that the protocol allows, in bytes.
NAME_BYTES = 250
#: The largest value, in bytes: servers accept items of 1 MiB by default, including name and overhead. Larger ones are
#: refused here, because a server that refuses one deletes the old value.
VALUE_BYTES = 1024 * 1024 - 1024
#: The longest expiry, 30 days in seconds: the protocol takes a larger number for a time since 1970.
EXPIRE_S = 30 * 86_400


def name_of(key: Key) -> str:
    """The name of an entry: the key's text, percent-encoded.

    If that is longer than NAME_BYTES, the name is `sha256:` and the hash of the text; no other name begins like that.
    """
    name = quote(str(key), safe="/:")
    return name if len(name) <= NAME_BYTES else f"sha256:{hashlib.sha256(str(key).encode()).hexdigest()}"


def expiry_of(expire_s: float, name: str) -> int:
    """An expiry as in the protocol, in whole seconds, rounded up.

    Raises UnsupportedTypeError or InvalidError, with the `name` of the option, unless it is a number above 0 and at
    most EXPIRE_S.
    """
    check_seconds(name, expire_s)
    if expire_s > EXPIRE_S:
        raise InvalidError(f"{name} must be at most {EXPIRE_S:,} seconds (30 days), got {expire_s:,.0f}", field=name)
    return ceil(expire_s)


class MemcachedDatastore(InterfaceMappingDatastore):
    """Stores bytes and text through a memcached client until the server evicts them. The caller closes the client.

    The client is one of pymemcache, pylibmc or python-memcached. Values are bytes, or text stored as UTF-8 with the
    clients' flag for it, of at most VALUE_BYTES (LimitExceededError). Other types raise UnsupportedTypeError: wrap the
    store in a serializer. Safe for threads if the client is, like the PooledClient of MemcachedConfig. A pymemcache
    client without a serde is given one that distinguishes text and bytes. Does not support queries.
    With `expire_s`, the server drops an entry so long after its last put: whole seconds, rounded up, at most
    EXPIRE_S.
    Raises ImportError if pymemcache is needed and not installed, UnavailableError if the server cannot be reached,
    DeadlineExceededError after the client's timeout, StoreError for anything the server refuses.
    """

    capability = Capability(queries=False, durability=Durability.MEMORY)

    def __init__(self, client: Any, *, expire_s: float | None = None) -> None:
        #: As in the protocol: whole seconds, 0 for never.
        self._expiry = 0 if expire_s is None else expiry_of(expire_s, "expire_s")
        self._connection = connection_of(client)
        super().__init__(client, put="set", key=name_of)
        self._client = client
        self._closed = False
        self.owned = False

    def _get(self, key: Key) -> bytes | str | None:
        return self._open_connection().get(name_of(key))

    def _do(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            self._put(operation.key, operation.value)
        else:
            self._open_connection().delete(name_of(operation.key))

    def _put(self, key: Key, value: object) -> None:
        if not isinstance(value, (bytes, str)):
            raise UnsupportedTypeError(
                f"memcached stores bytes and text, got {type(value).__name__}: wrap the store in a serializer",
                path="value",
            )
        # Clients would pickle an instance of a subclass.
        value = str.__str__(value) if isinstance(value, str) else bytes(value)
        size = len(utf8_of(value) if isinstance(value, str) else value)
        if size > VALUE_BYTES:
            raise LimitExceededError(
                f"the value of {key} has {size:,} bytes, the limit of memcached is {VALUE_BYTES:,}",
                limit="value_bytes",
                maximum=VALUE_BYTES,
            )
        connection = self._open_connection()
        if not connection.set(name_of(key), value, self._expiry):
            raise StoreError(f"{connection.server} did not store {key}")

    def scan(self, query: Query) -> Scan:
        raise QueryNotSupportedError(
            "MemcachedDatastore does not support queries: a memcached server cannot list its keys"
        )

    def close(self) -> None:
        """Disconnect if the store was opened by its URL; otherwise the caller must close the client."""
        self._closed = True
        if self.owned:
            self._connection.close()

    def _open_connection(self) -> Connection:
        if self._closed:
            # The driver would reconnect.
            raise DatastoreClosedError("this MemcachedDatastore was closed")
        return self._connection

    def describe(self) -> Description:
        return Description("memcached", "may forget", self.capability)
