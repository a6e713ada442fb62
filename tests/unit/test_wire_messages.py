"""Queries, errors and unparsed messages on the wire."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from datastore import Filter, Key, Position, Query
from datastore.model import errors
from datastore.model.errors import InvalidKeyError, InvalidQueryError, QueryNotSupportedError
from datastore.testing import cases, model
from datastore.v1 import query_pb2, service_pb2
from datastore.wire import (
    ERRORS,
    decode_query,
    encode_query,
    encode_value,
    error_to_status,
    raw,
    reason_of,
    status_to_error,
)

values = cases.wire_values()


@given(cases.queries(values), st.binary(min_size=1, max_size=4))
def test_any_query_comes_back(query, sort_key):
    assert decode_query(encode_query(query)) == query
    query.start_after = Position(sort_key if query.orders else b"", Key("/a/b"))
    message = query_pb2.Query.FromString(encode_query(query).SerializeToString())
    assert decode_query(message) == query


def test_an_empty_message_queries_the_root():
    assert decode_query(query_pb2.Query()) == Query(Key("/"))


class OwnFilter(Filter):
    pass


@pytest.mark.parametrize(
    "query",
    [
        Query(Key("/a"), object_getattr=lambda obj, field: None),
        Query(Key("/a")).filter(OwnFilter("a", "=", 1)),
        Query(Key("/a")).filter(Filter("a", "=", 1, object_getattr=lambda obj, field: None)),
    ],
)
def test_custom_code_cannot_be_sent(query):
    assert query.has_custom_code
    with pytest.raises(QueryNotSupportedError):
        encode_query(query)


def _bad_queries():
    def changed(change):
        message = encode_query(Query(Key("/a")).filter("a", "=", 1).order("b"))
        change(message)
        return message

    return {
        "query.limit": changed(lambda m: setattr(m, "limit", -1)),
        "query.offset": changed(lambda m: setattr(m, "offset", -1)),
        "query.scope": changed(lambda m: setattr(m, "scope", 9)),
        "query.view": changed(lambda m: setattr(m, "view", 9)),
        "query.filters[0]": changed(lambda m: m.filters[0].Clear()),
        "query.filters[0].operator": changed(lambda m: setattr(m.filters[0].field, "operator", 0)),
        "query.filters[0].value": changed(lambda m: m.filters[0].field.ClearField("value")),
        "query.filters[0].field_path": changed(lambda m: setattr(m.filters[0].field, "field_path", "")),
        "query.orders[0].field_path": changed(lambda m: setattr(m.orders[0], "field_path", "")),
        "query.orders[0].direction": changed(lambda m: setattr(m.orders[0], "direction", 9)),
        "query.field_paths[1]": changed(lambda m: m.field_paths.extend(["a", ""])),
        "query.field_paths[0]": changed(lambda m: m.field_paths.append("é" * 513)),
        "query.field_paths": changed(lambda m: m.field_paths.append("__key__")),
        "query.start_after.sort_key": changed(lambda m: m.start_after.SetInParent()),
    }


@pytest.mark.parametrize(("field", "message"), _bad_queries().items(), ids=_bad_queries())
def test_a_bad_query_is_refused_with_the_field(field, message):
    with pytest.raises(InvalidQueryError) as raised:
        decode_query(message)
    assert raised.value.field == field


def test_a_bad_key_in_a_query_is_refused_with_the_field():
    message = query_pb2.Query()
    message.key.text = "/a\x00"
    with pytest.raises(InvalidKeyError) as raised:
        decode_query(message)
    assert raised.value.field == "query.key"


# Errors


def test_the_table_has_every_class_of_the_tree_and_every_reason_once():
    assert set(ERRORS) == {getattr(errors, name) for name in errors.__all__}
    assert len({reason_of(kind) for kind in ERRORS}) == len(ERRORS)
    assert grpc.StatusCode.OK not in ERRORS.values()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_itself_with_its_facts(kind):
    error = kind("what was wrong: é", shard="shard-1")
    for name, fact in {
        "field": "query.limit",
        "path": "value['a']",
        "limit": "key_bytes",
        "maximum": 1024,
        "incident": "c0ffee",
        "retry_after_s": 1.25,
    }.items():
        if hasattr(error, name):
            setattr(error, name, fact)
    status = status_pb2.Status.FromString(error_to_status(error).SerializeToString())
    assert status.code == ERRORS[kind].value[0]
    found = status_to_error(status)
    assert type(found) is kind
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    # And once more, as through a proxy.
    assert vars(status_to_error(error_to_status(found))) == vars(error)


def test_a_class_missing_from_the_table_is_sent_as_its_nearest_base():
    class OwnError(errors.StoreFullError):
        pass

    assert type(status_to_error(error_to_status(OwnError("full")))) is errors.StoreFullError


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_a_status_of_any_code_without_our_details_is_an_error_of_ours(code):
    if code is grpc.StatusCode.OK:
        return
    found = status_to_error(status_pb2.Status(code=code.value[0], message="text"))
    assert isinstance(found, errors.DatastoreError)
    assert "text" in str(found)
    # The resulting error has the same code, or names it.
    merged = (errors.InvalidError, errors.InternalError)
    assert (
        ERRORS[type(found)] is code
        or code.name in str(found)
        or type(found) in merged
        or (code is grpc.StatusCode.CANCELLED and type(found) is errors.UnavailableError)
    )


def test_an_unknown_reason_or_domain_is_classified_by_the_code():
    status = error_to_status(errors.UnavailableError("away"))
    info = error_details_pb2.ErrorInfo(reason="SOMETHING_NEW", domain="datastore")
    status.details[0].Pack(info)
    assert type(status_to_error(status)) is errors.UnavailableError


def test_the_text_of_other_exceptions_never_leaves():
    status = error_to_status(RuntimeError("secret"))
    assert "secret" not in str(status)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]


def test_bad_arguments_have_field_violations_and_overload_has_a_retry_delay():
    status = error_to_status(errors.InvalidQueryError("bad", field="query.limit"))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [(item.field, item.description) for item in bad.field_violations] == [("query.limit", "bad")]
    status = error_to_status(errors.UnavailableError("later", retry_after_s=0.5))
    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 0.5


# Messages whose values stay bytes


@given(st.lists(st.tuples(st.sampled_from(["/", "/a", "/a:b"]), values), max_size=4), st.binary(max_size=4))
def test_unparsed_messages_are_the_same_on_the_wire(entries, token):
    parsed, unparsed = service_pb2.QueryResponse(), raw.QueryResponse()
    for key, value in entries:
        data = encode_value(value).data
        entry = parsed.entries.add()
        entry.key.text = key
        entry.value.MergeFromString(data)
        unparsed.entries.add(key={"text": key}, value=data)
    parsed.resume_token = unparsed.resume_token = token
    assert service_pb2.QueryResponse.FromString(unparsed.SerializeToString()) == parsed
    batch = raw.entries_batch(raw.QueryResponse.FromString(parsed.SerializeToString()))
    assert [str(key) for key in batch.keys] == [key for key, _ in entries]
    assert model.same([value.decode() for value in batch.values], [value for _, value in entries])


@given(values)
def test_unparsed_values_keep_the_difference_between_empty_and_none(value):
    data = encode_value(value).data
    response = raw.GetResponse(value=data)
    parsed = service_pb2.GetResponse.FromString(response.SerializeToString())
    assert parsed.HasField("value")
    assert not raw.GetResponse.FromString(b"").HasField("value")
    assert raw.GetResponse.FromString(parsed.SerializeToString()).HasField("value")
