"""The base of stores made of several stores. Knows only the Datastore contract."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, ClassVar, Unpack

from datastore.aio._concurrency import Lock
from datastore.aio.base import Datastore, require_datastore
from datastore.aio.cursor import Cursor, close_all
from datastore.aio.shims import ShimDatastore
from datastore.aio.verbs import passed_on
from datastore.model.capability import Capability
from datastore.model.description import Description
from datastore.model.errors import InvalidError, NoStoresError, UnsupportedTypeError
from datastore.model.key import Key
from datastore.model.metadata import PutOptions, WriteOptions
from datastore.model.query import Query
from datastore.model.spellings import is_overridden

__all__ = ["DatastoreCollection"]


class DatastoreCollection(ShimDatastore):
    """A list of stores. Subclasses define which store an entry goes to.

    Calls in progress keep the list they began with. Closing closes every store, then raises the first error.
    Raises UnsupportedTypeError (a TypeError) if an item is not a Datastore.
    """

    two_names: ClassVar = {
        "appendDatastore": "append_datastore",
        "insertDatastore": "insert_datastore",
        "removeDatastore": "remove_datastore",
    }

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        if not isinstance(stores, Iterable):
            raise UnsupportedTypeError(f"a collection takes a list of Datastores, got {type(stores).__name__}")
        self._changing = Lock()
        self._stores: list[Datastore] = []
        for store in stores:
            self.append_datastore(store)

    def datastore(self, index: int) -> Datastore:
        """The store at `index`."""
        return self._stores[index]

    def append_datastore(self, store: Datastore) -> None:
        """Append `store`."""
        self._insert(sys.maxsize, store)

    def insert_datastore(self, index: int, store: Datastore) -> None:
        """Insert `store` before the one at `index`."""
        self._insert(index, store)

    def _insert(self, index: int, store: Datastore) -> None:
        require_datastore(store, "a collection holds Datastores")
        if not isinstance(index, int):
            raise UnsupportedTypeError(f"index must be an int, got {type(index).__name__}", path="index")
        with self._changing:
            stores = list(self._stores)
            stores.insert(index, store)
            self._stores = stores

    def remove_datastore(self, store: Datastore) -> None:
        """Remove the first occurrence of `store` itself; ValueError if there is none. It is not closed."""
        require_datastore(store, "a collection holds Datastores")
        with self._changing:
            stores = list(self._stores)
            place = next((place for place, held in enumerate(stores) if held is store), None)
            if place is None:
                kinds = ", ".join(type(held).__name__ for held in stores) or "nothing"
                raise InvalidError(f"this {type(store).__name__} is not in the collection, which holds {kinds}")
            del stores[place]
            self._stores = stores

    # The documented names.
    appendDatastore = append_datastore  # noqa: N815
    insertDatastore = insert_datastore  # noqa: N815
    removeDatastore = remove_datastore  # noqa: N815

    async def get(self, key: Key) -> Any:
        """Left to subclasses: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement get")

    async def put(self, key: Key, value: Any, **options: Unpack[PutOptions]) -> None:
        """Left to subclasses: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key, **options: Unpack[WriteOptions]) -> None:
        """Left to subclasses: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    def query(self, query: Query) -> Cursor:
        """Left to subclasses: QueryNotSupportedError (a NotImplementedError)."""
        return Datastore.query(self, query)

    async def aclose(self) -> None:
        await close_all([store.aclose for store in self._stores])

    def _held(self) -> list[Datastore]:
        """An immutable list of the stores, as `datastore` returns them; NoStoresError if there are none."""
        stores = self._stores
        if not stores:
            raise NoStoresError(f"{type(self).__name__} has no stores; append one first")
        if is_overridden(self, DatastoreCollection, "datastore"):
            return [self.datastore(index) for index in range(len(stores))]
        return stores

    def listed_key(self, key: Key) -> Key:
        """The same as in the last store; if there are several, they are alike."""
        return self._stores[-1].listed_key(key) if self._stores else key

    @property
    def capability(self) -> Capability:
        return passed_on(self, Capability.common(store.capability for store in self._stores))

    def describe(self) -> Description:
        return self._described("collection", f"{len(self._stores)} stores")

    def _described(self, kind: str, text: str = "") -> Description:
        return Description(kind, text, self.capability, tuple(store.describe() for store in self._stores))
