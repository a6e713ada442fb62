"""Metadata and conditions as messages, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore.model.errors import CorruptDataError, InvalidError
from datastore.model.metadata import ABSENT, EXISTS, MAX_VERSION, Metadata, Precondition
from datastore.v1 import value_pb2
from datastore.wire import MetadataEncoder, decode_metadata, decode_precondition, raw, set_precondition

#: From 1970 to the end of year 9999, in microseconds.
TIMES = st.integers(0, 253_402_300_799_999_999)
#: So few that entries have the same.
FEW_TIMES = st.sampled_from([0, 1, 1_790_000_000_000_000])
#: Those of a batch follow each other, and have varints of one byte or more.
VERSIONS = (
    st.integers(120, 140) | st.integers(1_790_000_000_000_000, 1_790_000_000_000_300) | st.integers(1, MAX_VERSION)
)

METADATA = st.builds(Metadata, VERSIONS, TIMES, TIMES, TIMES)


def message_of(metadata: Metadata) -> value_pb2.Metadata:
    return value_pb2.Metadata.FromString(MetadataEncoder()(metadata))


@given(METADATA)
def test_metadata_comes_back(metadata: Metadata) -> None:
    assert decode_metadata(message_of(metadata)) == metadata


@given(st.lists(st.builds(Metadata, VERSIONS, FEW_TIMES, FEW_TIMES, FEW_TIMES) | METADATA))
def test_nothing_of_one_entrys_metadata_stays_for_the_next(entries: list[Metadata]) -> None:
    encode = MetadataEncoder()
    assert [encode(metadata) for metadata in entries] == [MetadataEncoder()(metadata) for metadata in entries]


def test_times_are_sent_as_timestamps_and_no_expiry_as_none() -> None:
    metadata = Metadata(7, 1_000_001, 2_000_000)
    message = message_of(metadata)
    assert (message.create_time.seconds, message.create_time.nanos) == (1, 1000)
    assert message.update_time.ToJsonString() == "1970-01-01T00:00:02Z"
    assert not message.HasField("expire_time")


@pytest.mark.parametrize("version", [0, -1])
def test_metadata_without_a_version_is_corrupt(version: int) -> None:
    with pytest.raises(CorruptDataError, match="version"):
        decode_metadata(value_pb2.Metadata(version=version))


@pytest.mark.parametrize("condition", [EXISTS, ABSENT, Precondition(version=1), Precondition(version=MAX_VERSION)])
@pytest.mark.parametrize("kind", [value_pb2.Precondition, raw.PutRequest])
def test_a_condition_comes_back(kind: type, condition: Precondition) -> None:
    message = kind()
    set_precondition(message if kind is value_pb2.Precondition else message.condition, condition)
    received = kind.FromString(message.SerializeToString())
    assert decode_precondition(received if kind is value_pb2.Precondition else received.condition) == condition


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (value_pb2.Precondition(), "condition"),
        (value_pb2.Precondition(version=0), "condition.version"),
        (value_pb2.Precondition(version=-1), "condition.version"),
        (value_pb2.Precondition(version=-(2**63)), "condition.version"),
    ],
)
def test_a_condition_that_states_nothing_possible_is_refused(message: value_pb2.Precondition, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        decode_precondition(message)
    assert refused.value.field == field
