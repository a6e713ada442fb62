"""The suite finds typical bugs of clients: each is put into Python's client or into its answers, and a case must fail.

The driver runs in this process, where it can be changed.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datastore.model.errors import TruncatedStreamError
from datastore.model.key import Key
from datastore.v1 import service_pb2
from datastore.wire import errors as wire_errors
from datastore_client import RemoteDatastore, _calls, _channels, _connection, _failures, _messages, _retry, feed, remote
from tests.clients import python_driver
from tests.clients.drivers import Client
from tests.clients.python_driver import Driver, Threads
from tests.clients.runner import Runner, Unsupported
from tests.clients.servers import Servers
from tests.clients.suite import Case, all_cases

#: How long a case with a bug waits for what does not happen, in seconds.
PATIENCE_S = 2.0

Patch = pytest.MonkeyPatch


class Here:
    """Python's driver in this process. What the client waits for, it waits for in this thread."""

    client = Client("python", ())
    runs = True

    def __init__(self, files: Path) -> None:
        self._driver = Driver(Threads(), files)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to a request."""
        return _result(self._driver.answer(request))

    def close(self) -> None:
        """Close everything."""
        _result(self._driver.end())


def _result(work: Any) -> Any:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the client for threads waits in its own thread")


# Bugs in what is read and written


def changed(part: Any, kind: str, change: Callable[[Any], Any]) -> Any:
    """A response with every value of a kind changed."""
    if isinstance(part, list):
        return [changed(each, kind, change) for each in part]
    if isinstance(part, dict):
        return {name: change(each) if name == kind else changed(each, kind, change) for name, each in part.items()}
    return part


def answers_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Patch], None]:
    """A bug that changes every response."""

    def inject(patch: Patch) -> None:
        answer = Driver.answer

        async def wrong(self: Driver, request: dict[str, Any]) -> Any:
            return change(await answer(self, request))

        patch.setattr(Driver, "answer", wrong)

    return inject


def values_with(kind: str, change: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """A bug that changes every value of a kind that is read."""
    return answers_with(lambda response: changed(response, kind, change))


def results_swapped(response: dict[str, Any]) -> dict[str, Any]:
    """The results of a batch come in another order."""
    results = response.get("result", {}).get("results")
    return {"result": {"results": results[::-1]}} if results else response


def last_entry_lost(response: dict[str, Any]) -> dict[str, Any]:
    """The last entry of a message is not passed on."""
    result = response.get("result", {})
    return {"result": {**result, "entries": result["entries"][:-1]}} if "summary" in result else response


def zero_is_nothing(response: dict[str, Any]) -> dict[str, Any]:
    """Falsy values are taken for absent ones."""
    falsy = ({"int64": "0"}, {"bool": False}, {"string": ""}, {"list": []})
    return {"result": {}} if response.get("result", {}).get("value") in falsy else response


# Bugs in the client


def wrong_hash(patch: Patch) -> None:
    """The hash has 64 bits."""
    whole = python_driver.fasthash.xxh3_64_intdigest
    patch.setattr(python_driver, "fasthash", SimpleNamespace(hash=whole))


def utf16_order(patch: Patch) -> None:
    """Texts are compared by their UTF-16 units."""
    units = operator.methodcaller("encode", "utf-16-be")
    patch.setattr(Key, "__lt__", lambda one, other: units(str(one)) < units(str(other)))
    patch.setattr(Key, "__gt__", lambda one, other: units(str(one)) > units(str(other)))


def missing_summary_accepted(patch: Patch) -> None:
    """A stream that ends without its summary counts as complete."""
    some = Driver._some

    async def lenient(self: Driver, iterator: Any, most: int) -> Any:
        try:
            async for item in some(self, iterator, most):
                yield item
        except TruncatedStreamError:
            return

    patch.setattr(Driver, "_some", lenient)
    shown = {"reason": "EXHAUSTED", "entries": "0", "unreachable": []}
    whole = python_driver._summary
    patch.setattr(python_driver, "_summary", lambda summary: shown if summary is None else whole(summary))


def count_not_checked(patch: Patch) -> None:
    """The number of entries in the summary is not looked at."""
    patch.setattr(RemoteDatastore, "_check_whole", lambda *_: None)


def writes_are_reads(patch: Patch) -> None:
    """A write that was cut off is sent again."""
    fail = _connection.Connection.fail

    def failing(self: Any, error: Any, policy: Any, call: Any, *, is_read: bool) -> None:
        fail(self, error, policy, call, is_read=True)

    patch.setattr(_connection.Connection, "fail", failing)


def resumes_from_the_beginning(patch: Patch) -> None:
    """A stream continues without its token."""
    stream = _connection.Connection.stream

    def forgetful(self: Any, path: str, request: bytes, *rest: Any, **options: Any) -> Any:
        if path.endswith("/Query"):
            message = service_pb2.QueryRequest.FromString(request)
            message.ClearField("resume_token")
            request = message.SerializeToString()
        return stream(self, path, request, *rest, **options)

    patch.setattr(_connection.Connection, "stream", forgetful)


def errors_by_code(patch: Patch) -> None:
    """The client identifies errors by status code only, and ignores the reason."""
    patch.setattr(wire_errors, "_BY_REASON", {})


def details_dropped(patch: Patch) -> None:
    """The details of errors are not read."""
    patch.setattr(wire_errors, "_restore", lambda *_: None)


def cancel_not_sent(patch: Patch) -> None:
    """A cursor that is left does not end its call."""
    # Otherwise gRPC ends them when they are garbage.
    left: list[Any] = []
    patch.setattr(_calls.Messages, "close", left.append)


def last_entry_not_sent_back(patch: Patch) -> None:
    """A stream continues without the last entry."""
    patch.setattr(remote, "_note_last_entry", lambda *_: None)


def no_deadline(patch: Patch) -> None:
    """Calls have no deadline."""
    patch.setattr(_retry.RetryPolicy, "left_s", lambda _: float("inf"))


def nothing_is_retried(patch: Patch) -> None:
    """The first error is raised."""
    patch.setattr(_connection.Connection, "backoff_s", lambda *_: None)


def new_id_for_each_attempt(patch: Patch) -> None:
    """A write that is repeated is another write."""
    encoded = _messages.WriteMessage.encoded

    def renamed(self: Any) -> bytes:
        self.attempts = [attempt and type(attempt).new() for attempt in self.attempts]
        return encoded(self)

    patch.setattr(_messages.WriteMessage, "encoded", renamed)


def unfinished_batches_given_on(patch: Patch) -> None:
    """The changes of a batch are given on before its token has come."""
    parsed = feed.parsed

    def hasty(kind: Any, data: bytes) -> Any:
        response = parsed(kind, data)
        response.resume_token = response.resume_token or b"unfinished"
        return response

    patch.setattr(feed, "parsed", hasty)


def conditions_ignored(patch: Patch) -> None:
    """Conditions are not sent."""
    patch.setattr(python_driver, "_precondition", lambda _: None)


def keys_not_checked(patch: Patch) -> None:
    """Control characters in keys are sent to the server."""
    patch.setattr(python_driver, "Key", lambda text: Key._trusted(text if text.startswith("/") else f"/{text}"))


def everything_is_buffered(patch: Patch) -> None:
    """A stream is read to its end before its first entry is passed on."""
    messages = _connection.messages

    class Whole:
        def __init__(self, call: Any) -> None:
            self._streamed = messages(call)
            self._all: Iterator[bytes] | None = None

        def __next__(self) -> bytes:
            self._all = self._all or iter(list(iter(self._streamed)))
            return next(self._all)

        def close(self) -> None:
            self._streamed.close()

    patch.setattr(_connection, "messages", Whole)


def only_the_first_address(patch: Patch) -> None:
    """Further addresses are not tried."""
    patch.setattr(_channels.Channels, "pass_over", lambda *_: False)


def batch_repeated_whole(patch: Patch) -> None:
    """All items of a batch are sent again if one may be."""
    patch.setattr(
        _messages.WriteBatch,
        "repeatable",
        lambda _, results, may: (
            list(range(len(results))) if any(each.error and may(each.error) for each in results) else []
        ),
    )


def token_not_sent(patch: Patch) -> None:
    """Calls do not say who calls."""
    patch.setattr(_connection.Connection, "_make", _make_without_token)


def _make_without_token(self: Any, call: Any, request: bytes, policy: Any) -> Any:
    return call.method(request, timeout=policy.left_s())


def hard_words(patch: Patch) -> None:
    """Errors of connections are shown as gRPC describes them."""
    patch.setattr(_failures, "_unconnected", lambda details, _: details)


#: The bugs, each with the topics in which it must be found, or the case where others take long.
BUGS: dict[str, tuple[Callable[[Patch], None], tuple[str, ...]]] = {
    "int64 as double": (values_with("int64", lambda text: str(int(float(text)))), ("entries",)),
    "microseconds lost": (values_with("timestamp", lambda text: str(int(text) // 1000 * 1000)), ("entries",)),
    "minus zero lost": (
        values_with("double", lambda bits: struct.pack(">d", struct.unpack(">d", bytes.fromhex(bits))[0] + 0.0).hex()),
        ("entries",),
    ),
    "text beyond the BMP cut": (
        values_with("string", lambda text: "".join(c for c in text if c < "\U00010000")),
        ("entries",),
    ),
    "falsy values absent": (answers_with(zero_is_nothing), ("entries",)),
    "batch results swapped": (answers_with(results_swapped), ("batches",)),
    "last entry lost": (answers_with(last_entry_lost), ("queries",)),
    "wrong hash": (wrong_hash, ("hashes",)),
    "UTF-16 order": (utf16_order, ("key_order",)),
    "missing summary accepted": (missing_summary_accepted, ("streams",)),
    "count not checked": (count_not_checked, ("streams",)),
    "a write retried": (writes_are_reads, ("retries-a_write_is_not_retried_after_rst",)),
    "resume without the token": (resumes_from_the_beginning, ("streams-a_stream_continues_after_cut",)),
    "last entry not sent back": (last_entry_not_sent_back, ("streams-the_last_entry_is_sent_back_if_needed",)),
    "errors told by code only": (errors_by_code, ("retries",)),
    "details of errors dropped": (details_dropped, ("errors",)),
    "cancel not sent": (cancel_not_sent, ("streams-an_early_leave_cancels_the_call",)),
    "no deadline": (no_deadline, ("retries-every_call_has_a_deadline",)),
    "nothing retried": (nothing_is_retried, ("retries",)),
    "a new id for each attempt": (
        new_id_for_each_attempt,
        ("retries-with_retry_writes_a_cut_write_is_repeated_as_the_same",),
    ),
    "a whole batch repeated": (batch_repeated_whole, ("batch_retries",)),
    "unfinished batches of changes": (
        unfinished_batches_given_on,
        # A connection that is cut may take along what was not read yet; a status comes after it.
        ("watch_faults-an_unfinished_batch_before_an_error_is_not_given_twice",),
    ),
    "conditions ignored": (conditions_ignored, ("conditions",)),
    "keys not checked": (keys_not_checked, ("bad_input",)),
    "everything buffered": (everything_is_buffered, ("streams-a_slow_reader_is_not_overrun",)),
    "only the first address": (only_the_first_address, ("connections",)),
    "token not sent": (token_not_sent, ("connections",)),
    "errors in gRPC's words": (hard_words, ("connections",)),
}


@contextmanager
def driver_here(folder: Path) -> Iterator[Here]:
    """Python's driver in this process, closed at the end."""
    driver = Here(folder)
    try:
        yield driver
    finally:
        driver.close()


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject, topics = BUGS[bug]
    cases = [case for case in all_cases() if case.topic in topics or str(case) in topics]
    with driver_here(tmp_path) as driver, monkeypatch.context() as patch:
        inject(patch)
        runner = Runner(driver, servers, patience_s=PATIENCE_S)
        assert any(not passes(runner, case) for case in cases), f"no case of {topics} has noticed it"


def passes(runner: Runner, case: Case) -> bool:
    """Whether a case passes, or is left out."""
    try:
        runner.run(case)
    except Unsupported:
        return True
    except Exception:  # noqa: BLE001 - a bug may raise anything
        return False
    return True
