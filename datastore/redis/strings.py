"""The strings of a server as a Datastore: reads, and writes without metadata."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from types import NoneType
from typing import Any

from datastore.model.capability import Capability
from datastore.model.errors import (
    DatastoreClosedError,
    DatastoreError,
    QueryNotSupportedError,
    UnsupportedTypeError,
)
from datastore.model.key import Key
from datastore.model.operations import Operation, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query
from datastore.redis.errors import server_of, translated
from datastore.redis.names import Names
from datastore.sync.base import Datastore
from datastore.sync.scan import Scan
from datastore.sync.verbs import read_attempt, write_attempt

__all__ = ["SCAN_NAMES", "Strings", "check_value"]

#: How many names a server examines in one step of listing them, which takes it some hundred microseconds.
SCAN_NAMES = 1000


class Strings(Datastore):
    """The strings of the server whose names begin with a prefix. With `expire_s` they expire after their last put."""

    def __init__(self, client: Any, names: Names, expire_s: float | None = None) -> None:
        self._client = client
        self._names = names
        #: For SET: the expiry in whole milliseconds, at least one.
        self._expiry = {} if expire_s is None else {"px": max(1, round(expire_s * 1000))}
        self._closed = False
        self.owned = False

    @property
    def capability(self) -> Capability:
        """No queries, and no metadata."""
        return Capability(queries=False)

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values; several in one request."""
        if not options.values:
            return [read_attempt(self._is_there, key) for key in keys]
        if len(keys) == 1:
            return [read_attempt(self._value, keys[0])]
        # A cluster has the keys on many servers.
        read_all = getattr(self._client, "mget_nonatomic", self._client.mget)
        with self._faults():
            return [ReadResult(value) for value in read_all(list(map(self._names.of, keys)))]

    def _value(self, key: Key) -> Any:
        with self._faults():
            return self._client.get(self._names.of(key))

    def _is_there(self, key: Key) -> bool | None:
        with self._faults():
            return bool(self._client.exists(self._names.of(key))) or None

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Several writes in one request, in order."""
        if len(operations) == 1:
            return [write_attempt(self._do, operations[0])]
        results = [write_attempt(check_value, operation.key, operation.value) for operation in operations]
        sent = [place for place, result in enumerate(results) if result.error is None]
        requests = self._client.pipeline(transaction=False)
        for place in sent:
            name, value = self._names.of(operations[place].key), operations[place].value
            requests = requests.delete(name) if value is None else requests.set(name, value, **self._expiry)
        try:
            with self._faults():
                answers = requests.execute(raise_on_error=False)
        except DatastoreError as error:
            # How many writes were done is unknown.
            answers = [error] * len(sent)
        for place, answer in zip(sent, answers, strict=True):
            if isinstance(answer, Exception):
                results[place] = write_attempt(self._raise, answer)
        return results

    def _raise(self, error: Exception) -> None:
        with self._faults():
            raise error

    def _do(self, operation: Operation) -> None:
        key, value = operation.key, operation.value
        check_value(key, value)
        with self._faults():
            if value is None:
                self._client.delete(self._names.of(key))
            else:
                self._client.set(self._names.of(key), value, **self._expiry)

    def scan(self, query: Query) -> Scan:
        raise QueryNotSupportedError(
            "RedisDatastore does not support queries: a Redis server would have to scan all its keys"
        )

    def list_keys(self) -> Iterator[list[Key]]:
        """The keys of all entries, some at a time, unordered, some perhaps twice."""
        with self._faults():
            names = self._client.scan_iter(match=self._names.pattern, count=SCAN_NAMES, _type="STRING")
            while some := list(islice(names, SCAN_NAMES)):
                yield [key for name in some if (key := self._names.key_of(name)) is not None]

    def read_system(self, name: str) -> bytes | None:
        """The system record of a name, or None."""
        with self._faults():
            # As text: some clients decode every response.
            content = self._client.hget(self._names.system, name)
            return None if content is None else b64decode(content)

    def write_system(self, name: str, content: bytes) -> None:
        """Replace a system record."""
        with self._faults():
            self._client.hset(self._names.system, name, b64encode(content))

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, also to one that was deleted since; 0 if none are kept."""
        return 0

    def raise_versions(self, version: int) -> None:
        """Give only versions above this one from now on, if any are kept."""

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now, as is done anyway if no requests are remembered."""

    def close(self) -> None:
        """Refuse further calls, and close the client if it is owned."""
        self._closed = True
        if self.owned:
            self._client.close()

    def _faults(self) -> AbstractContextManager[None]:
        """Translates the errors that the block raises."""
        if self._closed:
            # The driver would connect again.
            raise DatastoreClosedError("this RedisDatastore was closed")
        return translated(server_of(self._client))


def check_value(key: Key, value: Any) -> None:
    """Raise UnsupportedTypeError for anything but str, bytes or None."""
    if not isinstance(value, (str, bytes, NoneType)):
        raise UnsupportedTypeError(
            f"Redis stores str and bytes, but the serializer returned a {type(value).__name__} for the value of {key}",
            path="value",
        )
