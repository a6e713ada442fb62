"""Messages whose values stay bytes: the same on the wire as the generated ones, and their results are checked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastore import Key
from datastore.model.errors import CorruptDataError
from datastore.model.limits import KEY_BYTES
from datastore.testing import cases
from datastore.v1 import service_pb2, value_pb2
from datastore.wire import WireValue, encode_value, raw

_texts = cases.keys().map(str)
_entries = st.lists(st.tuples(_texts, st.one_of(st.none(), cases.wire_values())), max_size=4)


def _pairs():
    """Each message of the family, its generated twin, and how one is filled with entries."""

    def put(message, add):
        if add:
            _fill(message.entry, *add[0])

    def write(message, add):
        for text, data in add:
            _fill(message.writes.add().put, text, data)
        message.writes.add().delete.text = "/gone"

    def listed(message, add):
        for text, data in add:
            _fill(message.entries.add(), text, data)

    def results(message, add):
        for _, data in add:
            _value(message.results.add(), data)
        message.results.add().status.code = 14

    def got(message, add):
        if add:
            _value(message, add[0][1])

    def entry(message, add):
        if add:
            _fill(message, *add[0])

    return {
        "Entry": (value_pb2.Entry, entry),
        "PutRequest": (service_pb2.PutRequest, put),
        "BatchWriteRequest": (service_pb2.BatchWriteRequest, write),
        "QueryResponse": (service_pb2.QueryResponse, listed),
        "ListEntriesResponse": (service_pb2.ListEntriesResponse, listed),
        "BatchGetResponse": (service_pb2.BatchGetResponse, results),
        "GetResponse": (service_pb2.GetResponse, got),
    }


def _fill(entry, text, data):
    entry.key.text = text
    _value(entry, data)


def _value(holder, data):
    if data is None:
        return
    if isinstance(holder.value, bytes):
        holder.value = data
    else:
        holder.value.MergeFromString(data)


@pytest.mark.parametrize("name", _pairs())
@given(entries=_entries)
def test_each_message_is_the_same_on_the_wire_as_its_generated_twin(name, entries):
    generated, fill = _pairs()[name]
    family = getattr(raw, name)
    added = [(text, None if value is None else encode_value(value).data) for text, value in entries]
    unparsed, parsed = family(), generated()
    fill(unparsed, added)
    fill(parsed, added)
    # Maps within values have no order: compare what each parses from the other's bytes.
    assert generated.FromString(unparsed.SerializeToString()) == parsed
    assert len(parsed.SerializeToString()) == len(unparsed.SerializeToString())
    again = family.FromString(family.FromString(parsed.SerializeToString()).SerializeToString())
    assert generated.FromString(again.SerializeToString()) == parsed


def test_the_family_is_every_message_with_a_stored_value():
    def holds(descriptor, seen):
        if descriptor.full_name in seen:
            return False
        seen = seen | {descriptor.full_name}
        if descriptor.full_name == "datastore.v1.Value":
            return True
        return any(field.message_type and holds(field.message_type, seen) for field in descriptor.fields)

    messages = service_pb2.DESCRIPTOR.message_types_by_name
    holders = {name for name, descriptor in messages.items() if holds(descriptor, frozenset())}
    moved = {"ReadSlotsResponse", "WriteSlotsRequest"}
    # The values of groups and of filters are few, and computed with.
    computed = {"AggregateRequest", "AggregateResponse", "AggregationState", "WatchRequest"}
    computed |= {"DeleteMatchingRequest", "PatchMatchingRequest"}
    functions = {name for name in raw.__all__ if name.islower()}
    assert holders - computed == set(raw.__all__) - functions - {"Entry", "FramedResponse", "FramedResults"} - moved


def _response(*texts, sort_keys=()):
    return raw.QueryResponse(
        entries=[{"key": {"text": text}, "value": b"\x18\x01"} for text in texts], sort_keys=sort_keys
    )


@given(st.lists(st.one_of(_texts, st.text(max_size=6).map(lambda text: "/" + text)), max_size=5))
def test_results_have_the_keys_that_were_sent_or_are_corrupt(texts):
    def canonical(text):
        try:
            return str(Key(text)) == text
        except ValueError:
            return False

    if all(map(canonical, texts)):
        batch = raw.entries_batch(_response(*texts))
        assert [str(key) for key in batch.keys] == texts
        assert all(type(value) is WireValue for value in batch.values)
    else:
        with pytest.raises(CorruptDataError):
            raw.entries_batch(_response(*texts))


@pytest.mark.parametrize(
    "texts",
    [
        [""],
        ["/a", ""],
        ["a"],
        ["/a", "b"],
        ["/a/"],
        ["/a/", "/b"],
        ["//a"],
        ["/a\n/b"],
        ["/a\n", "/b"],
        ["/a\n/b", "/c"],
        ["/a\t"],
        ["/a\x85"],
        ["/" + "x" * KEY_BYTES],
        ["/" + "é" * (KEY_BYTES // 2)],
    ],
)
def test_invalid_keys_from_a_server_are_corrupt(texts):
    with pytest.raises(CorruptDataError, match="the server sent"):
        raw.entries_batch(_response(*texts))


@pytest.mark.parametrize("texts", [[], ["/"], ["/", "/a"], ["/a b", "/.."], ["/é"], ["/" + "x" * (KEY_BYTES - 1)]])
def test_all_other_keys_are_accepted(texts):
    assert [str(key) for key in raw.entries_batch(_response(*texts)).keys] == texts


def test_there_is_one_sort_key_per_entry():
    assert raw.entries_batch(_response("/a", "/b", sort_keys=[b"1", b"2"])).sort_keys == [b"1", b"2"]
    assert raw.entries_batch(_response("/a")).sort_keys is None
    for count in (1, 3):
        with pytest.raises(CorruptDataError, match="sort keys"):
            raw.entries_batch(_response("/a", "/b", sort_keys=[b"1"] * count))


def test_counts_come_with_the_batch_and_keys_only_has_no_values():
    response = raw.QueryResponse(entries=[{"key": {"text": "/a"}}], skipped=3, scanned=9)
    batch = raw.entries_batch(response, keys_only=True)
    assert (batch.values, batch.skipped, batch.scanned) == ([None], 3, 9)
