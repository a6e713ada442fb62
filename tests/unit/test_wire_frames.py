"""Entries that a proxy passes on as they arrived, and what is read of them all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Batch, Key, Query
from datastore.engine.merge import BlockMerge
from datastore.model.errors import CorruptDataError
from datastore.model.limits import BATCH_BYTES, KEY_BYTES
from datastore.model.metadata import Metadata
from datastore.testing import cases
from datastore.wire import MetadataEncoder, encode_value, framed_batch, raw
from datastore_server.framing import framed
from datastore_server.limits import Limits
from datastore_server.streaming import BATCH_MOST_BYTES, ResponseBuilder
from datastore_server.tokens import Token

_long_keys = st.integers(100, KEY_BYTES - 1).map(lambda size: Key("/" + "x" * size))
_entries = st.dictionaries(st.one_of(cases.keys(), _long_keys), cases.wire_values(), max_size=6)
_ROOM = 1 << 30


def _response(entries, *, metadata=False, **others):
    response = raw.QueryResponse(**others)
    for version, (key, value) in enumerate(entries.items(), 1):
        entry = response.entries.add()
        entry.key.text = str(key)
        entry.value = encode_value(value).data
        if metadata:
            entry.metadata.MergeFromString(MetadataEncoder()(Metadata(version, 1, 2, 0)))
    return response


def _batch(response, **options):
    return framed_batch(raw.FramedResponse.FromString(response.SerializeToString()), **options)


def _sent(batch):
    """The entries of a batch as a client gets them."""
    return raw.QueryResponse.FromString(b"".join(framed(batch, _ROOM, keys_only=False) or ())).entries


@given(_entries, st.booleans())
def test_entries_are_passed_on_as_they_came_and_read_as_they_are(entries, metadata):
    response = _response(entries, metadata=metadata, skipped=3, scanned=9, resume_token=b"token")
    batch, read = _batch(response, with_metadata=metadata), raw.entries_batch(response, with_metadata=metadata)
    assert (len(batch), batch.skipped, batch.scanned, batch.has_metadata) == (len(read), 3, 9, metadata)
    assert _sent(batch) == response.entries
    assert [batch.key_at(index) for index in range(len(batch))] == read.keys
    assert (batch.keys, batch.metadata) == (read.keys, read.metadata)
    assert (batch.encoded is not None, _sent(batch)) == (True, response.entries)
    assert batch.values == read.values
    assert _sent(batch) == response.entries


@given(_entries, st.integers(0, 6), st.integers(0, 6))
def test_parts_of_them_are_passed_on(entries, start, stop):
    response = _response(entries)
    batch = _batch(response)
    batch.cut(start, stop)
    assert _sent(batch) == response.entries[start:stop]
    assert batch.keys == list(entries)[start:stop]


def test_what_is_changed_in_a_batch_is_not_passed_on_as_it_came():
    batch = _batch(_response({Key("/a"): 1, Key("/b"): 2}, metadata=True), with_metadata=True)
    batch.values[1] = encode_value(4)
    assert [entry.value for entry in _sent(batch)] == [encode_value(1).data, encode_value(4).data]
    batch.values = [encode_value(3), encode_value(4)]
    assert [entry.value for entry in _sent(batch)] == [value.data for value in batch.values]
    assert [entry.metadata.version for entry in _sent(batch)] == [1, 2]
    batch.metadata = None
    assert not any(entry.HasField("metadata") for entry in _sent(batch))


def test_entries_without_values_or_metadata_are_not_read_to_leave_them_out():
    response = raw.QueryResponse(entries=[{"key": {"text": "/a"}}])
    batch = _batch(response, keys_only=True)
    batch.drop_values()
    batch.metadata = None
    assert batch.encoded is not None
    assert batch.values == [None]


def test_any_valid_encoding_of_an_entry_is_read():
    key, value = b"\x0a\x04\x0a\x02/a", b"\x12\x02\x18\x01"
    batch = _batch(raw.QueryResponse.FromString(b""))
    assert batch.keys == []
    for content in (key + value, value + key, b"\x0a\x84\x00\x0a\x02/a" + value, key + value + b"\x78\x01"):
        batch = framed_batch(raw.FramedResponse(entries=[content, content]))
        assert batch.keys == [Key("/a"), Key("/a")]
        assert [each.decode() for each in batch.values] == [True, True]


_KEY, _VALUE = b"\x0a\x04\x0a\x02/a", b"\x12\x02\x18\x01"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x0a", b"\x0a\x02\x0a\x00", b"\x0a\x03\x0a\x01a", b"\x0a\x05\x0a\x03/\xffa", _KEY[:-1], _VALUE]
    + [
        _KEY + damaged
        for damaged in (b"\xff\xff", _VALUE[:-1], b"\x12", b"\x12\x80", _VALUE + b"\xff", b"\x12\x00\x07")
    ]
    + [_KEY + _VALUE + b"\x0a\x07\x0a\x05//bad", _KEY + b"\x0a\x07\x0a\x05//bad" + _VALUE],
)
@pytest.mark.parametrize("others", [[], [_KEY + _VALUE]])
def test_an_entry_that_cannot_be_read_is_corrupt_before_it_is_passed_on(content, others):
    with pytest.raises(CorruptDataError, match="the server sent"):
        framed_batch(raw.FramedResponse(entries=[*others, content]))


def test_an_entry_with_two_keys_is_passed_on_with_the_one_that_was_checked():
    batch = framed_batch(raw.FramedResponse(entries=[_KEY + _VALUE + b"\x0a\x04\x0a\x02/b"]))
    assert batch.keys == [Key("/b")]
    (content,) = raw.FramedResponse.FromString(b"".join(framed(batch, _ROOM, keys_only=False))).entries
    assert content == b"\x0a\x04\x0a\x02/b" + _VALUE


@given(cases.keys(), st.one_of(st.integers(0, 300), st.integers(16_370, 16_400), st.integers(2**21 - 20, 2**21 + 20)))
def test_values_of_any_size_are_passed_on(key, size):
    response = raw.QueryResponse(entries=[{"key": {"text": str(key)}, "value": bytes(size)}])
    assert _sent(_batch(response)) == response.entries
    (content,) = raw.FramedResponse.FromString(response.SerializeToString()).entries
    for damaged in (content[:-1], content + b"\x00") if size else ():
        with pytest.raises(CorruptDataError, match="cannot be read"):
            framed_batch(raw.FramedResponse(entries=[damaged]))


@pytest.mark.parametrize("metadata", [b"", b"\x1a\x00", b"\x1a\x02\x08\x00", b"\x1a\x02\x08", b"\x1a\x03\x08\x01\x12"])
def test_an_entry_without_the_metadata_that_was_asked_for_is_corrupt(metadata):
    with pytest.raises(CorruptDataError, match="the server sent"):
        framed_batch(raw.FramedResponse(entries=[_KEY + _VALUE + metadata]), with_metadata=True)


def test_metadata_that_was_not_asked_for_is_not_passed_on():
    response = _response({Key("/a"): 1}, metadata=True)
    assert not _sent(_batch(response))[0].HasField("metadata")


@pytest.mark.parametrize("count", [1, 3])
def test_there_is_one_sort_key_for_each_entry(count):
    with pytest.raises(CorruptDataError, match="sort keys"):
        _batch(_response({Key("/a"): 1, Key("/b"): 2}, sort_keys=[b"1"] * count))


@given(cases.contents(cases.wire_values()), st.sampled_from([[], ["n"], ["-n", "__key__"]]), st.integers(2, 3))
def test_a_merge_passes_them_on_in_order(contents, orders, shards):
    query = Query(Key("/"), recursive=True)
    for order in orders:
        query.order(order)
    merge = BlockMerge(query, shards)
    for shard in range(shards):
        part = {key: value for key, value in contents.items() if hash(key) % shards == shard}
        if part:
            entries = {entry.key: entry.value for entry in query.apply(_as_entries(part)).entries()}
            sort_keys = [query.sort_key_of(*entry) for entry in entries.items()] if orders else []
            merge.feed(shard, _batch(_response(entries, sort_keys=sort_keys)))
    passed_on = []
    while not merge.done:
        for shard in merge.wanted():
            merge.end(shard)
        block = merge.take()
        if len(block):
            assert block.encoded is not None
            assert block.position.key == block.keys[-1]
            passed_on += [entry.key.text for entry in _sent(block)]
    assert passed_on == [str(entry.key) for entry in query.apply(_as_entries(contents)).entries()]


def _as_entries(contents):
    return list(Batch(list(contents), list(contents.values())).entries())


@pytest.mark.parametrize("sizes", [[100] * 8000, [40_000] * 20, [10] * 500 + [900_000] * 3 + [10] * 500])
def test_large_batches_are_sent_in_messages_of_the_usual_size(sizes):
    entries = {Key(f"/c/{number:06}"): "x" * size for number, size in enumerate(sizes)}
    query = Query(Key("/c")).frozen()
    builder = ResponseBuilder(query, Token(query_hash=0, limit=None, offset=0, epoch=""), Limits())
    messages = [*builder.feed(_batch(_response(entries, scanned=7))), builder.flush()]
    answers = list(map(raw.QueryResponse.FromString, messages))
    assert [entry.key.text for answer in answers for entry in answer.entries] == list(map(str, entries))
    assert sum(answer.scanned for answer in answers) == 7
    assert max(map(len, messages)) <= max(2 * BATCH_BYTES, BATCH_MOST_BYTES)
    # Each continues after its last entry.
    assert len({answer.resume_token for answer in answers}) == len([each for each in answers if each.entries])
