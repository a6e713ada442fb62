"""The strings of a server with metadata, which a script keeps beside each value in the step that writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from datastore.engine.conflicts import conflict_pauses
from datastore.engine.requests import Outcome, forgotten
from datastore.model.capability import Capability
from datastore.model.changes import Watch
from datastore.model.errors import DatastoreError, InvalidError
from datastore.model.expiry import too_late
from datastore.model.key import Key
from datastore.model.limits import REQUESTS_KEPT
from datastore.model.metadata import Metadata, require
from datastore.model.operations import (
    ENTRIES,
    Operation,
    Patch,
    Put,
    ReadOptions,
    ReadResult,
    WriteResult,
    attempt,
    refusal_of,
)
from datastore.redis.batches import Batch, Item, Role, depends_on_value
from datastore.redis.changes import LogLimits, ServerLog
from datastore.redis.errors import script_error, server_of
from datastore.redis.metadata import VERSIONS_RAISED_TO, Known, digest_of, foreign, terms_of
from datastore.redis.names import Names
from datastore.redis.requests import RequestTexts, outcome_of_answer
from datastore.redis.scripts import (
    ATOMIC,
    EXPIRIES,
    FORGET,
    FORGOTTEN,
    NOW,
    OF_ANOTHER,
    RAISE,
    REFUSED,
    REMEMBERED,
    TOO_LATE,
    UNMET,
    WRITE,
)
from datastore.redis.strings import Strings, check_value
from datastore.sync._concurrency import KeyLocks, Lock, sleep
from datastore.sync.atomic import all_made, none_made
from datastore.sync.exchange import exchange
from datastore.sync.feeds import Feed, LogFeed, unlogged
from datastore.sync.verbs import on_made

__all__ = ["STEP_BYTES", "STEP_WRITES", "VersionedStrings"]

#: The most writes of one step: a server runs one script at a time, this one in some milliseconds.
STEP_WRITES = 500
#: The most bytes of values in one step, unless it is a single write.
STEP_BYTES = 4 * 1024 * 1024

#: How the answer begins if a write was not made.
_FAILURES = (UNMET, TOO_LATE, REFUSED)
#: How it begins if the request decided it.
_OF_REQUESTS = (REMEMBERED, OF_ANOTHER, FORGOTTEN)

#: A write to be made, and the bytes of its value.
_Prepared = tuple[Operation, bytes]


class VersionedStrings(Strings):
    """Strings that have versions, and can expire. Names and values are those of Strings."""

    def __init__(
        self,
        client: Any,
        names: Names,
        log_limits: LogLimits | None = None,
        *,
        most_requests: int = REQUESTS_KEPT,
    ) -> None:
        super().__init__(client, names)
        self._requests = RequestTexts(most_requests, self._server_us)
        self._now_script = client.register_script(NOW)
        #: None if no log is kept on behalf of this store.
        self._log = None if log_limits is None else ServerLog(client, names, log_limits, self._faults)
        self._write_script = client.register_script(WRITE)
        self._atomic_script = client.register_script(ATOMIC)
        self._expiries_script = client.register_script(EXPIRIES)
        self._raise_script = client.register_script(RAISE)
        self._forget_script = client.register_script(FORGET)
        self._encoder = client.get_encoder()
        #: Patches of one key take turns, so that only those of other clients conflict.
        self._patching = KeyLocks()

    @property
    def capability(self) -> Capability:
        """It can be watched if a log is kept."""
        return Capability(
            queries=False, versions=True, expiry=True, changes=self._log is not None, atomic=True, retries=True
        )

    # Reading

    def read(self, keys: Sequence[Key], options: ReadOptions) -> list[ReadResult]:
        """The values, with their metadata if it is asked for."""
        if not options.metadata:
            return super().read(keys, options)
        names = [name for key in keys for name in self._pair(key)]
        with self._faults():
            found = self._client.mget(names)
        results = [self._entry(*each) for each in zip(found[::2], found[1::2], strict=True)]
        self._add_expiries(
            [(name, result) for name, result in zip(names[::2], results, strict=True) if _is_foreign(result)]
        )
        return results

    def _pair(self, key: Key) -> tuple[str, str]:
        return self._names.of(key), self._names.metadata_of(key)

    def _entry(self, value: Any, text: Any) -> ReadResult:
        """A value with its metadata: that of the text, unless another program has stored the value."""
        if value is None:
            return ReadResult()
        digest = digest_of(self._encoder.encode(value))
        known = None if text is None else attempt(Known.read, self._encoder.encode(text)).value
        metadata = foreign(digest) if known is None or known.digest != digest else known.metadata
        return ReadResult(value, metadata=metadata)

    def _add_expiries(self, found: list[tuple[str, ReadResult]]) -> None:
        """Find out when entries expire that other programs have stored."""
        if not found:
            return
        with self._faults():
            expiries = self._expiries_script([name for name, _ in found])
        for (_, result), expires_us in zip(found, expiries, strict=True):
            if result.metadata is not None:
                result.metadata = result.metadata._replace(expires_us=int(expires_us))

    # Writing

    def write(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Several writes in a few requests, in order."""
        results: list[WriteResult] = []
        for depends, group in groupby(operations, depends_on_value):
            if depends:
                results += map(self._patch, group)
            else:
                results += self._write_some(group)
        return results

    def _patch(self, patch: Operation) -> WriteResult:
        if patch.attempt is not None:
            tried = attempt(self._write_together, [patch], catching=DatastoreError)
            return WriteResult(tried.error) if tried.error is not None else tried.value[0]
        # The serializers of a patch may raise anything, which must not fail the whole batch.
        made = attempt(self._patched, patch, catching=Exception)
        return WriteResult(refusal_of(made.error)) if made.error is not None else made.value

    def _patched(self, patch: Patch) -> WriteResult:
        """Patch by reading, and writing on the condition that nothing else was written."""
        with self._patching.hold(patch.key):
            result = exchange(self, patch.key, patch.apply, patch.condition, patch.expiry)
        if result.value is not None:
            # As a read would return it.
            result.value = self._encoder.decode(self._encoder.encode(result.value))
        return result

    def _write_some(self, operations: Iterable[Operation]) -> list[WriteResult]:
        return on_made(self._prepared, list(operations), self._write_prepared, WriteResult)

    def _prepared(self, operation: Operation) -> _Prepared:
        if not isinstance(operation, Put):
            return operation, b""
        check_value(operation.key, operation.value)
        return operation, self._encoder.encode(operation.value)

    def _write_prepared(self, writes: list[_Prepared]) -> list[WriteResult]:
        made: list[WriteResult] = []
        try:
            self._begin_log()
            for step in _steps(writes):
                made += self._step(step)
        except DatastoreError as error:
            # How many of this step were made is unknown; those after it must not be made without it.
            made += [WriteResult(error) for _ in writes[len(made) :]]
        return made

    def _step(self, step: Sequence[_Prepared]) -> list[WriteResult]:
        arguments: list[bytes] = []
        for (operation, value), request in zip(step, self._requests_of([each for each, _ in step]), strict=True):
            terms = terms_of(operation, value)
            arguments += (b"@".join((terms, request)) if request else terms, value)
        answers = self._run(self._write_script, [operation.key for operation, _ in step], arguments)
        return [self._result(operation, answer) for (operation, _), answer in zip(step, answers, strict=True)]

    def _requests_of(self, operations: Sequence[Operation]) -> list[bytes]:
        """The texts of the requests of writes, empty without one."""
        attempts = [operation.attempt for operation in operations]
        return self._requests.of(attempts) if any(attempts) else [b""] * len(attempts)

    def _server_us(self) -> int:
        with self._faults():
            seconds, microseconds = self._now_script([self._names.requests])
        return int(seconds) * 1_000_000 + int(microseconds)

    def _run(self, script: Any, keys: Iterable[Key], arguments: list[bytes]) -> list[bytes]:
        """The answers of a script that makes writes. Raises if it has made none."""
        names = [*self._names.for_writes, *(name for key in keys for name in self._pair(key))]
        with self._faults():
            answers: Any = script(names, arguments)
        encode = self._encoder.encode
        if not isinstance(answers, list):
            raise self._refusal(encode(answers))
        return list(map(encode, answers))

    def _result(self, operation: Operation, answer: bytes) -> WriteResult:
        """The result of a write, given the answer of the script."""
        head = answer[:1]
        if head == UNMET and operation.condition is not None:
            return WriteResult(attempt(require, operation.condition, operation.key, int(answer[1:])).error)
        if head == TOO_LATE:
            return WriteResult(too_late("expires_in_s"))
        if head in _OF_REQUESTS:
            made = attempt(self._answered, operation, answer)
            return made.value if made.error is None else WriteResult(made.error)
        if head == REFUSED:
            return WriteResult(self._refusal(answer))
        return WriteResult(metadata=Known.read(answer).metadata if answer else None)

    def _answered(self, operation: Operation, answer: bytes) -> WriteResult:
        """The result of a write that is not made now because of its request."""
        if answer[:1] == FORGOTTEN:
            raise forgotten()
        if answer[:1] == OF_ANOTHER:
            outcome = Outcome(str(self._names.key_of(answer[1:])))
        else:
            outcome = outcome_of_answer(operation.key, answer[1:], lambda text: self._result(operation, text))
        return outcome.answer(operation, lambda: self._present(operation.key))

    def _present(self, key: Key) -> tuple[Any, Metadata | None]:
        [found] = self.read([key], ENTRIES)
        return found.value, found.metadata

    def _refusal(self, answer: bytes) -> DatastoreError:
        """The error for a command that the server refused to a script."""
        return script_error(server_of(self._client), answer[1:].decode("utf-8", "replace"))

    # Atomic batches

    def write_atomic(self, operations: Sequence[Operation]) -> list[WriteResult]:
        """Make all writes in one step of the server. Raises LimitExceededError if they are too many or too large."""
        return all_made(self._encoded, operations, self._write_together)

    def _encoded(self, operation: Operation) -> Operation:
        _, value = self._prepared(operation)
        return operation.of(value) if isinstance(operation, Put) else operation

    def _write_together(self, operations: Sequence[Operation]) -> list[WriteResult]:
        self._begin_log()
        keys = list(dict.fromkeys(operation.key for operation in operations if depends_on_value(operation)))
        pauses, expired = conflict_pauses(), set[int]()
        with self._patching.hold_all(keys):
            while True:
                found = dict(zip(keys, self.read(keys, ENTRIES), strict=True)) if keys else {}
                batch = Batch(operations, found, expired, self._encoder)
                answers = self._run_items(batch.items, operations)
                if answers[-1][:1] in _OF_REQUESTS:
                    return self._all_answered(operations, answers)
                item, answer = batch.items[len(answers) - 1], answers[-1]
                if answer[:1] not in _FAILURES:
                    return self._results(batch, answers)
                if item.role is Role.ALIVE and answer[:1] == UNMET:
                    expired.add(item.place)
                    continue
                pause_s = next(pauses, None) if item.role is Role.UNCHANGED and answer[:1] == UNMET else None
                if pause_s is None:
                    return none_made({item.place: self._why(batch, item, answer)}, len(operations))
                sleep(pause_s)

    def _why(self, batch: Batch, item: Item, answer: bytes) -> Any:
        """The error of a batch that was not made, and ended at this item."""
        return batch.failure if item.role is Role.FAILURE else self._result(item.operation, answer).error

    def _run_items(self, items: Sequence[Item], operations: Sequence[Operation]) -> list[bytes]:
        arguments = [part for item in items for part in (item.terms, item.value, item.argument)]
        for operation, request in zip(operations, self._requests_of(operations), strict=True):
            if request:
                arguments += (request, self._encoder.encode(self._names.of(operation.key)))
        return self._run(self._atomic_script, [item.operation.key for item in items], arguments)

    def _all_answered(self, operations: Sequence[Operation], answers: Sequence[bytes]) -> list[WriteResult]:
        """The results of a batch that is not made now because of its requests: all of them, or the last answer's."""
        results = [self._result(*each) for each in zip(operations, answers, strict=False)]
        if answers[-1][:1] == REMEMBERED:
            return results
        failed: Any = results[-1].error
        return none_made({len(results) - 1: failed}, len(operations))

    def _results(self, batch: Batch, answers: Sequence[bytes]) -> list[WriteResult]:
        """The results of a batch that was made."""
        results: list[WriteResult] = []
        for item, answer in zip(batch.items, answers, strict=True):
            if item.role is Role.WRITE:
                result = self._result(item.operation, answer)
                if result.metadata is not None:
                    result.value = batch.values.get(item.place)
                results.append(result)
        return results

    # Changes

    def changes(self, watch: Watch, wake: Callable[[], None]) -> Feed:
        """The feed of the log, if it is kept. Expired entries are shown by a thread that runs while anybody watches."""
        if self._log is None:
            raise unlogged(self)
        if watch.initial and watch.position is None:
            # The listing is a query.
            self.scan(watch.query)
        self._log.begin()
        return LogFeed(self, self._log, Lock(), watch, wake, sweep=_nothing)

    def _begin_log(self) -> None:
        if self._log is not None and not self._log.log_id:
            self._log.begin()

    def close(self) -> None:
        """Refuse further calls, also those of watches, and close the client if it is owned."""
        super().close()
        if self._log is not None:
            self._log.close()

    # Versions

    @property
    def latest_version(self) -> int:
        """The latest version given to an entry, or raised to."""
        with self._faults():
            return int(self._client.get(self._names.version) or 0)

    def raise_versions(self, version: int) -> None:
        """Give only versions above this one from now on.

        Raises InvalidError (a ValueError) above VERSIONS_RAISED_TO.
        """
        if version > VERSIONS_RAISED_TO:
            raise InvalidError(
                f"versions in Redis can be raised to {VERSIONS_RAISED_TO}, a time in the year 2112, not to {version}",
                field="version",
            )
        with self._faults():
            self._raise_script([self._names.version], [version])

    def forget_requests(self) -> None:
        """Refuse repetitions of writes from before now that were not made here."""
        with self._faults():
            self._forget_script([self._names.requests])


def _nothing() -> None:
    """The thread of the log removes expired entries."""


def _is_foreign(result: ReadResult) -> bool:
    """Whether another program has stored the value."""
    return result.metadata is not None and result.metadata.updated_us == 0


def _steps(writes: Sequence[_Prepared]) -> Iterator[Sequence[_Prepared]]:
    """The writes in portions for one step each."""
    start = filled = 0
    for place, (_, value) in enumerate(writes):
        if place > start and (place - start == STEP_WRITES or filled + len(value) > STEP_BYTES):
            yield writes[start:place]
            start, filled = place, 0
        filled += len(value)
    if writes:
        yield writes[start:]
