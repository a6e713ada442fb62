"""Replacing a value that depends on the old one, by reads and conditional writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datastore.aio._concurrency import sleep
from datastore.engine.conflicts import conflict_pauses
from datastore.model.errors import ConditionFailedError
from datastore.model.expiry import Expiry
from datastore.model.key import Key
from datastore.model.metadata import ABSENT, Precondition, no_versions, require
from datastore.model.operations import ENTRIES, Delete, Put, WriteResult, value_of

__all__ = ["exchange"]


async def exchange(
    store: Any,
    key: Key,
    function: Callable[[Any], Any],
    condition: Precondition | None = None,
    expiry: Expiry | None = None,
) -> WriteResult:
    """Write `function(value)` in place of the value of `key`, None if it has none, if nothing has changed meanwhile.

    None deletes; otherwise the entry expires as before, or as `expiry` says. If another write came between, begin
    again, at most UPDATE_ATTEMPTS times. Returns the result, with the new value. Raises what the function and the
    read raise, ConditionFailedError if `condition` does not hold, and UnsupportedError if the entry has no version.
    """
    pauses = conflict_pauses()
    while True:
        [found] = await store.read([key], ENTRIES)
        old = value_of(found)
        if old is not None and found.metadata is None:
            raise no_versions(store)
        version = 0 if found.metadata is None else found.metadata.version
        if condition is not None:
            require(condition, key, version)
        value = function(old)
        if old is None and value is None:
            return WriteResult()
        unchanged = Precondition(version=version) if version else ABSENT
        # If it expires before the write, the version differs and the condition fails: no need to compare clocks here.
        expires_us = 0 if found.metadata is None else found.metadata.expires_us
        put = Put(key, value, unchanged, expiry or (Expiry(at_us=expires_us) if expires_us else None))
        [result] = await store.write([Delete(key, unchanged) if value is None else put])
        pause_s = next(pauses, None) if isinstance(result.error, ConditionFailedError) else None
        if pause_s is None:
            result.value = value
            return result  # type: ignore[no-any-return]
        await sleep(pause_s)
