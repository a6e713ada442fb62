"""Several stores as one, before it is said what goes where. Knows the Datastore contract alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datastore.aio.base import Datastore
from datastore.aio.cursor import Cursor
from datastore.aio.shims import ShimDatastore
from datastore.core.composition import Description, weakest
from datastore.core.errors import InvalidError, NoStoresError, UnsupportedTypeError
from datastore.core.key import Key
from datastore.core.query import Query

__all__ = ["DatastoreCollection"]


class DatastoreCollection(ShimDatastore):
    """A list of stores, without a rule yet of what goes where: subclasses give it.

    Calls under way keep the list they began with. Closing closes every store, then raises the first error.
    Raises UnsupportedTypeError (a TypeError) for what is no Datastore.
    """

    def __init__(self, stores: Iterable[Datastore] = ()) -> None:
        if not isinstance(stores, Iterable):
            raise UnsupportedTypeError(f"a collection takes a list of Datastores, got {type(stores).__name__}")
        self._stores: list[Datastore] = []
        for store in stores:
            self.append_datastore(store)

    @property
    def ordered_queries(self) -> bool:  # type: ignore[override]
        """False, until a subclass answers queries."""
        return False

    def datastore(self, index: int) -> Datastore:
        """The store at `index`."""
        return self._stores[index]

    def append_datastore(self, store: Datastore) -> None:
        """Add `store` as the last."""
        self.insert_datastore(len(self._stores), store)

    def insert_datastore(self, index: int, store: Datastore) -> None:
        """Add `store` before the one at `index`."""
        if not isinstance(store, Datastore):
            raise UnsupportedTypeError(f"a collection holds Datastores, got {type(store).__name__}")
        stores = list(self._stores)
        stores.insert(index, store)
        self._stores = stores

    def remove_datastore(self, store: Datastore) -> None:
        """Take out `store` itself; ValueError if it is not here. It is not closed."""
        stores = [held for held in self._stores if held is not store]
        if len(stores) == len(self._stores):
            raise InvalidError("this store is not in the collection")
        self._stores = stores

    def appendDatastore(self, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `append_datastore`."""
        self.append_datastore(store)

    def insertDatastore(self, index: int, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `insert_datastore`."""
        self.insert_datastore(index, store)

    def removeDatastore(self, store: Datastore) -> None:  # noqa: N802 - the documented name
        """As `remove_datastore`."""
        self.remove_datastore(store)

    async def get(self, key: Key) -> Any:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement get")

    async def put(self, key: Key, value: Any) -> None:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement put")

    async def delete(self, key: Key) -> None:
        """Not without a rule: NotImplementedError."""
        raise NotImplementedError(f"{type(self).__name__} does not implement delete")

    def query(self, query: Query) -> Cursor:
        """Not without a rule: NotImplementedError."""
        return Datastore.query(self, query)

    async def aclose(self) -> None:
        """Close every store, then raise the first error if one failed."""
        first: Exception | None = None
        for store in self._stores:
            try:
                await store.aclose()
            except Exception as error:  # noqa: BLE001 - the others must be closed whatever it is
                first = first or error
        if first is not None:
            raise first

    def _held(self) -> list[Datastore]:
        stores = self._stores
        if not stores:
            raise NoStoresError(f"{type(self).__name__} has no stores; append one first")
        return stores

    def _described(self, kind: str, text: str) -> Description:
        children = tuple(store.describe() for store in self._stores)
        pushed = [child.push_down for child in children]
        return Description(
            kind,
            text,
            weakest(child.durability for child in children),
            frozenset.intersection(*pushed) if pushed else frozenset(),
            children,
        )
