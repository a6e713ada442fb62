"""From a tree of Configs to the stores that it describes, for threads or for tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from datastore.model.config import Composed, Config, is_child, type_of
from datastore.model.errors import ConfigError, DatastoreError
from datastore.spec.checks import check_tree
from datastore.sync.base import Datastore

if TYPE_CHECKING:
    from datastore.aio.base import Datastore as AsyncDatastore

__all__ = ["build", "build_async"]


def build(tree: Config) -> Datastore:
    """Open a tree for threads. The caller must close the store, which closes all that it is built on.

    Raises ConfigError for a tree that is invalid as a whole, ImportError for a missing driver, and the errors of
    creating the stores, with the place of the store before the text. If one fails, those opened before it are closed.
    """
    return cast("Datastore", _Building("datastore").tree(tree))


def build_async(tree: Config) -> AsyncDatastore:
    """Like `build`, but for tasks; a store that is not native to asyncio is lifted.

    Blocks while files are opened, which is brief.
    """
    from datastore.aio.lift import lift

    return cast("AsyncDatastore", _Building("datastore.aio", lift).tree(tree))


class _Building:
    """A tree being opened, for tasks if there is a `lift`."""

    def __init__(self, stores: str, lift: Callable[[Datastore], Any] | None = None) -> None:
        #: The classes of the colour, under their documented path.
        self._stores = import_module(stores)
        self._lift = lift
        self._built: dict[int, Any] = {}
        self._closes: list[Callable[[], None]] = []

    def tree(self, tree: Config) -> Any:
        check_tree(tree)
        try:
            return self._store(tree, tree.origin.place)
        except BaseException:
            for close in reversed(self._closes):
                # The caller needs to know the first error.
                with suppress(Exception):
                    close()
            raise

    def _store(self, config: Config, place: str) -> Any:
        if id(config) not in self._built:
            self._built[id(config)] = self._open(config, place)
        return self._built[id(config)]

    def _open(self, config: Config, place: str) -> Any:
        if not isinstance(config, Composed):
            return self._checked(config, place, lambda: self._leaf(config))
        below = {
            name: self._below(getattr(config, name), f"{place}.{name}" if place else name)
            for name, part in config.options().items()
            if is_child(type_of(part)) and getattr(config, name) is not None
        }
        return self._checked(config, place, lambda: config.build(self._stores, below))

    def _below(self, value: Any, place: str) -> Any:
        if isinstance(value, Config):
            return self._store(value, value.origin.place or place)
        if isinstance(value, Mapping):
            return {name: self._below(child, f"{place}.{name}") for name, child in value.items()}
        return [self._below(child, f"{place}[{index}]") for index, child in enumerate(value)]

    def _leaf(self, config: Config) -> Any:
        native = None if self._lift is None else config.open_async()
        if native is not None:
            return native
        store = config.open()
        if not isinstance(store, Datastore):
            return store
        self._closes.append(store.close)
        return store if self._lift is None else self._lift(store)

    def _checked(self, config: Config, place: str, make: Callable[[], Any]) -> Any:
        try:
            store = make()
        except (DatastoreError, ImportError) as error:
            if place and error.args:
                error.args = (f"{place}: {error.args[0]}", *error.args[1:])
            raise
        if not isinstance(store, self._stores.Datastore):
            made = type(config)
            raise ConfigError(
                f"{place or made.kind}: {made.__module__}.{made.__name__} returned a {type(store).__name__!r}, not a"
                f" {self._stores.__name__}.Datastore"
            )
        return store
