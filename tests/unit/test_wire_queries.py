"""The edges of queries on the wire: what cannot be encoded is refused or brought into range, never garbled."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from datastore import Key, Position, Query
from datastore.model.errors import (
    DatastoreError,
    InvalidKeyError,
    InvalidQueryError,
    InvalidValueError,
    LimitExceededError,
    UnsupportedTypeError,
)
from datastore.model.limits import FILTERS, ORDERS
from datastore.v1 import query_pb2, value_pb2
from datastore.wire import decode_key, decode_query, encode_key, encode_query
from datastore.wire.queries import FIELD_PATH_BYTES

_MOST = 2**63 - 1


@pytest.mark.parametrize("number", [_MOST - 1, _MOST, _MOST + 1, 10**30])
def test_limits_and_offsets_that_no_store_reaches_become_the_largest(number):
    message = encode_query(Query(Key("/a"), limit=number, offset=number))
    assert message.limit == message.offset == min(number, _MOST)


def test_no_limit_differs_from_a_limit_of_zero():
    assert decode_query(encode_query(Query(Key("/a")))).limit is None
    assert decode_query(encode_query(Query(Key("/a"), limit=0))).limit == 0


@pytest.mark.parametrize("query", [Query(Key("/a")).filter("\ud800", "=", 1), Query(Key("/a")).order("-\ud800")])
def test_fields_that_are_not_text_are_refused(query):
    with pytest.raises(InvalidQueryError, match="surrogate"):
        encode_query(query)


@pytest.mark.parametrize(
    ("value", "error"), [({1}, UnsupportedTypeError), (2**63, InvalidValueError), (["\ud800"], InvalidValueError)]
)
def test_filters_of_values_that_cannot_be_sent_are_refused(value, error):
    with pytest.raises(error, match="value"):
        encode_query(Query(Key("/a")).filter("a", "=", value))


@pytest.mark.parametrize(
    ("make", "most", "limit"),
    [
        (lambda query: query.filter("a", "=", 1), FILTERS, "filters"),
        (lambda query: query.order("a"), ORDERS, "orders"),
    ],
    ids=["filters", "orders"],
)
def test_the_number_of_filters_and_orders_is_limited(make, most, limit):
    query = Query(Key("/a"))
    for _ in range(most - 1):
        make(query)
    for _ in range(2):
        assert decode_query(encode_query(query)) == query
        make(query)
    with pytest.raises(LimitExceededError) as raised:
        decode_query(encode_query(query))
    assert (raised.value.limit, raised.value.maximum) == (limit, most)


@pytest.mark.parametrize("part", ["filters", "orders"])
def test_the_length_of_field_paths_is_limited(part):
    def sent(path):
        query = Query(Key("/a")).filter(path, "=", 1) if part == "filters" else Query(Key("/a")).order(path)
        return decode_query(encode_query(query))

    for path in ("a" * (FIELD_PATH_BYTES - 1), "é" * (FIELD_PATH_BYTES // 2)):
        assert getattr(sent(path), part)[0].field == path
    with pytest.raises(InvalidQueryError) as raised:
        sent("é" * (FIELD_PATH_BYTES // 2) + "a")
    assert raised.value.field == f"query.{part}[0].field_path"


def test_the_value_of_a_filter_is_checked_as_stored_ones_are():
    message = encode_query(Query(Key("/a")).filter("a", "=", Key("/b")))
    message.filters[0].field.value.key_value.text = "b//"
    with pytest.raises(InvalidQueryError, match="write '/b'") as raised:
        decode_query(message)
    assert raised.value.field == "query.filters[0].value"
    message.filters[0].field.value.Clear()
    message.filters[0].field.value.SetInParent()
    with pytest.raises(InvalidQueryError, match="no kind"):
        decode_query(message)


def test_keys_are_made_canonical_and_bad_ones_named():
    assert decode_key(value_pb2.Key(text="a//b/")) == Key("/a/b")
    assert decode_key(value_pb2.Key()) == Key("/")
    assert encode_key(Key("/é")).text == "/é"
    message = encode_query(Query(Key("/a"), start_after=Position(b"", Key("/b"))))
    message.start_after.key.text = "/" + "x" * 1024
    with pytest.raises(InvalidKeyError) as raised:
        decode_query(message)
    assert raised.value.field == "query.start_after.key"


def test_a_position_has_a_sort_key_exactly_if_its_query_has_orders():
    for query, sort_key in ((Query(Key("/a")), b"\x01"), (Query(Key("/a")).order("b"), b"")):
        message = encode_query(query)
        message.start_after.key.text = "/a/b"
        message.start_after.sort_key = sort_key
        with pytest.raises(InvalidQueryError) as raised:
            decode_query(message)
        assert raised.value.field == "query.start_after.sort_key"


@given(st.binary(max_size=60))
def test_any_message_is_a_query_or_an_error_of_ours(data):
    message = query_pb2.Query()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return
    try:
        query = decode_query(message)
    except DatastoreError:
        return
    assert decode_query(encode_query(query)) == query
