"""What a call sends, and what its answer says. Pure, but for the random numbers.

Requests are made as bytes and answers are checked without decoding values, so that a worker can make many.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from datastore import wire
from datastore.model.errors import TruncatedStreamError
from datastore.v1 import query_pb2, service_pb2
from datastore.wire import raw
from datastore_server.bench.plan import OperationName, Plan
from datastore_server.bench.popularity import Popularity

__all__ = [
    "ABSENT",
    "MALFORMED",
    "SERVICE",
    "Outcome",
    "QueryAnswer",
    "Request",
    "RequestMaker",
    "collection_text",
    "key_text",
    "outcome_of",
    "value_of",
]

#: Why an answered call failed, besides the reasons of errors: a key without an entry, and an answer that is not one.
ABSENT = "ABSENT"
MALFORMED = "MALFORMED"
_TRUNCATED = wire.reason_of(TruncatedStreamError)

#: How many entries a collection has.
COLLECTION_ENTRIES = 1000

SERVICE = "/datastore.v1.DatastoreService/"
_PATHS: dict[OperationName, str] = {
    "get": f"{SERVICE}Get",
    "put": f"{SERVICE}Put",
    "put_if_exists": f"{SERVICE}Put",
    "batch_get": f"{SERVICE}BatchGet",
    "batch_write": f"{SERVICE}BatchWrite",
    "query": f"{SERVICE}Query",
}


class Request(NamedTuple):
    """One call. Only the answer of a `query` is a stream."""

    operation: OperationName
    path: str
    data: bytes


class Outcome(NamedTuple):
    """What an answer says: how many entries were read or written, and why it failed, if it did."""

    items: int = 0
    failure: str | None = None


class RequestMaker:
    """Makes the requests of one worker, for the entries below a key."""

    def __init__(self, plan: Plan, root: str, random: Random) -> None:
        self._plan = plan
        self._root = root
        self._random = random
        self._popularity = Popularity(plan.keys, plan.zipf, random)
        self._operations = list(plan.mix)
        self._weights = list(accumulate(plan.mix.values()))

    def next(self) -> Request:
        """The request of the next call."""
        (operation,) = self._random.choices(self._operations, cum_weights=self._weights)
        return Request(operation, _PATHS[operation], self._data(operation))

    def _data(self, operation: OperationName) -> bytes:
        message = getattr(self, f"_{operation}")()
        data: bytes = message.SerializeToString()
        return data

    def _key(self) -> str:
        return key_text(self._root, self._popularity.draw())

    def _value(self) -> bytes:
        return wire.encode_value(value_of(self._plan, self._random)).data

    def _get(self) -> service_pb2.GetRequest:
        request = service_pb2.GetRequest()
        request.key.text = self._key()
        return request

    def _put(self) -> raw.PutRequest:
        request = raw.PutRequest()
        request.entry.key.text = self._key()
        request.entry.value = self._value()
        return request

    def _put_if_exists(self) -> raw.PutRequest:
        request = self._put()
        request.condition.exists = True
        return request

    def _batch_get(self) -> service_pb2.BatchGetRequest:
        request = service_pb2.BatchGetRequest()
        for _ in range(self._plan.batch_items):
            request.keys.add().text = self._key()
        return request

    def _batch_write(self) -> raw.BatchWriteRequest:
        request = raw.BatchWriteRequest()
        for _ in range(self._plan.batch_items):
            put = request.writes.add().put
            put.key.text = self._key()
            put.value = self._value()
        return request

    def _query(self) -> service_pb2.QueryRequest:
        """The entries of a collection after one key, in the order of their keys."""
        number = self._popularity.draw()
        query = query_pb2.Query(limit=self._plan.query_entries)
        query.key.text = collection_text(self._root, number)
        query.start_after.key.text = key_text(self._root, number)
        return service_pb2.QueryRequest(query=query)


def collection_text(root: str, number: int) -> str:
    """The collection of the entry of this number: neighbours share one, and a cluster may shard by collection."""
    return f"{root}/{number // COLLECTION_ENTRIES:07}"


def key_text(root: str, number: int) -> str:
    """The key of the entry of this number: those of all numbers have one length, and sort like the numbers."""
    return f"{collection_text(root, number)}/{number % COLLECTION_ENTRIES:03}"


def value_of(plan: Plan, random: Random) -> bytes:
    """A value: random bytes, which no store can compress."""
    return random.randbytes(random.randint(*plan.value_bytes))


def outcome_of(operation: OperationName, answer: bytes) -> Outcome:
    """What the answer of a call says that is not a query."""
    if operation == "get":
        # Without a value, the message has no fields.
        return Outcome(1) if answer else Outcome(0, ABSENT)
    try:
        if operation == "batch_get":
            return _of_items(raw.BatchGetResponse.FromString(answer).results, are_values=True)
        if operation == "batch_write":
            return _of_items(service_pb2.BatchWriteResponse.FromString(answer).results, are_values=False)
    except DecodeError:
        return Outcome(0, MALFORMED)
    return Outcome(1)


class QueryAnswer:
    """The answer of a query, message by message."""

    def __init__(self) -> None:
        self._entries = 0
        self._failure: str | None = _TRUNCATED

    def take(self, message: bytes) -> None:
        """Take the next message."""
        try:
            response = raw.QueryResponse.FromString(message)
        except DecodeError:
            self._failure = MALFORMED
            return
        self._entries += len(response.entries)
        if response.HasField("summary") and response.summary.entries == self._entries:
            self._failure = None

    def outcome(self) -> Outcome:
        """What it says, after its last message."""
        return Outcome(self._entries, self._failure)


def _of_items(results: Iterable[Any], *, are_values: bool) -> Outcome:
    """A batch fails with its first item that failed."""
    failure = None
    items = 0
    for result in results:
        if result.HasField("status"):
            failure = failure or wire.reason_of(type(wire.status_to_error(result.status)))
        elif are_values and not result.HasField("value"):
            failure = failure or ABSENT
        else:
            items += 1
    return Outcome(items, failure)
