"""Batches of reads whose keys and values are written and cut out together, as protobuf would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Key
from datastore.model.limits import KEY_BYTES
from datastore.testing import cases
from datastore.v1 import service_pb2
from datastore.wire import batch_get_request, encode_key, encode_value, plain_values, raw

_keys = st.one_of(cases.keys(), st.integers(100, KEY_BYTES - 1).map(lambda size: Key("/" + "x" * size)))


@given(st.lists(_keys, max_size=6), st.booleans())
def test_the_request_is_the_one_that_protobuf_makes(keys, metadata):
    expected = service_pb2.BatchGetRequest(keys=map(encode_key, keys), include_metadata=metadata)
    assert batch_get_request(keys, metadata=metadata) == expected.SerializeToString()


def _results(response):
    return list(raw.FramedResults.FromString(response.SerializeToString()).results)


_sizes = st.one_of(st.integers(0, 300), st.integers(16_370, 16_400), st.integers(2**21 - 20, 2**21 + 20))


@given(
    st.lists(st.one_of(st.none(), _sizes.map(bytes), cases.wire_values().map(lambda value: encode_value(value).data)))
)
def test_values_are_those_that_protobuf_reads(datas):
    response = raw.BatchGetResponse()
    for data in datas:
        result = response.results.add()
        if data is not None:
            result.value = data
    assert plain_values(_results(response)) == datas


@pytest.mark.parametrize(
    "fields",
    [{"status": {"code": 5}}, {"value": b"\x18\x01", "metadata": {"version": 1}}, {"metadata": {"version": 1}}],
)
def test_results_with_anything_else_are_left_to_protobuf(fields):
    response = raw.BatchGetResponse(results=[{"value": b"\x18\x01"}, fields])
    assert plain_values(_results(response)) is None


@pytest.mark.parametrize(
    "result", [b"\x0a", b"\x0a\x02\x18", b"\x0a\x81\x00\x18", b"\x12\x01\x18", b"\x0a\x01\x18\x0a\x01\x18"]
)
def test_other_encodings_are_left_to_protobuf(result):
    assert plain_values([b"\x0a\x02\x18\x01", result]) is None
