"""Atomic batches: which stores can make them, and their results. Knows the Datastore contract and no stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from datastore.model.errors import BatchAbortedError, UnsupportedError
from datastore.model.operations import REFUSALS, Operation, WriteResult, attempt
from datastore.model.spellings import replaces

__all__ = ["all_made", "atomic_of", "none_made", "not_atomic", "passes_atomic"]

_WRITES = ("write", "put", "delete", "batch_write")


def passes_atomic(store: Any) -> bool:
    """Whether a store's `write_atomic` does what its writes do: none of them is overridden below it."""
    return replaces(store, "write_atomic", _WRITES)


def not_atomic(store: Any, reason: str = "") -> UnsupportedError:
    """The error for a store that cannot make a batch of writes atomic."""
    return UnsupportedError(f"{type(store).__name__} cannot make atomic batches{reason and f': {reason}'}")


def atomic_of(store: Any) -> Callable[[Sequence[Operation]], Awaitable[list[WriteResult]]]:
    """The `write_atomic` of a store. Stores ask their children with this.

    Raises UnsupportedError for a class that overrides how entries are written below the `write_atomic` that it
    inherits, which would get around that.
    """
    if not passes_atomic(store):
        raise not_atomic(store, "it changes how entries are written, and has no `write_atomic`")
    return store.write_atomic  # type: ignore[no-any-return]


async def all_made(
    make: Callable[[Any], Any],
    items: Sequence[Any],
    write: Callable[[list[Any]], Awaitable[list[WriteResult]]],
    *,
    catching: type[Exception] | tuple[type[Exception], ...] = REFUSALS,
) -> list[WriteResult]:
    """Write what `make` returns for each item, by an atomic batch. If it raises one of `catching`, none is written."""
    made = [attempt(make, item, catching=catching) for item in items]
    failed = {place: result.error for place, result in enumerate(made) if result.error is not None}
    if failed:
        return none_made(failed, len(made))
    return await write([result.value for result in made]) if made else []


def none_made(failed: Mapping[int, Exception], count: int) -> list[WriteResult]:
    """The results of an atomic batch of so many writes, of which those at these places failed with these errors."""
    index = min(failed)

    def error(place: int) -> Exception:
        aborted = f"this write was not made, because the one at index {index} of its atomic batch failed"
        return failed[place] if place in failed else BatchAbortedError(aborted, index=index)

    return [WriteResult(error(place)) for place in range(count)]
