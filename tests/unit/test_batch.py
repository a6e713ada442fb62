"""Batches between stores, and values in serialized form."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from datastore import Batch, Entry, Key
from datastore.model.encoded import Encoded, decoded, views
from datastore.model.entries import Position, value_bytes
from datastore.model.operations import ReadResult


class Json(Encoded):
    __slots__ = ()

    def decode(self):
        return json.loads(self.data)


def test_a_batch_is_columns_of_one_length():
    batch = Batch([Key("/a"), None], [1, 2], scanned=5)
    assert len(batch) == 2
    assert list(batch.entries()) == [Entry(Key("/a"), 1), Entry(None, 2)]
    assert (batch.sort_keys, batch.position, batch.skipped, batch.scanned) == (None, None, 0, 5)
    assert len(Batch([], [])) == 0


def test_keys_known_by_their_text_are_created_on_access():
    batch = Batch.of_texts([b"/a", b"", b"/\xc3\xa9"], [1, 2, 3], sort_keys=[b"x", b"y", b"z"], scanned=7)
    assert (len(batch), batch.scanned, batch.texts) == (3, 7, [b"/a", b"", b"/\xc3\xa9"])
    assert batch.keys == [Key("/a"), None, Key("/é")]
    assert Batch([Key("/a"), None, Key("/é")], [1, 2, 3]).texts == batch.texts


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_prefix_is_cut_off_all_keys_and_off_the_position(looked_at):
    texts = ["/é/a", "", "/é", "/é/a:1/b"]
    batch = Batch.of_texts([text.encode() for text in texts], [1, 2, 3, 4], scanned=9)
    batch.position = Position(b"x", Key("/é/ü"))
    if looked_at:
        assert batch.keys[0] == Key("/é/a")
    batch.strip_prefix("/é")
    assert batch.texts == [b"/a", b"", b"/", b"/a:1/b"]
    assert batch.keys == [Key("/a"), None, Key("/"), Key("/a:1/b")]
    assert [key and hash(key) for key in batch.keys] == [key and hash(Key(str(key))) for key in batch.keys]
    assert (batch.values, batch.scanned, batch.position) == ([1, 2, 3, 4], 9, Position(b"x", Key("/ü")))


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_batch_is_cut_in_all_its_columns(looked_at):
    batch = Batch.of_texts([b"/a", b"/b", b"/c"], [1, 2, 3], sort_keys=[b"x", b"y", b"z"])
    if looked_at:
        assert batch.keys[0] == Key("/a")
    batch.cut(1, 3)
    assert (batch.texts, batch.keys) == ([b"/b", b"/c"], [Key("/b"), Key("/c")])
    assert (batch.values, batch.sort_keys) == ([2, 3], [b"y", b"z"])
    batch.keys = [Key("/x"), Key("/y")]
    batch.drop_values()
    assert (batch.texts, batch.values) == ([b"/x", b"/y"], [None, None])


def test_a_position_equals_by_content_and_can_be_pickled():
    position = Position(b"\x01", Key("/a"))
    for twin in (Position(b"\x01", Key("/a")), pickle.loads(pickle.dumps(position)), copy.deepcopy(position)):
        assert twin == position
        assert hash(twin) == hash(position)
    assert position != Position(b"", Key("/a"))
    assert eval(repr(position)) == position


@pytest.mark.parametrize(
    ("value", "size"), [(b"", 0), (b"\x00\xff", 2), ("abc", 3), ("é日\U0001f600", 9), ("\ud800", 3), (Json(b"[1]"), 3)]
)
def test_the_size_of_bytes_text_and_serialized_values_is_exact(value, size):
    assert value_bytes(value) == size


def test_the_size_of_other_values_is_a_positive_estimate():
    assert all(value_bytes(value) > 0 for value in (None, 1, [], {"a": "b"}))


def test_an_outcome_is_a_value_or_an_error():
    assert ReadResult() == ReadResult(None, None)
    assert ReadResult(3).error is None


def test_an_encoded_value_keeps_only_its_bytes():
    value = Json(b'{"a": 1}')
    assert value.decode() is not value.decode()
    assert value.view() == {"a": 1}
    assert views([value, 7]) == [{"a": 1}, 7]
    assert decoded(value) == {"a": 1}
    assert decoded(7) == 7


def test_encoded_values_equal_by_content():
    assert Json(b"[1, 2]") == Json(b"[1,2]") != Json(b"[1]")
    assert Json(b"1") != 1
    with pytest.raises(TypeError):
        hash(Json(b"1"))
    with pytest.raises(NotImplementedError):
        Encoded(b"").decode()


@pytest.mark.parametrize("by_text", [False, True])
def test_a_batch_in_parts_is_the_batch(by_text):
    keys = [Key(f"/a/{number}") for number in range(7)]
    where = {"sort_keys": [b"k%d" % number for number in range(7)], "position": Position(b"k6", keys[-1])}
    counts = {"skipped": 2, "scanned": 9}
    if by_text:
        batch = Batch.of_texts([str(key).encode() for key in keys], list(range(7)), **where, **counts)
    else:
        batch = Batch(keys, list(range(7)), **where, **counts)
    parts = list(batch.parts(3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [entry for part in parts for entry in part.entries()] == list(batch.entries())
    assert [sort_key for part in parts for sort_key in part.sort_keys] == where["sort_keys"]
    assert [part.position for part in parts] == [None, None, where["position"]]
    assert (sum(part.skipped for part in parts), sum(part.scanned for part in parts)) == (2, 9)
    assert list(batch.parts(7)) == [batch]
    assert next(Batch([], [], scanned=5).parts(3)).scanned == 5
    held = [number % 2 == 0 for number in range(7)]
    assert list(batch.selected(held).entries()) == list(batch.entries())[::2]


@pytest.mark.parametrize("looked_at", [False, True])
def test_values_known_by_their_bytes_are_created_on_access(looked_at):
    batch = Batch.of_texts([b"/a", b"/b", b"/c"], [b"1", b"2", b"3"])
    batch.encode_as(Json)
    if looked_at:
        assert batch.values == [Json(b"1"), Json(b"2"), Json(b"3")]
    assert batch.serialized() == (Json, [b"1", b"2", b"3"])
    assert len(batch) == 3
    assert [part.serialized() for part in batch.parts(2)] == [(Json, [b"1", b"2"]), (Json, [b"3"])]
    batch.cut(1, 3)
    assert (len(batch), batch.values) == (2, [Json(b"2"), Json(b"3")])
    batch.values[0] = Json(b"4")
    assert batch.selected([True, False]).serialized() == (Json, [b"4"])


def test_values_of_several_forms_have_no_common_bytes():
    assert Batch([Key("/a"), Key("/b")], [Json(b"1"), 2]).serialized() is None
    assert Batch([Key("/a")], [None]).serialized() is None
    assert Batch([], []).serialized() is None
