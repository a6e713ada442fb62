"""One cache above a complete store: when it is skipped, and what it has missed. Knows only the Datastore contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import islice

from datastore.aio._concurrency import Lock, give_way, within
from datastore.aio.base import Datastore
from datastore.aio.scan import ask
from datastore.model.key import Key
from datastore.model.operations import Delete, Operation, ReadOptions, ReadResult, raise_error
from datastore.model.query import Query

__all__ = ["OWED_KEYS", "Tier", "is_outage", "warn"]

#: How many keys that may be stale in a failed tier are remembered, to be deleted there before it is used again. Each
#: takes some 200 bytes. Beyond that the oldest are forgotten, and may stay stale until the tier drops them.
OWED_KEYS = 100_000
#: How many of them are deleted in one call.
_MEND_ITEMS = 1000


class Tier:
    """A store as one of several tiers. `read_above` and `write_above`, for those above the last, raise no Exception.

    If the store fails, or does not answer in `timeout_s`, it is skipped for `skip_s` seconds. The keys of the calls
    that failed and of the writes that were skipped are deleted there before it is used again, by one caller; others
    skip it until then.
    """

    def __init__(self, store: Datastore, *, skip_s: float, timeout_s: float, clock: Callable[[], float]) -> None:
        self.store = store
        self.hits = 0
        self.misses = 0
        self._skip_s = skip_s
        self._timeout_s = None if store.capability.reads_at_once else timeout_s
        self._clock = clock
        self._guard = Lock()
        #: After a failure, when to try the tier again.
        self._retry_at: float | None = None
        self._is_mending = False
        #: Keys that may be stale in the store, the oldest first.
        self._owed: dict[Key, None] = {}

    async def read_last(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The results of the keys, for the last tier."""
        results = await self.store.read(keys, options)
        self._count(results, options)
        return results

    async def read_above(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The results of the keys. If the tier fails or is skipped, they have no values."""
        if not keys or (self._retry_at is not None and not await self._is_usable()):
            return [ReadResult() for _ in keys]
        try:
            results = await self._read(keys, options)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            self._fail(error, keys)
            return [ReadResult() for _ in keys]
        outage = next(filter(is_outage, self._count(results, options)), None)
        if outage is not None:
            self._fail(outage, keys)
        return results

    async def find_above(self, keys: Sequence[Key], options: ReadOptions) -> dict[Key, ReadResult]:
        """The results of the keys that have a value here."""
        results = await self.read_above(keys, options)
        return {key: result for key, result in zip(keys, results, strict=True) if result.value is not None}

    def _count(self, results: Iterable[ReadResult], options: ReadOptions) -> list[Exception]:
        """Count the keys that had a value and those that had none; returns the errors of the failed reads.

        Only reads of values count: a server asks every second for the presence of a key, to see that its store answers.
        """
        errors = []
        # Without a lock: these are statistics, and a hit in memory takes little longer than one.
        for result in results:
            if result.value is not None:
                self.hits += options.values
            elif result.error is None:
                self.misses += options.values
            else:
                errors.append(result.error)
        return errors

    async def _read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        if self._timeout_s is None:
            return await self.store.read(keys, options)
        async with within(self._timeout_s):
            return await self.store.read(keys, options)

    async def write_above(self, operations: Sequence[Operation]) -> None:
        """Write to the store. Entries that it refuses are deleted there."""
        keys = [operation.key for operation in operations]
        if not keys or (self._retry_at is not None and not await self._is_usable() and self._owes(keys)):
            return
        failed = await self._write(operations)
        if not failed:
            return
        refused = [key for key, error in failed.items() if not is_outage(error)]
        if refused:
            warn("an upper tier, %s, did not store %s: %s", self._name, _named(refused), failed[refused[0]])
            failed = {key: error for key, error in failed.items() if is_outage(error)}
            failed.update(await self._write([Delete(key) for key in refused]))
        if failed:
            self._fail(next(iter(failed.values())), list(failed))

    async def clear(self) -> None:
        """Delete everything. Raises what the store raises."""
        query = Query(Key("/"), recursive=True, keys_only=True).frozen()
        async with aclosing(ask(self.store, query)) as scan:
            found = [key async for batch in scan.batches for key in batch.keys]
        for first in range(0, len(found), _MEND_ITEMS):
            for result in await self.store.write(list(map(Delete, found[first : first + _MEND_ITEMS]))):
                raise_error(result)
            await give_way()

    async def _write(self, operations: Sequence[Operation]) -> dict[Key, Exception]:
        """Write, and return the errors of the keys that failed."""
        try:
            if self._timeout_s is None:
                results = await self.store.write(operations)
            else:
                async with within(self._timeout_s):
                    results = await self.store.write(operations)
        except Exception as error:  # noqa: BLE001 - a cache may fail in any way
            return {operation.key: error for operation in operations}
        pairs = zip(operations, results, strict=True)
        return {operation.key: result.error for operation, result in pairs if result.error is not None}

    @property
    def _name(self) -> str:
        return self.store.describe().kind

    def _fail(self, error: Exception, keys: Sequence[Key]) -> None:
        """Skip the tier for a time. The keys may be stale there."""
        with self._guard:
            is_new = self._retry_at is None
            self._retry_at = self._clock() + self._skip_s
            self._owe(keys)
        if is_new:
            warn(
                "an upper tier, %s, failed for %s and is skipped for %g s: %s",
                *(self._name, _named(keys), self._skip_s, str(error) or type(error).__name__),
            )

    def _owes(self, keys: Iterable[Key]) -> bool:
        """Remember keys whose write skips the tier; False if it is in use again."""
        with self._guard:
            if self._retry_at is not None:
                self._owe(keys)
            return self._retry_at is not None

    def _owe(self, keys: Iterable[Key]) -> None:
        self._owed.update(dict.fromkeys(keys))
        while len(self._owed) > OWED_KEYS:
            del self._owed[next(iter(self._owed))]

    async def _is_usable(self) -> bool:
        """Whether the tier is in use. If its skip time is over, this tries to repair it first."""
        if self._retry_at is None:
            return True
        with self._guard:
            if self._retry_at is None:
                return True
            if self._is_mending or self._clock() < self._retry_at:
                return False
            self._is_mending = True
        try:
            return await self._mended()
        finally:
            self._is_mending = False

    async def _mended(self) -> bool:
        """Delete the keys that may be stale, which also tests the tier: after a failure there is at least one."""
        while True:
            with self._guard:
                owed = list(islice(self._owed, _MEND_ITEMS))
                if not owed:
                    self._retry_at = None
                    break
            failed = await self._write([Delete(key) for key in owed])
            with self._guard:
                for key in owed:
                    if key not in failed:
                        self._owed.pop(key, None)
            if failed:
                self._fail(next(iter(failed.values())), list(failed))
                return False
        warn("an upper tier, %s, is used again", self._name)
        return True


def is_outage(error: BaseException | None) -> bool:
    """Whether a store, or the way to it, failed rather than refused: the operation may or may not have happened."""
    return error is not None and (
        not isinstance(error, Exception) or isinstance(error, (ConnectionError, TimeoutError))
    )


def warn(message: str, *arguments: object) -> None:
    """Log a problem of a tier."""
    # Loaded only where something is logged, as in `shims`.
    import logging

    logging.getLogger("datastore").warning(message, *arguments)


def _named(keys: Sequence[Key]) -> str:
    """Keys, for the log."""
    return str(keys[0]) if len(keys) == 1 else f"{len(keys)} entries"
