"""InterfaceMappingDatastore: a service with other method names as a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from datastore.aio.base import Datastore
from datastore.aio.scan import Scan
from datastore.aio.verbs import read_attempt, write_attempt
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.errors import DatastoreError, QueryNotSupportedError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.operations import Operation, Put, ReadOptions, ReadResult, WriteResult
from datastore.model.query import Query

__all__ = ["InterfaceMappingDatastore"]


class InterfaceMappingDatastore(Datastore):
    """Adapts a service with other method names to the Datastore interface.

    `get`, `put` and `delete` name the service's methods, which are looked up immediately (AttributeError if one is
    missing); `key` converts a Key to the service's key. A KeyError from the service on get or delete means
    absent; a put that returns False raises DatastoreError. It is as thread-safe as the service. No queries.
    The caller must close the service.
    """

    capability = Capability(queries=False)

    def __init__(
        self, service: Any, get: str = "get", put: str = "put", delete: str = "delete", key: Callable[[Key], Any] = str
    ) -> None:
        if not callable(key):
            raise UnsupportedTypeError(f"key must be callable with a Key, got {type(key).__name__}", path="key")
        self._service = service
        self._service_get = _method(service, "get", get)
        self._service_put = _method(service, "put", put)
        self._service_delete = _method(service, "delete", delete)
        self._service_key = key

    async def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        return [await read_attempt(self._get, key) for key in keys]

    async def _get(self, key: Key) -> Any:
        name = self._service_key(key)
        try:
            return self._service_get(name)
        except KeyError:
            return None

    async def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Store and remove with the service, one by one."""
        return [await write_attempt(self._do, operation) for operation in operations]

    async def _do(self, operation: Operation) -> None:
        name = self._service_key(operation.key)
        if not isinstance(operation, Put):
            with suppress(KeyError):
                self._service_delete(name)
        elif self._service_put(name, operation.value) is False:
            raise DatastoreError(f"{type(self._service).__name__} refused the value of {operation.key}")

    def scan(self, query: Query) -> Scan:
        raise QueryNotSupportedError(
            f"{type(self).__name__} does not support queries: its service cannot list its keys"
        )

    def describe(self) -> Description:
        return Description("mapping", type(self._service).__name__, self.capability)


def _method(service: Any, argument: str, name: str) -> Callable[..., Any]:
    method = getattr(service, name, None) if isinstance(name, str) else None
    if not callable(method):
        raise AttributeError(  # noqa: TRY004 - as documented
            f"{argument}={name!r}: {type(service).__name__} has no such method; name the one that does it"
        )
    return method  # type: ignore[no-any-return]
