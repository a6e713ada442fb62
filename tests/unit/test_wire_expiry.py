"""Expiries as messages, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import InvalidError
from datastore.model.expiry import MAX_EXPIRES_US, NEVER, Expiry
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import decode_expiry, raw, set_expiry

TIMES = st.integers(1, MAX_EXPIRES_US)
LAST_SECOND = MAX_EXPIRES_US // 1_000_000


@given(TIMES.map(lambda in_us: Expiry(in_us=in_us)) | TIMES.map(lambda at_us: Expiry(at_us=at_us)))
def test_an_expiry_comes_back_from_every_request(expiry: Expiry) -> None:
    for kind in (service_pb2.PutRequest, raw.PutRequest, service_pb2.TouchRequest, service_pb2.BatchWriteRequest.Write):
        request = kind()
        set_expiry(request, expiry)
        assert decode_expiry(request.expiry) == expiry


@pytest.mark.parametrize("expiry", [None, NEVER])
def test_no_expiry_is_no_message(expiry: Expiry | None) -> None:
    request = service_pb2.PutRequest()
    set_expiry(request, expiry)
    assert not request.HasField("expiry")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"expires_in": {"nanos": 1}}, Expiry(in_us=1)),
        ({"expires_in": {"nanos": 1001}}, Expiry(in_us=2)),
        ({"expires_in": {"seconds": 1, "nanos": 500_000_000}}, Expiry(in_us=1_500_000)),
        ({"expires_in": {"seconds": LAST_SECOND}}, Expiry(in_us=LAST_SECOND * 1_000_000)),
        ({"expire_time": {"seconds": 1, "nanos": 1999}}, Expiry(at_us=1_000_001)),
        ({"expire_time": {"seconds": LAST_SECOND, "nanos": 999_999_999}}, Expiry(at_us=MAX_EXPIRES_US)),
        # Before 1970, and its beginning: passed, and not what says never.
        ({"expire_time": {}}, Expiry(at_us=1)),
        ({"expire_time": {"seconds": -(2**40)}}, Expiry(at_us=1)),
    ],
)
def test_what_a_message_says(text: dict[str, dict[str, int]], expected: Expiry) -> None:
    assert decode_expiry(value_pb2.Expiry(**text)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ({}, "expiry"),
        ({"expires_in": {}}, "expiry.expires_in"),
        ({"expires_in": {"seconds": -1}}, "expiry.expires_in"),
        ({"expires_in": {"seconds": 1, "nanos": -1}}, "expiry.expires_in.nanos"),
        ({"expires_in": {"nanos": 1_000_000_000}}, "expiry.expires_in.nanos"),
        ({"expires_in": {"seconds": LAST_SECOND + 1}}, "expiry.expires_in"),
        ({"expire_time": {"nanos": -1}}, "expiry.expire_time.nanos"),
        ({"expire_time": {"nanos": 1_000_000_000}}, "expiry.expire_time.nanos"),
        ({"expire_time": {"seconds": LAST_SECOND + 1}}, "expiry.expire_time"),
    ],
)
def test_an_expiry_that_cannot_be_is_refused_with_its_field(text: dict[str, dict[str, int]], field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        decode_expiry(value_pb2.Expiry(**text))  # type: ignore[arg-type]
    assert refused.value.field == field
