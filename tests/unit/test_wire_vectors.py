"""The golden vectors of the wire, both ways."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2, status_pb2

from datastore import Avg, Batch, Key, Query, Sum
from datastore.engine.tally import Tally
from datastore.model import errors
from datastore.model.aggregates import Aggregate
from datastore.model.changes import Change, ChangeKind
from datastore.model.errors import InvalidValueError
from datastore.model.expiry import Expiry
from datastore.model.limits import BATCH_BYTES
from datastore.model.metadata import Metadata, Precondition
from datastore.model.operations import Patch
from datastore.model.patches import FieldChange
from datastore.v1 import query_pb2, service_pb2, value_pb2
from datastore.wire import (
    ERRORS,
    check_value,
    decode_group,
    decode_patch,
    decode_query,
    encode_group,
    encode_patch,
    encode_query,
    encode_value,
    error_to_status,
    raw,
    reason_of,
    status_to_error,
)
from datastore.wire.changes import decode_changes, encode_changes
from datastore.wire.expiry import decode_expiry, set_expiry
from datastore.wire.metadata import MetadataEncoder, decode_metadata, decode_precondition, set_precondition
from tests.support.vectors import value_of, vectors


@pytest.mark.parametrize("row", vectors("wire_refused"), ids=lambda row: row["why"])
def test_bytes_that_are_not_a_value_are_refused_with_the_path(row):
    with pytest.raises(InvalidValueError) as raised:
        check_value(bytes.fromhex(row["wire"]))
    assert raised.value.path == row["path"]


@pytest.mark.parametrize("row", vectors("wire_queries"), ids=lambda row: row["wire"][:24])
def test_queries_and_their_messages(row):
    query = Query.from_dict(value_of(row["query"]))
    data = bytes.fromhex(row["wire"])
    assert encode_query(query).SerializeToString() == data
    assert decode_query(query_pb2.Query.FromString(data)) == query


@pytest.mark.parametrize("row", vectors("wire_writes")["metadata"], ids=lambda row: row["wire"][:24])
def test_metadata_and_their_messages(row):
    metadata, data = Metadata(**row["metadata"]), bytes.fromhex(row["wire"])
    assert MetadataEncoder()(metadata) == data
    assert decode_metadata(value_pb2.Metadata.FromString(data)) == metadata


@pytest.mark.parametrize("row", vectors("wire_writes")["conditions"], ids=lambda row: row["wire"])
def test_conditions_and_their_messages(row):
    condition, message = Precondition(**row["condition"]), value_pb2.Precondition()
    set_precondition(message, condition)
    assert message.SerializeToString() == bytes.fromhex(row["wire"])
    assert decode_precondition(message) == condition


@pytest.mark.parametrize("row", vectors("wire_writes")["expiries"], ids=lambda row: row["wire"])
def test_expiries_and_their_messages(row):
    expiry, request = Expiry(**row["expiry"]), service_pb2.PutRequest()
    set_expiry(request, expiry)
    assert request.expiry.SerializeToString() == bytes.fromhex(row["wire"])
    assert decode_expiry(request.expiry) == expiry


@pytest.mark.parametrize("row", vectors("wire_writes")["patches"], ids=lambda row: row["wire"][:24])
def test_patches_and_their_messages(row):
    key, create = Key(row["patch"]["key"]), row["patch"]["create"]
    changes = tuple(
        FieldChange(kind, path, *map(value_of, operand)) for kind, path, *operand in row["patch"]["changes"]
    )
    data = bytes.fromhex(row["wire"])
    assert encode_patch(Patch(key, changes, create=create)).SerializeToString() == data
    decoded = decode_patch(value_pb2.Patch.FromString(data), key, None, encode_value)
    assert (decoded.changes, decoded.create) == (changes, create)


@pytest.mark.parametrize("row", vectors("wire_watches")["requests"], ids=lambda row: row["wire"][:24])
def test_watches_and_their_requests(row):
    query, token = Query.from_dict(value_of(row["query"])), bytes.fromhex(row["resume_token"])
    request = service_pb2.WatchRequest(query=encode_query(query), resume_token=token, initial=row["initial"])
    assert request.SerializeToString() == bytes.fromhex(row["wire"])
    assert decode_query(request.query) == query


@pytest.mark.parametrize("row", vectors("wire_watches")["changes"], ids=lambda row: row["wire"][:24])
def test_changes_and_their_messages(row):
    changes = [
        Change(ChangeKind(kind), Key(key), version, encode_value(value_of(value[0])) if value else None)
        for kind, key, version, *value in row["changes"]
    ]
    data, encoded = bytes.fromhex(row["wire"]), b"".join(encode_changes(changes, BATCH_BYTES))
    # Parsed, because the varint of a small version is longer than it must be.
    assert service_pb2.WatchResponse.FromString(encoded) == service_pb2.WatchResponse.FromString(data)
    assert decode_changes(raw.WatchResponse.FromString(data).changes) == changes


@pytest.mark.parametrize("row", vectors("aggregates"), ids=lambda row: row["state"][:24])
def test_sums_their_states_and_their_results(row):
    numbers = value_of(row["numbers"])
    asked = Aggregate.checked(Query(Key("/")), {"sum": Sum("v"), "avg": Avg("v")}, group_by=[])
    tally = Tally(asked)
    tally.add(Batch([Key("/")] * len(numbers), [{"v": number} for number in numbers]))
    (group,) = map(encode_group, tally.groups())
    data = bytes.fromhex(row["state"])
    assert [state.sum.SerializeToString() for state in group.states] == [data, data]
    received = Tally(asked)
    received.take(decode_group(asked, group))
    for found in (tally, received):
        assert repr(found.rows()) == repr([{"sum": value_of(row["sum"]), "avg": value_of(row["avg"])}])


@pytest.mark.parametrize("row", vectors("wire_errors"), ids=lambda row: f"{row['reason']}-{len(row['facts'])}")
def test_errors_and_their_statuses(row):
    error = status_to_error(status_pb2.Status.FromString(bytes.fromhex(row["status"])))
    assert type(error).__name__ == row["error"]
    assert str(error) == row["message"]
    assert {name: getattr(error, name) for name in row["facts"]} == row["facts"]
    made = getattr(errors, row["error"])(row["message"], **row["facts"])
    assert (reason_of(type(made)), ERRORS[type(made)].name) == (row["reason"], row["code"])
    assert _with_details(error_to_status(made)) == _with_details(
        status_pb2.Status.FromString(bytes.fromhex(row["status"]))
    )


def _with_details(status):
    """A status with its details parsed, because the order of metadata in them is free."""
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    details = [kind.FromString(part.value) for part in status.details for kind in kinds if part.Is(kind.DESCRIPTOR)]
    assert len(details) == len(status.details)
    return status.code, status.message, details


def test_every_reason_has_a_vector():
    assert {row["reason"] for row in vectors("wire_errors")} == set(map(reason_of, ERRORS))
