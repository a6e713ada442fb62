"""What a benchmark sends, and what it reads in the answers."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from datastore import wire
from datastore.model.errors import StoreFullError
from datastore.model.key import Key
from datastore.v1 import service_pb2, value_pb2
from datastore_server.bench.plan import OPERATIONS, Plan, default_workers
from datastore_server.bench.requests import (
    COLLECTION_ENTRIES,
    Outcome,
    QueryAnswer,
    RequestMaker,
    key_text,
    outcome_of,
    value_of,
)

PLAN = Plan(
    mix={"get": 1},
    rate=100.0,
    in_flight=1,
    duration_s=1.0,
    warm_up_s=0.0,
    keys=5000,
    zipf=0.0,
    value_bytes=(3, 5),
    batch_items=4,
    query_entries=7,
    workers=1,
)
VALUE = value_pb2.Value(bytes_value=b"x")
FULL: status_pb2.Status = wire.error_to_status(StoreFullError("full"))


def requests(operation: Any, count: int = 20) -> list[tuple[str, bytes]]:
    maker = RequestMaker(msgspec.structs.replace(PLAN, mix={operation: 1.0}), "/Bench/1", Random(1))
    made = [maker.next() for _ in range(count)]
    assert {request.operation for request in made} == {operation}
    return [(request.path.rpartition("/")[2], request.data) for request in made]


def numbers(keys: list[str]) -> set[int]:
    """The numbers of keys, each of which must be that of an entry."""
    found = {COLLECTION_ENTRIES * int(key.split("/")[3]) + int(key.split("/")[4]) for key in keys}
    assert {key_text("/Bench/1", number) for number in found} == set(keys)
    assert all(0 <= number < PLAN.keys for number in found)
    return found


@given(st.integers(0, 9_999_999_999), st.integers(0, 9_999_999_999))
def test_keys_sort_like_their_numbers(one: int, other: int) -> None:
    keys = Key(key_text("/Bench/1", one)), Key(key_text("/Bench/1", other))
    assert (keys[0] < keys[1]) is (one < other)
    assert Key("/Bench/1").is_ancestor_of(keys[0])


def test_gets_are_for_entries() -> None:
    keys = []
    for method, data in requests("get"):
        keys.append(service_pb2.GetRequest.FromString(data).key.text)
        assert method == "Get"
    assert len(numbers(keys)) > 10


@pytest.mark.parametrize(("operation", "is_conditional"), [("put", False), ("put_if_exists", True)])
def test_puts_store_values_of_the_sizes_asked_for(operation: str, is_conditional: bool) -> None:
    puts = [service_pb2.PutRequest.FromString(data) for _, data in requests(operation)]
    assert {method for method, _ in requests(operation)} == {"Put"}
    assert numbers([put.entry.key.text for put in puts])
    assert {len(put.entry.value.bytes_value) for put in puts} == {3, 4, 5}
    assert {put.condition.exists for put in puts} == {is_conditional}
    assert {put.HasField("condition") for put in puts} == {is_conditional}


def test_batches_have_their_items() -> None:
    for method, data in requests("batch_get"):
        keys = [key.text for key in service_pb2.BatchGetRequest.FromString(data).keys]
        assert (method, len(keys)) == ("BatchGet", PLAN.batch_items)
        assert numbers(keys)
    for method, data in requests("batch_write"):
        writes = service_pb2.BatchWriteRequest.FromString(data).writes
        assert (method, len(writes)) == ("BatchWrite", PLAN.batch_items)
        assert numbers([write.put.key.text for write in writes])
        assert all(3 <= len(write.put.value.bytes_value) <= 5 for write in writes)


def test_queries_read_a_collection_after_one_of_its_entries() -> None:
    for method, data in requests("query"):
        query = wire.decode_query(service_pb2.QueryRequest.FromString(data).query)
        assert (method, query.limit, query.recursive) == ("Query", PLAN.query_entries, False)
        assert query.start_after is not None
        assert query.start_after.key.path == query.key
        assert numbers([str(query.start_after.key)])


def test_a_mix_has_operations_as_often_as_their_weights() -> None:
    maker = RequestMaker(msgspec.structs.replace(PLAN, mix={"get": 3, "put": 1}), "/Bench/1", Random(1))
    made = [maker.next().operation for _ in range(1000)]
    assert 700 < made.count("get") < 800
    assert made.count("get") + made.count("put") == 1000


def test_values_differ() -> None:
    random = Random(1)
    assert len({value_of(PLAN, random) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("operation", "answer", "outcome"),
    [
        ("get", service_pb2.GetResponse(value=VALUE), Outcome(1)),
        ("get", service_pb2.GetResponse(), Outcome(0, "ABSENT")),
        ("put", service_pb2.PutResponse(), Outcome(1)),
        ("put_if_exists", service_pb2.PutResponse(), Outcome(1)),
        ("batch_get", service_pb2.BatchGetResponse(results=[{"value": VALUE}, {"value": VALUE}]), Outcome(2)),
        ("batch_get", service_pb2.BatchGetResponse(results=[{"value": VALUE}, {}]), Outcome(1, "ABSENT")),
        (
            "batch_get",
            service_pb2.BatchGetResponse(results=[{"status": FULL}, {"value": VALUE}, {}]),
            Outcome(1, "STORE_FULL"),
        ),
        ("batch_write", service_pb2.BatchWriteResponse(results=[{}, {}]), Outcome(2)),
        ("batch_write", service_pb2.BatchWriteResponse(results=[{}, {"status": FULL}]), Outcome(1, "STORE_FULL")),
    ],
)
def test_answers_say_what_was_done(operation: Any, answer: Any, outcome: Outcome) -> None:
    assert outcome_of(operation, answer.SerializeToString()) == outcome


@pytest.mark.parametrize("operation", ["batch_get", "batch_write"])
def test_an_answer_that_is_none_is_a_failure(operation: Any) -> None:
    assert outcome_of(operation, b"\xff") == Outcome(0, "MALFORMED")


def query_answer(*messages: bytes) -> Outcome:
    answer = QueryAnswer()
    for message in messages:
        answer.take(message)
    return answer.outcome()


def test_the_answer_of_a_query_is_whole_only_with_its_summary() -> None:
    entries = [value_pb2.Entry(key=value_pb2.Key(text=f"/a{n}"), value=VALUE) for n in range(3)]
    first = service_pb2.QueryResponse(entries=entries[:2]).SerializeToString()

    def last(count: int) -> bytes:
        summary = service_pb2.QuerySummary(entries=count)
        return service_pb2.QueryResponse(entries=entries[2:], summary=summary).SerializeToString()

    assert query_answer(first, last(3)) == Outcome(3)
    assert query_answer(first) == Outcome(2, "TRUNCATED_STREAM")
    assert query_answer(first, last(4)) == Outcome(3, "TRUNCATED_STREAM")
    assert query_answer() == Outcome(0, "TRUNCATED_STREAM")
    assert query_answer(b"\xff").failure == "MALFORMED"


@pytest.mark.parametrize(
    ("rate", "processors", "workers"), [(1.0, 4, 1), (2500.0, 4, 1), (2501.0, 4, 2), (1e6, 4, 4), (None, 3, 3)]
)
def test_there_are_as_many_workers_as_the_rate_needs(rate: float | None, processors: int, workers: int) -> None:
    assert default_workers(rate, processors) == workers


def test_every_operation_can_be_sent() -> None:
    assert [len(requests(operation, 1)) for operation in OPERATIONS] == [1] * len(OPERATIONS)
