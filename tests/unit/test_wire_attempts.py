"""Attempts as messages, and back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.attempts import REQUEST_ID_BYTES, Attempt, elapsed_us
from datastore.model.errors import InvalidError
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import decode_attempt, raw, set_attempt

IDS = st.binary(min_size=REQUEST_ID_BYTES, max_size=REQUEST_ID_BYTES)


@given(IDS)
def test_a_first_attempt_comes_back_from_every_request(request_id: bytes) -> None:
    for kind in (
        service_pb2.PutRequest,
        raw.PutRequest,
        service_pb2.DeleteRequest,
        service_pb2.PatchRequest,
        service_pb2.TouchRequest,
        service_pb2.BatchWriteRequest.Write,
    ):
        request = kind()
        set_attempt(request, Attempt(request_id))
        assert decode_attempt(request.attempt) == Attempt(request_id)


@given(IDS, st.integers(1, 2**62))
def test_the_age_of_an_attempt_grows_with_the_time_for_which_a_server_holds_it(request_id: bytes, age_us: int) -> None:
    before_us = elapsed_us()
    held = decode_attempt(value_pb2.Attempt(request_id=request_id, age_us=age_us))
    request = service_pb2.PutRequest()
    set_attempt(request, held)
    first = request.attempt.age_us
    assert age_us <= first <= age_us + elapsed_us() - before_us
    while elapsed_us() < before_us + 10:
        time.sleep(0)
    set_attempt(request, held)
    assert request.attempt.age_us >= first
    assert request.attempt.request_id == request_id


def test_an_attempt_of_the_greatest_age_can_be_passed_on() -> None:
    oldest = 2**63 - 1
    held = decode_attempt(value_pb2.Attempt(request_id=b"x" * REQUEST_ID_BYTES, age_us=oldest))
    request = service_pb2.PutRequest()
    set_attempt(request, held)
    assert request.attempt.age_us == oldest


def test_a_repeat_is_never_sent_as_a_first_attempt() -> None:
    request = service_pb2.PutRequest()
    set_attempt(request, Attempt.new().followed(elapsed_us() + 10**9))
    assert decode_attempt(request.attempt).is_repeat


def test_no_attempt_is_no_message() -> None:
    request = service_pb2.PutRequest()
    set_attempt(request, None)
    assert not request.HasField("attempt")


@pytest.mark.parametrize("length", [0, REQUEST_ID_BYTES - 1, REQUEST_ID_BYTES + 1])
def test_an_id_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InvalidError) as refused:
        decode_attempt(value_pb2.Attempt(request_id=b"x" * length))
    assert refused.value.field == "attempt.request_id"
